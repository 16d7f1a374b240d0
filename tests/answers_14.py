"""Right and wrong answers to the exercises of notebook 14, each wrong one with words of its hint."""

import numpy as np
import pandas as pd


def too_much(dev, worth):
    winner = np.argmax(dev)
    return dev[winner] - worth[winner]


def too_much_by_pairs(dev, worth):
    said, is_worth = max(zip(dev, worth, strict=True))
    return float(said - is_worth)


def repeats(points):
    seen, found = [], 0
    for one in points:
        found += one in seen
        seen.append(one)
    return found


def repeats_by_sets(points):
    return len(points) - len({frozenset(one.items()) for one in points})


def repeats_by_table(points):
    return int(pd.DataFrame(points).duplicated().sum())


def on_front(ms, score):
    found = []
    for one in range(len(ms)):
        beaten = any(
            ms[i] <= ms[one] and score[i] >= score[one] and (ms[i] < ms[one] or score[i] > score[one])
            for i in range(len(ms))
        )
        found.append(not beaten)
    return found


def on_front_by_sorting(ms, score):
    keep = np.zeros(len(ms), bool)
    best = -np.inf
    for time in sorted(set(ms)):
        there = ms == time
        if score[there].max() > best:
            best = score[there].max()
            keep |= there & (score == best)
    return keep


RIGHT = {
    "14-flattery": [too_much, too_much_by_pairs],
    "14-repeats": [repeats, repeats_by_sets, repeats_by_table],
    "14-front": [on_front, on_front_by_sorting],
}
WRONG = [
    ("14-flattery", lambda dev, worth: max(dev) - max(worth), "take the winner on dev"),
    ("14-flattery", lambda dev, worth: max(dev) - worth.mean(), "the worth of the one that won"),
    ("14-flattery", lambda dev, worth: worth[dev.argmax()] - dev.max(), "The wrong way round"),
    ("14-flattery", lambda dev, worth: worth[dev.argmax()], "say too much?"),
    ("14-flattery", lambda dev, worth: (dev - worth).mean(), "reports its winner alone"),
    ("14-flattery", lambda dev, worth: (dev - worth).max(), "the luckiest setting of all"),
    ("14-flattery", lambda dev, worth: 100 * too_much(dev, worth), "in percent"),
    ("14-flattery", lambda dev, worth: dev - worth, "your function gives [-0.1"),
    (
        "14-repeats",
        lambda points: len({frozenset(p.items()) for p in points}),
        "different ones",
    ),
    ("14-repeats", lambda points: len(points) - len({str(one) for one in points}), "sort them"),
    ("14-repeats", lambda points: sum(points.count(one) > 1 for one in points), "It repeats nothing"),
    (
        "14-repeats",
        lambda points: sum(a == b for a, b in zip(points, points[1:], strict=False)),
        "keep all that were seen",
    ),
    ("14-repeats", lambda points: repeats(points) / len(points), "Their number is asked for"),
    (
        "14-repeats",
        lambda points: sum(points.count(dict(one)) > 1 for one in {frozenset(p.items()) for p in points}),
        "repeats twice",
    ),
    ("14-front", lambda ms, score: ~np.array(on_front(ms, score)), "The wrong way round"),
    ("14-front", lambda ms, score: np.flatnonzero(on_front(ms, score)), "booleans is asked for"),
    ("14-front", lambda ms, score: score == score.max(), "the best score alone"),
    ("14-front", lambda ms, score: on_front(-ms, score), "you keep the slow ones"),
    ("14-front", lambda ms, score: on_front(ms, -score), "you keep the poor ones"),
    (
        "14-front",
        lambda ms, score: ~((ms[:, None] < ms) & (score[:, None] > score)).any(0),
        "it need not be better in both",
    ),
    ("14-front", lambda ms, score: ((ms[:, None] <= ms) & (score[:, None] >= score)).sum(0) == 1, "both stay"),
]
