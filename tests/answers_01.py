"""Right and wrong answers to the exercises of notebook 01, each wrong one with words of its hint."""

import math

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from course_utils import metrics

DEV = {"eye": ["left"] * 6, "text": ["normal", "some NV", "normal", "VH", "MA", "MA"], "grade": [0, 4, 0, 4, 1, 1]}


def scratch_macro_f1(y, p):
    scores = []
    for grade in range(5):
        tp = sum((a == grade) and (b == grade) for a, b in zip(y, p, strict=True))
        both = sum(a == grade for a in y) + sum(b == grade for b in p)
        scores.append(2 * tp / both if both else 0)
    return sum(scores) / 5


def library_macro_f1(y, p):
    return f1_score(y, p, labels=range(5), average="macro", zero_division=0)


def f1s(y, p, empty):
    """F1 of each grade by way of precision and recall, as a learner may write it."""
    cm = confusion_matrix(y, p, labels=range(5))
    right = cm.diagonal()
    with np.errstate(all="ignore"):
        precision, recall = right / cm.sum(0), right / cm.sum(1)
        scores = 2 * precision * recall / (precision + recall)
    return np.where(np.isnan(scores), empty, scores)


def scratch_wilson(k, n, z=1.96):
    share, root = k / n, z * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    return [(share + z**2 / (2 * n) - root) / (1 + z**2 / n), (share + z**2 / (2 * n) + root) / (1 + z**2 / n)]


def wald(k, n):
    half = 1.96 * (k / n * (1 - k / n) / n) ** 0.5
    return k / n - half, k / n + half


def no_root_term(k, n, z=1.96):
    half = z * math.sqrt(k / n * (1 - k / n) / n)
    middle = k / n + z**2 / (2 * n)
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def sensitivity(y, p):
    return ((y >= 2) & (p >= 2)).sum() / (y >= 2).sum()


def nv_rule(eye, text):
    return 4 if "N" in text else 0


def divide_by_zero(y, p):
    return 1 / 0


RIGHT = {
    "01-macro-f1": [scratch_macro_f1, library_macro_f1, lambda y, p: f1s(y, p, 0).mean()],
    "01-wilson": [metrics.wilson, scratch_wilson, lambda k, n: np.array(scratch_wilson(k, n, 1.959964))],
    "01-referable": [sensitivity, lambda y, p: recall_score(y > 1, p > 1)],
    "01-keyword": [nv_rule, lambda eye, text: np.int64(1 if text == "MA" else 0)],
}

WRONG = [
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="macro"), "only over the grades that occur"),
    ("01-macro-f1", lambda y, p: f1s(y, p, 0)[np.unique(y)].mean(), "only over the grades that occur"),
    ("01-macro-f1", lambda y, p: (y == p).mean(), "micro F1 is the same number"),
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="micro"), "micro F1 is the same number"),
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="weighted"), "weighted F1"),
    ("01-macro-f1", lambda y, p: f1s(y, p, np.nan).mean(), "gives nan: it divides by zero. Where a grade neither"),
    ("01-macro-f1", divide_by_zero, "divides by zero. Where a grade neither"),
    ("01-macro-f1", lambda y, p: f1s(y, p, 0), "Return their mean"),
    ("01-macro-f1", lambda y, p: 100 * library_macro_f1(y, p), "in percent"),
    ("01-wilson", wald, "300 of 300: it has no width"),
    ("01-wilson", lambda k, n: (max(0, wald(k, n)[0]), min(1, wald(k, n)[1])), "300 of 300: it has no width"),
    ("01-wilson", lambda k, n: [100 * end for end in scratch_wilson(k, n)], "That is in percent"),
    ("01-wilson", lambda k, n: scratch_wilson(k, n)[::-1], "lower end comes first"),
    ("01-wilson", lambda k, n: np.ptp(scratch_wilson(k, n)) / 2, "half the width"),
    ("01-wilson", lambda k, n: scratch_wilson(k, n, 1), "but for 68%"),
    ("01-wilson", lambda k, n: scratch_wilson(k, n, 1.645), "but for 90%"),
    ("01-wilson", lambda k, n: scratch_wilson(k, n, 2.576), "but for 99%"),
    ("01-wilson", no_root_term, "Under the root"),
    ("01-wilson", lambda k, n: [end * (1 + 1.96**2 / n) for end in scratch_wilson(k, n)], "divided by 1 + z²/n"),
    ("01-wilson", lambda k, n: (0.0, 1.0), "For 50, 100 your function gives 0.000, 1.000; right is 0.404, 0.596"),
    ("01-referable", lambda y, p: precision_score(y >= 2, p >= 2), "That is precision"),
    ("01-referable", lambda y, p: recall_score(y > 2, p > 2), "Grade 2 itself is referable"),
    ("01-referable", lambda y, p: recall_score(y >= 1, p >= 1), "Referable begins at grade 2"),
    ("01-referable", lambda y, p: recall_score(y < 2, p < 2), "That is specificity"),
    ("01-referable", lambda y, p: ((y >= 2) == (p >= 2)).mean(), "That is accuracy, over all eyes"),
    ("01-referable", lambda y, p: (y == p).mean(), "That is accuracy in grades"),
    ("01-referable", lambda y, p: ((y == p) & (y >= 2)).sum() / (y >= 2).sum(), "You want the very grade"),
    ("01-keyword", lambda eye, text: 0, "no better than no rule"),
    ("01-keyword", lambda eye, text: "4", "For row 0 your rule gives '4'"),
    ("01-keyword", lambda eye, text: 5, "For row 0 your rule gives 5"),
    ("01-keyword", lambda text: 4, "stopped with TypeError"),
    ("01-keyword", 4, "Hand over the function itself"),
]

DATA = {"01-keyword": DEV}  # rows that an exercise is tried on
