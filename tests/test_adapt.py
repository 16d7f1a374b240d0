"""What each method leaves trainable, in a BERT and in an OPT of true shape and no memory."""

import pytest
import torch

from course_utils import adapt, costs, figures, models

WRAPPED = {"LoRA": "lora_", "DoRA": "lora_", "IA3": "ia3_", "VeRA": "vera_"}  # what PEFT calls the weights that it adds
ARTICLE = [("BioBERT", "classifier", 11), ("opt-350m", "score", 23)]


def on_meta(shape):
    with torch.device("meta"):
        return costs.build(shape)


def trained(shape, method, **settings):
    """Return the names of what a method leaves trainable, without PEFT's prefix."""
    model = adapt.prepare(on_meta(shape), method, **settings)
    return [name.removeprefix("base_model.model.") for name, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize(("shape", "head", "last"), ARTICLE)
@pytest.mark.parametrize("method", ["LoRA", "DoRA"])
def test_what_peft_adds_is_trained_with_the_head_and_nothing_else(method, shape, head, last):
    names = trained(shape, method)
    assert all(WRAPPED[method] in name or name.startswith(head) for name in names)
    assert any(name.startswith(head) for name in names)
    assert {int(part) for name in names for part in name.split(".") if part.isdigit()} == set(range(last + 1))
    assert (method == "DoRA") == any("magnitude" in name for name in names)


@pytest.mark.parametrize("method", ["IA3", "VeRA"])
def test_so_it_is_where_peft_chooses_the_place(method):
    names = trained("BioBERT", method)
    assert all(WRAPPED[method] in name or name.startswith("classifier") for name in names)
    assert any(WRAPPED[method] in name for name in names) and any(name.startswith("classifier") for name in names)


@pytest.mark.parametrize(("shape", "head", "last"), ARTICLE)
def test_freezing_leaves_the_last_blocks_or_the_head(shape, head, last):
    assert len(trained(shape, "full fine-tuning")) == len(list(on_meta(shape).named_parameters()))
    names = trained(shape, "last layers")
    assert {int(part) for name in names for part in name.split(".") if part.isdigit()} == {last - 1, last}
    assert any(name.startswith(head) for name in names)
    assert all(name.startswith(head) for name in trained(shape, "head alone"))


def test_lora_trains_two_matrices_a_target_and_the_head():
    model = adapt.prepare(on_meta("BioBERT"), "LoRA")
    assert models.count_parameters(model)[0] == 12 * 2 * 8 * (768 + 768) + 5 * 768 + 5


BLOCK = 4 * (768 * 768 + 768) + (768 * 3072 + 3072) + (3072 * 768 + 768) + 2 * 2 * 768  # one of BERT-base
HEAD = 5 * 768 + 5


@pytest.mark.parametrize(
    ("method", "trained"),
    [
        ("head alone", HEAD),
        ("last layers", 2 * BLOCK + (768 * 768 + 768) + HEAD),  # the pooler is between the blocks and the head
        ("DoRA", 12 * 2 * (8 * (768 + 768) + 768) + HEAD),  # LoRA, and one length an output
    ],
)
def test_each_method_trains_as_many_weights_as_it_should(method, trained):
    assert models.count_parameters(adapt.prepare(on_meta("BioBERT"), method))[0] == trained


def test_lora_is_scaled_by_16_of_8_unless_told_otherwise():
    plain, told = adapt.lora("query value"), adapt.lora(["key"], r=4, alpha=2, layers=[1])
    assert (plain.r, plain.lora_alpha, set(plain.target_modules)) == (8, 16, {"query", "value"})
    assert (told.r, told.lora_alpha, set(told.target_modules), told.layers_to_transform) == (4, 2, {"key"}, [1])


def test_the_settings_reach_peft():
    config = adapt.lora("query value", r=4, alpha=32, dropout=0.1, layers=[10, 11])
    assert (config.r, config.lora_alpha, config.lora_dropout, config.layers_to_transform) == (4, 32, 0.1, [10, 11])
    assert set(config.target_modules) == {"query", "value"} == set(adapt.lora(["query", "value"]).target_modules)
    assert adapt.lora("all-linear").target_modules == "all-linear"
    adapted = {name.split(".")[3] for name in trained("BioBERT", "LoRA", layers=[10, 11]) if "lora_" in name}
    assert adapted == {"10", "11"}


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="full fine-tuning, LoRA, last layers"):
        adapt.prepare(on_meta("BioBERT"), "lora")


def test_each_method_has_a_test_here_and_a_colour():
    assert set(adapt.METHODS) == {"full fine-tuning", "last layers", "head alone"} | set(WRAPPED)
    assert set(adapt.METHODS) <= set(figures.METHOD_STYLE)
    assert set(costs.METHODS) <= set(adapt.METHODS)
