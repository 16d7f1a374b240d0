"""Right and wrong answers to the exercises of notebook 00, each wrong one with words of its hint."""

from collections import Counter

import numpy as np


def commonest_share(labels):
    return max(Counter(list(labels)).values()) / len(labels)


def commonest_share_by_bincount(labels):
    return float(np.bincount(labels).max() / len(labels))


RIGHT = {
    "00-steps": [96, 96.0, np.int64(96)],
    "00-majority": [commonest_share, commonest_share_by_bincount],
}

WRONG = [
    ("00-steps", 93, "left out the last batch"),
    ("00-steps", 94, "left out the last batch"),
    ("00-steps", 93.75, "left out the last batch"),
    ("00-steps", 32, "That is one epoch. There are three"),
    ("00-steps", 31, "without its last batch"),
    ("00-steps", 3000, "You counted reports"),
    ("00-steps", 1000, "You counted reports, of one epoch"),
    ("00-steps", 7, "How many batches of 32"),
    ("00-steps", "96", "A number is asked for"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][0], "the commonest grade itself"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][1], "That is a count"),
    ("00-majority", lambda labels: 100 * commonest_share(labels), "That is in percent"),
    ("00-majority", lambda labels: max(Counter(list(labels)).values()) / len(set(labels)), "not by the grades"),
    ("00-majority", lambda labels: 1 / len(set(labels)), "guessing at random"),
    ("00-majority", lambda labels: list(labels).count(0) / len(labels), "always answers 0"),
    ("00-majority", lambda labels: 0.5, "For [4] your function gives 0.500; right is 1.000"),
    ("00-majority", lambda labels: "most", "your function gives most"),
    ("00-majority", commonest_share([1, 1, 2]), "Hand over the function itself"),
    ("00-majority", lambda labels: None, "End it with `return`"),
    ("00-majority", lambda labels: labels.count(0) / len(labels), "stopped with AttributeError"),
]
VALUES = {"00-steps"}  # exercises whose answer is a value, not a function
