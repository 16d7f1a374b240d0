"""Say what counts as better: measures from a confusion matrix, their intervals, and a paired comparison.

A measure takes a confusion matrix, or a stack of them (the last two axes are truth and prediction), and returns a
number, or an array of them. So one call measures all 2,000 resamples of a bootstrap.
All measures run over the grades 0-4, or as many as `labels` says: a grade that never occurs and is never predicted counts
as an F1 of 0, it is not left out. nan means that a measure is not defined, as the sensitivity is where nobody is ill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

GRADES = 5
GRADE_NAMES = ("0 none", "1 mild", "2 moderate", "3 severe", "4 proliferative")
REFERABLE = 2  # a patient is referred to an eye clinic from this grade on
LEVEL = 0.95

Metric = Callable[[np.ndarray], np.ndarray]
Predictions = Sequence | np.ndarray  # the grades that one training run predicts, or a list of such, one a run


class Interval(NamedTuple):
    """A measured value and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __format__(self, form: str) -> str:
        """Print the three numbers in a form such as .2f: two decimals are what a single training run can promise."""
        value, low, high = (format(number, form or ".3f") for number in self)
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same reports: how far apart they are, and whether that can be told from chance.

    `difference` is the first minus the second. `p` is McNemar's, on how many reports each got right alone
    (`only_first`, `only_second`). `verdict` is a sentence that rests on the interval of the difference.
    """

    difference: Interval
    p: float
    only_first: int
    only_second: int
    n: int
    verdict: str


def confusion(y: ArrayLike, p: ArrayLike, labels: int = GRADES) -> np.ndarray:
    """Count the reports of each true grade (rows) and predicted grade (columns).

    Raises ValueError for no reports, unequal lengths, or anything but whole numbers from 0 to labels - 1.
    """
    return np.bincount(_codes(y, p, labels), minlength=labels**2).reshape(labels, labels)


def accuracy(cm: np.ndarray) -> np.ndarray:
    """Share of reports that are graded right."""
    return _share(np.trace(cm, axis1=-2, axis2=-1), cm.sum((-2, -1)))


def f1_per_grade(cm: np.ndarray) -> np.ndarray:
    """F1 of each grade, 2 tp / (reports of the grade + predictions of it): 0 for a grade that has neither."""
    right = np.diagonal(cm, axis1=-2, axis2=-1)
    return np.nan_to_num(_share(2 * right, cm.sum(-1) + cm.sum(-2)))


def macro_f1(cm: np.ndarray) -> np.ndarray:
    """Mean F1 over all grades, each with the same weight."""
    return f1_per_grade(cm).mean(-1)


def weighted_f1(cm: np.ndarray) -> np.ndarray:
    """Mean F1 over the grades, each with the weight of its share of the reports."""
    return _share((f1_per_grade(cm) * cm.sum(-1)).sum(-1), cm.sum((-2, -1)))


def kappa(cm: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa (Cohen, Psychological Bulletin 1968;70:213-220): agreement beyond chance.

    One minus the mean squared distance in grades, over that of the same grades paired at random: 1 is agreement in
    all reports, 0 is chance. A mistake of four grades counts 16 times as much as a mistake of one.
    """
    by_chance = cm.sum(-1)[..., :, None] * cm.sum(-2)[..., None, :]
    distance = _distance(cm) ** 2
    return 1 - _share((cm * distance).sum((-2, -1)) * cm.sum((-2, -1)), (by_chance * distance).sum((-2, -1)))


def mae(cm: np.ndarray) -> np.ndarray:
    """Mean absolute distance between the predicted and the true grade. Lower is better."""
    return _share((cm * _distance(cm)).sum((-2, -1)), cm.sum((-2, -1)))


def precision_per_grade(cm: np.ndarray) -> np.ndarray:
    """Of the reports given a grade, the share that has it; nan for a grade that is never given."""
    return _share(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-2))


def recall_per_grade(cm: np.ndarray) -> np.ndarray:
    """Of the reports of a grade, the share that is given it; nan for a grade that never occurs."""
    return _share(np.diagonal(cm, axis1=-2, axis2=-1), cm.sum(-1))


def sensitivity_referable(cm: np.ndarray, start: int = REFERABLE) -> np.ndarray:
    """Of the eyes that should be referred (grade `start` or more), the share that is predicted to be."""
    ill = cm[..., start:, :]
    return _share(ill[..., start:].sum((-2, -1)), ill.sum((-2, -1)))


