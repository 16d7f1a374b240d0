"""The exercises of 12_ship_with_onnx_int8."""

import numpy as np

from course_utils.exercises.judging import by_example


def back(answer) -> tuple[bool, str]:
    """12: the real numbers that bytes without a sign stand for, by their scale and their zero point."""
    cases = [
        (np.array(q, dtype=np.uint8), scale, zero)
        for q, scale, zero in [
            ([0, 100, 255], 0.01, 100),
            ([3, 128, 130, 9], 0.5, 128),
            ([7, 0, 255], 0.25, 0),
            ([[0, 255], [254, 40]], 2.0, 255),
        ]
    ]

    def right(q, scale, zero):
        return (q.astype(int) - zero) * scale

    wraps = (
        "A byte without a sign can't go below 0: what is less starts again from 255, and no message says so. "
        "Make the numbers wider first: `q.astype(int)`."
    )
    mistakes = [
        (lambda q, s, z: (q - np.uint8(z)) * s, wraps),
        (
            lambda q, s, z: right(q.astype(np.int8), s, z),
            "int8 ends at 127, and bytes without a sign go to 255: take a wider kind of number, `q.astype(int)`.",
        ),
        (lambda q, s, z: (q + np.uint8(z)) * s, "Take the zero point off; you add it."),
        (lambda q, s, z: right(q, s, -z), "Take the zero point off; you add it."),
        (lambda q, s, z: q * s, "You leave out the zero point: which whole number stands for 0?"),
        (lambda q, s, z: q * s - z, "The zero point counts steps: take it off before you multiply."),
        (lambda q, s, z: q.astype(int) - z, "You leave out the scale: what is a step worth?"),
        (lambda q, s, z: right(q, s, z) / s**2, "Upside down: the scale is what a step is worth, so multiply by it."),
        (
            lambda q, s, z: np.rint(q / s) + z,
            "That is the way there. Which real number does each whole number stand for?",
        ),
        (
            lambda q, s, z: (z - q.astype(int)) * s,
            "The sign is wrong: numbers above the zero point stand for numbers above 0.",
        ),
        (lambda q, s, z: np.maximum(right(q, s, z), 0), "Numbers below the zero point stand for numbers below 0."),
    ]
    return by_example(answer, right, mistakes, cases)


def flips(answer) -> tuple[bool, str]:
    """12: the reports that only the old model, and that only the new model, grades right."""
    cases = [tuple(map(np.array, ([1, 0, 2, 3, 4, 0, 1], [1, 0, 1, 3, 0, 2, 1], [2, 0, 2, 1, 0, 1, 3])))]
    rng = np.random.default_rng(0)
    for n in (30, 200):
        truth, before = rng.integers(5, size=(2, n))
        before = np.where(rng.random(n) < 0.7, truth, before)
        cases.append((truth, before, np.where(rng.random(n) < 0.8, before, rng.integers(5, size=n))))

    def right(truth, before, after):
        return int(((before == truth) & (after != truth)).sum()), int(((before != truth) & (after == truth)).sum())

    def only_net(truth, before, after):
        return int((before == truth).sum()) - int((after == truth).sum())

    mistakes = [
        (lambda t, b, a: right(t, a, b), "The two are the wrong way round: first what is lost, then what is won."),
        (
            lambda t, b, a: int((b != a).sum()),
            "Those are all flips. Some go from one wrong grade to another: compare with the truth, and count two numbers.",
        ),
        (only_net, "That is the difference of the two. It hides that some reports are lost and others won."),
        (lambda t, b, a: sum(right(t, b, a)), "That is the sum of the two. Give both: what is lost, what is won."),
        (
            lambda t, b, a: (int((b == t).sum()), int((a == t).sum())),
            "Those are all that each model grades right. Count what *only* one of them does.",
        ),
        (
            lambda t, b, a: (int((b != t).sum()), int((a != t).sum())),
            "Those are each model's mistakes. Count what only one of them grades right.",
        ),
        (
            lambda t, b, a: (int(((b == t) & (a != b)).sum()), int(((b != t) & (a != b)).sum())),
            "The second counts every flip of a wrong grade. Only those that end up right are won.",
        ),
    ]
    return by_example(answer, right, mistakes, cases)


def floor(answer) -> tuple[bool, str]:
    """12: the milliseconds below which a model can't answer, from its operations and bytes and the machine's rates."""
    cases = [(22e9, 340e6, 150e9, 20e9), (2e9, 85e6, 600e9, 20e9), (2.7e9, 340e6, 150e9, 8e9), (5e8, 1e6, 1e9, 1e9)]
    mistakes = [
        (
            lambda o, b, ro, rb: 1000 * (o / ro + b / rb),
            "You added the two. While one weight is multiplied the next is read, so only the longer of the two counts.",
        ),
        (lambda o, b, ro, rb: 1000 * min(o / ro, b / rb), "Both must be done, so the longer counts: `max`, not `min`."),
        (lambda o, b, ro, rb: max(o / ro, b / rb), "Those are seconds. Milliseconds are asked for."),
        (lambda o, b, ro, rb: 1000 * o / ro, "You left the bytes out: the weights must be read, too."),
        (lambda o, b, ro, rb: 1000 * b / rb, "You left the operations out: reading the weights is not all."),
        (lambda o, b, ro, rb: max(ro / o, rb / b), "Upside down: time is work divided by the rate."),
        (lambda o, b, ro, rb: 1000 * max(ro / o, rb / b), "Upside down: time is work divided by the rate."),
    ]
    return by_example(answer, lambda o, b, ro, rb: 1000 * max(o / ro, b / rb), mistakes, cases)


CHECKERS = {"12-back": back, "12-flips": flips, "12-floor": floor}
