"""Say what counts as better: measures from a confusion matrix, their intervals, and a paired comparison.

A measure takes a confusion matrix, or a stack of them (the last two axes are truth and prediction), and returns a
number, or an array of them. So one call measures all 2,000 resamples of a bootstrap.
All measures run over the grades 0-4, or as many as `labels` says: a grade that never occurs and is never predicted counts
as an F1 of 0, it is not left out; `macro_f1_of` measures some grades alone. nan means that a measure is not defined, as
the sensitivity is where nobody is ill.

An interval is the percentile bootstrap over patients, which knows nothing of mistakes that the sample does not hold: of
36 reports, all right, each resample is all right. So it reaches at least as far as a few patients more could move it,
z² of them, about 3.84, all graded alike: right or one grade off. For a share of which all are right that is Wilson's
interval to the last digit. It acts where, of all or of a grade, fewer than about four patients are wrong; where more are,
the interval is the bootstrap's.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
GRAIN = 1e-9  # of a sample, added to a resample: enough to define what the resample lacks, too little to move the rest
MISSING = {"", "none", "nan", "nat", "<na>"}  # what no patient is called, in small letters

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
        if np.isnan(self.value):
            return "not defined"
        return f"{value} [not known]" if np.isnan(self.low) else f"{value} [{low}, {high}]"

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


def macro_f1_of(grades: Collection[int]) -> Metric:
    """Return the measure "mean F1 over these grades": for reports of which none has one of the other grades.

    Two numbers over other grades are of other tasks: never compare them. Raises ValueError for no grades.
    """
    chosen = sorted(grades)
    if not chosen:
        raise ValueError("Macro F1 needs at least one grade.")
    return lambda cm: f1_per_grade(cm)[..., chosen].mean(-1)


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


def measures(ordered: bool) -> dict[str, Metric]:
    """Return the measures of all labels by their names: kappa and MAE only for labels that have an order."""
    nominal: dict[str, Metric] = {"macro F1": macro_f1, "weighted F1": weighted_f1}
    return nominal | {"kappa": kappa, "MAE": mae} if ordered else nominal


def lower_is_better(metric: Metric, labels: int = GRADES) -> bool | None:
    """Return whether mistakes raise a measure, None if it does not tell mistakes from right answers.

    The measure itself is asked, with answers that are all right and answers that are all wrong: so it does not matter
    under which name, or inside which function, it is handed over.
    """
    right = np.eye(labels)
    best, worst = metric(right), metric(1 - right)
    return None if best == worst else bool(best < worst)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share, k of n (Wilson, JASA 1927;22:209-212).

    It is meant for independent reports; `interval` also holds where a patient has several.
    Raises ValueError unless 0 <= k <= n and n > 0.
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} of {n} is no share: n must be at least 1, and k from 0 to n.")
    k, n = int(k), int(n)
    centre = (k + Z**2 / 2) / (n + Z**2)
    half = Z / (n + Z**2) * sqrt(k * (n - k) / n + Z**2 / 4)
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

    At the edge: a grade that the sample has and a resample lacks keeps there what it has in the sample. And the ends
    reach at least as far as z² patients more, all graded one grade off, would move the measure; where the resamples
    leave it unmoved on one side, also z² patients more who are graded right. That is the reading of Wilson's interval
    (JASA 1927;22:209-212) as z² observations more (Agresti & Coull, American Statistician 1998;52:119-126): 5 of 5
    right is 1.000 [0.566, 1.000] in both. Of a grade with few reports macro F1 stays surer than it should be: look at the
    counts. Warns where all reports are of one patient, and where the reports lack a grade that the measure counts as 0.
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
    speaks of the mean of these runs on new patients; how runs differ from one another is another question. At the edge
    it is as `interval` says.
    """
    counts = _patient_counts(y, runs, groups, labels)
    _say_what_is_lacking(counts, metric)

    def mean(matrices: np.ndarray) -> np.ndarray:
        return metric(matrices).mean(-1)

    found = _percentiles(mean(counts.sum(0)), mean(_resamples(counts, n, seed)))
    return _reaching(found, mean(_with_more_patients(counts, right=found.value in found[1:])))


