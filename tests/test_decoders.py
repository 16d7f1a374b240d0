"""Published shapes give published sizes; LoRA goes where a family has its attention; four bits train, unless looked at first."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

import small_models
from course_utils import costs, decoders

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
    assert found["scores_gb"] < found["kept_LoRA_gb"] < found["kept_full_gb"]


@pytest.mark.slow
def test_lora_goes_where_the_three_are_one_layer():
    assert {name: decoders.targets(decoders.on_meta(name)) for name in ("bloom-7b1", "falcon-7b", "Llama-2-7b")} == {
        "bloom-7b1": ["query_key_value"],
        "falcon-7b": ["query_key_value"],
        "Llama-2-7b": ["q_proj", "v_proj"],
    }
    llama = decoders.memory("Llama-2-7b", r=16)["lora"]
    assert llama == 32 * 2 * 16 * (4096 + 4096) == 2 * decoders.memory("Llama-2-7b", r=8)["lora"]


@pytest.mark.slow
def test_what_a_step_keeps_is_what_a_real_one_keeps(monkeypatch):
    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    monkeypatch.setitem(decoders.SHAPES, "tiny", ("LlamaConfig", sizes))
    monkeypatch.setattr(decoders, "NAMES", (*decoders.NAMES, "tiny"))
    found = decoders.memory("tiny", r=2, length=24)
    real = AutoModelForCausalLM.from_config(LlamaConfig(**sizes), attn_implementation="eager").train()
    ids = torch.zeros((1, 24), dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids, "use_cache": False}
    held = {"full": costs._saved_mb(real, lambda: real(**batch).loss)}
    adapted = get_peft_model(real, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]))
    held["LoRA"] = costs._saved_mb(adapted, lambda: adapted(**batch).loss)
    assert held["LoRA"] < held["full"]
    for way, mb in held.items():
        assert found[f"kept_{way}_gb"] * 1e9 == pytest.approx(mb * 2**20, rel=1e-3)
    longer = decoders.memory("tiny", r=2, length=48)
    assert longer["kept_full_gb"] > 2 * found["kept_full_gb"]  # the tables of tokens by tokens grow with the square


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
