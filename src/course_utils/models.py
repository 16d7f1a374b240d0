"""Find the base models, put a grading head on one, and count what is in them.

Five small base models ship with the course: siblings of the three checkpoints that the article names, and two more encoders of
one's shape, which were taught less.
`COURSE_MODELS=hub` takes large checkpoints instead, the article's among them; `COURSE_MODELS=real` those that `make real`
installs with no hub; `COURSE_MODELS=<folder>` takes those in a folder.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
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
from transformers.pytorch_utils import Conv1D

from course_utils import paths

HUB = {
    "tiny-biobert": "dmis-lab/biobert-v1.1",
    "tiny-biobert-two-sites": "dmis-lab/biobert-v1.1",  # which has read none of the course's sites
    "tiny-plain": "google-bert/bert-base-cased",
    "tiny-opt": "facebook/opt-350m",
    "tiny-t5": "google-t5/t5-small",
}
REAL = {  # folders that `make real` makes; the second says in its name that its weights went through 4 bits
    "tiny-biobert": "all-MiniLM-L6-v2",
    "tiny-biobert-two-sites": "all-MiniLM-L6-v2",  # one encoder in the place of all three: it has read no site of the course
    "tiny-plain": "all-MiniLM-L6-v2",
    "tiny-opt": "SmolLM2-135M-Instruct-from-Q4_1",
}
AGAIN = "Get the shipped base models back from the repository, or make them with `make bases`."


def base(name: str, root: str | Path | None = None) -> str:
    """Return what to hand to `from_pretrained` for a base model.

    Takes the name of one of our base models, and a folder of checkpoints if not the one that COURSE_MODELS says.
    Returns the path of a local checkpoint, or the hub's name for it where COURSE_MODELS is "hub".
    Raises ValueError for an unknown name or weights that are not safetensors, FileNotFoundError for a missing folder, or where
    COURSE_MODELS is "real" and there is no real checkpoint in the place of ours.
    """
    _known(name)
    choice = os.environ.get("COURSE_MODELS", "")
    if root is None and choice == "hub":
        return HUB[name]
    if root is None and choice == "real":
        return _safe(_real(name))
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


def _real(name: str) -> Path:
    """Return the folder of the real checkpoint that stands in the place of one of ours."""
    back = "Unset COURSE_MODELS to work with ours."
    if name not in REAL:
        raise FileNotFoundError(
            f"COURSE_MODELS is real, and no package holds a real checkpoint that could stand in the place of {name}. {back}"
        )
    folder = paths.real() / REAL[name]
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no {folder} yet. Type `make real`, which installs and checks it. {back}")
    return folder


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
    same architecture with random weights. Returns the model and its tokenizer, which pads on the right, with the
    end-of-text token where it has none for padding, writes that token after a text if the head reads there, as a T5's does,
    and writes nothing that the model doesn't read.
    Warns if the checkpoint has a head already: that is for other grades, so it is dropped. Warns, too, if padding changes the
    answers of such a model (XLNet, FNet and ConvBERT are so made).
    Raises OSError, with what to do, if the checkpoint cannot be read or the hub cannot be reached, and ValueError if it
    cannot be a grader: no such class, no token to pad or to end with, or weights of another shape than its configuration
    says.
    """
    with _or_what_to_do(checkpoint):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        config = AutoConfig.from_pretrained(checkpoint)
        labels = [str(label) for label in config.id2label.values()]  # of a head that it may have
        _for_grades(config, num_labels, checkpoint)
        config.pad_token_id = _pad_right(tokenizer, checkpoint)
        if config.is_encoder_decoder:  # a T5's head reads where the text ends
            _end_texts(tokenizer, checkpoint)
        torch.manual_seed(seed)
        if pretrained:
            model, found = _load(AutoModelForSequenceClassification, checkpoint, config=config, dtype=torch.float32)
        else:
            model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    if pretrained and _has_head(model, found, checkpoint):
        _renew_head(model, seed)
        some = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
        warnings.warn(
            f"{checkpoint} has a head already, for {some}. It is dropped and a new one made, for {num_labels} grades. "
            "To keep it, load the checkpoint with AutoModelForSequenceClassification.from_pretrained.",
            stacklevel=2,
        )
    read = signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in read]
    if _padding_shows(model, tokenizer):
        warnings.warn(
            f'A "{config.model_type}" reads its padding, so a report beside a longer one gets another answer than alone. '
            "Grade with batch_size=1, or choose another checkpoint.",
            stacklevel=2,
        )
    return model.to(device()), tokenizer


@contextmanager
def _or_what_to_do(checkpoint: str) -> Iterator[None]:
    """Say what to do about a checkpoint that cannot be read."""
    try:
        yield
    except OSError as error:
        if Path(checkpoint).is_dir():
            raise OSError(f"{checkpoint} cannot be read: {error} Copy the checkpoint again, whole.") from error
        raise OSError(
            f"{checkpoint} did not come from the hub: {str(error).splitlines()[0]} "
            "To work without a network, unset COURSE_MODELS, or set it to a folder that holds the checkpoints."
        ) from error


def _load(kind: Any, checkpoint: str, **settings: Any) -> tuple[Any, dict]:
    """Load a checkpoint, never from a pickle, and what did not fit: weights that were missing, or of another shape."""
    return kind.from_pretrained(
        checkpoint, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True, **settings
    )


def _for_grades(config: PreTrainedConfig, num_labels: int, checkpoint: str) -> None:
    """Make a configuration, in place, that of a grader: so many grades, without the names and the loss of an old task."""
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ValueError(
            f'{checkpoint} is a "{config.model_type}", and transformers puts no classification head on that. '
            "Choose another checkpoint: an encoder such as BERT, or a language model."
        )
    config.id2label = {grade: f"LABEL_{grade}" for grade in range(num_labels)}
    config.label2id = {name: grade for grade, name in config.id2label.items()}
    config.problem_type = None


