"""Right and wrong answers to the exercises of notebook 11, each wrong one with words of its hint."""

import numpy as np
import torch


def padding(lengths, size):
    computed = 0
    for start in range(0, len(lengths), size):
        batch = lengths[start : start + size]
        computed += len(batch) * max(batch)
    return (computed - sum(lengths)) / computed


def padding_by_tokens(lengths, size):
    rows = [[max(lengths[i : i + size])] * len(lengths[i : i + size]) for i in range(0, len(lengths), size)]
    filled = np.concatenate(rows)
    return float((filled - lengths).sum() / filled.sum())


REPAIRED = {
    "num_train_epochs": 30,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "metric_for_best_model": "macro_f1",
    "greater_is_better": True,
}
BY_STEPS = REPAIRED | {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 50, "save_steps": 50}


def without(name):
    return {key: value for key, value in REPAIRED.items() if key != name}


def mask(lengths):
    text = np.repeat(np.arange(len(lengths)), lengths)
    n = len(text)
    return np.tril(np.ones((n, n), bool)) & (text[:, None] == text)


def mask_by_blocks(lengths):
    return torch.block_diag(*[torch.ones(n, n).tril() for n in lengths]).bool()


RIGHT = {
    "11-padding": [padding, padding_by_tokens],
    "11-stopping": [REPAIRED, BY_STEPS | {"metric_for_best_model": "eval_macro_f1"}, without("greater_is_better")],
    "11-mask": [mask, mask_by_blocks],
}
VALUES = {"11-stopping"}

WRONG = [
    ("11-padding", lambda lengths, size: 1 - sum(lengths) / (len(lengths) * max(lengths)), "the longest of all"),
    (
        "11-padding",
        lambda lengths, size: np.mean([padding(lengths[i : i + size], size) for i in range(0, len(lengths), size)]),
        "the mean of the batches' shares",
    ),
    ("11-padding", lambda lengths, size: 1 - padding(lengths, size), "the share of real tokens"),
    ("11-padding", lambda lengths, size: 1 / (1 - padding(lengths, size)) - 1, "Its share is of *all* tokens"),
    ("11-padding", lambda lengths, size: padding(np.sort(lengths), size), "You sorted the reports"),
    (
        "11-padding",
        lambda lengths, size: (
            1 - sum(lengths) / sum(size * max(lengths[i : i + size]) for i in range(0, len(lengths), size))
        ),
        "The last batch may be smaller",
    ),
    ("11-padding", 0.5, "Hand over the function itself"),
    ("11-stopping", without("eval_strategy"), "Nothing is evaluated"),
    ("11-stopping", REPAIRED | {"eval_strategy": "no"}, "Nothing is evaluated"),
    ("11-stopping", without("save_strategy"), "What is not saved"),
    ("11-stopping", without("load_best_model_at_end"), "Load the best"),
    ("11-stopping", without("metric_for_best_model"), "which measure is watched"),
    ("11-stopping", REPAIRED | {"save_strategy": "steps"}, "at the same moments"),
    ("11-stopping", BY_STEPS | {"save_steps": 500}, "make save_steps equal"),
    ("11-stopping", REPAIRED | {"metric_for_best_model": "f1"}, 'no measure "f1"'),
    ("11-stopping", REPAIRED | {"greater_is_better": False}, "the *worst* model is kept"),
    ("11-stopping", without("greater_is_better") | {"metric_for_best_model": "loss"}, "stop by macro F1"),
    ("11-stopping", REPAIRED | {"num_train_epochs": 3}, "allow more epochs"),
    ("11-stopping", [REPAIRED], "Hand over a dict"),
    ("11-mask", lambda lengths: np.tril(np.ones((sum(lengths),) * 2, bool)), "Tokens see those of other texts"),
    ("11-mask", lambda lengths: mask(lengths) | mask(lengths).T, "Tokens see later ones"),
    ("11-mask", lambda lengths: mask(lengths) & ~np.eye(sum(lengths), dtype=bool), "must see itself"),
    ("11-mask", lambda lengths: mask(lengths).T, "rows look, columns are seen"),
    ("11-mask", lambda lengths: ~mask(lengths), "True where a token *may* look"),
    ("11-mask", [[True]], "Hand over the function itself"),
]
