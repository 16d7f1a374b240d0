"""The exercises of 01_set_the_bar."""

import math
import re
from collections.abc import Callable

import numpy as np

from course_utils import metrics
from course_utils.exercises.judging import alike, by_example, called, show

GRADED = [  # true and predicted grades; in some cases a grade never occurs, or is never predicted, or neither
    ([0, 0, 0, 1, 1, 2, 3, 4, 4, 2], [0, 0, 1, 1, 2, 2, 3, 4, 3, 0]),
    ([0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2]),
    ([0, 0, 0, 0, 2, 2, 2], [0, 0, 1, 3, 2, 3, 2]),
    ([4, 3, 2, 2, 1, 0, 3], [2, 3, 2, 2, 2, 2, 1]),
]
GRADED = [(np.array(y), np.array(p)) for y, p in GRADED]
GRAVEST_FIRST = {  # the notebook's keyword rule, which exercise 4 starts from
    4: r"new vessels|neovascular|nvd|nve|\bnv\b|vitreous haem|preretinal haem|\bvh\b|\bprh\b|vit\. haem|新生血管|积血|视网膜前出血",
    3: r"irma|microvascular abnorm|微血管异常|beading|\bvb\b|串珠|more than 20|>20|over 20",
    2: r"haemorrh|haems|dbh|irh|出血|exudate|\bhe\b|hard ex|渗出|cotton|cws|棉絮",
    1: r"microan|\bmas?\b|微动脉瘤|微血管瘤",
}
NEGATION = r"\bno\b|\bnil\b|\bneg\b|absent|without|none|resolved|regressed|cleared|未见|无|\(-\)|消退|吸收"


def keyword_rule(eye: str, text: str) -> int:
    """Grade as the notebook's keyword rule does: the gravest finding in a sentence that has no word of negation."""
    affirmed = [s for s in re.split(r"(?<=[.;。])\s+", text.lower()) if not re.search(NEGATION, s)]
    return next((g for g, pattern in GRAVEST_FIRST.items() if any(re.search(pattern, s) for s in affirmed)), 0)


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
        (lambda y, p: np.sum(ill(y) & ill(p)), "That is a count. Divide it by the eyes that are ill in truth."),
        (lambda y, p: np.mean(ill(y) & ill(p)), "You divide by all eyes. Divide by those that are ill in truth."),
        (
            share(lambda y, p: ill(y), lambda y, p: ill(p)),
            "That is precision. Divide by the eyes that are ill in truth.",
        ),
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
            "That is accuracy in grades. Look only at eyes from grade 2 on, and whether the answer is.",
        ),
        (
            share(lambda y, p: y == p, lambda y, p: ill(y)),
            "You want the very grade. To be referred, a prediction of grade 2 or more is enough.",
        ),
    ]
    return by_example(answer, _of(metrics.sensitivity_referable), mistakes, cases)


def keyword(answer, data) -> tuple[bool, str]:
    """01: a rule of (eye, text) that grades better than the notebook's keyword rule, on the rows in `data`."""
    y, rows, given = np.asarray(data["grade"]), list(zip(data["eye"], data["text"], strict=True)), []
    for i, row in enumerate(rows):
        grade = called(answer, row)
        if isinstance(grade, str | bool) or not any(alike(grade, one) for one in range(metrics.GRADES)):
            return False, f"For row {i} your rule gives {show(grade)}. A whole number from 0 to 4 is asked for."
        given.append(int(grade))
    given, theirs = np.array(given), np.array([keyword_rule(*row) for row in rows])
    score, bar, floor = (float(metrics.macro_f1(metrics.confusion(y, p))) for p in (given, theirs, np.zeros_like(y)))
    said = f"macro F1 {score:.3f} on these {len(y):,} reports; the notebook's rule has {bar:.3f}"
    if score > bar:
        return True, f"It works: {said}."
    if np.array_equal(given, theirs):
        return (
            False,
            f"That answers as the notebook's rule does: {said}. Change what it gets wrong: it ignores the eye.",
        )
    if score <= floor:
        return False, f"Your rule is no better than no rule: {said}, always answering 0 {floor:.3f}. Start from theirs."
    return False, f"Your rule is not yet better: {said}. Look at reports that it grades wrong."


def _of(metric: metrics.Metric) -> Callable:
    """Return the function of (y, p) for a measure of a confusion matrix."""
    return lambda y, p: metric(metrics.confusion(y, p))


CHECKERS = {
    "01-macro-f1": macro_f1,
    "01-wilson": wilson,
    "01-referable": referable,
    "01-keyword": keyword,
}
