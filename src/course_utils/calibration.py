"""Judge chances: do they fit what happens, and is a decision better for them?

Something happens or not, as referable disease does: an outcome is 0 or 1. A measure of chances is no measure of a
confusion matrix: `metrics.resampled` gives it an interval over patients.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit, softmax

from course_utils.metrics import Interval, outcomes, patient_numbers, share

ENOUGH = 20  # reports in a bin, and wrong answers behind a temperature: with fewer, luck decides
TEMPERATURES = (0.25, 8.0)  # what is tried
NEAREST = 1e-6  # to 0 and to 1 that a chance's logit is taken


class Recalibration(NamedTuple):
    """How chances have to be stretched and moved to fit what happened.

    `intercept` and `slope` are of the line logit(what happens) = intercept + slope x logit(chance) (Cox, Biometrika
    1958;45:562-565): 0 and 1 if the chances are right; a slope below 1 means too extreme ones.
    """

    intercept: float
    slope: float


class Bin(NamedTuple):
    """Reports of like chances: the mean chance, the share in which it happened, and how many reports they are."""

    chance: float
    share: Interval
    reports: int


def brier(chances: ArrayLike, happened: ArrayLike) -> float:
    """Return the mean squared distance of chances from what happened (Brier, Monthly Weather Review 1950;78:1-3).

    Takes chances from 0 to 1 and outcomes, 0 or 1. 0 is best; the share of the ill for everybody scores share (1 - share).
    """
    chance, outcome = _chances(chances, happened)
    return float(((chance - outcome) ** 2).mean())


def recalibration(chances: ArrayLike, happened: ArrayLike) -> Recalibration:
    """Return the line that would set chances right, by logistic regression of the outcome on the chance's logit.

    Takes what `brier` takes. nan where there is no such line: all outcomes are the same, all chances are, or a cut between
    the chances parts the outcomes. Chances nearer to 0 or 1 than a millionth count as a millionth away.
    """
    x, outcome = _logits(chances, happened)
    ill, well = x[outcome == 1], x[outcome == 0]
    if not len(ill) or not len(well) or ill.min() >= well.max() or ill.max() <= well.min():
        return Recalibration(np.nan, np.nan)
    return Recalibration(*_logistic_line(x, outcome))


def in_the_large(chances: ArrayLike, happened: ArrayLike) -> float:
    """Return by how much all logits must be moved for the mean chance to fit the share in which it happened.

    That is the intercept with the slope held at 1 (Van Calster et al., BMC Medicine 2019;17:230): above 0, it happens
    more often than the chances say. Takes what `brier` takes; nan where all outcomes are the same.
    """
    x, outcome = _logits(chances, happened)
    if outcome.min() == outcome.max():
        return np.nan
    return float(brentq(lambda moved: expit(moved + x).mean() - outcome.mean(), -40, 40))


def curve(chances: ArrayLike, happened: ArrayLike, groups: ArrayLike | None = None, bins: int = 10) -> list[Bin]:
    """Return a calibration curve: bins of equally many reports, from the lowest chance to the highest.

    Takes what `brier` takes, and the patients. There are as many bins as have 20 reports each, at most `bins`.
    """
    chance, outcome = _chances(chances, happened)
    patient = patient_numbers(groups, len(chance))
    parts = np.array_split(np.argsort(chance, kind="stable"), max(1, min(bins, len(chance) // ENOUGH)))
    return [Bin(float(chance[rows].mean()), share(outcome[rows], patient[rows]), len(rows)) for rows in parts]


def net_benefit(chances: ArrayLike, happened: ArrayLike, threshold: float) -> float:
    """Return the net benefit of acting from a chance on: true positives less false ones at the threshold's exchange rate.

    tp / n - fp / n x threshold / (1 - threshold) (Vickers & Elkin, Medical Decision Making 2006;26:565-574). At a threshold
    of 0.1 a missed ill one is worth nine well ones referred. Acting on nobody is 0; chances of 1 act on everybody.
    Takes what `brier` takes. Raises ValueError for a threshold that is not between 0 and 1.
    """
    chance, outcome = _chances(chances, happened)
    if not 0 < threshold < 1:
        raise ValueError(f"The threshold is {threshold}; it must lie between 0 and 1.")
    acted = chance >= threshold
    return float((acted & (outcome == 1)).mean() - (acted & (outcome == 0)).mean() * threshold / (1 - threshold))


def ece(chances: ArrayLike, y: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error of the top answer (Guo et al., ICML 2017, equation 3).

    Takes the chance of each grade, an array (reports, grades), and the true grades. The reports are put in bins of equal
    width by the chance of their answer; it is the mean gap between that chance and the share right, by reports.
    It can only be above 0, and luck alone makes it so: warns with fewer than 20 reports for each bin.
    """
    sure, right = _answers(chances, y)
    if len(sure) < ENOUGH * bins:
        few = f"the ECE of {len(sure):,} reports in {bins} bins is mostly luck"
        warnings.warn(f"With fewer than {ENOUGH * bins:,} reports, {few}.", stacklevel=2)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    return sum((place == b).mean() * abs(sure[place == b].mean() - right[place == b].mean()) for b in np.unique(place))


