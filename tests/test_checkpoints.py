"""Checkpoints of other people: each kind is graded with, adapted and exported right, or refused in a sentence."""

from functools import partial

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import small_models
from course_utils import adapt, causal, costs, models, trainer, training
from small_models import DECODERS, KINDS

TEXTS = ["no retinopathy seen", "severe haemorrhages in four quadrants , mild retinopathy seen .", "two", "no , two"]
ROWS = {"eye": ["left", "right", "left", "right"], "text": TEXTS, "grade": [0, 3, 2, 4]}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:PEFT has no layers", "ignore:All layers of this")]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A function from a kind to the folder of its checkpoint, made when it is first asked for."""
    made = {}

    def find(name):
        made[name] = made.get(name) or small_models.checkpoint(name, tmp_path_factory.mktemp("checkpoint"))
        return made[name]

    return find


def row(i):
    return {name: values[i : i + 1] for name, values in ROWS.items()}


def one_by_one(answer):
    return np.concatenate([answer(row(i)) for i in range(len(TEXTS))])


def trained_modules(model):
    """The names of the modules with trained weights, without PEFT's marks."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    cleaned = {name.removeprefix("base_model.model.").replace(".modules_to_save.default", "") for name in names}
    return {name.rpartition(".")[0] for name in cleaned}


def beside(modules, parents):
    return {name for name in modules if not any(f"{name}.".startswith(f"{parent}.") for parent in parents)}


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_is_its_reports_one_by_one(checkpoints, name):
    model, tokenizer = models.grader(checkpoints(name), seed=0)
    tokenizer.padding_side = "left"  # as if it had been loaded by hand
    together = training.predict(model, tokenizer, ROWS)
    assert np.abs(together - one_by_one(partial(training.predict, model, tokenizer))).max() < 1e-5
    assert np.ptp(together, axis=0).max() > 1e-3  # the reports do differ
    for pool in ("last", "mean") if name in DECODERS else ("first", "last", "mean"):
        vectors = training.features(model, tokenizer, ROWS, pool=pool)
        alone = one_by_one(partial(training.features, model, tokenizer, pool=pool))
        assert len(vectors) == 4 and np.abs(vectors - alone).max() < 1e-4


@pytest.mark.parametrize("name", DECODERS)
def test_the_first_token_of_a_decoder_is_not_taken_for_a_report(checkpoints, name):
    with pytest.raises(ValueError, match='reads from left to right.*pool="last"'):
        training.features(*models.grader(checkpoints(name), seed=0), ROWS)


@pytest.mark.parametrize("name", KINDS)
def test_lora_trains_its_matrices_and_the_head_and_a_reload_moves_nothing(checkpoints, name, tmp_path):
    kind = KINDS[name]
    model, tokenizer = models.grader(checkpoints(name), seed=0)
    assert set(models.head(model)) == kind.head
    model = adapt.prepare(model, "LoRA")
    trained = beside(trained_modules(model), kind.head)
    assert {module.split(".lora_")[0].split(".")[-1] for module in trained} == kind.lora
    assert all(".lora_" in module for module in trained)
    before = {name: p.clone() for name, p in model.named_parameters()}
    training.fit_grader(model, tokenizer, ROWS, epochs=2, lr=3e-2, bar=False)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad}
    expected = training.predict(model, tokenizer, ROWS)
    model.save_pretrained(tmp_path)
    other = models.grader(checkpoints(name), seed=1)[0]
    assert np.abs(training.predict(other, tokenizer, ROWS) - expected).max() > 1e-3
    again = PeftModel.from_pretrained(other, tmp_path)
    assert np.abs(training.predict(again, tokenizer, ROWS) - expected).max() == 0


@pytest.mark.parametrize("method", ["IA3", "VeRA"])
@pytest.mark.parametrize("name", ["BERT of masked words", "DeBERTa-v2", "ModernBERT, its body", "T5", "Falcon"])
def test_so_do_its_relatives(checkpoints, name, method, tmp_path):
    model, tokenizer = models.grader(checkpoints(name), seed=0)
    model = adapt.prepare(model, method)
    training.fit_grader(model, tokenizer, ROWS, epochs=2, lr=3e-2, bar=False)
    expected = training.predict(model, tokenizer, ROWS)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(models.grader(checkpoints(name), seed=1)[0], tmp_path)
    assert np.abs(training.predict(again, tokenizer, ROWS) - expected).max() == 0


@pytest.mark.parametrize("name", KINDS)
def test_freezing_leaves_the_head_or_the_last_blocks_and_what_comes_after(checkpoints, name):
    kind = KINDS[name]
    model = models.grader(checkpoints(name), seed=0)[0]
    blocks = model.get_submodule(kind.stack)
    state = torch.get_rng_state()
    trained = trained_modules(adapt.prepare(model, "last layers"))
    assert torch.equal(torch.get_rng_state(), state) and model.training is False
    last = {f"{kind.stack}.{i}" for i in range(len(blocks))[-adapt.LAST :]}
    assert beside(trained, {*last, *kind.head}) == kind.after
    assert all(p.requires_grad for block in blocks[-adapt.LAST :] for p in block.parameters())
    assert not beside(trained_modules(adapt.prepare(model, "head alone")), kind.head)
    assert all(p.requires_grad for head in kind.head for p in model.get_submodule(head).parameters())


def test_where_peft_has_no_choice_or_blocks_are_shared_it_is_said(checkpoints):
    model = models.grader(checkpoints("ALBERT"), seed=0)[0]
    with pytest.warns(UserWarning, match="share one block, so all are trained"):
        adapt.prepare(model, "last layers")
    with pytest.warns(UserWarning, match='no layers of its own choice for a "albert".*adapted: query, value'):
        adapt.prepare(model, "LoRA")


def other_kind(folder, kind, tokenizer, **sizes):
    """A checkpoint of a kind that the table has not, for what can't be done with it."""
    tokenizer = tokenizer()
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_blocks_that_cannot_be_found_are_said(tmp_path):
    xlm = other_kind(tmp_path, "xlm", small_models.roberta_pieces, emb_dim=32, n_layers=2, n_heads=2)
    with pytest.raises(ValueError, match='"xlm" does not list its blocks'):
        adapt.prepare(models.grader(xlm, seed=0)[0], "last layers")