def share(happened: ArrayLike, groups: ArrayLike | None = None, n: int = 2000, seed: int = 0) -> Interval:
    """Return the share of reports in which something happened (0 or 1, or bools), with its interval over patients.

    For a sensitivity, hand over the reports of the ill alone, and their patients. Raises ValueError for no reports.
    """
    found = outcomes(happened)
    return interval(np.ones(len(found), int), found, accuracy, groups, n, seed, labels=2)


def next_count(happened: ArrayLike, groups: ArrayLike | None = None, more: int = 1000) -> tuple[int, int]:
    """Predict in how many of the next reports something will happen: the ends of a 95% prediction interval.

    Takes in which reports it happened (0 or 1, or bools), their patients, and how many reports come next. An interval of
    the share says where the share lies; the next count varies by luck as well. It is beta-binomial, with Jeffreys' prior
    (Gelman et al., Bayesian Data Analysis, 3rd edition, 2013, section 2.4). Reports of one patient are alike, so they
    are counted as fewer, by the design effect (Kish, Survey Sampling, 1965, section 5.4), in the past and the next.
    """
    from scipy.stats import betabinom  # slow to import, and little of the course needs it

    happened = outcomes(happened)
    patient = patient_numbers(groups, len(happened))
    effect = _design_effect(happened, patient)
    k, n = happened.sum() / effect, len(happened) / effect
    next_ones = betabinom(max(1, round(more / effect)), k + 0.5, n - k + 0.5)
    low, high = next_ones.ppf(((1 - LEVEL) / 2, (1 + LEVEL) / 2)) * more / max(1, round(more / effect))
    return round(low), round(high)


