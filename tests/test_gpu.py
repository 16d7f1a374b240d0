"""On a GPU the course's code does what it does on a CPU, for a checkpoint of the user's choice. Skipped where torch sees none."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import adapt, causal, costs, data, export, models, paths, trainer, training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
NEAR = 2e-3  # between chances; a GPU sums in another order, and training carries that on


@pytest.fixture(autouse=True)
def chosen(monkeypatch):
    """The shipped bases, as checkpoints of the user's own choice: such go to the GPU."""
    monkeypatch.setenv("COURSE_MODELS", str(paths.bases()))


@pytest.fixture(scope="module")
def rows():
    return data.sample(data.load_reports()["train"], 64, seed=0).to_dict()


def trained(method, rows):
    """Return a grader that was trained for an epoch, its tokenizer, and its chances for the same reports."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    model = adapt.prepare(model, method)
    training.fit_grader(model, tokenizer, rows, epochs=1, lr=1e-3, bar=False)
    return model, tokenizer, training.predict(model, tokenizer, rows)


@pytest.mark.parametrize("method", adapt.METHODS)
def test_each_method_trains_and_answers_as_on_a_cpu(method, rows, monkeypatch):
    model, _, found = trained(method, rows)
    assert next(model.parameters()).device.type == "cuda"
    monkeypatch.delenv("COURSE_MODELS")
    same, _, wanted = trained(method, rows)
    assert next(same.parameters()).device.type == "cpu"
    np.testing.assert_allclose(found, wanted, atol=NEAR)


def test_a_trained_grader_becomes_an_onnx_file_and_stays_on_the_gpu(rows, tmp_path):
    model, tokenizer, _ = trained("full fine-tuning", rows)
    assert export.to_onnx(model, tokenizer, tmp_path / "model.onnx").stat().st_size > 1e6
    assert model.device.type == "cuda"


@pytest.mark.parametrize("precision", [{}, {"bf16": True}, {"fp16": True}], ids=["float32", "bfloat16", "float16"])
def test_trainer_trains_on_the_gpu_in_each_precision(precision, rows, tmp_path):
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    settings = {"num_train_epochs": 4, "learning_rate": 1e-3, "logging_steps": 1, "use_cpu": False} | precision
    used = trainer.for_grader(model, tokenizer, Dataset.from_dict(rows), str(tmp_path), **settings)
    used.train()
    losses = [line["loss"] for line in used.state.log_history if "loss" in line]
    assert next(model.parameters()).device.type == "cuda" and model.dtype == torch.float32
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_answers_and_the_next_token_are_scored_as_on_a_cpu():
    folder = models.base("tiny-t5")
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    questions = ["grade: no retinopathy", "grade: new vessels at the disc, and a vitreous haemorrhage"]
    wanted = training.choose(model, tokenizer, questions, ["none", "severe"])
    found = training.choose(model.to("cuda"), tokenizer, questions, ["none", "severe"])
    np.testing.assert_allclose(found, wanted, atol=NEAR)
    folder = models.base("tiny-opt")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    wanted = causal.perplexity(causal.scores(model, tokenizer, questions)).value
    assert causal.perplexity(causal.scores(model.to("cuda"), tokenizer, questions)).value == pytest.approx(
        wanted, rel=1e-3
    )


@pytest.mark.parametrize("precision", costs.PRECISIONS)
@pytest.mark.parametrize("sharded", [False, True])
def test_a_step_is_measured(precision, sharded):
    if sharded and precision == "float16":
        pytest.skip("FSDP2 has a scaler of its own for float16")
    cost = costs.train(
        "full fine-tuning", "MiniLM", steps=2, batch=2, length=16, device="cuda", precision=precision, sharded=sharded
    )
    assert cost["device"] == torch.cuda.get_device_name() and cost["peak_mb"] > cost["parameters"] * 16 / 2**20