def _pad_right(tokenizer: PreTrainedTokenizerBase, checkpoint: str) -> int:
    """Let a tokenizer pad on the right, with the end-of-text token if there is no other, and return that token's number.

    On the left, a model that counts its positions from the start of the row would find each report somewhere else.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise ValueError(
            f"The tokenizer of {checkpoint} has neither a padding nor an end-of-text token, so reports of unequal length "
            "can't share a batch. Set `pad_token` in its tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # the mask hides it
    tokenizer.padding_side = "right"
    return tokenizer.pad_token_id


def _end_texts(tokenizer: PreTrainedTokenizerBase, checkpoint: str) -> None:
    """Let a tokenizer write the end-of-text token after a pair of texts, if it does not yet."""
    if tokenizer.eos_token_id not in tokenizer("a", "b")["input_ids"]:
        tokenizer.add_eos_token = True
    if tokenizer.eos_token_id not in tokenizer("a", "b")["input_ids"]:
        raise ValueError(
            f"The head of {checkpoint} reads where a text ends, and its tokenizer can't be made to write an end-of-text "
            "token. Take a tokenizer that does, as t5-small has it."
        )


@torch.inference_mode()
def _padding_shows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether a text's logits change when padding stands behind it."""
    training, text = model.training, dict(tokenizer("a", "b"))
    length = len(text["input_ids"]) + 8
    alone = model.eval()(**tokenizer.pad([text], return_tensors="pt")).logits
    padded = model(**tokenizer.pad([text], padding="max_length", max_length=length, return_tensors="pt")).logits
    model.train(training)
    return bool((alone - padded).abs().max() > torch.finfo(alone.dtype).eps ** 0.5 * alone.abs().max())


def beside_base(model: PreTrainedModel) -> list[str]:
    """Return the names of the weights that a model has beside those of its base: its head's."""
    inside = {id(p) for p in model.base_model.parameters()}
    return [name for name, p in model.named_parameters() if id(p) not in inside]


def _has_head(model: PreTrainedModel, found: dict, checkpoint: str) -> bool:
    """Say whether a checkpoint came with a head, from what was reported when it was loaded.

    A head ends in a weight with a row for each grade; a new one's is missing from the checkpoint.
    """
    beside, other_shape = set(beside_base(model)), {name for name, *_ in found["mismatched_keys"]}
    if wrong := sorted(other_shape - beside):
        raise ValueError(
            f"{checkpoint} has {wrong[0]} in another shape than its config.json says, and {len(wrong)} weight(s) in all "
            "are like it. Copy the checkpoint again, whole: the two files don't belong together."
        )
    ends = {name for name in beside if len(model.get_parameter(name)) == model.config.num_labels}
    return bool(other_shape or ends - found["missing_keys"])


def _renew_head(model: PreTrainedModel, seed: int) -> None:
    """Draw all weights beside the base anew, in place, as a model with no checkpoint has them."""
    torch.manual_seed(seed)
    fresh = AutoModelForSequenceClassification.from_config(model.config, dtype=torch.float32)
    with torch.no_grad():
        for name in beside_base(model):
            model.get_parameter(name).copy_(fresh.get_parameter(name))


def lacking(model: PreTrainedModel) -> list[str]:
    """Return the names of the weights that a model's checkpoint does not hold: each loading draws them anew.

    Takes a model that was loaded from a checkpoint; of one that was not, returns no names. Loads shapes alone, no numbers.
    Warns, and returns no names, if the checkpoint is no longer there.
    """
    if not model.name_or_path:
        return []
    try:
        found = _load(type(model), model.name_or_path, num_labels=model.config.num_labels, device_map="meta")[1]
    except OSError:
        warnings.warn(
            f"The checkpoint {model.name_or_path} is no longer there, so what it lacks beside the head is not known, and an "
            "adapter can't be loaded onto it. Put it back, and load the model again.",
            stacklevel=2,
        )
        return []
    return sorted(found["missing_keys"])


def head(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that make up a grader's head: what must be trained, and saved with an adapter.

    They are all that the model has beside its base, and what of the base the checkpoint lacks: after masked-word training
    a BERT has no pooler. A module that is new as a whole stands for its parts.
    Raises ValueError if the checkpoint lacks only some weights of a layer.
    """
    new = {*beside_base(model), *lacking(model)}
    found: list[str] = []
    for name, module in model.named_modules():  # a module comes before its parts
        weights = {f"{name}.{weight}" for weight, _ in module.named_parameters()}
        if weights and weights <= new and not _within(name, found):
            found.append(name)
    if alone := sorted(weight for weight in new if not _within(weight, found)):
        raise ValueError(f"{model.name_or_path} lacks {alone[0]} and has the rest of that layer: copy it again, whole.")
    return found


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return (trainable, total) parameters. A tensor that two layers share counts once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trainable in sizes if trainable), sum(n for n, _ in sizes)


def linear_layers(model: nn.Module) -> list[str]:
    """Return the full names of a model's linear layers: where LoRA can go. (GPT-2 has its own class for them.)"""
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def real_config(name: str) -> PreTrainedConfig:
    """Return the configuration of the article's checkpoint that one of our base models stands for, with no network."""
    _known(name)
    if name not in ("tiny-opt", "tiny-t5"):  # BERT-base, cased, whichever of the encoders
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
    kinds = {"tiny-opt": OPTForCausalLM, "tiny-t5": T5ForConditionalGeneration}
    config = real_config(name)
    with torch.device("meta"):
        return kinds.get(name, BertModel)(config)
