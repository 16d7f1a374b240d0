"""Known decoders by their published shapes: their weights, LoRA's share, and the memory that training takes. No weights, no network.

Each is built on torch's meta device, which knows shapes and holds no numbers. The shapes are those of the checkpoints' own
config.json files.
"""

from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.utils import constants
from torch import nn

from course_utils import models

LLAMA_2 = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
BLOOM = {"vocab_size": 250_880, "hidden_size": 4096, "n_layer": 30, "n_head": 32}
FALCON = {"vocab_size": 65_024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71}
QWEN_3 = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
GEMMA_3 = {
    "vocab_size": 262_144,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_hidden_layers": 26,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
}
SMOLLM_2 = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {  # the checkpoint: the class of its configuration, and its sizes
    "Llama-2-7b": ("LlamaConfig", LLAMA_2),
    "bloom-7b1": ("BloomConfig", BLOOM),
    "falcon-7b": ("FalconConfig", FALCON),
    "Qwen3-0.6B": ("Qwen3Config", QWEN_3),
    "gemma-3-1b": ("Gemma3TextConfig", GEMMA_3),
    "SmolLM2-135M": ("LlamaConfig", SMOLLM_2),
}
OPT = "opt-350m"
NAMES = (*SHAPES, OPT)
BYTES, MEANS = 4, 8  # of a weight or its gradient in float32; of AdamW's two means
BLOCK = 64  # weights that share a scale in NF4


def on_meta(name: str) -> Any:
    """Build one of NAMES on the meta device. Raises ValueError for another name."""
    if name not in NAMES:
        raise ValueError(f'There is no decoder "{name}". Choose one of: {", ".join(NAMES)}.')
    if name == OPT:
        return models.on_meta("tiny-opt")
    kind, sizes = SHAPES[name]
    config = getattr(transformers, kind)(**sizes)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def targets(model: Any) -> list[str]:
    """Return the names of a decoder's layers of attention where PEFT puts LoRA: `query_key_value` where the three are one layer."""
    kind = str(model.config.model_type)
    known = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    return list(known.get(kind, ["q_proj", "v_proj"]))


def memory(name: str, r: int = 16, length: int = 512) -> dict[str, float]:
    """Return the weights of a decoder, LoRA's, and the gigabytes (1e9 bytes) that three ways to train it hold.

    Weights are in float32, so 4 bytes each; each trained one has a gradient (4) and AdamW's two means (8). "QLoRA" keeps the
    linear layers of the blocks in NF4: half a byte a weight, and a scale of 4 bytes for every 64. What a step keeps for the way
    back is not in it, but for the scores over the vocabulary of one text of `length` tokens, its largest tensor: `scores_gb`.
    """
    model = on_meta(name)
    places = targets(model)
    total = models.count_parameters(model)[1]
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
    config = LoraConfig(task_type="CAUSAL_LM", r=r, target_modules=places)
    lora = models.count_parameters(get_peft_model(model, config, low_cpu_mem_usage=True))[0]
    trained = lora * (2 * BYTES + MEANS)
    four_bits = linear / 2 + linear / BLOCK * BYTES
    held: dict[str, float] = {"full": total * (2 * BYTES + MEANS), "LoRA": BYTES * total + trained}
    held["QLoRA"] = BYTES * (total - linear) + four_bits + trained
    scores = BYTES * length * model.config.vocab_size
    return (
        {"weights": total, "lora": lora}
        | {f"{way}_gb": value / 1e9 for way, value in held.items()}
        | {"scores_gb": scores / 1e9}
    )


def table(r: int = 16, length: int = 512) -> Any:
    """Return a DataFrame of all NAMES: weights, LoRA's places and share, and gigabytes, ready to print."""
    import pandas as pd

    rows = []
    for name in NAMES:
        found, places = memory(name, r, length), ", ".join(targets(on_meta(name)))
        line = {"decoder": name, "million weights": f"{found['weights'] / 1e6:,.0f}", "LoRA on": places}
        line |= {f"LoRA, r={r}": f"{found['lora'] / found['weights']:.2%}"}
        line |= {f"{way} GB": f"{found[f'{way}_gb']:,.1f}" for way in ("full", "LoRA", "QLoRA", "scores")}
        rows.append(line)
    return pd.DataFrame(rows)


def in_four_bits(checkpoint: str) -> Any:
    """Load a causal model with the linear layers of its blocks in NF4, by bitsandbytes, ready for LoRA.

    It lies on the device of the course's other models, and not on any GPU that is there.
    Raises ImportError, with the command, where bitsandbytes is not installed.
    """
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise ImportError("A base of 4 bits needs bitsandbytes: pip install -c constraints.txt -e '.[decoder]'")
    four = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    return transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint,
        quantization_config=four,
        dtype=torch.float32,
        use_safetensors=True,
        device_map={"": models.device()},
    )
