"""Prepare a grader for a method: what stays trainable, and what PEFT adds.

To add a method: its function and its name in METHODS here, its learning rates in experiments/lora.py (TRIED, which says what
is compared), its colour in figures.py (METHOD_STYLE), and its line in tests/test_adapt.py.
"""

from collections.abc import Callable
from typing import Any

from peft import IA3Config, LoraConfig, PeftModel, VeraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel

TARGETS = {"bert": ["query", "value"], "opt": ["q_proj", "v_proj"]}  # where LoRA goes, by the model's kind
LAST = 2  # blocks that "last layers" trains
HEAD, AFTER = ("classifier", "score"), ("pooler", "classifier", "score")  # the head; all that comes after the blocks


def prepare(model: PreTrainedModel, method: str, **settings) -> nn.Module:
    """Leave trainable what a method trains, and return the model, wrapped where the method is one of PEFT's.

    Takes a grader (see `models.grader`), one of METHODS, and the settings of LoRA or DoRA by the names of `lora`.
    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f'There is no method "{method}". Choose one of: {", ".join(METHODS)}.')
    return METHODS[method](model, **settings)


def lora(
    targets: str | list[str],
    r: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    layers: list[int] | None = None,
    **of_peft: Any,
) -> LoraConfig:
    """Return the configuration of LoRA on a grader.

    Takes the layers' names (a list, or a text with blanks between, or "all-linear"), the rank, the scale's numerator, and
    the blocks that get it, counted from 0 (None: all). `of_peft` goes to PEFT by its own names.
    """
    layer_names = targets.split() if isinstance(targets, str) and targets != "all-linear" else targets
    settings = {"r": r, "lora_alpha": alpha, "lora_dropout": dropout, "layers_to_transform": layers}
    return LoraConfig(task_type="SEQ_CLS", target_modules=layer_names, **settings | of_peft)


def every_weight(model: PreTrainedModel) -> PreTrainedModel:
    """Leave the model as it is: full fine-tuning."""
    return model


def with_lora(model: PreTrainedModel, targets: str | list[str] | None = None, **settings: Any) -> PeftModel:
    """Put LoRA on the targets (None: on query and value). PEFT freezes all but it and the head."""
    return get_peft_model(model, lora(targets or TARGETS[model.config.model_type], **settings))


def with_dora(model: PreTrainedModel, **settings: Any) -> PeftModel:
    """Put DoRA (Liu et al., ICML 2024), which learns a column's length apart from its direction, where LoRA would be."""
    return with_lora(model, **settings, use_dora=True)


def with_ia3(model: PreTrainedModel) -> PeftModel:
    """Put IA3 (Liu et al., NeurIPS 2022), which learns one factor for each output of a layer, where PEFT puts it."""
    return get_peft_model(model, IA3Config(task_type="SEQ_CLS"))


def with_vera(model: PreTrainedModel) -> PeftModel:
    """Put VeRA (Kopiczko et al., ICLR 2024), whose matrices are random and shared, where PEFT puts it."""
    return get_peft_model(model, VeraConfig(task_type="SEQ_CLS"))


def last_layers(model: nn.Module) -> nn.Module:
    """Freeze all but the last blocks and what comes after them."""
    blocks = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    return _only(model, [*blocks[-LAST:], *_named(model, AFTER)])


def head_alone(model: nn.Module) -> nn.Module:
    """Freeze all but the classification head."""
    return _only(model, _named(model, HEAD))


METHODS: dict[str, Callable[..., nn.Module]] = {
    "full fine-tuning": every_weight,
    "LoRA": with_lora,
    "last layers": last_layers,
    "head alone": head_alone,
    "DoRA": with_dora,
    "IA3": with_ia3,
    "VeRA": with_vera,
}


def _named(model: nn.Module, names: tuple[str, ...]) -> list[nn.Module]:
    """Return the parts of a model whose own name is one of these."""
    return [module for name, module in model.named_modules() if name.split(".")[-1] in names]


def _only(model: nn.Module, parts: list[nn.Module]) -> nn.Module:
    """Leave these parts trainable and freeze the rest."""
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    return model
