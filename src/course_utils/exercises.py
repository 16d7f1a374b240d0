"""Exercises that check themselves: `check("00-steps", 42)` says whether the answer is right, and what is wrong if not.

A checker is a function of the answer that returns (right, message). To add an exercise, write one and list it in
CHECKERS. A stub gives `...`, or is a function that returns `...`: that counts as not attempted.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np

from course_utils import metrics

SOLUTIONS = {"00": "00_start_here", "01": "01_set_the_bar"}
TOLERANCE = 1e-3


def check(name: str, answer, data=None) -> None:
    """Print whether an answer is right, and a hint if it is not. A wrong answer never raises.

    Takes the exercise's name, the answer (a value or a function), and rows to try it on where the exercise needs them.
    """
    right, message = judge(name, answer, data)
    if not right and message != NOT_YET:
        message += f" Stuck? The solution is in notebooks/solutions/{SOLUTIONS[name[:2]]}.ipynb."
    print(message)


def judge(name: str, answer, data=None) -> tuple[bool, str]:
    """Return (right, message) for an answer. Raises ValueError if there is no such exercise."""
    if name not in CHECKERS:
        raise ValueError(f'There is no exercise "{name}". There are: {", ".join(sorted(CHECKERS))}.')
    if answer is ...:
        return False, NOT_YET
    try:
        return CHECKERS[name](answer) if data is None else CHECKERS[name](answer, data)
    except Exception as error:  # whatever a learner's code raises
        return False, f"Your code stopped with {type(error).__name__}: {error}."


NOT_YET = "Not attempted yet."


def by_example(
    answer, right: Callable, mistakes: Sequence[tuple[Callable, str]], cases: Sequence[tuple], no_number: str = ""
) -> tuple[bool, str]:
    """Judge a function by what it returns for some cases.

    Takes the learner's function, the right one, wrong ones each with its hint, and the arguments of each case. A
    mistake is recognised where the answer equals a wrong function's in every case. `no_number` is the hint for nan
    and for a division by zero.
    """
    if not callable(answer):
        return False, "Hand over the function itself: its name, without brackets after it."
    given = []
    for case in cases:
        try:
            given.append(answer(*deepcopy(case)))
        except ZeroDivisionError:
            return False, f"For {_show(case)} your function divides by zero. {no_number}".strip()
        except Exception as error:
            return False, f"For {_show(case)} your function stopped with {type(error).__name__}: {error}."
        if given[-1] is ...:
            return False, NOT_YET
        if given[-1] is None:
            return False, "Your function returns nothing. End it with `return` and the value."
    expected = [right(*case) for case in cases]
    if _alike(given, expected):
        return True, f"Right, in all {len(cases)} cases."
    if any(_has_nan(value) for value in given):
        return False, f"Your function gives nan: it divides by zero. {no_number}".strip()
    for wrong, hint in mistakes:
        if _alike(given, [wrong(*case) for case in cases]):
            return False, hint
    at = next(i for i in range(len(cases)) if not _alike(given[i : i + 1], expected[i : i + 1]))
    return False, f"For {_show(cases[at])} your function gives {_show(given[at])}; right is {_show(expected[at])}."


def _alike(given: list, expected: list) -> bool:
    try:
        return all(
            np.shape(one) == np.shape(other) and np.allclose(np.asarray(one, float), other, rtol=0, atol=TOLERANCE)
            for one, other in zip(given, expected, strict=True)
        )
    except (TypeError, ValueError):  # no number
        return False


def _has_nan(value) -> bool:
    try:
        return bool(np.isnan(np.asarray(value, float)).any())
    except (TypeError, ValueError):
        return False


def _show(value) -> str:
    """Write a value or a case's arguments as a learner would."""
    if isinstance(value, tuple):
        return ", ".join(_show(one) for one in value)
    if isinstance(value, np.ndarray | list):
        return str(np.asarray(value).tolist())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def steps(answer) -> tuple[bool, str]:
    """00: how many optimiser steps are 3 epochs over 1,000 reports in batches of 32?"""
    reports, batch, epochs = 1000, 32, 3
    an_epoch = math.ceil(reports / batch)
    hints = {
        an_epoch: "That is one epoch. There are three.",
        4 * an_epoch: "That is four epochs. There are three.",
        reports * epochs: "You counted reports. A step takes a whole batch of 32 of them.",
        reports: "You counted reports, of one epoch. A step takes a whole batch of 32 of them.",
    }
    last = "You left out the last batch of each epoch: it is not full, but it is a step too."
    hints |= dict.fromkeys((reports // batch * epochs, reports * epochs / batch, reports * epochs // batch + 1), last)
    hints[reports // batch] = "That is one epoch, and without its last batch, which is not full."
    if not isinstance(answer, int | float | np.number):
        return False, f"A number is asked for, and you gave {answer!r}."
    if answer == an_epoch * epochs:
        return True, f"Right: {an_epoch} batches an epoch, the last one not full, times {epochs} epochs."
    return False, hints.get(answer, "How many batches of 32 make 1,000 reports? Count them for one epoch first.")


def majority(answer) -> tuple[bool, str]:
    """00: the accuracy of always answering the commonest grade."""
    cases = [([0, 0, 1, 2],), ([1, 1, 3, 3],), ([4],), (np.array([2, 2, 2, 0, 4, 4, 2, 2]),), ([3, 3, 3, 1, 0],)]

    def counts(labels):
        return np.unique_counts(labels)

    def grade(labels):
        return counts(labels).values[counts(labels).counts.argmax()]

    mistakes = [
        (grade, "That is the commonest grade itself. What share of the reports has it?"),
        (lambda labels: counts(labels).counts.max(), "That is a count. Divide it by the number of reports."),
        (lambda labels: 100 * counts(labels).counts.max() / len(labels), "That is in percent. Give a share, 0 to 1."),
        (lambda labels: counts(labels).counts.max() / len(set(labels)), "Divide by the reports, not by the grades."),
        (lambda labels: 1 / len(set(labels)), "That is guessing at random. The commonest grade is more common."),
        (lambda labels: np.mean(np.asarray(labels) == 0), "That always answers 0. Which grade is commonest here?"),
    ]
    return by_example(answer, lambda labels: counts(labels).counts.max() / len(labels), mistakes, cases)


GRADED = [  # true and predicted grades; in some cases a grade never occurs, or is never predicted, or neither
    ([0, 0, 0, 1, 1, 2, 3, 4, 4, 2], [0, 0, 1, 1, 2, 2, 3, 4, 3, 0]),
    ([0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2]),
    ([0, 0, 0, 0, 2, 2, 2], [0, 0, 1, 3, 2, 3, 2]),
    ([4, 3, 2, 2, 1, 0, 3], [2, 3, 2, 2, 2, 2, 1]),
]
GRADED = [(np.array(y), np.array(p)) for y, p in GRADED]


def macro_f1(answer) -> tuple[bool, str]:
    """01: macro F1 over the five grades, written from scratch."""

    def over(grades: Callable) -> Callable:
        return lambda y, p: metrics.f1_per_grade(metrics.confusion(y, p))[sorted(grades(y, p))].mean()

    def from_means(y, p):
        cm = metrics.confusion(y, p)
        right = np.diagonal(cm)
        precision, recall = right / np.maximum(cm.sum(0), 1), right / np.maximum(cm.sum(1), 1)
        return 2 * precision.mean() * recall.mean() / (precision.mean() + recall.mean())

    absent = "You average only over the grades that occur. All five count: one that is absent counts as 0."
    mistakes = [
        (over(lambda y, p: set(y)), absent),
        (over(lambda y, p: set(y) | set(p)), absent),
        (_of(metrics.accuracy), "That is accuracy; micro F1 is the same number. Find F1 grade by grade, then average."),
        (_of(metrics.weighted_f1), "That is weighted F1. Give each grade the same weight, however rare it is."),
        (from_means, "Find F1 in each grade and average those; you averaged precision and recall first."),
        (_of(lambda cm: 100 * metrics.macro_f1(cm)), "That is in percent. Give a share, from 0 to 1."),
        (_of(metrics.f1_per_grade), "Those are the five F1 values. Return their mean."),
    ]
    zero = "Where a grade neither occurs nor is predicted there is nothing to divide by: let its F1 be 0."
    return by_example(answer, _of(metrics.macro_f1), mistakes, GRADED, zero)


def wilson(answer) -> tuple[bool, str]:
    """01: Wilson's 95% interval for k of n."""
    cases = [(50, 100), (290, 300), (300, 300), (0, 40), (3, 5), (1, 1)]

    def wald(k, n, z=1.96):
        half = z * math.sqrt(k / n * (1 - k / n) / n)
        return k / n - half, k / n + half

    def half_done(k, n):
        low, high = metrics.wilson(k, n)
        return (high - low) / 2

    def no_root_term(k, n, z=1.96):
        centre, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(k * (n - k) / n)
        return centre - half, centre + half

    def no_divisor(k, n, z=1.96):
        return tuple(end * (1 + z**2 / n) for end in metrics.wilson(k, n))

    flat = "That is the simple (Wald) interval. Look at 300 of 300: it has no width there, and at 3 of 5 it leaves 0-1."
    at_z = "That is Wilson's interval, but for {0}%: its z is {1}. For 95% z is 1.96."
    mistakes = [
        (wald, flat),
        (lambda k, n: tuple(np.clip(wald(k, n), 0, 1)), flat),
        (
            lambda k, n: tuple(100 * end for end in metrics.wilson(k, n)),
            "That is in percent. Give shares, from 0 to 1.",
        ),
        (lambda k, n: metrics.wilson(k, n)[::-1], "The lower end comes first."),
        (half_done, "That is half the width. Return both ends, the lower first."),
        (lambda k, n: _wilson(k, n, 1.0), at_z.format(68, 1)),
        (lambda k, n: _wilson(k, n, 1.645), at_z.format(90, 1.645)),
        (lambda k, n: _wilson(k, n, 2.576), at_z.format(99, 2.576)),
        (no_root_term, "Under the root z²/(4n²) is missing: without it the interval has no width at 300 of 300."),
        (no_divisor, "Both ends are to be divided by 1 + z²/n."),
    ]
    return by_example(answer, metrics.wilson, mistakes, cases, "Put k/n into the formula as it is: it also holds at 0.")


def _wilson(k: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval for any z, as the wrong answers need it."""
    centre, half = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    return centre - half, centre + half


def referable(answer) -> tuple[bool, str]:
    """01: the sensitivity for referable disease, grade 2 or more."""

    def share(of: Callable, among: Callable) -> Callable:
        return lambda y, p: np.mean(of(y, p)[among(y, p)])

    def ill(grades):
        return grades >= metrics.REFERABLE

    cases = [GRADED[0], GRADED[3], (np.array([2, 2, 3, 0, 1, 4, 0, 0]), np.array([3, 1, 2, 2, 0, 1, 0, 3]))]
    mistakes = [
        (share(lambda y, p: ill(y), lambda y, p: ill(p)), "That is precision. Divide by the eyes that are ill, in y."),
        (share(lambda y, p: p > 2, lambda y, p: y > 2), "You take grades above 2. Grade 2 itself is referable too."),
        (share(lambda y, p: p >= 1, lambda y, p: y >= 1), "You take grades from 1 on. Referable begins at grade 2."),
        (
            _of(metrics.specificity_referable),
            "That is specificity, of the eyes below grade 2. Look at those from 2 on.",
        ),
        (
            lambda y, p: np.mean(ill(y) == ill(p)),
            "That is accuracy, over all eyes. Look only at those from grade 2 on.",
        ),
        (
            lambda y, p: np.mean(y == p),
            "That is accuracy in grades. Look only at eyes from grade 2 on, and only whether p is.",
        ),
        (
            share(lambda y, p: y == p, lambda y, p: ill(y)),
            "You want the very grade. To be referred, a prediction of grade 2 or more is enough.",
        ),
    ]
    return by_example(answer, _of(metrics.sensitivity_referable), mistakes, cases)


def keyword(answer, data) -> tuple[bool, str]:
    """01: a rule of (eye, text) that grades better than always answering 0, on the rows in `data`."""
    if not callable(answer):
        return False, "Hand over the function itself: its name, without brackets after it."
    y, given = np.asarray(data["grade"]), []
    for i, (eye, text) in enumerate(zip(data["eye"], data["text"], strict=True)):
        grade = answer(eye, text)
        if grade is ...:
            return False, NOT_YET
        if not isinstance(grade, int | np.integer) or grade not in range(metrics.GRADES):
            return False, f"For row {i} your rule gives {grade!r}. A whole number from 0 to 4 is asked for."
        given.append(grade)
    score, floor = (float(metrics.macro_f1(metrics.confusion(y, p))) for p in (given, np.zeros_like(y)))
    said = f"macro F1 {score:.3f} on these {len(y):,} reports; always answering 0 has {floor:.3f}."
    if score > floor:
        return True, f"It works: {said}"
    return False, f"Your rule is no better than no rule: {said} Start with the words of grade 4."


def _of(metric: metrics.Metric) -> Callable:
    """Return the function of (y, p) for a measure of a confusion matrix."""
    return lambda y, p: metric(metrics.confusion(y, p))


CHECKERS = {
    "00-steps": steps,
    "00-majority": majority,
    "01-macro-f1": macro_f1,
    "01-wilson": wilson,
    "01-referable": referable,
    "01-keyword": keyword,
}