def tempered(chances: ArrayLike, temperature: float) -> np.ndarray:
    """Return chances, an array (reports, grades), with their logits divided by the temperature."""
    return softmax(np.log(np.clip(np.asarray(chances, dtype=float), 1e-12, 1)) / temperature, axis=1)


def temperature_of(chances: ArrayLike, y: ArrayLike) -> float:
    """Return the temperature that fits chances to true grades (Guo et al., ICML 2017, section 4.2).

    Takes the chance of each grade, an array (reports, grades), and the true grades. Returns 1, which leaves the chances as
    they are, with a warning, where it can't be known: with fewer than 20 wrong answers, or at the end of what is tried.
    """
    right = _answers(chances, y)[1]
    of_truth = np.arange(len(right)), np.asarray(y, dtype=int)

    def loss(temperature: float) -> float:
        return -np.log(np.clip(tempered(chances, temperature)[of_truth], 1e-12, 1)).mean()

    if (~right).sum() < ENOUGH:
        wrong = f"{(~right).sum()} of {len(right):,} answers are wrong, and {ENOUGH} are needed"
        warnings.warn(f"No temperature is fitted: {wrong}. The chances stay as they are.", stacklevel=2)
        return 1.0
    low, high = TEMPERATURES
    found = float(minimize_scalar(loss, bounds=TEMPERATURES, method="bounded").x)
    if not 1.01 * low < found < 0.99 * high:
        end = f"the best of {low:g} to {high:g} is at its end, {found:.2f}"
        warnings.warn(f"No temperature is fitted: {end}. The chances stay as they are.", stacklevel=2)
        return 1.0
    return found


def _chances(chances: ArrayLike, happened: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return chances and outcomes as arrays, or say what is wrong with them."""
    chance, outcome = np.asarray(chances, dtype=float), outcomes(happened)
    if chance.shape != outcome.shape:
        raise ValueError(
            f"The chances have the shape {chance.shape}, the outcomes {outcome.shape}: one of each a report."
        )
    strays = chance[~((chance >= -NEAREST) & (chance <= 1 + NEAREST))]  # a sum of float32 may be a little above 1
    if len(strays):
        raise ValueError(f"A chance is {strays[0]}; it must lie between 0 and 1.")
    return np.clip(chance, 0, 1), outcome


def _logits(chances: ArrayLike, happened: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of chances, none of them infinite, and the outcomes."""
    chance, outcome = _chances(chances, happened)
    return logit(np.clip(chance, NEAREST, 1 - NEAREST)), outcome


def _answers(chances: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance of each report's answer, and whether it is right; or say what is wrong with them."""
    chance, truth = np.asarray(chances), np.asarray(y)
    if chance.ndim != 2 or not len(chance) or truth.shape != chance.shape[:1]:
        raise ValueError(
            f"The chances have the shape {chance.shape}, the true grades {truth.shape}: a row of chances for each report."
        )
    if not np.isin(truth, range(chance.shape[1])).all():
        raise ValueError(
            f"There are chances of {chance.shape[1]} grades; the true ones must be from 0 on, and below that."
        )
    return chance.max(1), chance.argmax(1) == truth


def _logistic_line(x: np.ndarray, outcome: np.ndarray) -> tuple[float, float]:
    """Return intercept and slope of an unpenalised logistic regression, by Newton's steps: a resample takes many of them."""
    design, line = np.stack([np.ones_like(x), x], axis=1), np.zeros(2)
    for _ in range(50):
        chance = expit(design @ line)
        hessian = design.T @ (design * (chance * (1 - chance))[:, None])
        step = np.linalg.solve(hessian, design.T @ (outcome - chance))
        line = line + step
        if abs(step).max() < 1e-9:
            return float(line[0]), float(line[1])
    return np.nan, np.nan