def resampled(
    statistic: Callable[[np.ndarray], float], groups: Sequence | np.ndarray, n: int = 500, seed: int = 0
) -> Interval:
    """Return any statistic and its 95% interval by the percentile bootstrap over patients.

    For what is no measure of a confusion matrix, such as the area under a curve. `statistic` takes the positions of the
    reports that count, some of them repeatedly, and returns a number, or nan where it is not defined.
    Where no resample moves it, the ends are nan, with a warning: a number that nothing moved is not a certain one.
    Raises ValueError for no reports.
    """
    rows = np.arange(len(groups))
    if not len(rows):
        raise ValueError("There are no reports, so there is nothing to resample.")
    patient = patient_numbers(groups, len(groups))
    order, sizes = np.argsort(patient, kind="stable"), np.bincount(patient)
    reports_of = np.split(order, np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([reports_of[i] for i in rng.integers(len(reports_of), size=len(reports_of))]))
        for _ in range(n)
    ]
    return _if_moved(_percentiles(statistic(rows), np.array(draws, dtype=float)), len(rows), len(sizes))


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
    interval. It is of the better of the two whichever way the measure goes: see `lower_is_better`.
    Where no resample moves a difference, its ends are those that z² patients more could reach, of whom one method
    grades all right and the other all one grade off. Of two that give the same answers it is 0, and so are its ends.
    """
    first, second = _as_runs(a), _as_runs(b)
    counts = _patient_counts(y, [*first, *second], groups, labels)
    truth = np.asarray(y)
    nothing = min(2 * GRAIN * len(truth), 0.1 / len(truth))  # what the grain alone may move, less than a report could

    def difference(matrices: np.ndarray) -> np.ndarray:
        each = metric(matrices)
        apart = each[..., : len(first)].mean(-1) - each[..., len(first) :].mean(-1)
        return np.where(abs(apart) < nothing, 0.0, apart)

    gap = _percentiles(difference(counts.sum(0)), difference(_resamples(counts, n, seed)))
    if gap.low == gap.high != 0:
        gap = _reaching(gap, difference(_with_patients_that_differ(counts, len(first))))
    alone = [_right_alone(truth, np.asarray(a_run), np.asarray(b_run)) for a_run in first for b_run in second]
    p, only_first, only_second = max((mcnemar(*counted), *counted) for counted in alone)
    verdict = _verdict(gap, lower_is_better(metric, labels), len(truth), names)
    return Comparison(gap, p, only_first, only_second, len(truth), verdict)


def patient_numbers(groups: ArrayLike | None, n: int) -> np.ndarray:
    """Return a number for the patient of each of n reports, from 0 on. Without `groups` each report is its own patient.

    So is a report whose patient is missing (None, NaN, pd.NA, a blank, or such a word), with a warning that counts them.
    Raises ValueError unless there is one name of a patient a report.
    """
    if groups is None:
        return np.arange(n)
    names = np.asarray(groups, dtype=object)
    if names.shape != (n,):
        found = f"{len(names)} patients' names" + f" of {names.shape[1:]} parts" * (names.ndim > 1)
        raise ValueError(f"There are {n} reports and {found}; each report needs one.")
    missing = np.array([str(name).strip().lower() in MISSING for name in names], dtype=bool)
    if missing.any():
        of = f"{missing.sum():,} of {n:,} reports"
        warnings.warn(f"{of} have no patient: each counts as a patient of its own.", stacklevel=3)
    known = names[~missing]
    if len({isinstance(name, str) for name in known}) > 1:  # numbers and words have no order among them
        known = known.astype(str)
    numbers = np.empty(n, dtype=int)
    patients, numbers[~missing] = np.unique(known, return_inverse=True)
    numbers[missing] = len(patients) + np.arange(missing.sum())
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


class Subgroup(NamedTuple):
    """How well some of the reports are graded: macro F1 over the grades that they have.

    `lacks` holds the grades that other reports have and these don't. A score that lacks one is of an easier or a harder
    task, and is not to be compared with one that lacks none.
    """

    name: str
    score: Interval
    reports: int
    patients: int
    lacks: tuple[int, ...]


def occurring(y: ArrayLike) -> tuple[int, ...]:
    """Return the grades that some report has, in their order."""
    return tuple(np.unique(np.asarray(y)).tolist())


def subgroups(
    y: ArrayLike,
    p: ArrayLike,
    where: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    labels: int = GRADES,
) -> list[Subgroup]:
    """Measure subgroups: macro F1 of each over the grades that it has, with its interval over patients.

    Takes what `interval` takes, and for each subgroup's name which reports are in it, an array of bools.
    Raises ValueError for a subgroup without reports.
    """
    truth, given, patient = np.asarray(y), np.asarray(p), patient_numbers(groups, len(np.asarray(y)))
    found = []
    for name, chosen in where.items():
        rows = np.asarray(chosen, dtype=bool)
        if not rows.any():
            raise ValueError(f'The subgroup "{name}" has no reports: leave it out.')
        has = occurring(truth[rows])
        score = interval(truth[rows], given[rows], macro_f1_of(has), patient[rows], labels=labels)
        lacks = tuple(sorted(set(occurring(truth)) - set(has)))
        found.append(Subgroup(name, score, int(rows.sum()), len(np.unique(patient[rows])), lacks))
    return found


def lowest(found: Iterable[Subgroup]) -> Subgroup | None:
    """Return the subgroup with the lowest score of those that can be compared, that lack no grade; None if all do."""
    return min((one for one in found if not one.lacks), key=lambda one: one.score.value, default=None)


def outcomes(happened: ArrayLike) -> np.ndarray:
    """Return outcomes as whole numbers, or say what is wrong with them."""
    found = np.asarray(happened)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"The outcomes have the shape {found.shape}; a list of at least one is needed.")
    if not np.isin(found, (0, 1)).all():
        raise ValueError(f"An outcome is {found[~np.isin(found, (0, 1))][0]!r}; it can be 0 or 1.")
    return found.astype(int)


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


def _design_effect(happened: np.ndarray, patient: np.ndarray) -> float:
    """Return by what factor reports of one patient count as fewer: the share's variance over that of independent ones.

    At least 1. Where all outcomes are the same it can't be seen, so a patient's reports count as one.
    """
    n, p = len(happened), happened.mean()
    if p in (0, 1):
        return n / (patient.max() + 1)
    apart = np.bincount(patient, weights=happened - p)
    return max(1.0, float((apart**2).sum() / (n * p * (1 - p))))


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
    if patient.max() == 0:
        said = "are of one patient: the interval rests on the rule for the edge, and says little of other patients"
        warnings.warn(f"All reports ({len(codes):,}) {said}.", stacklevel=4)
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
    draws = (weights.astype(float) @ kinds).reshape(n, *counts.shape[1:])
    sample = counts.sum(0)
    lacking = ((draws[:, 0].sum(-1) == 0) & (sample[0].sum(-1) > 0)).any(-1)
    draws[lacking] += GRAIN * sample  # what is lacking keeps what it has in the sample
    return draws


def _with_more_patients(counts: np.ndarray, right: bool) -> np.ndarray:
    """Return the sample with z² patients more, in each way in which all of them are graded alike: (ways, runs, ...).

    They have a grade of the sample and are graded one grade off it, or also right, if `right`.
    """
    labels = counts.shape[-1]
    steps = (-1, 0, 1) if right else (-1, 1)
    return counts.sum(0) + _added(counts, [(i, i + step) for i in _has(counts) for step in steps], labels)[:, None]


def _with_patients_that_differ(counts: np.ndarray, first: int) -> np.ndarray:
    """Return the sample with z² patients more whom the first runs, or the others, grade right and the rest one grade off."""
    labels, runs = counts.shape[-1], counts.shape[1]
    off = [(i, i + step) for i in _has(counts) for step in (-1, 1) if 0 <= i + step < labels]
    right, wrong = _added(counts, [(i, i) for i, _ in off], labels), _added(counts, off, labels)
    is_first = (np.arange(runs) < first)[:, None, None]
    ways = [np.where(is_first, a[:, None], b[:, None]) for a, b in ((right, wrong), (wrong, right))]
    return counts.sum(0) + np.concatenate(ways)


def _has(counts: np.ndarray) -> list[int]:
    """Return the grades that the sample has."""
    return np.flatnonzero(counts[:, 0].sum((0, -1))).tolist()


def _say_what_is_lacking(counts: np.ndarray, metric: Metric) -> None:
    """Warn if the reports lack grades without which even answers that are all right don't reach a measure's best."""
    labels, has = counts.shape[-1], _has(counts)
    best, reachable = metric(np.eye(labels)), metric(np.diag(counts[:, 0].sum((0, -1))))
    if not np.isnan(reachable) and not np.isclose(best, reachable):
        lacks = ", ".join(str(grade) for grade in range(labels) if grade not in has)
        said = f"{reachable:.3f} is the best that they can reach, not {best:.3f}. See `macro_f1_of`"
        warnings.warn(f"No report has the grade {lacks}: {said}.", stacklevel=4)


def _added(counts: np.ndarray, cells: list[tuple[int, int]], labels: int) -> np.ndarray:
    """Return a matrix for each of the cells (true, predicted) that exist: in it the reports of z² patients."""
    inside = [cell for cell in cells if 0 <= cell[1] < labels]
    matrices = np.zeros((len(inside), labels, labels))
    for matrix, cell in zip(matrices, inside, strict=True):
        matrix[cell] = Z**2 * counts[:, 0].sum() / len(counts)
    return matrices


def _reaching(found: Interval, values: np.ndarray) -> Interval:
    """Return the interval, wide enough to hold the values; those that are not defined are left out."""
    if np.isnan(found.value):
        return found
    return Interval(found.value, float(np.nanmin([found.low, *values])), float(np.nanmax([found.high, *values])))


def _percentiles(value: float | np.ndarray, draws: np.ndarray) -> Interval:
    """Return the value and the middle 95% of its draws; draws in which the measure is not defined are left out."""
    draws = draws[~np.isnan(draws)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, (tail, 1 - tail)) if len(draws) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def _if_moved(found: Interval, reports: int, patients: int) -> Interval:
    """Return an interval if resamples moved the number; else, with a warning, one whose ends are not known (nan)."""
    if found.low != found.high:
        return found
    of = f"{reports:,} reports of {patients:,} patient{'s' * (patients > 1)}"
    warnings.warn(f"The resamples leave the number where it is, so its interval is not known: {of}.", stacklevel=3)
    return Interval(found.value, np.nan, np.nan)


def _right_alone(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Return how many reports only the first predictions get right, and how many only the second."""
    first_right, second_right = first == truth, second == truth
    return int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())


def _verdict(gap: Interval, lower: bool | None, n: int, names: tuple[str, str]) -> str:
    first, second = names
    if np.isnan(gap.low):
        return f"{first} and {second} can't be compared: the measure is not defined on these {n:,} rows"
    if gap.low <= 0 <= gap.high:
        return f"cannot tell {first} and {second} apart with {n:,} rows"
    if lower is None:
        return f"{first} is {'higher' if gap.low > 0 else 'lower'} than {second}, with {n:,} rows"
    better = (gap.low > 0) != lower
    return f"{first} is {'better' if better else 'worse'} than {second}, with {n:,} rows"
