"""Prepare a grader for a method: what stays trainable, and what PEFT adds.

To add a method: its function and its name in METHODS here, its learning rates in experiments/methods.py (METHODS, which says
what is compared), its colour in figures.py (METHOD_STYLE), and its line in tests/test_adapt.py.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftModel, VeraConfig, get_peft_model
from peft.utils import constants
from torch import nn
from transformers import PreTrainedModel

from course_utils import models

LAST = 2  # blocks that "last layers" trains


def prepare(model: PreTrainedModel, method: str, **settings) -> nn.Module:
    """Leave trainable what a method trains, and return the model, wrapped where the method is one of PEFT's.

    Takes a grader (see `models.grader`), one of METHODS, and the settings of LoRA or DoRA by the names of `lora`.
    Raises ValueError for an unknown method, or a model in which no blocks can be found.
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
    the blocks that get it, counted from 0 (None: all). `of_peft` goes to PEFT by its own names: give it `saved(model)` as
    `modules_to_save`, without which some models' heads are lost (`with_lora` does).
    """
    layer_names = targets.split() if isinstance(targets, str) and targets != "all-linear" else targets
    settings = {"r": r, "lora_alpha": alpha, "lora_dropout": dropout, "layers_to_transform": layers}
    return LoraConfig(task_type="SEQ_CLS", target_modules=layer_names, **settings | of_peft)


def every_weight(model: PreTrainedModel) -> PreTrainedModel:
    """Leave the model as it is: full fine-tuning."""
    return model


def with_lora(model: PreTrainedModel, targets: str | list[str] | None = None, **settings: Any) -> PeftModel:
    """Put LoRA on the targets (None: where PEFT puts it, in BERT query and value). All but it and the head is frozen."""
    places = targets or _places(model, constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING)
    return get_peft_model(model, lora(places, **{"modules_to_save": saved(model)} | settings))


def with_dora(model: PreTrainedModel, **settings: Any) -> PeftModel:
    """Put DoRA (Liu et al., ICML 2024) where LoRA would be. It learns the length of what makes each output apart from its direction.

    That is a row of torch's weight (outputs, inputs); the paper writes W the other way round, and speaks of columns.
    """
    return with_lora(model, **settings, use_dora=True)


def with_ia3(model: PreTrainedModel) -> PeftModel:
    """Put IA3 (Liu et al., NeurIPS 2022) where PEFT puts it.

    It learns one factor for each output of a layer, or for each input of a feed-forward layer.
    """
    known = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    places: dict[str, Any] = {}  # PEFT's own, if it knows this kind of model
    if model.config.model_type not in known:
        places = {"target_modules": _places(model, known), "feedforward_modules": []}
    return get_peft_model(model, IA3Config(task_type="SEQ_CLS", modules_to_save=saved(model), **places))


def with_vera(model: PreTrainedModel) -> PeftModel:
    """Put VeRA (Kopiczko et al., ICLR 2024), whose matrices are random and shared, where PEFT puts it."""
    places = _places(model, constants.TRANSFORMERS_MODELS_TO_VERA_TARGET_MODULES_MAPPING)
    return get_peft_model(model, VeraConfig(task_type="SEQ_CLS", target_modules=places, modules_to_save=saved(model)))


def saved(model: PreTrainedModel) -> list[str] | None:
    """Return what PEFT must be told to train and save of a grader, beside the names that it takes for a head anyway."""
    return [name for name in models.head(model) if name not in constants.SEQ_CLS_HEAD_NAMES] or None


def _places(model: PreTrainedModel, known: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the layers where PEFT puts a method in this kind of model.

    If PEFT doesn't know the kind, they are those that it takes where layers have the same names, or else all linear layers
    of the blocks.
    """
    kind = model.config.model_type
    if isinstance(known.get(kind), list):  # not a pattern, which PEFT has for models of pictures and text
        return list(known[kind])
    linear = {name.split(".")[-1] for block in _blocks(model) for name in models.linear_layers(block)}
    names = sorted(next((names for names in known.values() if linear.issuperset(names)), linear))
    warnings.warn(
        f'PEFT has no layers of its own choice for a "{kind}", so these of its blocks are adapted: {", ".join(names)}. '
        "To adapt others, give their names as `targets`.",
        stacklevel=4,
    )
    return names


def last_layers(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze all but the last blocks and what comes after them: a last norm, a pooler, the head."""
    last = _blocks(model)[-LAST:]
    if len(last) < min(LAST, model.config.num_hidden_layers):
        warnings.warn(
            f'All layers of this "{model.config.model_type}" share one block, so all are trained.', stacklevel=3
        )
    return _only(model, [*(p for block in last for p in block.parameters()), *_after(model, last[-1]), *_head(model)])


def head_alone(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze all but the classification head."""
    return _only(model, _head(model))


METHODS: dict[str, Callable[..., nn.Module]] = {
    "full fine-tuning": every_weight,
    "LoRA": with_lora,
    "last layers": last_layers,
    "head alone": head_alone,
    "DoRA": with_dora,
    "IA3": with_ia3,
    "VeRA": with_vera,
}


def _blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the blocks whose outputs a grader reads: of an encoder with a decoder, the decoder's."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    parents = [name.rpartition(".")[0] for name in outer]
    if not outer or parents.count(parents[-1]) > 1:  # XLM keeps attentions, norms and the rest in a list each
        raise ValueError(
            f'A "{model.config.model_type}" does not list its blocks, so which are the last can\'t be known.'
        )
    return lists[outer[-1]]


def _after(model: PreTrainedModel, block: nn.Module) -> list[nn.Parameter]:
    """Return the weights of the base that work after a block, as a pass over two tokens shows.

    The order in which a model lists its parts is no guide: OPT lists its last norm before the blocks, DeBERTa the norm of
    its relative positions, which the first block reads, after them.
    """
    base, training = model.base_model, model.training
    worked: list[nn.Module] = []
    hooks = [part.register_forward_hook(lambda part, *_: worked.append(part)) for part in base.modules()]
    ids = torch.zeros((1, 2), dtype=torch.long, device=model.device)
    try:
        with torch.no_grad():
            base.eval()(input_ids=ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}))
    finally:
        base.train(training)
        for hook in hooks:
            hook.remove()
    if block not in worked:
        raise ValueError(
            f'The blocks of a "{model.config.model_type}" can\'t be watched, so what comes after is not known.'
        )
    first = len(worked) - worked[::-1].index(block)
    return [p for part in worked[first:] for p in part.parameters(recurse=False)]


def _head(model: PreTrainedModel) -> list[nn.Parameter]:
    return [p for name in models.head(model) for p in model.get_submodule(name).parameters()]


def _only(model: PreTrainedModel, trained: Iterable[nn.Parameter]) -> PreTrainedModel:
    """Leave these weights trainable and freeze the rest."""
    model.requires_grad_(False)
    for weights in trained:
        weights.requires_grad_(True)
    return model
