"""The exercises of 12_ship_with_onnx_int8."""

import numpy as np

from course_utils.exercises.judging import by_example


def scale(answer) -> tuple[bool, str]:
    """12: scale and zero point that map the numbers from `low` to `high` to 0..255."""
    cases = [(-100.0, 300.0), (50.0, 800.0), (-900.0, -20.0), (-250.0, 270.0), (-7.0, 1013.0), (-340.0, 100.0)]

    def made(span=255, with_zero=True, point=lambda low, scale: round(-low / scale)):
        def of(low, high):
            if with_zero:
                low, high = min(low, 0), max(high, 0)
            scale = (high - low) / span
            return scale, point(low, scale)

        return of

    def upside_down(low, high):
        scale, zero = made()(low, high)
        return 1 / scale, zero

    def symmetric(low, high):
        return max(abs(low), abs(high)) / 127, 0

    mistakes = [
        (
            made(with_zero=False),
            "Where all numbers are on one side of 0, widen the range to hold 0: padding must stay exactly 0.",
        ),
        (made(span=256), "From 0 to 255 there are 255 steps, not 256."),
        (
            made(point=lambda low, scale: round(low / scale)),
            "The sign of the zero point is wrong: `low` must become 0.",
        ),
        (made(point=lambda low, scale: -low / scale), "The zero point is a whole number: round it."),
        (made(point=lambda low, scale: 0), "The zero point is missing: which number of 0..255 stands for 0?"),
        (made(point=lambda low, scale: -low), "The zero point counts steps: divide by the scale."),
        (upside_down, "The scale is upside down: it is how much one step is worth, so range / 255."),
        (symmetric, "That is the symmetric way, for weights. Here `low` becomes 0 and `high` becomes 255."),
    ]
    return by_example(answer, made(), mistakes, cases, "Is your scale 0 somewhere?")


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


CHECKERS = {"12-scale": scale, "12-flips": flips, "12-floor": floor}
