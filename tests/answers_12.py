"""Right and wrong answers to the exercises of notebook 12, each wrong one with words of its hint."""

import math

import numpy as np
import torch


def back(q, scale, zero):
    return scale * (q.astype(np.int32) - zero)


def back_by_floats(q, scale, zero):
    return q * scale - zero * scale


def back_by_table(q, scale, zero):
    return ((np.arange(256) - zero) * scale)[q]


def flips(truth, before, after):
    lost = (before == truth) & (after != truth)
    won = (before != truth) & (after == truth)
    return lost.sum(), won.sum()


def flips_by_loop(truth, before, after):
    both = [(b == t, a == t) for t, b, a in zip(truth, before, after, strict=True)]
    return both.count((True, False)), both.count((False, True))


def floor(operations, weight_bytes, per_second, read_per_second):
    return max(operations / per_second, weight_bytes / read_per_second) * 1000


def floor_in_ms(operations, weight_bytes, per_second, read_per_second):
    return max(1e3 * operations / per_second, 1e3 * weight_bytes / read_per_second)


def lost_and_won(truth, before, after):
    change = (after == truth).astype(int) - (before == truth)
    return [int((change < 0).sum()), int((change > 0).sum())]


def by_sets(truth, before, after):
    old, new = set(np.flatnonzero(before == truth)), set(np.flatnonzero(after == truth))
    return len(old - new), len(new - old)


RIGHT = {
    "12-back": [
        back,
        back_by_floats,
        back_by_table,
        lambda q, s, z: back(q, s, z).tolist(),
        lambda q, s, z: (q.astype(float) - z) * s,
        lambda q, s, z: np.subtract(q, z, dtype=np.int16) * s,
        lambda q, s, z: (torch.tensor(q).int() - z) * s,
    ],
    "12-flips": [
        flips,
        flips_by_loop,
        lost_and_won,
        by_sets,
        lambda t, b, a: np.array(flips(t, b, a)),
        lambda t, b, a: map(float, flips(t, b, a)),
        lambda t, b, a: (sum(x == y != z for x, y, z in zip(t, b, a, strict=True)), len(t[(b != t) & (a == t)])),
    ],
    "12-floor": [
        floor,
        floor_in_ms,
        lambda a, b, c, d: np.maximum(a / c, b / d) * 1000,
        lambda a, b, c, d: 1e3 * (a / c if a / c > b / d else b / d),
        lambda a, b, c, d: torch.tensor([a / c, b / d], dtype=torch.float64).max() * 1000,
    ],
}

