"""The exercises of 16_train_across_hospitals."""

from math import exp

import numpy as np

from course_utils.exercises.judging import NOTHING, Wrong, by_example, called, plain, show

SITES = [  # what sites send, and on how many reports it rests
    ([[1.0, 3.0], [5.0, 7.0]], [3, 1]),
    ([[0.0], [10.0], [20.0]], [8, 1, 1]),
    ([[2.0, -2.0, 4.0]], [7]),
    ([[1.0, 1.0], [2.0, 4.0], [6.0, 1.0]], [100, 300, 100]),
]


def weighted_mean(updates, reports):
    """The right answer to 16-mean."""
    return (np.array(updates) * np.array(reports)[:, None]).sum(0) / sum(reports)


def mean(answer) -> tuple[bool, str]:
    """16: the mean of what sites send, each with the weight of its reports."""
    mistakes = [
        (
            lambda u, n: np.mean(u, axis=0),
            "That is the plain mean: a site with one report counts as much as one with 300.",
        ),
        (
            lambda u, n: (np.array(u) * np.array(n)[:, None]).sum(0),
            "The weights must be shares of all reports: divide by their sum.",
        ),
        (
            lambda u, n: (np.array(u) * np.array(n)[:, None]).sum(0) / len(n),
            "You divide by the number of sites. Divide by the number of reports.",
        ),
        (
            lambda u, n: np.average(np.array(u, float)),
            "One number came. Keep one for each place: the mean over sites alone.",
        ),
        (
            lambda u, n: (np.array(u) * (1 / np.array(n))[:, None]).sum(0) / (1 / np.array(n)).sum(),
            "The smallest site counts most with you. The weight grows with the reports.",
        ),
    ]
    return by_example(answer, weighted_mean, mistakes, SITES)


def rounds() -> list[tuple[list[list[float]], int]]:
    """Return rounds of four sites' changes, and which site is hostile in each: it sends the others' way back, or noise."""
    random = np.random.default_rng(0)
    found = []
    for liar, kind in ((2, "back"), (0, "noise"), (3, "small back"), (1, "noise")):
        common = random.normal(size=40)
        changes = [common + 0.7 * random.normal(size=40) for _ in range(4)]
        changes[3 - liar] = changes[3 - liar] * 3  # an honest site that has moved far
        how = {"back": -1.0 * changes[liar], "small back": -0.2 * changes[liar], "noise": 2 * random.normal(size=40)}
        changes[liar] = how[kind]
        found.append(([change.tolist() for change in changes], liar))
    return found


def cheat(answer) -> tuple[bool, str]:
    """16: find the one of four sites whose change does not go the way of the others."""
    cases = rounds()
    given = [plain(called(answer, (changes,))) for changes, _ in cases]
    if all(one is None for one in given):
        return False, NOTHING
    for number, one in enumerate(given, start=1):
        if isinstance(one, bool) or not isinstance(one, int | float) or one not in range(4):
            return (
                False,
                f"For round {number} your function gives {show(one)}. Return the number of a site, from 0 to 3.",
            )
    right = [liar for _, liar in cases]
    if [int(one) for one in given] == right:
        return (
            True,
            f"Right, in all {len(cases)} rounds: of the sites that send the way back, and of those that send noise.",
        )
    for measure, hint in MISTAKEN:
        if [int(one) for one in given] == [measure(np.array(changes)) for changes, _ in cases]:
            return False, hint
    wrong = next(k for k in range(len(cases)) if int(given[k]) != right[k])
    return (
        False,
        f"In round {wrong + 1} you name site {int(given[wrong])}, and it is honest. Compare directions, each site with the others.",
    )


def _cosines(changes: np.ndarray) -> np.ndarray:
    """Return the cosine of each site's change with the mean of the others'."""
    others = (changes.sum(0) - changes) / (len(changes) - 1)
    return (changes * others).sum(1) / np.linalg.norm(changes, axis=1) / np.linalg.norm(others, axis=1)


MISTAKEN = [
    (
        lambda changes: int(np.linalg.norm(changes, axis=1).argmax()),
        "You name the site that moved furthest, so lies furthest from the mean. An honest one may: look at the direction.",
    ),
    (
        lambda changes: int(np.linalg.norm(changes, axis=1).argmin()),
        "You name the site that moved least. It may have had little to learn: look at the direction.",
    ),
    (
        lambda changes: int(_cosines(changes).argmax()),
        "You name the site that agrees best with the others: take the least, not the most.",
    ),
]


BELIEFS = [(1.0, 0.5), (3.0, 0.5), (8.0, 0.1), (0.0, 0.3), (0.1, 0.01), (650.0, 0.5), (1.0, 0.9)]


def belief(epsilon, before):
    """The right answer to 16-epsilon: odds grow at most e^epsilon times (Wasserman and Zhou, JASA 2010;105:375-389)."""
    return 1 / (1 + (1 - before) / before * exp(-epsilon))


def epsilon(answer) -> tuple[bool, str]:
    """16: how sure a snooper can become, at most, that a patient was in the training data."""
    mistakes = [
        (
            lambda e, p: min(1.0, p * exp(e)) if e < 700 else 1.0,
            "e^epsilon multiplies the odds, p / (1 - p), not the chance.",
        ),
        (
            lambda e, p: exp(min(e, 700)) / (1 + exp(min(e, 700))),
            "You forget what was believed before: start with its odds.",
        ),
        (
            lambda e, p: p / (1 - p) * exp(min(e, 700)),
            "Those are odds. Turn them back into a chance: odds / (1 + odds).",
        ),
        (
            lambda e, p: p / (1 - p) * (1 + e) / (1 + p / (1 - p) * (1 + e)),
            "1 + epsilon stands for e^epsilon only where epsilon is small.",
        ),
        (
            lambda e, p: p / (p + (1 - p) * exp(min(e, 700))),
            "With you a snooper loses belief: turn the sign of epsilon.",
        ),
    ]
    try:
        return by_example(answer, belief, mistakes, BELIEFS)
    except Wrong as wrong:
        if "OverflowError" in str(wrong) or "overflow" in str(wrong):
            raise Wrong(
                f"{wrong} e^650 still fits; multiply the odds against by e^-epsilon, and nothing overflows."
            ) from wrong
        raise


CHECKERS = {"16-mean": mean, "16-cheat": cheat, "16-epsilon": epsilon}
