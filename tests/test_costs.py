"""What a method costs: the right weights are trained, and a fresh process measures what it is asked to."""

import gc

import pandas as pd
import pytest
import torch

from course_utils import adapt, costs, models, results
from course_utils.authoring import compare
from course_utils.experiments import costs as cost_runs
from course_utils.experiments import gpu, methods


def on_meta(shape):
    with torch.device("meta"):
        return costs.build(shape)


@pytest.mark.parametrize("shape", costs.SHAPES)
def test_each_shape_is_what_it_says(shape):
    total = models.count_parameters(on_meta(shape))[1]
    whole = {"BioBERT": ("tiny-biobert", 0.02), "opt-350m": ("tiny-opt", 0.001)}
    published = {"MiniLM": 22_713_216, "SmolLM2": 134_515_008}  # all-MiniLM-L6-v2 and SmolLM2-135M, without a head
    if shape in published:
        assert total - published[shape] == on_meta(shape).config.hidden_size * 5 + (5 if shape == "MiniLM" else 0)
    elif shape in whole:  # but for the head (and BioBERT's pooler, which is in both)
        name, slack = whole[shape]
        assert total == pytest.approx(models.count_parameters(models.on_meta(name))[1], rel=slack)
    else:
        assert total < models.count_parameters(on_meta("BioBERT"))[1]


def test_a_training_is_measured_and_said_in_the_masked_form(capsys):
    cost = costs.train("last layers", "tiny-biobert", steps=1, batch=2, length=8)
    assert cost["device"] == "CPU, 1 thread"
    assert 0 < cost["trainable"] < cost["parameters"]
    assert cost["step_ms"] > 0 and cost["peak_mb"] >= cost["before_mb"] > 0
    costs.say("last layers", cost)
    assert compare.mask_timing(capsys.readouterr().out) == "Cost: last layers: # ms a step, # MB peak\n"


def test_a_step_is_said_in_milliseconds_and_the_first_one_warms_up(monkeypatch):
    clock = iter([0.0, 9.0, 9.0, 9.25])  # before and after each of two steps, in seconds
    monkeypatch.setattr(costs.time, "process_time", lambda: next(clock))
    assert costs.train("head alone", "tiny-biobert", steps=1, batch=2, length=8)["step_ms"] == 250


def test_what_a_step_computes_and_keeps_is_counted():
    full = costs.train("full fine-tuning", "tiny-biobert", steps=1, batch=4, length=64)
    last = costs.train("last layers", "tiny-biobert", steps=1, batch=4, length=64)
    twice = costs.train("full fine-tuning", "tiny-biobert", steps=1, batch=8, length=64)
    model = on_meta("tiny-biobert")
    blocks = sum(p.numel() for p in model.base_model.encoder.parameters() if p.ndim == 2)
    products = 6 * blocks * 4 * 64  # 2 in the forward pass, 4 in the backward pass, for each weight and token
    assert products < full["tflop"] * 1e12 < 1.5 * products, "attention and the head come on top"
    assert last["tflop"] < full["tflop"] / 1.5 and last["saved_mb"] < full["saved_mb"] / 2
    assert twice["tflop"] == pytest.approx(2 * full["tflop"], rel=0.05)
    assert twice["saved_mb"] == pytest.approx(2 * full["saved_mb"], rel=0.05)


def test_a_measurement_leaves_no_memory_behind():
    gc.collect()
    before = sum(1 for thing in gc.get_objects() if torch.is_tensor(thing) and thing.numel() > 1000)
    costs.train("full fine-tuning", "tiny-biobert", steps=1, batch=4, length=64)
    gc.collect()
    assert sum(1 for thing in gc.get_objects() if torch.is_tensor(thing) and thing.numel() > 1000) <= before


def test_a_sharded_step_ends_its_group_of_processes():
    cost = costs.train("full fine-tuning", "tiny-biobert", steps=1, batch=2, length=8, sharded=True)
    assert cost["sharded"] and cost["saved_mb"] is None and not torch.distributed.is_initialized()


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="float32, bfloat16, float16"):
        costs.train("LoRA", "tiny-biobert", precision="int8")


