"""Find the base models, put a grading head on one, and count what is in them.

Three small base models ship with the course, each a sibling of a checkpoint that the article names.
`COURSE_MODELS=hub` takes the article's checkpoints instead; `COURSE_MODELS=<folder>` takes those in a folder.
"""

import os
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from course_utils import paths

HUB = {
    "tiny-biobert": "dmis-lab/biobert-v1.1",
    "tiny-opt": "facebook/opt-350m",
    "tiny-t5": "google-t5/t5-small",
}
AGAIN = "Get the shipped base models back from the repository, or make them with `make bases`."


def base(name: str, root: str | Path | None = None) -> str:
    """Return what to hand to `from_pretrained` for a base model.

    Takes the name of one of our base models, and a folder of checkpoints if not the one that COURSE_MODELS says.
    Returns the path of a local checkpoint, or the hub's name for it where COURSE_MODELS is "hub".
    Raises ValueError for an unknown name or weights that are not safetensors, FileNotFoundError for a missing folder.
    """
    _known(name)
    choice = os.environ.get("COURSE_MODELS", "")
    if root is None and choice == "hub":
        return HUB[name]
    folder = Path(root or choice or paths.bases()).expanduser()
    if not folder.is_dir():
        mend = "Give COURSE_MODELS the full path of a folder, or unset it." if root or choice else AGAIN
        raise FileNotFoundError(f"There is no folder {folder}, where the base models should be. {mend}")
    for candidate in (folder / name, folder / HUB[name].split("/")[-1]):
        if candidate.is_dir():
            return _safe(candidate)
    present = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder at all"
    raise FileNotFoundError(f"{folder} holds no {name} (nor {HUB[name].split('/')[-1]}). It holds: {present}. {AGAIN}")


def _known(name: str) -> None:
    if name not in HUB:
        raise ValueError(f'There is no base model "{name}". Choose one of: {", ".join(HUB)}.')


def _safe(folder: Path) -> str:
    """Refuse pickled weights: loading a pickle can run any code."""
    if any(folder.glob("*.safetensors")):
        return str(folder)
    if any(folder.glob("*.bin")):
        raise ValueError(
            f"{folder} has only pickled weights (.bin), and a pickle can run any code when it is loaded. "
            "Use a copy of the checkpoint that has model.safetensors."
        )
    raise FileNotFoundError(f"{folder} has no model.safetensors, so it is not a checkpoint. Copy it again, whole.")


def device() -> str:
    """Return "cuda" for checkpoints of your own choice where there is a GPU, otherwise "cpu".

    The base models of the course stay on the CPU, so that they give the stored numbers everywhere.
    """
    return "cuda" if os.environ.get("COURSE_MODELS") and torch.cuda.is_available() else "cpu"


def grader(
    checkpoint: str, seed: int, num_labels: int = 5, pretrained: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a checkpoint with a new classification head, in float32.

    Takes what `base` returns, the seed for the head, the number of grades, and `pretrained=False` for the
    same architecture with random weights. Returns the model and its tokenizer.
    Raises OSError, with what to do, if the checkpoint cannot be read or the hub cannot be reached.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        config = AutoConfig.from_pretrained(checkpoint, num_labels=num_labels)
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id
        torch.manual_seed(seed)
        if pretrained:
            model = AutoModelForSequenceClassification.from_pretrained(
                checkpoint, config=config, dtype=torch.float32, use_safetensors=True
            )
        else:
            model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    except OSError as error:
        if Path(checkpoint).is_dir():
            raise OSError(f"{checkpoint} cannot be read: {error} Copy the checkpoint again, whole.") from error
        raise OSError(
            f"{checkpoint} did not come from the hub: {str(error).splitlines()[0]} "
            "To work without a network, unset COURSE_MODELS, or set it to a folder that holds the checkpoints."
        ) from error
    return model.to(device()), tokenizer


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return (trainable, total) parameters. A tensor that two layers share counts once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)


def linear_layers(model: nn.Module) -> list[str]:
    """Return the full names of a model's linear layers: where LoRA can go."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def real_config(name: str) -> PreTrainedConfig:
    """Return the configuration of the article's checkpoint that one of our base models stands for, with no network."""
    _known(name)
    if name == "tiny-biobert":  # BERT-base, cased
        return BertConfig(
            vocab_size=28996,
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            max_position_embeddings=512,
            type_vocab_size=2,
        )
    if name == "tiny-opt":  # the one OPT that projects its embeddings and normalises after each block
        return OPTConfig(
            vocab_size=50272,
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            ffn_dim=4096,
            max_position_embeddings=2048,
            word_embed_proj_dim=512,
            do_layer_norm_before=False,
        )
    return T5Config(
        vocab_size=32128,
        d_model=512,
        d_kv=64,
        d_ff=2048,
        num_layers=6,
        num_heads=8,
        feed_forward_proj="relu",
    )


def on_meta(name: str) -> nn.Module:
    """Build the article's checkpoint on torch's meta device: every shape, no memory, no network."""
    kinds = {"tiny-biobert": BertModel, "tiny-opt": OPTForCausalLM, "tiny-t5": T5ForConditionalGeneration}
    config = real_config(name)
    with torch.device("meta"):
        return kinds[name](config)
