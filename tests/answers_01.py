"""Right and wrong answers to the exercises of notebook 01, each wrong one with words of its hint."""

import math
import re
import zlib

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from course_utils import data, metrics
from course_utils.exercises import nb01

DEV = data.load_reports()["dev"].select(range(300))  # as the notebook has it


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


def divide_by_zero(y, p):
    return 1 / 0


def by_confusion(truth, answers):
    cm = confusion_matrix(truth, answers, labels=range(5))
    both = cm.sum(0) + cm.sum(1)
    return np.divide(2 * cm.diagonal(), both, out=np.zeros(5), where=both > 0).mean()


def by_series(truth, answers):
    shares = {}
    for grade in range(5):
        hits, both = ((truth == grade) & (answers == grade)).sum(), (truth == grade).sum() + (answers == grade).sum()
        shares[grade] = 2 * hits / both if both else 0.0
    return pd.Series(shares).mean()


def sensitivity_by_loop(truth, answers):
    ill = [answer for true, answer in zip(truth, answers, strict=True) if true >= 2]
    return sum(answer > 1 for answer in ill) / len(ill)


def library_wilson(k, n):
    return binomtest(k, n).proportion_ci(method="wilson")


def wrong_precedence(k, n, z=1.96):
    p = k / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / 4 * n**2) / (1 + z**2 / n)
    return (p + z**2 / 2 * n) / (1 + z**2 / n) - half, (p + z**2 / 2 * n) / (1 + z**2 / n) + half


def of_the_eye(eye, text):
    """The sentences that follow the eye's name, up to the other eye's; all of them if no eye is named."""
    names = {"right": r"right eye|\bod\b|\bre\b|右眼", "left": r"left eye|\bos\b|\ble\b|左眼"}
    found = re.split(f"({names['right']}|{names['left']})", text.lower())
    pairs = zip(found[1::2], found[2::2], strict=True)
    return " ".join(part for name, part in pairs if re.search(names[eye], name)) if len(found) > 1 else text


def with_eye(eye, text):
    return nb01.keyword_rule(eye, of_the_eye(eye, text))


def with_scars(eye, text):
    """Scars of panretinal laser are those of proliferative disease."""
    affirmed = (one for one in re.split(r"(?<=[.;。])\s+", text.lower()) if not re.search(nb01.NEGATION, one))
    return 4 if any(re.search("prp|panretinal|激光斑", one) for one in affirmed) else nb01.keyword_rule(eye, text)


def no_irma(eye, text):
    """A rule that misses a sign, and takes each mention for a finding."""
    return 4 if "new vessels" in text else 2 if "haem" in text else 0


RIGHT = {
    "01-macro-f1": [
        scratch_macro_f1,
        library_macro_f1,
        lambda y, p: f1s(y, p, 0).mean(),
        by_confusion,
        by_series,
        lambda t, p: np.float32(by_series(t, p)),
        lambda t, p: np.nan_to_num([f1_score(t == g, p == g, zero_division=0) for g in range(5)]).mean(),
    ],
    "01-wilson": [
        metrics.wilson,
        scratch_wilson,
        lambda k, n: np.array(scratch_wilson(k, n, 1.959964)),
        library_wilson,
        lambda right, of: tuple(round(end, 4) for end in scratch_wilson(right, of)),
        lambda k, n: pd.Series(scratch_wilson(k, n)),
        lambda k, n: (end for end in scratch_wilson(k, n)),
        lambda k, n: sorted(scratch_wilson(k, n)[::-1]),
    ],
    "01-referable": [
        sensitivity,
        lambda y, p: recall_score(y > 1, p > 1),
        sensitivity_by_loop,
        lambda t, p: (p[t >= 2] >= 2).mean(),
        lambda a, b: np.mean(np.where(b[a > 1] > 1, 1, 0)),
    ],
    "01-keyword": [
        with_eye,
        with_scars,
        lambda eye, text: np.int64(with_eye(eye, text)),
        lambda e, t: float(with_eye(e, t)),
    ],
}

