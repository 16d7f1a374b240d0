"""The exercises of 10_judge_a_grader."""

import math

import numpy as np

from course_utils.exercises.judging import by_example


def threshold(answer) -> tuple[bool, str]:
    """10: the highest threshold that reaches a sensitivity."""
    cases = [
        ([0.9, 0.8, 0.6, 0.4, 0.2], [1, 0, 1, 1, 0], 0.6),
        ([0.15, 0.35, 0.55, 0.75, 0.65, 0.25], [0, 1, 1, 1, 0, 1], 0.75),
        ([0.72, 0.31, 0.94, 0.48, 0.05, 0.12], [1, 1, 1, 0, 0, 0], 1.0),
    ]
    cases = [(np.array(chances), np.array(ill, bool), wanted) for chances, ill, wanted in cases]
    rng = np.random.default_rng(0)
    ill = rng.random(60) < 0.4
    cases.append((np.round(np.clip(rng.normal(0.35 + 0.3 * ill, 0.2), 0, 1), 2), ill, 0.95))

    def sensitive(chances, ill, wanted, at=np.greater_equal):
        return [t for t in np.unique(chances) if at(chances[ill], t).mean() >= wanted]

    def specific(chances, ill, wanted):
        return [t for t in np.unique(chances) if (chances[~ill] < t).mean() >= wanted]

    def precise(chances, ill, wanted):
        return [t for t in np.unique(chances) if ill[chances >= t].mean() >= wanted]

    mistakes = [
        (lambda *case: min(sensitive(*case)), "That is the lowest one. It refers nearly everyone: take the highest."),
        (
            lambda *case: max(sensitive(*case, at=np.greater), default=0.0),
            "Refer those *at* the threshold too: >=, not >.",
        ),
        (
            lambda *case: min(specific(*case), default=1.0),
            "That is the specificity. Sensitivity looks at the ill alone.",
        ),
        (
            lambda *case: min(precise(*case), default=1.0),
            "That is the precision: the ill among the referred. Divide by all the ill.",
        ),
        (lambda c, ill, wanted: wanted, "The wanted sensitivity is no threshold. Try each chance that occurs as one."),
        (
            lambda c, ill, wanted: 1 - wanted,
            "The wanted sensitivity is no threshold. Try each chance that occurs as one.",
        ),
    ]
    return by_example(answer, lambda *case: max(sensitive(*case)), mistakes, cases, tolerance=1e-6)


def abstain(answer) -> tuple[bool, str]:
    """10: the share of errors among the most confident reports."""
    cases = [  # 3.75 reports are three; 0.6 of a report is one, for there must be one
        ([0.9, 0.6, 0.8, 0.7, 0.5], [0, 1, 0, 1, 0], 0.75),
        ([0.4, 0.8, 0.6, 0.3, 0.7, 0.5], [0, 1, 0, 0, 0, 1], 0.1),
        ([0.5, 0.9, 0.6, 0.7], [1, 0, 0, 1], 1.0),
    ]
    cases = [(np.array(confidence), np.array(wrong, bool), share) for confidence, wrong, share in cases]
    rng = np.random.default_rng(1)
    confidence = rng.permutation(np.linspace(0.3, 0.99, 40)).round(3)
    cases.append((confidence, rng.random(40) < 0.9 - 0.6 * confidence, 0.64))

    def count(n, share):
        return max(1, int(share * n))

    def of_first(order, divide=lambda wrong, n: n, count=count):
        return lambda c, wrong, share: (
            wrong[np.argsort(order(c), kind="stable")][: count(len(c), share)].sum()
            / divide(wrong, count(len(c), share))
        )

    def nearest(n, share):
        return max(1, round(share * n))

    def up(n, share):
        return math.ceil(share * n)

    down = "Round down: of 3.75 reports keep 3."

    mistakes = [
        (of_first(lambda c: -c, count=nearest), down),
        (of_first(lambda c: -c, count=up), down),
        (lambda c, wrong, share: wrong.mean(), "You count all reports. Keep only the `share` most confident."),
        (of_first(lambda c: c), "Those are the least confident. The grader keeps the most confident."),
        (of_first(lambda c: -c, lambda wrong, n: len(wrong)), "Divide by the reports that are kept, not by all."),
        (
            of_first(lambda c: -c, lambda wrong, n: max(1, wrong.sum())),
            "Divide by the reports that are kept, not by the errors.",
        ),
        (of_first(lambda c: np.arange(len(c))), "You take the first reports of the list. Sort by confidence first."),
        (
            lambda c, wrong, share: 1 - of_first(lambda c: -c)(c, wrong, share),
            "That is the share that is right. The errors are asked for.",
        ),
        (
            lambda c, wrong, share: wrong[c >= share].mean() if (c >= share).any() else 0.0,
            "`share` is a share of the reports, not a confidence to reach.",
        ),
    ]
    return by_example(answer, of_first(lambda c: -c), mistakes, cases, "Keep at least one report.")


CHECKERS = {"10-threshold": threshold, "10-abstain": abstain}