def test_a_model_that_reads_its_padding_is_told_of(tmp_path):
    xlnet = other_kind(tmp_path, "xlnet", small_models.albert_pieces, d_model=32, n_layer=2, n_head=2, d_inner=64)
    with pytest.warns(UserWarning, match='"xlnet" reads its padding'):
        models.grader(xlnet, seed=0)


@pytest.mark.parametrize("name", DECODERS)
def test_scores_are_those_of_each_text_alone_whatever_side_is_padded(checkpoints, name):
    model = AutoModelForCausalLM.from_pretrained(checkpoints(name), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoints(name), padding_side="left")
    found = causal.scores(model, tokenizer, TEXTS)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([causal.encode(tokenizer, [text])[0]["input_ids"]])
        assert ids[0, -1] == tokenizer.eos_token_id and found["tokens"][i] == ids.shape[1] - 1
        with torch.no_grad():
            alone = model(input_ids=ids, labels=ids).loss.item()
        assert found["loss"][i] / found["tokens"][i] == pytest.approx(alone, rel=1e-4)
    packed = causal.pack(causal.encode(tokenizer, TEXTS))
    with torch.no_grad():
        if name in ("BLOOM", "Falcon with ALiBi"):
            with pytest.raises(ValueError):
                model(**packed)
        else:
            assert model(**packed).loss.item() == pytest.approx(found["loss"].sum() / found["tokens"].sum(), rel=1e-4)


def test_a_model_that_sees_what_it_should_predict_is_not_scored(checkpoints):
    model = AutoModelForCausalLM.from_pretrained(checkpoints("RoBERTa"))
    with pytest.raises(ValueError, match="sees the tokens that it should predict"):
        causal.scores(model, AutoTokenizer.from_pretrained(checkpoints("RoBERTa"), eos_token="</s>"), TEXTS)


def test_a_tokenizer_that_writes_the_end_itself_writes_it_once(checkpoints):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints("T5"))
    assert causal.encode(tokenizer, ["no"])[0]["input_ids"].count(tokenizer.eos_token_id) == 1
    with pytest.raises(ValueError, match="no end-of-text token"):
        causal.encode(AutoTokenizer.from_pretrained(checkpoints("BERT")), ["no"])


def graded_before(checkpoints, folder, num_labels, kind="BERT", model=AutoModelForSequenceClassification):
    """A checkpoint whose head was trained for other labels."""
    names = {i: f"{i} stars" for i in range(num_labels)}
    config = AutoConfig.from_pretrained(checkpoints(kind), id2label=names, problem_type="multi_label_classification")
    model.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoints(kind)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("num_labels", [3, 5])
