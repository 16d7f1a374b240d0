"""What notebook 11 compares is one model on the same reports: only the named setting differs, and costs are counted right."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import EarlyStoppingCallback

import small_models
from answers_11 import BY_STEPS, REPAIRED
from course_utils import costs, models, trainer, training

ROWS = {
    "eye": ["right", "left"] * 4,
    "text": ["severe haemorrhages in four quadrants .", "no retinopathy seen .", "mild retinopathy", "no"] * 2,
    "grade": [3, 0, 1, 0, 3, 0, 1, 0],
}


@pytest.fixture
def grader(tmp_path):
    return models.grader(small_models.bert(tmp_path / "bert"), seed=0)


@pytest.mark.parametrize("pad_to", [None, 40])
def test_rows_are_filled_up_only_if_asked(grader, pad_to):
    rows = trainer.encode(grader[1], ROWS, pad_to)
    lengths = {len(row["input_ids"]) for row in rows}
    assert lengths == {40} if pad_to else len(lengths) > 1
    assert [row["labels"] for row in rows] == ROWS["grade"]


def test_padding_is_counted_over_tokens():
    batches = [{"attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])}, {"attention_mask": torch.tensor([[1]])}]
    assert trainer.padding(batches) == pytest.approx(2 / 9)


def test_longer_texts_fit_after_lengthening_and_known_answers_stay(grader):
    model, tokenizer = grader
    before = training.predict(model, tokenizer, ROWS)
    trainer.lengthen(model, 150)
    assert (training.predict(model, tokenizer, ROWS) == before).all()
    long = tokenizer.pad(trainer.encode(tokenizer, ROWS, 150), return_tensors="pt")
    with torch.no_grad():
        logits = model.eval()(**long).logits
    assert abs(logits.softmax(-1).numpy() - before).max() < 1e-5
    assert trainer.lengthen(model, 10).config.max_position_embeddings == 150
    assert all(weights.requires_grad for weights in model.parameters())  # the new positions are trained, too


def test_a_trainer_prints_and_sends_nothing_unless_asked(grader, tmp_path, capsys):
    tracking = {name for name in ("wandb", "mlflow") if name in sys.modules}
    made = trainer.for_grader(*grader, ROWS, str(tmp_path / "out"), num_train_epochs=1)
    made.train()
    assert not made.args.report_to
    assert capsys.readouterr().out == ""
    assert {name for name in ("wandb", "mlflow") if name in sys.modules} == tracking
    assert not list((tmp_path / "out").rglob("*.safetensors"))


@pytest.mark.parametrize("settings", [REPAIRED, BY_STEPS | {"eval_steps": 1, "save_steps": 1}])
def test_the_repaired_settings_of_exercise_2_stop_and_load_the_best(grader, tmp_path, settings):
    watch = EarlyStoppingCallback(early_stopping_patience=3)
    made = trainer.for_grader(
        *grader, ROWS, str(tmp_path), dev=ROWS, callbacks=[watch], **settings | {"learning_rate": 0.0}
    )
    made.train()
    evaluated = [line["eval_macro_f1"] for line in made.state.log_history if "eval_macro_f1" in line]
    assert len(evaluated) == 4  # it never gets better than the first
    assert made.state.best_metric == evaluated[0]
    assert made.evaluate()["eval_macro_f1"] == pytest.approx(evaluated[0])


def test_what_is_evaluated_are_the_dev_rows(grader, tmp_path):
    dev = {"eye": ["left"] * 2, "text": ["four quadrants", "left"], "grade": [2, 4]}  # no such grade in training
    made = trainer.for_grader(*grader, ROWS, str(tmp_path), dev=dev)
    chances = training.predict(*grader, dev)
    by_hand = -(math.log(chances[0, 2]) + math.log(chances[1, 4])) / 2
    assert made.evaluate()["eval_loss"] == pytest.approx(by_hand, abs=1e-4)


def test_a_stopwatch_has_a_time_for_each_step():
    watch = trainer.Stopwatch()
    watch.on_train_begin(None, None, None)
    for _ in range(3):
        watch.on_step_end(None, SimpleNamespace(), None)
    wall, cpu = watch.seconds()
    assert len(wall) == len(cpu) == 3 and min(wall + cpu) >= 0


@pytest.mark.slow
def test_all_practices_see_the_same_reports_and_only_the_padding_differs():
    padded = costs.epoch(reports=16, pad_to=512)
    plain = costs.epoch(reports=16)
    checked = costs.epoch(reports=16, activation_checkpointing=True)
    assert padded["losses"] == pytest.approx(plain["losses"], abs=2e-4) == checked["losses"]
    assert len(plain["losses"]) == len(plain["wall_s"]) == len(plain["cpu_s"]) == 2
    assert 0 < plain["padding"] < padded["padding"] < 1
    assert 0 < plain["before_mb"] <= plain["peak_mb"]


@pytest.mark.slow
def test_a_fresh_process_measures_and_an_unknown_setting_is_named():
    assert len(costs.apart("epoch", reports=8)["losses"]) == 1
    with pytest.raises(RuntimeError, match="evaluation_strategy"):
        costs.apart("epoch", reports=8, evaluation_strategy="epoch")


def test_what_a_run_noted_is_read_back_with_its_steps():
    log = [{"step": 5, "loss": 1.5}, {"step": 5, "eval_loss": 1.2}, {"step": 10, "loss": 0.5}, {"train_runtime": 3.0}]
    run = SimpleNamespace(state=SimpleNamespace(log_history=log))
    assert trainer.losses(run) == {"train": ([5, 10], [1.5, 0.5]), "dev": ([5], [1.2])}
    assert trainer.logged(run, "eval_macro_f1") == ([], [])
