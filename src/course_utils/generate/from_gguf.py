"""Turn a SmolLM2 that lies in a GGUF file into a plain checkpoint: configuration, weights in bfloat16, tokenizer.

transformers reads GGUF too. It parses the file several times over, doesn't save what it read, and its tokenizer doesn't part digits
from what stands before them. A test holds our weights to its, number for number.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

READS = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
PAD = "<|endoftext|>"  # the file says the end token; then who hides the padding from the loss hides the end of the answer too
CONTROL = 3  # the type of a token that is no text
DTYPE = torch.bfloat16


def convert(file: Path, folder: Path) -> None:
    """Take a GGUF file and a folder that is there; write a checkpoint into it that `from_pretrained` loads.

    Raises RuntimeError without the package `gguf`, and ValueError for a file with another model or another tokenizer in it.
    """
    reader = _library().GGUFReader(file)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    for name, known in READS.items():
        if facts.get(name) != known:
            raise ValueError(
                f'{file} says {name} = "{facts.get(name)}", and only "{known}" can be read: take another file.'
            )
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    tokenizer = tokenizer_of(facts)
    config = config_of(facts, tied="output.weight" not in tensors, pad=tokenizer.pad_token_id)
    weights = save(weights_of(tensors, config), metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(weights)  # save_file would let no other user of the machine read it
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _library():
    try:
        import gguf
    except ImportError as error:
        raise RuntimeError(
            "The package gguf is missing, which reads the file. Type `make real`: it installs it."
        ) from error
    return gguf


def config_of(facts: dict, tied: bool, pad: int) -> LlamaConfig:
    """Return the configuration that the file's facts give; takes whether words go in and out by one table, and the pad's number."""
    llama = {name.removeprefix("llama."): value for name, value in facts.items()}
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(facts["tokenizer.ggml.tokens"]),
        hidden_size=llama["embedding_length"],
        intermediate_size=llama["feed_forward_length"],
        num_hidden_layers=llama["block_count"],
        num_attention_heads=llama["attention.head_count"],
        num_key_value_heads=llama["attention.head_count_kv"],
        max_position_embeddings=llama["context_length"],
        rms_norm_eps=float(
            str(np.float32(llama["attention.layer_norm_rms_epsilon"]))
        ),  # 1e-05, not 9.999999747378752e-06
        rope_parameters={"rope_type": "default", "rope_theta": llama["rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=facts["tokenizer.ggml.bos_token_id"],
        eos_token_id=facts["tokenizer.ggml.eos_token_id"],
        pad_token_id=pad,
        dtype=DTYPE,
    )


def weights_of(tensors: dict, config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Return each weight of the model under its own name. Raises ValueError for one that is missing or of another shape."""
    gguf = _library()
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    with torch.device("meta"):  # names and shapes alone
        shapes = {name: tuple(weight.shape) for name, weight in LlamaForCausalLM(config).named_parameters()}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = {}
    for name, shape in shapes.items():
        tensor = tensors.get(theirs.get_name(name, (".weight",)))
        if tensor is None or tuple(reversed(tensor.shape)) != shape:
            raise ValueError(
                f"The file has no {name} of the shape {shape}: it is damaged, or is no Llama. Take another file."
            )
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
        if count := heads.get(name.split(".")[-2]):
            numbers = _halves(numbers, count)
        found[name] = torch.tensor(numbers).to(DTYPE)
    return found


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Put the rows of queries or keys in the order of transformers, which turns a head's halves; GGUF turns its neighbours."""
    pairs = rows.reshape(heads, len(rows) // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def tokenizer_of(facts: dict) -> PreTrainedTokenizerFast:
    """Return the tokenizer that the file's facts give: each digit alone, then pairs of bytes merged; padding is not the end."""
    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    inner = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    inner.decoder = decoders.ByteLevel()
    types = facts["tokenizer.ggml.token_type"]
    inner.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind == CONTROL
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=tokens[facts["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[facts["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[facts["tokenizer.ggml.unknown_token_id"]],
        pad_token=PAD,
        model_max_length=facts["llama.context_length"],
        clean_up_tokenization_spaces=False,
        chat_template=facts["tokenizer.chat_template"],
    )
