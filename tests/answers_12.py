"""Right and wrong answers to the exercises of notebook 12, each wrong one with words of its hint."""

import numpy as np


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


RIGHT = {
    "12-scale": [scale, scale_by_points],
    "12-flips": [flips, flips_by_loop],
    "12-floor": [floor, floor_in_ms],
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
]
