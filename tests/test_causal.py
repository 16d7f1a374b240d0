"""Texts are scored token by token as by hand; counting is a distribution; a killed run ends in the weights of a whole one."""

import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    TrainerCallback,
    TrainingArguments,
)

import small_models
from course_utils import causal, results, trainer
from course_utils.experiments import lessons, opt

TEXTS = [
    "no retinopathy seen .",
    "right , severe haemorrhages in four quadrants .",
    "left",
    "mild retinopathy in two .",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_models.opt(tmp_path_factory.mktemp("opt"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def model(folder):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(folder)


def rows_of(tokenizer):
    return causal.encode(tokenizer, TEXTS * 4)


def test_a_text_begins_and_ends_with_the_end_token_however_it_is_cut(tokenizer):
    ids = causal.encode(tokenizer, TEXTS, max_length=5)[1]["input_ids"]
    assert len(ids) == 5 and ids[0] == ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[1:-1]) == "right , severe"


def test_scores_are_those_of_each_text_alone(model, tokenizer):
    model.train()  # as training leaves it
    found = causal.scores(model, tokenizer, TEXTS, batch_size=3)
    assert not model.training  # no dropout
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([causal.encode(tokenizer, [text])[0]["input_ids"]])
        with torch.no_grad():
            out = model.eval()(input_ids=ids, labels=ids)
        assert found["tokens"][i] == ids.shape[1] - 1
        assert found["loss"][i] / found["tokens"][i] == pytest.approx(out.loss.item(), rel=1e-4)
        assert found["right"][i] == int((out.logits[0, :-1].argmax(-1) == ids[0, 1:]).sum())


def test_nothing_to_score_is_said(model, tokenizer):
    with pytest.raises(ValueError, match="no texts"):
        causal.scores(model, tokenizer, [])


def test_perplexity_weighs_tokens_and_its_interval_draws_texts_or_patients():
    found = {"loss": np.array([2.0, 30.0]), "tokens": np.array([2.0, 10.0]), "right": np.array([1.0, 9.0])}
    value, low, high = causal.perplexity(found)
    assert value == pytest.approx(math.exp(32 / 12))
    assert (low, high) == pytest.approx((math.exp(1), math.exp(3)))  # both draws of one text alone happen often
    assert causal.accuracy(found).value == pytest.approx(10 / 12)
    one_patient = causal.perplexity(found, groups=["a", "a"])
    assert one_patient.low == one_patient.high == pytest.approx(value)


def test_groups_that_do_not_fit_are_refused():
    found = {"loss": np.ones(3), "tokens": np.ones(3)}
    with pytest.raises(ValueError, match="3 reports and 2 patients"):
        causal.perplexity(found, groups=["a", "b"])


def test_a_paired_ratio_is_narrower_than_the_two_intervals():
    rng = np.random.default_rng(0)
    tokens, hard = np.full(50, 10.0), rng.uniform(5, 40, 50)
    before, after = {"loss": hard, "tokens": tokens}, {"loss": hard - 5, "tokens": tokens}
    ratio = causal.ratio(after, before)
    assert ratio == pytest.approx((math.exp(-0.5),) * 3)  # each text gained the same, so there is nothing to doubt
    assert causal.perplexity(before).low < causal.perplexity(after).high
    with pytest.raises(ValueError, match="same texts"):
        causal.ratio(after, before | {"tokens": tokens + 1})


def test_a_ratio_draws_patients_where_it_is_given_them():
    tokens = np.full(4, 10.0)
    before, after = (
        {"loss": np.full(4, 20.0), "tokens": tokens},
        {"loss": np.array([20.0, 20, 10, 10]), "tokens": tokens},
    )
    by_text = causal.ratio(after, before)
    assert by_text.low < by_text.value == pytest.approx(math.exp(-20 / 40)) and by_text.high > by_text.value
    one_patient = causal.ratio(after, before, groups=["a"] * 4)
    assert one_patient == pytest.approx((math.exp(-20 / 40),) * 3)


def test_counting_mixes_seven_tenths_of_each_count_with_what_it_knew_before():
    table = causal.Counts([{"input_ids": [2, 3, 3]}], vocabulary=4, order=2)
    alone = 0.7 * 2 / 2 + 0.3 / 4  # both predicted tokens were a 3
    denied = 0.7 * 0 / 2 + 0.3 / 4  # neither was a 2
    wanted = {
        (2, 3): 0.7 * 1 / 1 + 0.3 * alone,
        (3, 2): 0.7 * 0 / 1 + 0.3 * denied,
        (0, 3): alone,
    }  # 0 was never before
    for ids, chance in wanted.items():
        assert math.exp(-table.scores([{"input_ids": ids}])["loss"][0]) == pytest.approx(chance)


def test_counting_is_a_distribution_and_knows_what_it_has_seen(tokenizer):
    rows, words = rows_of(tokenizer), len(tokenizer)
    table = causal.Counts(rows, words, order=2)
    for before in (tokenizer.eos_token_id, rows[1]["input_ids"][2], 0):  # 0 has never been seen
        chances = [math.exp(-table.scores([{"input_ids": [before, word]}])["loss"][0]) for word in range(words)]
        assert sum(chances) == pytest.approx(1)
    perplexities = [causal.perplexity(causal.Counts(rows, words, order).scores(rows)).value for order in (1, 2, 3)]
    assert words > perplexities[0] > perplexities[1] > perplexities[2]


def test_texts_that_end_are_counted(model, tokenizer):
    with torch.no_grad():
        model.lm_head.weight.zero_()  # all tokens alike: the first choice is token 0, for ever
    assert causal.ended(model, tokenizer, TEXTS[:2], first=2, new=3) == 0
    with pytest.raises(ValueError, match="fewer than 4"):
        causal.ended(model, tokenizer, ["left"])


def test_a_model_that_learned_the_end_ends(model, tokenizer, tmp_path):
    fit(model, tokenizer, tmp_path, max_steps=60, learning_rate=1e-2)
    assert causal.ended(model, tokenizer, TEXTS[:2], first=2, new=20) == 2


class PowerCut(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise RuntimeError("power cut")


def fit(model, tokenizer, folder, callbacks=None, resume=None, **settings):
    quiet = {"report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False, "use_cpu": True}
    chosen = {"save_strategy": "no", "per_device_train_batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0.1}
    made = trainer.QuietTrainer(
        model,
        TrainingArguments(str(folder), **quiet | chosen | settings),
        train_dataset=rows_of(tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=callbacks,
    )
    made.train(resume_from_checkpoint=resume)
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


def test_a_killed_run_resumes_to_the_weights_of_a_whole_one(folder, tokenizer, tmp_path, capsys):
    def fresh():
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.config.dropout > 0  # so the state of the random numbers must come back as well
        return model

    saving = {"max_steps": 8, "save_strategy": "steps", "save_steps": 3}
    whole = fit(fresh(), tokenizer, tmp_path / "whole", **saving)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(fresh(), tokenizer, tmp_path / "cut", [PowerCut()], **saving)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["checkpoint-3"]
    assert torch.equal(fit(fresh(), tokenizer, tmp_path / "cut", resume=True, **saving), whole)
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "cut" / "checkpoint-3")
    assert not torch.equal(fit(half, tokenizer, tmp_path / "half", max_steps=5), whole)  # the test can fail
    assert capsys.readouterr().out == ""  # the bar is on stderr


def test_accumulation_counts_tokens_not_batches(folder, tokenizer, tmp_path):
    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            self.gradient = torch.cat([p.grad.flatten().clone() for p in model.parameters()])

    gradients = []
    for size, times in ((8, 1), (2, 4)):
        keep, model = Keep(), AutoModelForCausalLM.from_pretrained(folder, dropout=0.0)
        settings = {"max_steps": 1, "max_grad_norm": 0, "gradient_accumulation_steps": times}
        fit(model, tokenizer, tmp_path, [keep], per_device_train_batch_size=size, **settings)
        gradients.append(keep.gradient)
    assert torch.allclose(*gradients, atol=1e-6)


def test_what_notebook_02_says_of_the_long_run_of_writing_is_how_it_is_made():
    """ "With few reports each is read many times, and with many each is read once", and the steps are the same."""
    assert opt.STEPS * opt.BATCH == max(opt.SIZES) > 10 * min(opt.SIZES)
    shipped = results.shipped("opt_runs")
    assert (shipped["steps"], shipped["batch"]) == (opt.STEPS, opt.BATCH)
    largest = [run for run in shipped["runs"] if run["reports"] == max(opt.SIZES)]
    assert {run["lr"] for run in largest if run["end"]} == set(opt.RATES) and not all(run["end"] for run in largest)
    assert (
        {run["reports"] for run in shipped["runs"]} == {run["counted"] for run in shipped["counted"]} == set(opt.SIZES)
    )


def test_what_notebook_02_says_of_a_few_hundred_labels_is_two_lessons():
    """ "That 250 labels beat word counts with *all*, and that the curve is flat past 1,000"; "gains little" lies below 0.02."""
    own = {one.says: one.claim for one in lessons.LESSONS if one.notebook == "02"}
    assert own["Few labels are enough: 250 beat word counts with all"] == lessons.BETTER and lessons.MARGIN == 0.02
    assert own["The curve is flat past 1,000: all labels gain little"] == lessons.LITTLE
    shown = results.shipped("lessons")["lessons"]
    assert {one["lesson"] for one in shown if one["notebook"] == "02"} == set(own)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_texts_have_the_loss_of_each_text_alone(folder, tokenizer, attention):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    found = causal.scores(model, tokenizer, TEXTS)
    with torch.no_grad():
        packed = model.eval()(**causal.pack(causal.encode(tokenizer, TEXTS))).loss.item()
    assert packed == pytest.approx(found["loss"].sum() / found["tokens"].sum(), abs=1e-5)


def test_a_packed_token_sees_the_earlier_ones_of_its_own_text_and_no_others():
    row = causal.pack([{"input_ids": [2, 5, 6]}, {"input_ids": [2, 7]}])
    sees = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert (row["attention_mask"][0, 0] == 0).int().tolist() == sees
    assert row["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert row["labels"].tolist() == [[-100, 5, 6, -100, 7]]
