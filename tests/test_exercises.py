"""Each checker passes two right answers, names each known mistake, and survives whatever code it is given."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from course_utils import exercises, metrics

DEV = {"eye": ["left"] * 6, "text": ["normal", "some NV", "normal", "VH", "MA", "MA"], "grade": [0, 4, 0, 4, 1, 1]}


def commonest_share(labels):
    return max(Counter(list(labels)).values()) / len(labels)


def commonest_share_by_bincount(labels):
    return float(np.bincount(labels).max() / len(labels))


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
    "00-steps": [96, 96.0, np.int64(96)],
    "00-majority": [commonest_share, commonest_share_by_bincount],
    "01-macro-f1": [scratch_macro_f1, library_macro_f1, lambda y, p: f1s(y, p, 0).mean()],
    "01-wilson": [metrics.wilson, scratch_wilson, lambda k, n: np.array(scratch_wilson(k, n, 1.959964))],
    "01-referable": [sensitivity, lambda y, p: recall_score(y > 1, p > 1)],
    "01-keyword": [nv_rule, lambda eye, text: np.int64(1 if text == "MA" else 0)],
}

WRONG = [
    ("00-steps", 93, "left out the last batch"),
    ("00-steps", 94, "left out the last batch"),
    ("00-steps", 93.75, "left out the last batch"),
    ("00-steps", 32, "That is one epoch. There are three"),
    ("00-steps", 31, "without its last batch"),
    ("00-steps", 3000, "You counted reports"),
    ("00-steps", 1000, "You counted reports, of one epoch"),
    ("00-steps", 7, "How many batches of 32"),
    ("00-steps", "96", "A number is asked for"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][0], "the commonest grade itself"),
    ("00-majority", lambda labels: Counter(list(labels)).most_common(1)[0][1], "That is a count"),
    ("00-majority", lambda labels: 100 * commonest_share(labels), "That is in percent"),
    ("00-majority", lambda labels: max(Counter(list(labels)).values()) / len(set(labels)), "not by the grades"),
    ("00-majority", lambda labels: 1 / len(set(labels)), "guessing at random"),
    ("00-majority", lambda labels: list(labels).count(0) / len(labels), "always answers 0"),
    ("00-majority", lambda labels: 0.5, "For [4] your function gives 0.500; right is 1.000"),
    ("00-majority", lambda labels: "most", "your function gives most"),
    ("00-majority", commonest_share([1, 1, 2]), "Hand over the function itself"),
    ("00-majority", lambda labels: None, "End it with `return`"),
    ("00-majority", lambda labels: labels.count(0) / len(labels), "stopped with AttributeError"),
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


def judge(name, answer):
    return exercises.judge(name, answer, DEV if name == "01-keyword" else None)


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_right_answers_pass(name, answer):
    assert judge(name, answer)[0], judge(name, answer)[1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_wrong_answers_get_their_own_hint(name, answer, hint):
    right, message = judge(name, answer)
    assert not right and hint in message


def test_every_exercise_is_tested_and_its_solution_is_there():
    assert set(RIGHT) == {name for name, _, _ in WRONG} == set(exercises.CHECKERS)
    solutions = Path(__file__).parents[1] / "notebooks" / "solutions"
    for name in exercises.CHECKERS:
        assert (solutions / f"{exercises.SOLUTIONS[name[:2]]}.ipynb").is_file()


@pytest.mark.parametrize("name", exercises.CHECKERS)
def test_a_stub_is_not_attempted(name, capsys):
    for stub in (..., *([] if name == "00-steps" else [lambda *arguments: ...])):
        exercises.check(name, stub, DEV if name == "01-keyword" else None)
        assert capsys.readouterr().out == "Not attempted yet.\n"


def test_a_wrong_answer_ends_with_the_way_to_the_solution_and_a_right_one_does_not(capsys):
    exercises.check("00-steps", 32)
    exercises.check("00-steps", 96)
    wrong, right = capsys.readouterr().out.splitlines()
    assert wrong.endswith("The solution is in notebooks/solutions/00_start_here.ipynb.")
    assert right == "Right: 32 batches an epoch, the last one not full, times 3 epochs."


def test_code_that_raises_is_told_its_error(capsys):
    def broken(y, p):
        raise KeyError("grade")

    for name in ("01-referable", "01-keyword"):
        exercises.check(name, broken, DEV if name == "01-keyword" else None)
        assert "stopped with KeyError: 'grade'" in capsys.readouterr().out


def test_an_answer_cannot_change_the_cases():
    def spoil(y, p):
        y[:] = 0
        return 0.0

    assert not judge("01-referable", spoil)[0]
    assert judge("01-referable", sensitivity)[0]


def test_an_unknown_exercise_is_an_error_of_ours():
    with pytest.raises(ValueError, match="00-steps"):
        exercises.check("00-stepz", 1)
