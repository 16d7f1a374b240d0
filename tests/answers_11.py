"""Right and wrong answers to the exercises of notebook 11, each wrong one with words of its hint."""

import math

import numpy as np
import pandas as pd
import torch
from scipy.linalg import block_diag
from transformers.trainer_utils import IntervalStrategy


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
BROKEN = {  # as the exercise gives it
    "num_train_epochs": 3,
    "eval_strategy": "epoch",
    "save_strategy": "steps",
    "load_best_model_at_end": False,
    "metric_for_best_model": "f1",
    "greater_is_better": False,
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


def padding_by_groups(lengths, size):
    lengths = pd.Series(lengths)
    return 1 - lengths.sum() / lengths.groupby(lengths.index // size).transform("max").sum()


def padding_by_split(lengths, size):
    batches = torch.split(torch.tensor(lengths), size)
    return 1 - sum(batch.sum() for batch in batches) / sum(len(batch) * batch.max() for batch in batches)


def emptied(lengths, size):
    share = padding(lengths, size)
    lengths[:] = 0
    return share


def mask_by_loop(lengths):
    seen, start = np.zeros((sum(lengths), sum(lengths))), 0
    for n in lengths:
        for row in range(n):
            seen[start + row, start : start + row + 1] = 1
        start += n
    return seen == 1


def mask_by_lists(lengths):
    text = [i for i, n in enumerate(lengths) for _ in range(n)]
    return [[text[row] == text[column] and column <= row for column in range(len(text))] for row in range(len(text))]


RIGHT = {
    "11-padding": [
        padding,
        padding_by_tokens,
        padding_by_groups,
        padding_by_split,
        lambda n, s: (
            sum(b.max() * len(b) - b.sum() for b in np.split(n, range(s, len(n), s)))
            / sum(b.max() * len(b) for b in np.split(n, range(s, len(n), s)))
        ),
    ],
    "11-stopping": [
        REPAIRED,
        BY_STEPS | {"metric_for_best_model": "eval_macro_f1"},
        without("greater_is_better"),
        REPAIRED | {"num_train_epochs": 4},
        REPAIRED | {"greater_is_better": None},
        REPAIRED | {"save_strategy": "best"},
        REPAIRED | {"learning_rate": 1e-3, "save_total_limit": 1},
        BY_STEPS,
        BY_STEPS | {"save_steps": 100},
        BY_STEPS | {"save_steps": 500},
        BY_STEPS | {"eval_steps": 100, "save_strategy": "best"},
        BY_STEPS | {"eval_steps": 0.1, "save_steps": 0.2},
        BY_STEPS | {"num_train_epochs": 3, "max_steps": 2000},
        REPAIRED | {"output_dir": "somewhere", "num_train_epochs": np.int64(20)},
        BROKEN | REPAIRED,
        BY_STEPS | {"eval_strategy": IntervalStrategy.STEPS},
    ],
    "11-mask": [
        mask,
        mask_by_blocks,
        mask_by_loop,
        mask_by_lists,
        lambda lengths: block_diag(*[np.tri(n) for n in lengths]),
        lambda lengths: pd.DataFrame(mask(lengths)),
    ],
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
    ("11-stopping", BY_STEPS | {"save_steps": 120}, "make save_steps equal"),
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
    ("11-padding", emptied, "changes what it is given (lengths)"),
    ("11-padding", lambda n, s: padding(n[: len(n) // s * s], s), "For n=[7, 90, 12, 60, 33], s=2"),
    ("11-padding", lambda n, s: 100 * padding(n, s), "in percent"),
    ("11-padding", lambda n, s: 1 - n.sum() / (512 * len(n)), "gives 0.951172; right is 0.166667"),
    (
        "11-padding",
        lambda n, s: 1 - n.sum() / (n.reshape(-1, s).max(1) * s).sum(),
        "stopped with ValueError: cannot reshape",
    ),
    ("11-padding", lambda n, s: round(padding(n, s), 1), "You round"),
    ("11-padding", lambda n, s: padding(n, 8), "right is 0.166667"),
    ("11-padding", lambda n, s: sum(max(n[i : i + s]) * s for i in range(0, len(n), s)) - sum(n), "right is 0.166667"),
    ("11-padding", lambda n, s: 0.4, "in all 5 cases"),
    ("11-stopping", {}, "Nothing is evaluated"),
    ("11-stopping", None, "Hand over a dict"),
    ("11-stopping", REPAIRED | {"save_strategy": "no"}, "What is not saved"),
    ("11-stopping", REPAIRED | {"load_best_model_at_end": False}, "Load the best"),
    ("11-stopping", REPAIRED | {"load_best_model_at_end": "True"}, "give True or False"),
    ("11-stopping", REPAIRED | {"greater_is_better": "yes"}, "give True or False"),
    (
        "11-stopping",
        REPAIRED | {"eval_strategy": "steps", "save_strategy": "steps"},
        "set eval_steps. Left out, it is 500",
    ),
    ("11-stopping", BY_STEPS | {"save_steps": 75}, "or a multiple of it"),
    ("11-stopping", BY_STEPS | {"save_steps": 25}, "or a multiple of it"),
    ("11-stopping", BY_STEPS | {"num_train_epochs": 3}, "many reports to stop within 3 epochs: allow more epochs"),
    ("11-stopping", BY_STEPS | {"max_steps": 150}, "leaves no room for a patience of 3"),
    ("11-stopping", BY_STEPS | {"eval_steps": "often"}, "eval_steps is 'often': give a number"),
    ("11-stopping", REPAIRED | {"eval_strategy": "epochs", "save_strategy": "epochs"}, "refuses that, with ValueError"),
    ("11-stopping", REPAIRED | {"early_stopping_patience": 3}, "unexpected keyword argument 'early_stopping_patience'"),
    ("11-stopping", REPAIRED | {"evaluation_strategy": "epoch"}, "unexpected keyword argument 'evaluation_strategy'"),
    ("11-stopping", REPAIRED | {"metric_for_best_model": "accuracy"}, 'no measure "accuracy"'),
    ("11-stopping", REPAIRED | {"num_train_epochs": "20"}, "num_train_epochs is '20': give a number"),
    ("11-stopping", without("num_train_epochs"), "num_train_epochs is 3: allow more epochs"),
    ("11-mask", lambda lengths: mask([3, 2]), "an array of 5 x 5; one of 4 x 4 is asked for"),
    ("11-mask", lambda lengths: np.where(mask(lengths), 0, -np.inf), "at [0, 0]; right is True"),
    ("11-mask", lambda lengths: mask(lengths)[None], "an array of 1 x 4 x 4"),
    ("11-mask", lambda lengths: np.eye(sum(lengths), dtype=bool), "gives False at [1, 0]; right is True"),
    ("11-mask", lambda lengths: mask(lengths[::-1]), "at [2, 0]; right is False"),
    ("11-mask", lambda lengths: np.tri(max(lengths), dtype=bool), "an array of 3 x 3; one of 5 x 5 is asked for"),
    ("11-mask", lambda lengths: mask(lengths).astype(str), "something else than numbers"),
    ("11-stopping", BROKEN, "Load the best"),
    ("11-stopping", BROKEN | {"load_best_model_at_end": True}, "at the same moments"),
    ("11-stopping", REPAIRED | {"num_train_epochs": None}, "num_train_epochs is None: give a number"),
    ("11-stopping", REPAIRED | {"num_train_epochs": math.nan}, "allow more epochs"),
    ("11-stopping", REPAIRED | {"greater_is_better": 0}, "greater_is_better is 0: give True or False"),
    ("11-stopping", BY_STEPS | {"eval_steps": 0.5, "save_steps": 0.5}, "leaves no room for a patience of 3"),
    ("11-stopping", BY_STEPS | {"eval_steps": -5, "save_steps": 5}, "or a multiple of it"),
    ("11-stopping", REPAIRED | {"metric_for_best_model": ["macro_f1"]}, "no measure \"['macro_f1']\""),
    ("11-stopping", {"repaired": REPAIRED}, "Nothing is evaluated"),
]
