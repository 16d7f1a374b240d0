"""Published shapes give published sizes; LoRA goes where a family has its attention; four bits train, unless looked at first."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import small_models
from course_utils import decoders

PUBLISHED = {  # parameters, a tied head counted once
    "Llama-2-7b": 6_738_415_616,
    "bloom-7b1": 7_069_016_064,
    "falcon-7b": 6_921_720_704,
    "Qwen3-0.6B": 596_049_920,
    "gemma-3-1b": 999_885_952,
    "SmolLM2-135M": 134_515_008,
    "opt-350m": 331_196_416,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", decoders.NAMES)
def test_the_shapes_are_the_published_ones(name):
    found = decoders.memory(name)
    assert found["weights"] == PUBLISHED[name]
    assert found["full_gb"] == 16 * PUBLISHED[name] / 1e9
    assert found["QLoRA_gb"] < found["LoRA_gb"] < found["full_gb"]
    assert 0 < found["lora"] < 0.02 * found["weights"]


@pytest.mark.slow
def test_lora_goes_where_the_three_are_one_layer():
    assert {name: decoders.targets(decoders.on_meta(name)) for name in ("bloom-7b1", "falcon-7b", "Llama-2-7b")} == {
        "bloom-7b1": ["query_key_value"],
        "falcon-7b": ["query_key_value"],
        "Llama-2-7b": ["q_proj", "v_proj"],
    }
    llama = decoders.memory("Llama-2-7b", r=16)["lora"]
    assert llama == 32 * 2 * 16 * (4096 + 4096) == 2 * decoders.memory("Llama-2-7b", r=8)["lora"]


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="Choose one of: Llama-2-7b"):
        decoders.on_meta("gpt-5")


@pytest.mark.slow
def test_four_bits_are_a_base_that_was_rounded_once(tmp_path):
    bnb = pytest.importorskip("bitsandbytes.functional")
    folder = small_models.checkpoint("Llama", tmp_path)
    ids = torch.tensor([[0, 5, 6, 7]])
    plain = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for layer in plain.model.layers.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.copy_(
                    bnb.dequantize_4bit(*bnb.quantize_4bit(layer.weight, blocksize=64, quant_type="nf4"))
                )
    four = get_peft_model(
        decoders.in_four_bits(folder), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    )
    four.train()
    out = four(input_ids=ids, labels=ids)
    out.loss.backward()
    assert (out.logits - plain(input_ids=ids).logits).abs().max() < 1e-4
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in four.parameters())


@pytest.mark.slow
def test_a_base_that_was_looked_at_trains_unless_the_detector_fires(tmp_path):
    pytest.importorskip("bitsandbytes")
    folder, ids = small_models.checkpoint("Llama", tmp_path), torch.tensor([[0, 5, 6, 7]])
    four = get_peft_model(
        decoders.in_four_bits(folder), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    )
    four.eval()
    with torch.no_grad():
        four(input_ids=ids)
    states = [getattr(weight, "quant_state", None) for weight in four.parameters()]
    repacked = sum(getattr(state, "packing_format_for_cpu", False) for state in states)
    four.train()
    try:
        four(input_ids=ids, labels=ids).loss.backward()
        trained = True
    except Exception:  # whichever it is, on a processor that repacks
        trained = False
    assert trained == (repacked == 0)


def test_without_bitsandbytes_the_command_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"\[decoder\]"):
        decoders.in_four_bits("somewhere")
