"""Right and wrong answers to the exercises of notebook 17, each wrong one with words of its hint."""

import numpy as np
import torch


def two_by_loop(similar):
    found = 0
    for i, row in enumerate(similar):
        nearest = sorted(range(len(row)), key=lambda j: -row[j])[:2]
        found += i in nearest
    return found / len(similar)


def two_by_torch(similar):
    nearest = torch.tensor(similar).topk(2, dim=1).indices
    return (nearest == torch.arange(len(similar))[:, None]).any(1).float().mean()


def changed(before, after):
    return sum(b != a for b, a in zip(before, after, strict=True))


def right(given, truth):
    return sum(g == t for g, t in zip(given, truth, strict=True))


def flags(se, sp, p):
    return p * se / (p * se + (1 - p) * (1 - sp))


RIGHT = {
    "17-two": [two_by_loop, two_by_torch],
    "17-look": [
        lambda b, a, t: (changed(b, a), right(b, t) - right(a, t)),
        lambda b, a, t: [np.sum(np.array(b) != np.array(a)), right(b, t) - right(a, t)],
    ],
    "17-flag": [
        flags,
        lambda sensitivity, specificity, share: 1 / (1 + (1 - share) / share * (1 - specificity) / sensitivity),
    ],
}

WRONG = [
    ("17-two", lambda s: np.mean(np.argmax(s, axis=1) == np.arange(len(s))), "second place counts"),
    ("17-two", lambda s: two_by_loop(np.array(s).T.tolist()), "along the rows"),
    ("17-two", lambda s: two_by_loop((-np.array(s)).tolist()), "two least alike"),
    ("17-two", lambda s: round(two_by_loop(s) * len(s)), "That is a count"),
    ("17-two", lambda s: 1.0, "your function gives"),
    ("17-look", lambda b, a, t: (changed(b, a), right(a, t) - right(b, t)), "sign"),
    ("17-look", lambda b, a, t: (right(b, t) - right(a, t), changed(b, a)), "order is turned"),
    ("17-look", lambda b, a, t: (changed(b, a), changed(b, a)), "need not have been right"),
    (
        "17-look",
        lambda b, a, t: (changed(b, a), sum(x == z != y for x, y, z in zip(b, a, t, strict=True))),
        "become right",
    ),
    ("17-look", lambda b, a, t: (len(a) - right(a, t), right(b, t) - right(a, t)), "differ from before"),
    ("17-look", lambda b, a, t: (0, 0), "your function gives"),
    ("17-flag", lambda se, sp, p: se, "That is the sensitivity"),
    ("17-flag", lambda se, sp, p: se / (se + 1 - sp), "how few are misfiled"),
    ("17-flag", lambda se, sp, p: p * se / (p * se + (1 - p) * sp), "not from the specificity"),
    ("17-flag", lambda se, sp, p: p * se + (1 - p) * (1 - sp), "share of all pictures"),
    ("17-flag", lambda se, sp, p: (1 - p) * sp / ((1 - p) * sp + p * (1 - se)), "without a flag"),
    ("17-flag", lambda se, sp, p: p, "your function gives"),
]