WRONG = [
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="macro"), "only over the grades that occur"),
    ("01-macro-f1", lambda y, p: f1s(y, p, 0)[np.unique(y)].mean(), "only over the grades that occur"),
    ("01-macro-f1", lambda y, p: (y == p).mean(), "micro F1 is the same number"),
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="micro"), "micro F1 is the same number"),
    ("01-macro-f1", lambda y, p: f1_score(y, p, average="weighted"), "weighted F1"),
    ("01-macro-f1", lambda y, p: f1s(y, p, np.nan).mean(), "gives nan; right is 0.493333. Where a grade neither"),
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
    ("01-wilson", lambda k, n: (0.0, 1.0), "For k=3, n=5 your function gives [0, 1]; right is [0.230724, 0.882379]"),
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
    ("01-macro-f1", lambda y, p: round(by_series(y, p), 1), "gives 0.5; right is 0.493333. You round"),
    ("01-macro-f1", lambda y, p: by_series(y, p) * 5 / 4, "right is 0.493333"),
    ("01-macro-f1", lambda y, p: f1s(y, p, 0)[1:].mean(), "gives 0.366667; right is 0.493333"),
    ("01-macro-f1", lambda y, p: recall_score(y, p, average="macro", labels=range(5), zero_division=0), "right is"),
    ("01-macro-f1", lambda y, p: 0.5, "in all 4 cases"),
    ("01-wilson", lambda k, n: scratch_wilson(k, n)[0], "For k=3, n=5 your function gives 0.23072; right is [0.230"),
    ("01-wilson", lambda k, n: (sum(scratch_wilson(k, n)) / 2, np.ptp(scratch_wilson(k, n)) / 2), "right is [0.23"),
    ("01-wilson", lambda k, n: np.round(scratch_wilson(k, n), 1), "You round"),
    ("01-wilson", lambda k, n: n * np.array(scratch_wilson(k, n)), "right is [0.230724, 0.882379]"),
    ("01-wilson", lambda k, n: f"{scratch_wilson(k, n)}", "right is [0.230724, 0.882379]"),
    ("01-wilson", wrong_precedence, "right is [0.230724, 0.882379]"),
    ("01-referable", lambda y, p: 100 * sensitivity(y, p), "in percent"),
    ("01-referable", lambda y, p: ((y >= 2) & (p >= 2)).sum(), "That is a count"),
    ("01-referable", lambda y, p: ((y >= 2) & (p >= 2)).mean(), "You divide by all eyes"),
    ("01-referable", lambda y, p: ((y >= 2) & (p > 2)).sum() / (y >= 2).sum(), "gives 0.2; right is 0.8"),
    ("01-referable", lambda y, p: round(sensitivity(y, p)), "You round"),
    ("01-referable", lambda y, p: 1, "in all 3 cases"),
    ("01-keyword", nb01.keyword_rule, "answers as the notebook's rule does"),
    ("01-keyword", lambda eye, text: len(text) % 5, "not yet better"),
    ("01-keyword", lambda eye, text: zlib.crc32(text.encode()) % 5, "not yet better"),
    ("01-keyword", lambda eye, text: nb01.keyword_rule(eye, text) if eye == "right" else 0, "not yet better"),
    ("01-keyword", lambda eye, text: ord(text[0]) % 5, "not yet better"),
    ("01-keyword", lambda eye, text: math.nan, "gives nan"),
    ("01-keyword", no_irma, "not yet better"),
    ("01-keyword", lambda eye, text: 2, "no better than no rule"),
    ("01-keyword", lambda eye, text: 4 - nb01.keyword_rule(eye, text), "not yet better"),
    ("01-keyword", lambda eye, text: nb01.keyword_rule(eye, text) or None, "gives None"),
    ("01-keyword", lambda eye, text: [nb01.keyword_rule(eye, text)], "A whole number from 0 to 4"),
    ("01-keyword", lambda eye, text: 0.5, "gives 0.5"),
    ("01-keyword", lambda eye, text: True, "gives True"),
    (
        "01-keyword",
        lambda eye, text: text.index("a word that no report has"),
        "stopped with ValueError: substring not found",
    ),
    ("01-keyword", lambda eye, text: print(4), "gives None"),
    (
        "01-macro-f1",
        lambda y, p: np.mean([f1_score(y == g, p == g, zero_division=1) for g in range(5)]),
        "gives 0.893333",
    ),
    ("01-macro-f1", lambda y, p: f"{by_series(y, p):.3f}", "gives '0.493'; right is 0.493333"),
    ("01-wilson", lambda k, n: (*scratch_wilson(k, n), k / n), "gives [0.23072, 0.882382, 0.6]; right is"),
    ("01-wilson", lambda k, n: scratch_wilson(n - k, n), "right is [0.230724, 0.882379]"),
    ("01-referable", lambda y, p: 1 - sensitivity(y, p), "gives 0.2; right is 0.8"),
    ("01-referable", lambda y, p: p[y >= 2] >= 2, "gives [True, True, True, True, False]; right is 0.8"),
]

DATA = {"01-keyword": DEV}  # rows that an exercise is tried on
