"""Right and wrong answers to the exercises of notebook 16, each wrong one with words of its hint."""

from math import exp

import numpy as np
import torch


def mean_by_loop(updates, reports):
    total = sum(reports)
    return [sum(n * u[i] for u, n in zip(updates, reports, strict=True)) / total for i in range(len(updates[0]))]


def mean_by_torch(updates, reports):
    return torch.tensor(updates).T @ (torch.tensor(reports, dtype=torch.float32) / sum(reports))


def cosines(changes):
    changes = np.array(changes)
    others = [np.delete(changes, k, axis=0).mean(0) for k in range(len(changes))]
    return [
        one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in zip(changes, others, strict=True)
    ]


def by_pairs(changes):
    units = np.array(changes) / np.linalg.norm(changes, axis=1, keepdims=True)
    return (units @ units.T).sum(1).argmin()


def lengths(changes):
    return np.linalg.norm(changes, axis=1)


def odds(epsilon, before):
    return before / (1 - before) * exp(epsilon)


RIGHT = {
    "16-mean": [mean_by_loop, mean_by_torch, lambda u, n: np.average(u, axis=0, weights=n)],
    "16-cheat": [lambda c: int(np.argmin(cosines(c))), by_pairs, lambda c: min(range(4), key=cosines(c).__getitem__)],
    "16-epsilon": [
        lambda e, p: odds(e, p) / (1 + odds(e, p)),
        lambda epsilon, before: 1 / (1 + (1 - before) / before * exp(-epsilon)),
        lambda e, p: p * exp(e) / (p * exp(e) + 1 - p),
    ],
}

WRONG = [
    ("16-mean", lambda u, n: np.mean(u, axis=0), "plain mean"),
    ("16-mean", lambda u, n: np.array(n) @ np.array(u), "divide by their sum"),
    ("16-mean", lambda u, n: np.array(n) @ np.array(u) / len(n), "number of sites"),
    ("16-mean", lambda u, n: np.mean(u), "One number came"),
    ("16-mean", lambda u, n: np.average(u, axis=0, weights=1 / np.array(n)), "smallest site counts most"),
    ("16-mean", lambda u, n: np.average(u, axis=1), "your function gives"),
    ("16-cheat", lambda c: int(np.argmax(lengths(c))), "moved furthest"),
    ("16-cheat", lambda c: int(np.argmin(lengths(c))), "moved least"),
    ("16-cheat", lambda c: int(np.argmax(cosines(c))), "agrees best"),
    ("16-cheat", lambda c: int(lengths(np.array(c) - np.mean(c, axis=0)).argmax()), "moved furthest"),
    ("16-cheat", lambda c: 1, "Compare directions"),
    ("16-cheat", lambda c: c[0], "Return the number of a site"),
    ("16-cheat", lambda c: "harbour", "Return the number of a site"),
    ("16-epsilon", lambda e, p: min(1.0, p * exp(e)), "multiplies the odds"),
    ("16-epsilon", lambda e, p: exp(e) / (1 + exp(e)), "what was believed before"),
    ("16-epsilon", odds, "Those are odds"),
    ("16-epsilon", lambda e, p: p / (p + (1 - p) * exp(e)), "turn the sign"),
    ("16-epsilon", lambda e, p: p / (1 - p) * (1 + e) / (1 + p / (1 - p) * (1 + e)), "only where epsilon is small"),
    ("16-epsilon", lambda e, p: p, "your function gives"),
]