def specificity_referable(cm: np.ndarray, start: int = REFERABLE) -> np.ndarray:
    """Of the eyes that need no referral (below grade `start`), the share that is predicted to need none."""
    well = cm[..., :start, :]
    return _share(well[..., :start].sum((-2, -1)), well.sum((-2, -1)))


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share, k of n (Wilson, JASA 1927;22:209-212).

    It is meant for independent reports; `interval` also holds where a patient has several.
    Raises ValueError unless 0 <= k <= n and n > 0.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is no share: n must be at least 1, and k from 0 to n.")
    k, n = int(k), int(n)
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * sqrt(k * (n - k) / n + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(
    y: ArrayLike,
    p: ArrayLike,
    metric: Metric = macro_f1,
    groups: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    labels: int = GRADES,
) -> Interval:
    """Return a measure and its 95% interval by the percentile bootstrap over patients.

    Takes true and predicted grades, a measure, the patient of each report (none: each report is its own patient), the
    number of resamples, their seed, and how many grades there are. Patients are drawn, not reports, since two reports of
    one patient are alike (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13).
    """
    return interval_over_seeds(y, [p], metric, groups, n, seed, labels)


def interval_over_seeds(
    y: ArrayLike,
    runs: Sequence[ArrayLike],
    metric: Metric = macro_f1,
    groups: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    labels: int = GRADES,
) -> Interval:
    """Return the mean of a measure over training runs, with its 95% interval by the bootstrap over patients.

    `runs` holds the predictions of each run. In each resample the measure is averaged over the runs, so the interval
    speaks of the mean of these runs on new patients; how runs differ from one another is another question.
    """
    counts = _patient_counts(y, runs, groups, labels)
    return _percentiles(metric(counts.sum(0)).mean(), metric(_resamples(counts, n, seed)).mean(-1))


def resampled(
    statistic: Callable[[np.ndarray], float], groups: Sequence | np.ndarray, n: int = 500, seed: int = 0
) -> Interval:
    """Return any statistic and its 95% interval by the percentile bootstrap over patients.

    For what is no measure of a confusion matrix, such as the area under a curve. `statistic` takes the positions of the
    reports that count, some of them repeatedly, and returns a number, or nan where it is not defined.
    """
    rows = np.arange(len(groups))
    patient = patient_numbers(groups, len(groups))
    order, sizes = np.argsort(patient, kind="stable"), np.bincount(patient)
    reports_of = np.split(order, np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([reports_of[i] for i in rng.integers(len(reports_of), size=len(reports_of))]))
        for _ in range(n)
    ]
    return _percentiles(statistic(rows), np.array(draws, dtype=float))


def paired(
    y: ArrayLike,
    a: Predictions,
    b: Predictions,
    metric: Metric = macro_f1,
    groups: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    names: tuple[str, str] = ("the first", "the second"),
    labels: int = GRADES,
) -> Comparison:
    """Compare two methods on the same reports.

    Takes what `interval` takes, but two predictions; each may also be a list of predictions, one a training run.
    Returns the difference of the (mean) measure, with its interval by a bootstrap that gives both the same patients;
    and the exact p of McNemar (Psychometrika 1947;12:153-157), that the two are right equally often: of all pairs of
    runs the largest p, with its counts. McNemar's test takes the reports as independent, so the verdict goes by the
    interval.
    """
    first, second = _as_runs(a), _as_runs(b)
    counts = _patient_counts(y, [*first, *second], groups, labels)

    def difference(matrices: np.ndarray) -> np.ndarray:
        each = metric(matrices)
        return each[..., : len(first)].mean(-1) - each[..., len(first) :].mean(-1)

    gap = _percentiles(difference(counts.sum(0)), difference(_resamples(counts, n, seed)))
    truth = np.asarray(y)
    alone = [_right_alone(truth, np.asarray(a_run), np.asarray(b_run)) for a_run in first for b_run in second]
    p, only_first, only_second = max((mcnemar(*counted), *counted) for counted in alone)
    return Comparison(gap, p, only_first, only_second, len(truth), _verdict(gap, metric, len(truth), names))


