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
    """Build one of NAMES on the meta device, with attention written out as plain products. Raises ValueError for another name."""
    if name not in NAMES:
        raise ValueError(f'There is no decoder "{name}". Choose one of: {", ".join(NAMES)}.')
    if name == OPT:
        config: Any = models.real_config("tiny-opt")
    else:
        kind, sizes = SHAPES[name]
        config = getattr(transformers, kind)(**sizes)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def targets(model: Any) -> list[str]:
    """Return the names of a decoder's layers of attention where PEFT puts LoRA: `query_key_value` where the three are one layer."""
    kind = str(model.config.model_type)
    known = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    return list(known.get(kind, ["q_proj", "v_proj"]))


def memory(name: str, r: int = 16, length: int = 512) -> dict[str, float]:
    """Return the weights of a decoder, LoRA's, and the gigabytes (1e9 bytes) that three ways to train it hold.

    Weights are in float32, so 4 bytes each; each trained one has a gradient (4) and AdamW's two means (8). "QLoRA" keeps the
    linear layers of the blocks in NF4: half a byte a weight, and a scale of 4 bytes for every 64. What a step on one text of
    `length` tokens keeps for the way back comes on top (see `kept`): `kept_full_gb`, and `kept_LoRA_gb`, which is QLoRA's as well.
    The scores over the vocabulary, `scores_gb`, are in both.
    """
    model = on_meta(name)
    places = targets(model)
    total = models.count_parameters(model)[1]
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear) and m is not head)
    back = {"full": kept(model, length)}
    config = LoraConfig(task_type="CAUSAL_LM", r=r, target_modules=places)
    adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
    back["LoRA"] = kept(adapted, length)
    lora = models.count_parameters(adapted)[0]
    trained = lora * (2 * BYTES + MEANS)
    four_bits = linear / 2 + linear / BLOCK * BYTES
    held: dict[str, float] = {"full": total * (2 * BYTES + MEANS), "LoRA": BYTES * total + trained}
    held["QLoRA"] = BYTES * (total - linear) + four_bits + trained
    scores = BYTES * length * model.config.vocab_size
    return (
        {"weights": total, "lora": lora}
        | {f"{way}_gb": value / 1e9 for way, value in held.items()}
        | {f"kept_{way}_gb": value / 1e9 for way, value in back.items()}
        | {"scores_gb": scores / 1e9}
    )


def kept(model: Any, length: int) -> int:
    """Return the bytes that a forward pass over one text keeps for the way back, each piece of memory once, the weights left out.

    Takes a causal model on the meta device, and the text's tokens. The loss is that of every token, and attention is written out:
    a kernel that does it in one go keeps less, for it leaves out the tables of tokens by tokens.
    """
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    pieces: dict[int, Any] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        piece = tensor.untyped_storage()
        if piece._cdata not in weights:
            pieces[piece._cdata] = piece  # held, so that no later piece gets its number
        return tensor.detach()  # else a layer that keeps its own output holds itself for ever

    ids = torch.zeros((1, length), dtype=torch.long, device="meta")
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False)
    return sum(piece.nbytes() for piece in pieces.values())


def table(r: int = 16, length: int = 512) -> Any:
    """Return a DataFrame of all NAMES: weights, LoRA's places and share, and gigabytes, ready to print."""
    import pandas as pd

    rows = []
    for name in NAMES:
        found, places = memory(name, r, length), ", ".join(targets(on_meta(name)))
        line = {"decoder": name, "million weights": f"{found['weights'] / 1e6:,.0f}", "LoRA on": places}
        line |= {f"LoRA, r={r}": f"{found['lora'] / found['weights']:.2%}"}
        line |= {f"{way} GB": f"{found[f'{way}_gb']:,.1f}" for way in ("full", "LoRA", "QLoRA")}
        line |= {f"kept, {way} GB": f"{found[f'kept_{way}_gb']:,.1f}" for way in ("full", "LoRA")}
        line |= {"scores GB": f"{found['scores_gb']:,.1f}"}
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