WRONG = [
    ("12-back", lambda q, s, z: (q - z) * s, "q.astype(int)"),
    ("12-back", lambda q, s, z: s * np.subtract(q, z), "can't go below 0"),
    ("12-back", lambda q, s, z: (torch.tensor(q) - z) * s, "can't go below 0"),
    ("12-back", lambda q, s, z: (q + z) * s, "you add it"),
    ("12-back", lambda q, s, z: (q.astype(int) + z) * s, "you add it"),
    ("12-back", lambda q, s, z: q * s, "You leave out the zero point"),
    ("12-back", lambda q, s, z: q * s - z, "before you multiply"),
    ("12-back", lambda q, s, z: q.astype(int) - z, "You leave out the scale"),
    ("12-back", lambda q, s, z: (q.astype(int) - z) / s, "Upside down"),
    ("12-back", lambda q, s, z: np.rint(q / s) + z, "That is the way there"),
    ("12-back", lambda q, s, z: -back(q, s, z), "The sign is wrong"),
    ("12-back", lambda q, s, z: back(q, s, z).clip(0), "numbers below 0"),
    (
        "12-back",
        lambda q, s, z: back(q, s, 128),
        "For q=[7, 0, 255], s=0.25, z=0 your function gives [-30.25, -32, 31.75]; right is [1.75, 0, 63.75]",
    ),
    ("12-back", lambda q, s, z: (q.astype(np.int8).astype(int) - z) * s, "ends at 127"),
    ("12-back", lambda q, s, z: back(q, s, z).round(), "You round"),
    ("12-back", lambda q, s, z: back(q, s, z)[0], "gives 1.75; right is [1.75, 0, 63.75]"),
    ("12-back", lambda q, s, z: [0.0, 1.0], "in all 4 cases"),
    ("12-back", lambda q, s, z: None, "returns nothing"),
    ("12-back", np.array([0.1]), "Hand over the function itself"),
    ("12-flips", lambda t, b, a: flips(t, a, b), "the wrong way round"),
    ("12-flips", lambda t, b, a: (b != a).sum(), "Those are all flips"),
    ("12-flips", lambda t, b, a: (b == t).sum() - (a == t).sum(), "It hides"),
    ("12-flips", lambda t, b, a: sum(flips(t, b, a)), "the sum of the two"),
    ("12-flips", lambda t, b, a: ((b == t).sum(), (a == t).sum()), "all that each model grades right"),
    ("12-flips", lambda t, b, a: ((b != t).sum(), (a != t).sum()), "each model's mistakes"),
    (
        "12-flips",
        lambda t, b, a: (((b == t) & (a != b)).sum(), ((b != t) & (a != b)).sum()),
        "every flip of a wrong grade",
    ),
    ("12-flips", lambda t, b, a: None, "returns nothing"),
    ("12-floor", lambda o, b, ro, rb: 1000 * (o / ro + b / rb), "You added the two"),
    ("12-floor", lambda o, b, ro, rb: 1000 * min(o / ro, b / rb), "`max`, not `min`"),
    ("12-floor", lambda o, b, ro, rb: max(o / ro, b / rb), "Those are seconds"),
    ("12-floor", lambda o, b, ro, rb: 1000 * o / ro, "You left the bytes out"),
    ("12-floor", lambda o, b, ro, rb: 1000 * b / rb, "You left the operations out"),
    ("12-floor", lambda o, b, ro, rb: 1000 * max(ro / o, rb / b), "Upside down"),
    ("12-floor", lambda o, b, ro, rb: max(ro / o, rb / b), "Upside down"),
    ("12-floor", 145.0, "Hand over the function itself"),
    ("12-flips", lambda t, b, a: flips(t[1:], b[1:], a[1:]), "gives [2, 1]; right is [3, 1]"),
    ("12-flips", lambda t, b, a: (max(0, (b == t).sum() - (a == t).sum()), 0), "gives [2, 0]; right is [3, 1]"),
    ("12-flips", lambda t, b, a: flips(t, b, a)[0], "gives 3; right is [3, 1]"),
    ("12-flips", lambda t, b, a: tuple(n / len(t) for n in flips(t, b, a)), "right is [3, 1]"),
    ("12-flips", lambda t, b, a: ((b == t) & (a != t), (b != t) & (a == t)), "gives (2 x 7 array); right is [3, 1]"),
    ("12-flips", lambda t, b, a: ((b < a).sum(), (b > a).sum()), "right is [3, 1]"),
    ("12-flips", lambda t, b, a: str(flips(t, b, a)), "right is [3, 1]"),
    ("12-flips", lambda t, b, a: (2, 1), "in all 3 cases"),
    ("12-floor", lambda o, b, ro, rb: 1e6 * max(o / ro, b / rb), "gives 500000; right is 500"),
    ("12-floor", lambda o, b, ro, rb: 500 * (o / ro + b / rb), "gives 250.5; right is 500"),
    ("12-floor", lambda o, b, ro, rb: round(floor(o, b, ro, rb)), "gives 4; right is 4.25. You round"),
    ("12-floor", lambda o, b, ro, rb: int(floor(o, b, ro, rb)), "gives 4; right is 4.25"),
    ("12-floor", lambda o, b, ro, rb: 1000 * max(o / rb, b / ro), "right is 4.25"),
    ("12-floor", lambda o, b, ro, rb: 1000 * max(o // ro, b // rb), "gives 0; right is 500"),
    ("12-floor", lambda o, b, ro, rb: f"{floor(o, b, ro, rb)} ms", "gives '500.0 ms'; right is 500"),
    ("12-floor", lambda o, b, ro, rb: 5.0, "in all 4 cases"),
    ("12-flips", lambda t, b, a: ((b == t).sum() - ((b == t) & (a == t)).sum(), (a != b).sum()), "right is [3, 1]"),
    ("12-floor", lambda o, b, ro, rb: 1000 * math.hypot(o / ro, b / rb), "right is 4.25"),
    ("12-floor", lambda o, b, ro, rb: 1000 * (o + b) / (ro + rb), "gives 250.5; right is 500"),
]
