"""What a method costs: the right weights are trained, and a fresh process measures what it is asked to."""

import gc

import pandas as pd
import pytest
import torch

from course_utils import costs, models, results
from course_utils.authoring import compare
from course_utils.experiments import gpu


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


def shipped(name):
    """Return a shipped file of long runs, as rows."""
    return results.shipped(name)


def test_what_notebook_03_says_of_costs_was_measured():
    cost = pd.DataFrame(shipped("cost_runs")["training"]).query("device == 'CPU, 1 thread'")
    cost["memory"] = cost["peak_mb"] - cost["before_mb"]
    by = cost.pivot_table(index="shape", columns=["round", "method"], values=["step_ms", "memory"])
    for what in ("step_ms", "memory"):
        full, lora, last = (by[what].xs(method, axis=1, level="method") for method in costs.METHODS)
        assert (last < lora).all(axis=None), "the last layers are cheaper than LoRA at every size"
        ratio = (lora / full).loc[[shape for shape in costs.SHAPES if shape in full.index]]
        assert ratio.median(axis=1).is_monotonic_decreasing, "the saving grows with the model"
        assert (ratio.loc["BioBERT"] < 0.75).all(), "at BioBERT's size the savings are real"
        assert (ratio > 1 / 2.5).all(axis=None), "and far from 3 times"
        small = ratio.loc["tiny-biobert"].median()
        assert small > 0.95 if what == "memory" else 0.78 < small < 0.9, "no memory, and about a sixth of the time"


def test_what_notebook_03_says_of_latency_was_measured():
    latency = pd.DataFrame(shipped("cost_runs")["latency"]).query("device == 'CPU, 1 thread'")
    ratio = latency.set_index("shape")[["unmerged", "unmerged_all", "merged"]].div(latency["plain"].to_numpy(), axis=0)
    assert ratio["merged"].groupby("shape").median().between(0.97, 1.03).all(), "merged is as quick as plain"
    for kind in ("unmerged", "unmerged_all"):
        medians = ratio[kind].groupby("shape").median()
        assert (medians > 1).all(), "unmerged adds work"
        assert medians["tiny-biobert"] == medians.max(), "most in small models"
    assert (ratio["unmerged_all"] > 1.02).all(), "on all layers in every round"
    assert ratio.loc["BioBERT", "unmerged"].between(0.95, 1.05).all(), "on two a block hardly to be told from nothing"


def test_what_notebook_03_says_of_scores_was_measured():
    runs = shipped("lora_runs")
    rows = {row["method"]: row for row in runs["rows"]}
    verdicts = {found["first"]: found["verdict"] for found in runs["verdicts"]}
    assert rows["LoRA"]["value"] / rows["full fine-tuning"]["value"] > 0.97, "LoRA is not at 92%"
    assert all(verdicts[name].startswith("cannot tell") for name in ("LoRA", "DoRA", "IA3", "VeRA")), "all are level"
    assert verdicts["last layers"].startswith("last layers is better than full fine-tuning")
    assert max(rows, key=lambda name: rows[name]["value"]) == "last layers"
    assert 5 < rows["LoRA"]["trainable"] / rows["IA3"]["trainable"] < 7, "IA3 trains a sixth"


def test_what_notebook_03_says_of_the_settings_was_measured():
    swept, apart, luck, best = pd.DataFrame(shipped("lora_runs")["swept"]), {}, {}, {}
    for what, own in swept.groupby("varied"):
        by_value = own.groupby(what)["dev"]
        medians = by_value.median()
        apart[what], luck[what] = medians.max() - medians.min(), (by_value.max() - by_value.min()).max()
        best[what] = medians.idxmax()
        if what == "lr":
            assert medians[3e-5] < 0.3 * medians[3e-3], "the inherited rate costs most of the score"
            assert 0.84 < medians[1e-3] / medians[3e-3] < 0.94, "a third of the best rate about a tenth"
    assert apart["lr"] > 10 * max(apart[what] for what in apart if what != "lr"), "the rate dwarfs everything else"
    assert {what for what in apart if apart[what] > luck[what]} == {"lr", "targets", "alpha"}
    assert (best["lr"], best["alpha"]) == (3e-3, 16)
    more = swept[swept["varied"] == "targets"].groupby("targets", sort=False)["dev"].median()
    assert more.is_monotonic_increasing and more.index[-1] == "all-linear", "the more layers, the better"
    ranks = swept[swept["varied"] == "r"].groupby("r")["dev"].median()
    assert ranks[16] - ranks[1] < 0.03, "a rank of 1 is nearly as good"