@pytest.mark.parametrize("kind", ["BERT", "RoBERTa", "DeBERTa-v2", "Llama", "T5"])
def test_the_head_of_a_grader_is_not_kept_as_a_new_one(checkpoints, tmp_path, kind, num_labels):
    folder = graded_before(checkpoints, tmp_path / "graded", num_labels, kind)
    heads = []
    for seed in (0, 0, 1):
        with pytest.warns(
            UserWarning, match=f"has a head already, for 0 stars, .*{num_labels - 1} stars. It is dropped"
        ):
            model, tokenizer = models.grader(folder, seed=seed)
        heads.append(torch.cat([model.get_parameter(name).flatten() for name in models.beside_base(model)]))
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert list(model.config.id2label.values()) == [f"LABEL_{i}" for i in range(5)] and not model.config.problem_type
    old = AutoModelForSequenceClassification.from_pretrained(folder).base_model.state_dict()
    assert all(torch.equal(value, model.base_model.state_dict()[name]) for name, value in old.items())
    model = adapt.prepare(model, "LoRA")  # and the new head is saved, though the checkpoint has one of its name
    expected = training.predict(model, tokenizer, ROWS)
    model.save_pretrained(tmp_path / "adapter")
    with pytest.warns(UserWarning, match="has a head already"):
        again = PeftModel.from_pretrained(models.grader(folder, seed=7)[0], tmp_path / "adapter")
    assert np.abs(training.predict(again, tokenizer, ROWS) - expected).max() == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_without_such_a_head_is_loaded_without_a_word(checkpoints, name):
    models.grader(checkpoints(name), seed=0)


def test_what_can_be_no_grader_is_said(checkpoints, tmp_path):
    config = AutoConfig.for_model("clip")
    config.save_pretrained(tmp_path / "clip")
    AutoTokenizer.from_pretrained(checkpoints("BERT")).save_pretrained(tmp_path / "clip")
    with pytest.raises(ValueError, match='clip is a "clip", and transformers puts no classification head on that'):
        models.grader(str(tmp_path / "clip"), seed=0)
    config = AutoConfig.from_pretrained(checkpoints("BERT"), intermediate_size=48)
    folder = graded_before(checkpoints, tmp_path / "wrong", 5)
    config.save_pretrained(folder)
    with pytest.raises(ValueError, match="in another shape than its config.json says.*Copy the checkpoint again"):
        models.grader(folder, seed=0)
    folder = graded_before(checkpoints, tmp_path / "no_padding", 5)
    AutoTokenizer.from_pretrained(checkpoints("BERT"), pad_token=None).save_pretrained(folder)
    with pytest.raises(ValueError, match="neither a padding nor an end-of-text token"):
        models.grader(folder, seed=0)


def test_a_t5_whose_tokenizer_does_not_end_a_text_is_made_to(tmp_path):
    folder = small_models.t5(tmp_path / "t5")
    assert AutoTokenizer.from_pretrained(folder)("left", "no")["input_ids"][-1] != 1
    model, tokenizer = models.grader(folder, seed=0)
    together = training.predict(model, tokenizer, ROWS)
    assert np.abs(together - one_by_one(partial(training.predict, model, tokenizer))).max() < 1e-5
    cut = training.tokenise(tokenizer, ROWS, "eye", "text", max_length=6)
    assert all(report["input_ids"][-1] == tokenizer.eos_token_id for report in cut)
    AutoTokenizer.from_pretrained(folder, eos_token=None).save_pretrained(folder)
    with pytest.raises(ValueError, match="reads where a text ends"):
        models.grader(folder, seed=0)


def test_a_tokenizer_without_padding_that_was_loaded_by_hand_is_named(checkpoints):
    model = models.grader(checkpoints("GPT-2"), seed=0)[0]
    with pytest.raises(ValueError, match="no padding token.*tokenizer.pad_token = tokenizer.eos_token"):
        training.predict(model, AutoTokenizer.from_pretrained(checkpoints("GPT-2")), ROWS)


def test_a_checkpoint_that_is_gone_is_told_of(checkpoints, tmp_path):
    folder = small_models.bert(tmp_path / "bert", pooler=False)
    model = models.grader(folder, seed=0)[0]
    assert models.lacking(model) == [
        f"{name}.{part}" for name in ("bert.pooler.dense", "classifier") for part in ("bias", "weight")
    ]
    (tmp_path / "bert").rename(tmp_path / "away")
    with pytest.warns(UserWarning, match="no longer there"):
        assert models.head(model) == ["classifier"]


