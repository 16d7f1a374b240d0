"""Right and wrong answers to the exercises of notebook 12, each wrong one with words of its hint."""

import math

import numpy as np
import torch


def scale(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / 255
    return step, round(-low / step)


def scale_by_points(low, high):
    points = np.linspace(min(low, 0), max(high, 0), 256)
    return points[1] - points[0], int(abs(points).argmin())


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


def stretched(low, high):
    """The range is widened below 0 alone."""
    low = min(low, 0)
    return (high - low) / 255, round(-low / ((high - low) / 255))


RIGHT = {
    "12-scale": [
        scale,
        scale_by_points,
        lambda low, high: list(scale(low, high)),
        lambda a, b: (scale(a, b)[0], np.uint8(scale(a, b)[1])),
        lambda a, b: torch.tensor(scale(a, b)),
        lambda a, b: (scale(a, b)[0], np.rint(255 - max(b, 0) / scale(a, b)[0])),
        lambda a, b: dict(enumerate(scale(a, b))).values(),
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
    (
        "12-scale",
        lambda low, high: ((high - low) / 255, round(-low / ((high - low) / 255))),
        "widen the range to hold 0",
    ),
    (
        "12-scale",
        lambda low, high: (scale(low, high)[0] * 255 / 256, round(-min(low, 0) / scale(low, high)[0] * 256 / 255)),
        "255 steps",
    ),
    ("12-scale", lambda low, high: (scale(low, high)[0], -scale(low, high)[1]), "The sign of the zero point"),
    ("12-scale", lambda low, high: (scale(low, high)[0], -min(low, 0) / scale(low, high)[0]), "round it"),
    ("12-scale", lambda low, high: (scale(low, high)[0], 0), "The zero point is missing"),
    ("12-scale", lambda low, high: (scale(low, high)[0], -min(low, 0)), "divide by the scale"),
    ("12-scale", lambda low, high: (1 / scale(low, high)[0], scale(low, high)[1]), "upside down"),
    ("12-scale", lambda low, high: (max(abs(low), abs(high)) / 127, 0), "the symmetric way"),
    ("12-scale", lambda low, high: scale(low, high)[0], "right is"),
    ("12-scale", (1.0, 0), "Hand over the function itself"),
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
    ("12-scale", stretched, "For low=-900, high=-20 your function gives [3.45098, 261]; right is [3.52941, 255]"),
    ("12-scale", lambda a, b: (scale(a, b)[0], 128), "right is [3.13725, 0]"),
    ("12-scale", lambda a, b: scale(a, b)[::-1], "gives [0, 3.13725]; right is [3.13725, 0]"),
    ("12-scale", lambda a, b: (scale(a, b)[0], int(-min(a, 0) / scale(a, b)[0])), "gives [4, 1]; right is [4, 2]"),
    ("12-scale", lambda a, b: (scale(a, b)[0], scale(a, b)[1] - 128), "right is [3.13725, 0]"),
    ("12-scale", lambda a, b: np.round(scale(a, b), 2), "You round"),
    ("12-scale", lambda a, b: {"scale": scale(a, b)[0], "zero": scale(a, b)[1]}, "right is [3.13725, 0]"),
    ("12-scale", lambda a, b: (0.01, 128), "in all 6 cases"),
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
    (
        "12-scale",
        lambda a, b: (scale(a, b)[0], math.ceil(-min(a, 0) / scale(a, b)[0])),
        "[1.72549, 198]; right is [1.72549, 197]",
    ),
    ("12-floor", lambda o, b, ro, rb: 1000 * math.hypot(o / ro, b / rb), "right is 4.25"),
    ("12-floor", lambda o, b, ro, rb: 1000 * (o + b) / (ro + rb), "gives 250.5; right is 500"),
]
