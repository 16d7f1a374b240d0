"""What a method costs: the right weights are trained, and a fresh process measures what it is asked to."""

import pytest
import torch

from course_utils import costs, models, outputs


def on_meta(shape):
    with torch.device("meta"):
        return costs.build(shape)


@pytest.mark.parametrize("shape", costs.SHAPES)
def test_each_shape_is_what_it_says(shape):
    total = models.count_parameters(on_meta(shape))[1]
    whole = {"BioBERT": ("tiny-biobert", 0.02), "opt-350m": ("tiny-opt", 0.001)}
    if shape in whole:  # but for the head (and BioBERT's pooler, which is in both)
        name, slack = whole[shape]
        assert total == pytest.approx(models.count_parameters(models.on_meta(name))[1], rel=slack)
    else:
        assert total < models.count_parameters(on_meta("BioBERT"))[1]


@pytest.mark.parametrize(("shape", "head", "last"), [("BioBERT", "classifier", 11), ("opt-350m", "score", 23)])
def test_each_method_trains_what_it_says(shape, head, last):
    names = {}
    for method in costs.METHODS:
        model = costs.prepare(on_meta(shape), method)
        names[method] = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(names["full fine-tuning"]) == len(list(on_meta(shape).named_parameters()))
    assert all("lora_" in name or head in name for name in names["LoRA"])
    assert any(head in name for name in names["LoRA"])
    blocks = {int(part) for name in names["last layers"] for part in name.split(".") if part.isdigit()}
    assert blocks == {last - 1, last}
    assert any(name.startswith(head) for name in names["last layers"])


def test_lora_trains_two_matrices_a_target_and_the_head():
    model = costs.prepare(on_meta("BioBERT"), "LoRA")
    assert models.count_parameters(model)[0] == 12 * 2 * costs.R * (768 + 768) + 5 * 768 + 5


def test_a_training_is_measured_and_said_in_the_masked_form(capsys):
    cost = costs.train("last layers", "tiny-biobert", steps=1, batch=2, length=8)
    assert cost["device"] == "CPU, 1 thread"
    assert 0 < cost["trainable"] < cost["parameters"]
    assert cost["step_ms"] > 0 and cost["peak_mb"] >= cost["before_mb"] > 0
    costs.say("last layers", cost)
    assert outputs.mask_timing(capsys.readouterr().out) == "Cost: last layers: # ms a step, # MB peak\n"


def test_latency_is_measured_for_four_models():
    found = costs.latency("tiny-biobert", repeats=1, length=8)
    assert all(found[name] > 0 for name in ("plain", "unmerged", "unmerged_all", "merged"))


def test_a_fresh_process_measures_and_its_failure_is_told():
    found = costs.apart("train", method="LoRA", shape="tiny-biobert", steps=1, batch=2, length=8)
    assert (found["method"], found["shape"]) == ("LoRA", "tiny-biobert")
    with pytest.raises(RuntimeError, match='no method "LORA"'):
        costs.apart("train", method="LORA", shape="tiny-biobert")


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="BERT 384"):
        costs.build("BERT 385")