@pytest.mark.parametrize("name", ["Llama", "GPT-2", "T5"])
def test_trainer_pads_on_the_right_too(checkpoints, tmp_path, name):
    model, tokenizer = models.grader(checkpoints(name), seed=0)
    tokenizer.padding_side = "left"
    made = trainer.for_grader(model, tokenizer, ROWS, str(tmp_path), dev=ROWS, num_train_epochs=1)
    chances = training.predict(model, tokenizer, ROWS)
    by_hand = -np.log(chances[range(4), ROWS["grade"]]).mean()
    assert made.evaluate()["eval_loss"] == pytest.approx(by_hand, abs=1e-4)
    made.train()
    assert [row["attention_mask"][-1] for row in trainer.encode(tokenizer, ROWS, pad_to=40)] == [0] * 4


@pytest.mark.parametrize("method", costs.METHODS)
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5", "ModernBERT"])
def test_costs_are_measured_of_any_kind(name, method, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", str(tmp_path))
    small_models.checkpoint(name, tmp_path / "tiny-biobert")
    cost = costs.train(method, "tiny-biobert", steps=1, batch=2, length=8)
    assert 0 < cost["trainable"] < cost["parameters"] or method == "full fine-tuning"


def test_vectors_are_those_of_the_adapted_base(checkpoints):
    model, tokenizer = models.grader(checkpoints("BERT"), seed=0)
    plain = training.features(model, tokenizer, ROWS)
    model = adapt.prepare(model, "LoRA")
    assert np.array_equal(training.features(model, tokenizer, ROWS), plain)
    training.fit_grader(model, tokenizer, ROWS, epochs=1, lr=1e-2, bar=False)
    adapted = training.features(model, tokenizer, ROWS)
    assert np.abs(adapted - plain).max() > 1e-3
    assert np.abs(training.features(model.merge_and_unload(), tokenizer, ROWS) - adapted).max() < 1e-4


def test_a_report_with_more_tokens_than_the_model_has_positions_is_said_before_training(checkpoints):
    model, tokenizer = models.grader(checkpoints("BERT"), seed=0)
    long = ROWS | {"text": [*TEXTS[:3], "seen " * 100]}
    for use in (
        training.predict,
        training.features,
        partial(training.fit_grader, epochs=1, lr=1e-3),
    ):
        with pytest.raises(ValueError, match="A report has 104 tokens, and the model takes 64: give `max_length=64`"):
            use(model, tokenizer, long)
    assert training.predict(model, tokenizer, long, max_length=64).shape == (4, 5)


def test_positions_that_cannot_be_lengthened_are_said(checkpoints):
    model = models.grader(checkpoints("RoBERTa"), seed=0)[0]
    assert trainer.lengthen(model, 64) is model
    for name in ("RoBERTa", "GPT-2"):
        with pytest.raises(ValueError, match="can't be made to take 100 tokens"):
            trainer.lengthen(models.grader(checkpoints(name), seed=0)[0], 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_what_is_exported_answers_alike_or_is_refused_in_a_sentence(checkpoints, name, tmp_path):
    export = pytest.importorskip("course_utils.export", reason="needs the extra onnx")
    from course_utils import serve

    model, tokenizer = models.grader(checkpoints(name), seed=0)
    if name == "Falcon with ALiBi":  # its positions are computed in bfloat16, for which ONNX Runtime has no product
        with pytest.raises(ValueError, match="A FalconForSequenceClassification can't be exported: .{,250}$"):
            export.to_onnx(model, tokenizer, tmp_path / "x.onnx")
        assert not list(tmp_path.iterdir())
        return
    session = serve.open_model(export.to_onnx(model, tokenizer, tmp_path / "x.onnx"))
    assert [output.name for output in session.get_outputs()] == ["logits"]
    batch = training.collate(tokenizer, training.tokenise(tokenizer, ROWS, "eye", "text", 64), range(4), "cpu")
    given = {one.name: batch[one.name].numpy() for one in session.get_inputs()}
    assert set(given) == set(batch)
    chances = serve.softmax(session.run(None, given)[0])
    assert np.abs(chances - training.predict(model, tokenizer, ROWS)).max() < 1e-5