def patient_numbers(groups: ArrayLike | None, n: int) -> np.ndarray:
    """Return a number for the patient of each of n reports, from 0 on. Without `groups` each report is its own patient.

    Raises ValueError unless there is one group a report.
    """
    numbers = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(numbers) != n:
        raise ValueError(f"There are {n} reports and {len(numbers)} patients' names; each report needs one.")
    return numbers


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p that two methods are right equally often.

    Takes the number of reports that only the first, and only the second, got right. Where both are right or both are
    wrong there is nothing to tell them apart by; the others are tosses of a fair coin if they are equally good.
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    i = np.arange(fewer)
    log_ways = np.concatenate(([0.0], np.cumsum(np.log((tosses - i) / (i + 1)))))  # of 0, 1, 2, ... successes
    return min(1.0, 2 * float(np.exp(log_ways - tosses * np.log(2)).sum()))


def _codes(y: ArrayLike, p: ArrayLike, labels: int) -> np.ndarray:
    """Return labels * truth + prediction for each report."""
    truth, predicted = np.asarray(y), np.asarray(p)
    for name, grades in (("true", truth), ("predicted", predicted)):
        if grades.ndim != 1:
            hint = " For probabilities, hand over their argmax(1)." if grades.ndim == 2 else ""
            raise ValueError(f"The {name} grades have the shape {grades.shape}; one grade a report is needed.{hint}")
    if len(truth) != len(predicted) or not len(truth):
        raise ValueError(
            f"There are {len(truth)} true grades and {len(predicted)} predicted ones; both must be of the same reports."
        )
    for name, grades in (("true", truth), ("predicted", predicted)):
        strays = [grade for grade in np.unique(grades).tolist() if grade not in range(labels)]
        if strays:
            raise ValueError(f"The {name} grades hold {strays[0]!r}; only 0 to {labels - 1} are grades.")
    return labels * truth.astype(int) + predicted.astype(int)


def _share(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """Divide; nan where there is nothing to take a share of. Gives a number, not an array, where both are numbers."""
    top, bottom = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)[()]


def _distance(cm: np.ndarray) -> np.ndarray:
    grades = np.arange(cm.shape[-1])
    return abs(grades[:, None] - grades)


def _as_runs(predictions: Predictions) -> list[ArrayLike]:
    """Return a list of runs, for one run or several."""
    return [predictions] if np.ndim(next(iter(predictions), 0)) == 0 else list(predictions)


def _patient_counts(y: ArrayLike, runs: Sequence[ArrayLike], groups: ArrayLike | None, labels: int) -> np.ndarray:
    """Return each patient's confusion matrix in each run, an array (patients, runs, grades, grades)."""
    codes = np.stack([_codes(y, p, labels) for p in runs], axis=1)  # (reports, runs)
    patient = patient_numbers(groups, len(codes))
    counts = np.zeros((patient.max() + 1, len(runs), labels**2), dtype=np.int32)
    np.add.at(counts, (patient[:, None], np.arange(len(runs)), codes), 1)
    return counts.reshape(-1, len(runs), labels, labels)


def _resamples(counts: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the confusion matrices of n resamples of the patients, an array (n, runs, grades, grades).

    Patients with the same counts are interchangeable, so how many of each *kind* are drawn is all that matters.
    That is one matrix product, weights (n, kinds) @ counts (kinds, runs x grades x grades).
    """
    kinds, patients = np.unique(counts.reshape(len(counts), -1), axis=0, return_counts=True)
    weights = np.random.default_rng(seed).multinomial(len(counts), patients / len(counts), size=n)
    return (weights.astype(float) @ kinds).reshape(n, *counts.shape[1:])


def _percentiles(value: float | np.ndarray, draws: np.ndarray) -> Interval:
    """Return the value and the middle 95% of its draws; draws in which the measure is not defined are left out."""
    draws = draws[~np.isnan(draws)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail)) if len(draws) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def _right_alone(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return how many reports only the first predictions get right, and how many only the second."""
    first_right, second_right = first == truth, second == truth
    return int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())


def _verdict(gap: Interval, metric: Metric, n: int, names: tuple[str, str]) -> str:
    first, second = names
    if np.isnan(gap.low):
        return f"{first} and {second} can't be compared: the measure is not defined on these {n:,} reports"
    if gap.low <= 0 <= gap.high:
        return f"cannot tell {first} and {second} apart with {n:,} reports"
    better = (gap.low > 0) != (metric is mae)
    return f"{first} is {'better' if better else 'worse'} than {second}, with {n:,} reports"