def test_the_rate_of_matrix_products_is_two_operations_a_product(monkeypatch):
    monkeypatch.setattr(costs, "_ms", lambda work, device: 1000.0)
    assert costs.matmul_tflops(size=100) == round(2 * 100**3 / 1e12, 3)


def test_without_a_gpu_the_run_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU here"):
        gpu.main()


def test_latency_is_measured_for_four_models():
    found = costs.latency("tiny-biobert", repeats=1, length=8)
    assert all(found[name] > 0 for name in ("plain", "unmerged", "unmerged_all", "merged"))


@pytest.mark.slow
def test_a_fresh_process_measures_and_its_failure_is_told():
    found = costs.apart("train", method="LoRA", shape="tiny-biobert", steps=1, batch=2, length=8)
    assert (found["method"], found["shape"]) == ("LoRA", "tiny-biobert")
    with pytest.raises(RuntimeError, match='no method "LORA"'):
        costs.apart("train", method="LORA", shape="tiny-biobert")


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="BERT 384"):
        costs.build("BERT 385")


def test_what_notebook_03_says_of_its_long_runs_is_how_they_are_made():
    """The cells `size` and `latency` work out the rest; LoRA's place is beside full fine-tuning in the same round."""
    shipped = results.shipped("cost_runs")
    training = pd.DataFrame(shipped["training"])
    assert set(training["device"]) == {"CPU, 1 thread"} and set(training["method"]) == set(costs.METHODS)
    assert training.groupby(["shape", "method"])["round"].nunique().eq(cost_runs.ROUNDS).all()
    assert training.groupby("shape")["parameters"].max().idxmax() == "BioBERT"  # "the last of BioBERT's shape"
    assert set(pd.DataFrame(shipped["latency"])["shape"]) == set(cost_runs.STEPS)


def test_what_notebook_03_says_of_a_gpu_is_what_was_measured():
    """ "Far below 1 the device waits: a small step is many small computations, and LoRA adds more."""
    shipped = results.shipped("gpu_runs")
    steps = pd.DataFrame(shipped["training"]).query("not sharded and method == 'full fine-tuning'").sort_values("tflop")
    steps["rate"] = steps["tflop"] / steps["step_ms"] * 1000 / steps["precision"].map(shipped["matmul_tflops"])
    for _, own in steps.groupby("precision"):
        assert own["rate"].is_monotonic_increasing and own["rate"].iloc[0] < 0.1


def test_what_notebook_03_says_of_scores_is_how_they_are_measured():
    """ "Four rates each on dev; the best went to test, with several seeds", on two bases; "Last layers trains two blocks"."""
    runs = results.shipped("lora_runs")
    rates = {(one["base"], one["method"]): len(one["grid"]["lr"]) for one in runs["recipes"] if "lr" in one["grid"]}
    assert {(base, method) for base in methods.BASES for method in methods.ADAPTED} <= set(rates)
    assert all(rates[base, method] == 4 for base in methods.BASES for method in methods.ADAPTED)
    assert all(row["seeds"] >= 3 for row in runs["rows"])
    told = {(line["base"], line["first"], line["second"]) for line in runs["verdicts"]}
    assert told == {
        (base, one, methods.FULL) for base in methods.BASES for one in methods.ADAPTED if one != methods.FULL
    }
    layers = adapt.prepare(models.grader(models.base("tiny-biobert"), seed=0)[0], "last layers")
    trained = [name for name, p in layers.named_parameters() if p.requires_grad and ".layer." in name]
    blocks = {name.split(".layer.")[1].split(".")[0] for name in trained}
    assert blocks == {"10", "11"}


def test_what_notebook_03_says_of_the_settings_is_how_they_are_measured():
    """One setting is varied; "each mark is one training with 1,000 labels on `tiny-biobert`", over several seeds."""
    runs = results.shipped("lora_runs")
    swept = pd.DataFrame(runs["swept"])
    assert set(swept["labels"]) == {1_000} and set(swept["base"]) == {"tiny-biobert"}
    assert set(swept["varied"]) == {"lr", "r", "alpha", "targets", "dropout"}
    for what, own in swept.groupby("varied"):
        assert own[what].nunique() > 1 and own.groupby(what)["seed"].nunique().min() >= 3
