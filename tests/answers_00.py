"""Right and wrong answers to the exercises of notebook 00, each wrong one with words of its hint."""

import math
import statistics
from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import torch


def commonest_share(labels):
    return max(Counter(list(labels)).values()) / len(labels)


def commonest_share_by_bincount(labels):
    return float(np.bincount(labels).max() / len(labels))


def share_by_loop(labels):
    best = 0
    for grade in set(labels):
        best = max(best, sum(one == grade for one in labels))
    return best / len(labels)


def share_by_mode(labels):
    common = statistics.mode(list(labels))
    return np.mean([one == common for one in labels])


def share_as_fraction(labels):
    labels = list(labels)
    return Fraction(max(map(labels.count, labels)), len(labels))


RIGHT = {
    "00-steps": [84, 84.0, np.int64(84), np.ceil(1300 / 64) * 4, np.array(84), Fraction(84), torch.tensor(84)],
    "00-majority": [
        commonest_share,
        commonest_share_by_bincount,
        share_by_loop,
        share_by_mode,
        share_as_fraction,
        lambda labels: pd.Series(labels).value_counts(normalize=True).iloc[0],
        lambda labels: torch.tensor(labels).bincount().max() / len(labels),
        lambda labels, best=max: best(np.bincount(labels)) / len(labels),
    ],
}

WRONG = [
    ("00-steps", 80, "left out the last batch"),
    ("00-steps", 82, "left out the last batch"),
    ("00-steps", 81.25, "left out the last batch"),
    ("00-steps", 21, "That is one epoch. There are 4"),
    ("00-steps", 63, "That is three epochs. There are 4"),
    ("00-steps", 20, "without its last batch"),
    ("00-steps", 5200, "You counted reports"),
    ("00-steps", 1300, "You counted reports, of one epoch"),
    ("00-steps", 96, "How many batches of 64"),
    ("00-steps", "84", "A number is asked for"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][0], "the commonest grade itself"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][1], "That is a count"),
    ("00-majority", lambda labels: 100 * commonest_share(labels), "That is in percent"),
    ("00-majority", lambda labels: max(Counter(list(labels)).values()) / len(set(labels)), "not by the grades"),
    ("00-majority", lambda labels: 1 / len(set(labels)), "guessing at random"),
    ("00-majority", lambda labels: list(labels).count(0) / len(labels), "always answers 0"),
    (
        "00-majority",
        lambda labels: 0.5,
        "For labels=[4] your function gives 0.5; right is 1. It gives that in all 5 cases",
    ),
    ("00-majority", lambda labels: "most", "your function gives 'most'"),
    ("00-majority", commonest_share([1, 1, 2]), "Hand over the function itself"),
    ("00-majority", lambda labels: None, "End it with `return`"),
    ("00-majority", lambda labels: labels.count(0) / len(labels), "stopped with AttributeError"),
    ("00-steps", 83, "How many batches of 64"),
    ("00-steps", None, "you gave None"),
    ("00-steps", [84], "you gave [84]"),
    ("00-steps", True, "you gave True"),
    ("00-steps", math.nan, "How many batches of 64"),
    ("00-steps", len, "you gave the function len"),
    ("00-majority", lambda labels: round(share_by_loop(labels), 1), "gives 0.6; right is 0.625. You round"),
    ("00-majority", lambda labels: max(Counter(list(labels)).values()) // len(labels), "gives 0; right is 0.5"),
    ("00-majority", lambda labels: share_by_loop(labels[1:]), "divides by zero"),
    ("00-majority", lambda labels: 1 - share_by_loop(labels), "For labels=[4] your function gives 0; right is 1."),
    ("00-majority", lambda labels: [share_by_loop(labels)], "gives [1]; right is 1"),
    ("00-majority", lambda labels: f"{share_by_loop(labels)}", "gives '1.0'; right is 1"),
    ("00-majority", lambda: 0.5, "stopped with TypeError"),
    ("00-majority", lambda labels: labels.sort() or 0.5, "changes what it is given (labels)"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1), "gives [[4, 1]]; right is 1"),
    ("00-majority", lambda labels: min(Counter(list(labels)).values()) / len(labels), "gives 0.25; right is 0.5"),
]
VALUES = {"00-steps"}  # exercises whose answer is a value, not a function
