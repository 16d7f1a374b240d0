"""The training loop learns, repeats itself to the bit, and keeps the order of the rows."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset

import small_models
from course_utils import models, training


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_models.bert(tmp_path_factory.mktemp("bert"))


def reports(n, seed=0):
    """Reports whose grade is in their words, of many lengths."""
    random = np.random.default_rng(seed)
    grades = random.integers(0, 5, n).tolist()
    texts = ["seen . " * int(random.integers(0, 12)) + small_models.PHRASES[grade] for grade in grades]
    return Dataset.from_dict({"eye": ["left", "right"] * (n // 2), "text": texts, "grade": grades})


def fit(checkpoint, n=64, seed=0, head=0, **options):
    model, tokenizer = models.grader(checkpoint, seed=head)
    settings = {"epochs": 1, "lr": 1e-3, "bar": False, "seed": seed} | options
    return model, tokenizer, training.fit_grader(model, tokenizer, reports(n), **settings)


def test_the_loss_falls_and_unseen_reports_are_graded(checkpoint):
    model, tokenizer, result = fit(checkpoint, n=600, epochs=8, lr=6e-3, dev=reports(100, seed=1))
    assert result["steps"] == len(result["losses"]) == 8 * math.ceil(600 / 32)
    assert result["losses"][0] > 1.2 and result["losses"][-1] < 0.1
    assert len(result["dev_losses"]) == 8 and result["dev_losses"][-1] < 0.1
    test = reports(100, seed=2)
    assert (training.predict(model, tokenizer, test).argmax(1) == np.array(test["grade"])).mean() > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_does_not(checkpoint):
    one, two, other = (fit(checkpoint, seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_weights_do_not_depend_on_the_number_of_threads(checkpoint):
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(fit(checkpoint, n=600, epochs=2)[0].state_dict())
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_dev_rows_do_not_change_what_is_learned(checkpoint):
    one, two = (fit(checkpoint, epochs=2, dev=dev)[0].state_dict() for dev in (None, reports(10, seed=1)))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_frozen_weights_stay_as_they_were(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    model.base_model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.fit_grader(model, tokenizer, reports(32), epochs=1, lr=1e-2, bar=False)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_class_weights_reach_the_loss(checkpoint):
    def chance_of_three(weights):
        model, tokenizer, _ = fit(checkpoint, n=128, epochs=4, class_weights=weights)
        return training.predict(model, tokenizer, reports(50, seed=1))[:, 3].mean()

    assert chance_of_three([1, 1, 1, 50, 1]) > 1.5 * chance_of_three(None)


def test_another_loss_takes_the_place_of_cross_entropy(checkpoint):
    seen = []

    def own(logits, grades):
        seen.append((logits.shape[0], grades.shape[0]))
        return torch.nn.functional.cross_entropy(logits, grades)

    same, _, log = fit(checkpoint, loss=own)
    plain, _, _ = fit(checkpoint)
    assert len(seen) == log["steps"] and all(a == b for a, b in seen)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), plain.parameters(), strict=True))
    with pytest.raises(ValueError, match="Class weights belong to cross-entropy"):
        fit(checkpoint, loss=own, class_weights=[1.0] * 5)


def test_the_seed_decides_on_the_order_of_the_batches(checkpoint):
    def order(seed):
        seen = []

        def own(logits, grades):
            seen.append(grades.tolist())
            return torch.nn.functional.cross_entropy(logits, grades)

        fit(checkpoint, n=96, seed=seed, loss=own)
        return seen

    one, two, other = map(order, (3, 3, 4))
    assert one == two != other and sorted(sum(one, [])) == sorted(sum(other, []))


def test_dropout_works_in_each_epoch_and_not_afterwards(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    dropout = []

    def own(logits, grades):
        dropout.append(model.training)
        return torch.nn.functional.cross_entropy(logits, grades)

    training.fit_grader(model, tokenizer, reports(64), epochs=2, lr=1e-3, dev=reports(4), loss=own, bar=False)
    assert dropout == [True] * 4 and not model.training


def test_a_steep_gradient_is_cut_to_length_1(checkpoint):
    def steep(logits, grades):
        return 1000 * torch.nn.functional.cross_entropy(logits, grades)

    model = fit(checkpoint, loss=steep)[0]
    last = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert last.norm().item() == pytest.approx(1, abs=1e-3)


def test_the_dev_losses_are_those_of_the_dev_rows(checkpoint):
    dev = {
        "eye": ["left"] * 3,
        "text": ["severe retinopathy", "no retinopathy seen", "four quadrants"],
        "grade": [0, 4, 1],
    }
    model, tokenizer, log = fit(checkpoint, epochs=2, dev=dev)
    chances = training.predict(model, tokenizer, dev)
    by_hand = -(math.log(chances[0, 0]) + math.log(chances[1, 4]) + math.log(chances[2, 1])) / 3
    assert log["dev_losses"][-1] == pytest.approx(by_hand, abs=1e-5) and len(log["dev_losses"]) == 2


def test_predictions_keep_the_order_of_the_rows(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    rows = reports(20)
    together = training.predict(model, tokenizer, rows, batch_size=8)
    alone = np.concatenate([training.predict(model, tokenizer, rows.select([i])) for i in range(20)])
    assert together.shape == (20, 5) and np.allclose(together.sum(1), 1, atol=1e-5)
    assert np.abs(together - alone).max() < 1e-5  # nor does padding change them
    assert np.abs(together - together[::-1]).max() > 1e-4  # the rows do differ


def test_features_do_not_see_the_padding(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    rows = reports(20)
    for pool in ("first", "mean"):
        together = training.features(model, tokenizer, rows, batch_size=8, pool=pool)
        alone = training.features(model, tokenizer, rows.select([7]), pool=pool)
        assert together.shape == (20, 32) and np.abs(together[7] - alone[0]).max() < 1e-5
    with pytest.raises(ValueError, match="max"):
        training.features(model, tokenizer, rows, pool="max")


def test_the_eye_reaches_the_model(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    chances = training.predict(model, tokenizer, {"eye": ["left", "right"], "text": ["mild retinopathy"] * 2})
    assert np.abs(chances[0] - chances[1]).max() > 1e-5


def test_tables_and_other_column_names_are_taken(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    table = reports(8).to_pandas().rename(columns={"text": "report"})
    table.index += 100
    assert np.allclose(
        training.predict(model, tokenizer, table, text="report"), training.predict(model, tokenizer, reports(8))
    )


def test_batches_hold_every_row_once_and_like_lengths_together():
    lengths = np.random.default_rng(0).integers(5, 150, 3000)
    rows = [{"input_ids": [0] * n} for n in lengths]
    made = list(training.batches(rows, 32, torch.Generator().manual_seed(0)))
    assert sorted(i for batch in made for i in batch) == list(range(3000))
    assert sorted(map(len, made)) == [24] + [32] * 93
    padded = sum(lengths[batch].max() * len(batch) for batch in made)
    assert padded < 1.1 * lengths.sum()  # in file order it would be about double
    firsts = [lengths[batch[0]] for batch in made]
    assert firsts != sorted(firsts)
    assert made == list(training.batches(rows, 32, torch.Generator().manual_seed(0)))
    assert made != list(training.batches(rows, 32, torch.Generator().manual_seed(1)))


def test_the_learning_rate_rises_for_a_tenth_and_falls():
    factor = training.warm_up_then_fall(100)
    rates = [factor(step) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1 and rates.index(1) == 9
    assert rates[9:] == sorted(rates[9:], reverse=True) and 0 < rates[-1] < 0.02
    assert training.warm_up_then_fall(1)(0) == 1


def test_reports_that_are_too_long_are_counted(checkpoint):
    _, tokenizer = models.grader(checkpoint, seed=0)
    rows = {"eye": ["left", "left"], "text": ["seen " * 50, "seen"]}
    long, short = training.tokenise(tokenizer, rows, "eye", "text", max_length=20)
    assert (long["cut"], short["cut"]) == (True, False) and len(long["input_ids"]) == 20
    assert fit(checkpoint, n=8, max_length=6)[2]["cut"] > 0 == fit(checkpoint, n=8)[2]["cut"]


def test_the_bar_is_drawn_on_stderr_alone(checkpoint, capsys):
    fit(checkpoint, bar=True)
    out, err = capsys.readouterr()
    assert out == "" and "training" in err and "loss" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "report"}, 'no column "report".*eye, text, grade'),
        ({"label": "eye"}, "Row 0 has eye = 'left'.*64 row.*grades 0 to 4"),
        ({"lr": 1e30, "epochs": 3}, "Try a lower learning rate"),
    ],
)
def test_what_cannot_work_gets_a_sentence(checkpoint, change, message):
    with pytest.raises(ValueError, match=message):
        fit(checkpoint, **change)


def test_nothing_to_train_on_or_nothing_to_train_gets_a_sentence(checkpoint):
    model, tokenizer = models.grader(checkpoint, seed=0)
    with pytest.raises(ValueError, match="no reports"):
        training.predict(model, tokenizer, {"eye": [], "text": []})
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        training.fit_grader(model, tokenizer, reports(8), epochs=1, lr=1e-3, bar=False)


# Text to text.


@pytest.fixture(scope="module")
def t5_checkpoint(tmp_path_factory):
    return small_models.t5(tmp_path_factory.mktemp("t5"))


def answerer(folder):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    return AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def questions(n):
    rows = reports(n)
    return rows["text"], ["seen" if grade > 1 else "no" for grade in rows["grade"]]


@pytest.mark.slow
def test_a_text_to_text_model_learns_to_answer(t5_checkpoint):
    model, tokenizer = answerer(t5_checkpoint)
    asked, answers = questions(300)
    log = training.fit_answers(model, tokenizer, asked, answers, epochs=12, lr=1e-2, bar=False)
    assert log["losses"][-1] < 0.5 * log["losses"][0] and log["steps"] == 12 * math.ceil(300 / 16)
    chances = training.choose(model, tokenizer, asked, ["no", "seen"])
    assert chances.shape == (300, 2) and np.allclose(chances.sum(1), 1, atol=1e-5)
    assert (np.array(["no", "seen"])[chances.argmax(1)] == np.array(answers)).mean() > 0.9


def test_shorter_answers_are_learned_without_their_padding(t5_checkpoint):
    from transformers import AutoModelForSeq2SeqLM

    tokenizer = answerer(t5_checkpoint)[1]
    model = AutoModelForSeq2SeqLM.from_pretrained(t5_checkpoint, dropout_rate=0.0).eval()
    asked, answers, alone = ["mild", "no haemorrhages seen"], ["no", "two quadrants seen"], []
    for question, answer in zip(asked, answers, strict=True):
        words = tokenizer(text_target=answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            alone.append(model(**tokenizer(question, return_tensors="pt"), labels=words).loss.item())
    log = training.fit_answers(model, tokenizer, asked, answers, epochs=1, lr=1e-3, bar=False)
    assert log["losses"] == pytest.approx([(1 * alone[0] + 3 * alone[1]) / 4], abs=1e-4)  # one word, and three


def test_the_same_seed_gives_the_same_answers(t5_checkpoint):
    found = []
    for _ in range(2):
        model, tokenizer = answerer(t5_checkpoint)
        training.fit_answers(model, tokenizer, *questions(32), epochs=1, lr=1e-2, bar=False)
        found.append(model.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_what_cannot_be_answered_is_said(t5_checkpoint):
    model, tokenizer = answerer(t5_checkpoint)
    with pytest.raises(ValueError, match="2 questions and 1 answers"):
        training.fit_answers(model, tokenizer, ["no", "seen"], ["no"], epochs=1, lr=1e-3)
    with pytest.raises(ValueError, match="same token"):
        training.choose(model, tokenizer, ["seen"], ["no", "no retinopathy"])
    with pytest.raises(ValueError, match="no reports"):
        training.choose(model, tokenizer, [], ["no", "seen"])
