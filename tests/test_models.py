"""Base models are found, loaded and counted; what is missing or unsafe gets a sentence."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import small_models
from course_utils import models, paths, session

TOTALS = {"tiny-biobert": 108_310_272, "tiny-opt": 331_196_416, "tiny-t5": 60_506_624}


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.delenv("COURSE_REAL", raising=False)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A folder with our names for two checkpoints and the hub's name for the third."""
    folder = tmp_path_factory.mktemp("bases")
    small_models.bert(folder / "biobert-v1.1")
    small_models.opt(folder / "tiny-opt")
    small_models.t5(folder / "tiny-t5")
    return folder


@pytest.mark.parametrize("name", models.HUB)
def test_the_hub_is_named_when_asked_for(name, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", "hub")
    assert models.base(name) == models.HUB[name]


def test_each_base_that_ships_can_be_asked_for_by_name(monkeypatch):
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    shipped = {path.name: str(path) for path in paths.bases().glob("*/")}
    assert {name: models.base(name) for name in models.HUB} == shipped


def test_a_folder_of_your_own_is_searched_under_both_names(bases, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", str(bases))
    assert models.base("tiny-biobert") == str(bases / "biobert-v1.1")
    assert models.base("tiny-opt") == str(bases / "tiny-opt")


@pytest.mark.parametrize(("name", "make"), [("tiny-biobert", small_models.bert), ("tiny-opt", small_models.opt)])
def test_real_checkpoints_are_found_once_they_are_made(name, make, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", "real")
    monkeypatch.setenv("COURSE_REAL", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{models.REAL[name]} yet. Type `make real`.*Unset COURSE_MODELS"):
        models.base(name)
    made = make(tmp_path / models.REAL[name])
    assert models.base(name) == str(made)


def test_where_there_is_no_real_checkpoint_the_way_back_is_named(monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", "real")
    with pytest.raises(FileNotFoundError, match="in the place of tiny-t5. Unset COURSE_MODELS"):
        models.base("tiny-t5")


def test_real_checkpoints_lie_in_build_if_no_variable_says_otherwise():
    assert paths.real() == paths.BUILD / "real"


def test_a_given_root_goes_before_the_variable(bases, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", "hub")
    assert models.base("tiny-t5", root=bases) == str(bases / "tiny-t5")


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(ValueError, match='"tiny-bert".*tiny-biobert, tiny-biobert-two-sites, tiny-plain, tiny-opt'):
        models.base("tiny-bert")


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere.*full path"):
        models.base("tiny-opt")


def test_a_missing_model_gets_a_list_of_what_is_there(tmp_path):
    small_models.t5(tmp_path / "tiny-t5")
    with pytest.raises(FileNotFoundError, match=r"no tiny-opt \(nor opt-350m\).*It holds: tiny-t5"):
        models.base("tiny-opt", root=tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "tiny-opt").mkdir()
    torch.save({}, tmp_path / "tiny-opt" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickle can run any code"):
        models.base("tiny-opt", root=tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "tiny-opt").mkdir()
    with pytest.raises(FileNotFoundError, match="no model.safetensors"):
        models.base("tiny-opt", root=tmp_path)


def test_a_grader_from_bert_keeps_the_body_and_makes_a_seeded_head(bases):
    path = models.base("tiny-biobert", root=bases)
    one, tokenizer = models.grader(path, seed=0)
    same, _ = models.grader(path, seed=0)
    other, _ = models.grader(path, seed=1)
    assert one.config.num_labels == 5 and one.dtype == torch.float32
    assert torch.equal(one.classifier.weight, same.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    body = one.base_model.state_dict()
    assert body and all(torch.equal(value, other.base_model.state_dict()[name]) for name, value in body.items())
    assert tokenizer.tokenize("Severe severes") == ["Severe", "severe", "##s"]  # cased, in pieces


def test_a_pooler_that_was_not_saved_is_seeded_too(tmp_path):
    path = small_models.bert(tmp_path / "bert", pooler=False)
    one, two = (models.grader(path, seed=0)[0].bert.pooler.dense.weight for _ in range(2))
    assert torch.equal(one, two)


def test_random_weights_share_the_shape_and_nothing_else(bases):
    path = models.base("tiny-biobert", root=bases)
    taught, _ = models.grader(path, seed=0)
    untaught, _ = models.grader(path, seed=0, pretrained=False)
    assert models.count_parameters(taught) == models.count_parameters(untaught)
    word = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(taught.get_parameter(word), untaught.get_parameter(word))


def test_a_grader_from_opt_reads_past_the_padding(bases):
    model, tokenizer = models.grader(models.base("tiny-opt", root=bases), seed=0)
    assert model.score.in_features == 16  # the width of its embeddings, not of its layers
    model.eval()
    alone = tokenizer("left", "no retinopathy seen", return_tensors="pt")
    padded = tokenizer(
        ["left", "left"],
        ["no retinopathy seen", "mild , " * 9],
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    assert torch.allclose(model(**alone).logits[0], model(**padded).logits[0], atol=1e-5)


def test_the_other_bases_load_with_plain_classes(bases):
    opt = AutoModelForCausalLM.from_pretrained(models.base("tiny-opt", root=bases), dtype=torch.float32)
    t5 = AutoModelForSeq2SeqLM.from_pretrained(models.base("tiny-t5", root=bases), dtype=torch.float32)
    assert opt.model.decoder.project_in.in_features == 16 and opt.model.decoder.final_layer_norm is None
    assert t5.lm_head.weight is t5.shared.weight
    assert AutoTokenizer.from_pretrained(models.base("tiny-t5", root=bases)).pad_token == "<pad>"


def test_a_grader_prints_nothing(bases, capfd):
    session.quiet()
    models.grader(models.base("tiny-biobert", root=bases), seed=0)
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_cannot_be_reached_gets_the_way_back():
    session.go_offline()
    with pytest.raises(OSError, match="did not come from the hub.*unset COURSE_MODELS"):
        models.grader("facebook/a-name-that-is-in-no-cache", seed=0)


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(OSError, match="cannot be read.*Copy the checkpoint again"):
        models.grader(str(tmp_path), seed=0)


@pytest.mark.parametrize(("name", "total"), TOTALS.items())
def test_the_real_checkpoints_have_the_parameters_they_are_known_for(name, total):
    model = models.on_meta(name)
    assert models.count_parameters(model) == (total, total)
    assert all(p.is_meta for p in model.parameters())


def test_lora_on_opt_350m_has_the_known_share():
    model = models.on_meta("tiny-opt")
    targets = [name for name in models.linear_layers(model) if name.endswith(("q_proj", "v_proj"))]
    added = sum(16 * sum(model.get_parameter(f"{name}.weight").shape) for name in targets)
    assert added == 1_572_864
    assert round(100 * added / (TOTALS["tiny-opt"] + added), 3) == 0.473


def test_frozen_weights_are_not_counted_as_trainable(bases):
    model, _ = models.grader(models.base("tiny-biobert", root=bases), seed=0)
    model.base_model.requires_grad_(False)
    trainable, total = models.count_parameters(model)
    assert trainable == 5 * 32 + 5
    assert total == sum(p.numel() for p in model.parameters())


def test_linear_layers_of_bert(bases):
    model, _ = models.grader(models.base("tiny-biobert", root=bases), seed=0)
    names = models.linear_layers(model)
    assert len(names) == 2 * 6 + 2  # six a layer, the pooler and the head
    assert "bert.encoder.layer.1.attention.self.query" in names and "classifier" in names


def test_the_gpu_is_left_alone_by_the_shipped_models(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert models.device() == "cpu"
    monkeypatch.setenv("COURSE_MODELS", "hub")
    assert models.device() == "cuda"
