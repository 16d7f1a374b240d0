"""Chances are judged as scikit-learn and SciPy judge them, over patients, and what few reports can't say is said."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix

from course_utils import calibration, metrics


def drawn(seed=0, n=2000, slope=1.0, intercept=0.0):
    """Chances, and outcomes whose logit is intercept + slope x the chance's."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 2
    return 1 / (1 + np.exp(-logits)), (rng.random(n) < 1 / (1 + np.exp(-intercept - slope * logits))).astype(int)


def graded(seed=0, n=2000, truer=1.0):
    """Chances of five grades, and true grades drawn from them with their logits times `truer`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 5)) * 2
    shares = np.exp(truer * logits)
    cut = (shares / shares.sum(1, keepdims=True)).cumsum(1)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), (rng.random((n, 1)) > cut).sum(1).clip(0, 4)


@pytest.mark.parametrize("seed", range(3))
def test_brier_equals_scikit_learn(seed):
    chance, ill = drawn(seed)
    assert calibration.brier(chance, ill) == pytest.approx(brier_score_loss(ill, chance), abs=1e-12)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0.5, 0.7), (1.6, -1), (-0.4, 0)])
def test_the_line_equals_scikit_learns_logistic_regression(slope, intercept):
    chance, ill = drawn(1, slope=slope, intercept=intercept)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(chance / (1 - chance))[:, None], ill)
    found = calibration.recalibration(chance, ill)
    assert found == pytest.approx((fitted.intercept_[0], fitted.coef_[0, 0]), abs=1e-4)
    assert found == pytest.approx((intercept, slope), abs=0.25)


def test_in_the_large_the_moved_chances_fit_the_share():
    chance, ill = drawn(2, intercept=0.8)
    moved = calibration.in_the_large(chance, ill)
    assert moved == pytest.approx(0.8, abs=0.2)
    assert (1 / (1 + np.exp(-moved) * (1 - chance) / chance)).mean() == pytest.approx(ill.mean())


@pytest.mark.parametrize("ill", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0]])
def test_there_is_no_line_where_one_outcome_is_missing_or_a_cut_parts_the_two(ill):
    assert np.isnan(calibration.recalibration([0.1, 0.2, 0.7, 0.9], ill)).all()


def test_one_chance_for_all_has_no_slope():
    assert np.isnan(calibration.recalibration([0.4] * 4, [0, 1, 0, 1])).all()
    assert calibration.in_the_large([0.5] * 4, [0, 1, 0, 1]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(calibration.in_the_large([0.5] * 4, [0, 0, 0, 0]))


def test_chances_of_0_and_1_are_no_infinite_logits():
    found = calibration.recalibration([0.0, 0.3, 0.6, 1.0, 1.0 + 1e-7], [0, 1, 0, 1, 1])
    assert np.isfinite(found).all() and found.slope > 0


def test_the_curve_equals_scikit_learns_and_knows_the_patients():
    chance, ill = drawn(3)
    share, mean = calibration_curve(ill, chance, n_bins=10, strategy="quantile")
    bins = calibration.curve(chance, ill)
    assert [one.chance for one in bins] == pytest.approx(list(mean), abs=1e-6)
    assert [one.share.value for one in bins] == pytest.approx(list(share), abs=1e-6)
    twice = calibration.curve(chance.repeat(2), ill.repeat(2), np.arange(len(ill)).repeat(2))
    for one, two in zip(bins, twice, strict=True):
        assert two.reports == 2 * one.reports
        assert two.share[1:] == pytest.approx(one.share[1:], abs=0.03)  # the same patients, so no narrower


def test_few_reports_get_few_bins():
    chance, ill = drawn(4, n=45)
    assert [one.reports for one in calibration.curve(chance, ill)] == [23, 22]
    assert len(calibration.curve(chance[:7], ill[:7])) == 1


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.9])
def test_net_benefit_is_that_of_the_formula(threshold):
    chance, ill = drawn(5)
    (_, fp), (_, tp) = confusion_matrix(ill, chance >= threshold)
    expected = tp / len(ill) - fp / len(ill) * threshold / (1 - threshold)
    assert calibration.net_benefit(chance, ill, threshold) == pytest.approx(expected)


def test_net_benefit_of_acting_on_all_and_on_nobody():
    _, ill = drawn(5)
    share, threshold = ill.mean(), 0.2
    everybody = share - (1 - share) * threshold / (1 - threshold)
    assert calibration.net_benefit(np.ones(len(ill)), ill, threshold) == pytest.approx(everybody)
    assert calibration.net_benefit(np.zeros(len(ill)), ill, threshold) == 0
    assert calibration.net_benefit(ill, ill, threshold) == pytest.approx(share)
    assert calibration.net_benefit(np.ones(len(ill)), ill, share) == pytest.approx(0)


def test_a_measure_of_chances_has_an_interval_over_patients():
    chance, ill = drawn(6, n=300, slope=0.6)
    once = metrics.resampled(lambda rows: calibration.recalibration(chance[rows], ill[rows]).slope, range(300))
    again = np.arange(300).repeat(3)
    thrice = metrics.resampled(
        lambda rows: calibration.recalibration(chance[again][rows], ill[again][rows]).slope, again
    )
    assert once.low < 0.6 < once.high < 1
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.2)


@pytest.mark.parametrize(
    ("chance", "ill", "said"),
    [
        ([0.1, 0.2], [1], "one of each a report"),
        ([[0.1, 0.9]], [1], "one of each a report"),
        ([0.1, 1.2], [0, 1], "A chance is 1.2"),
        ([0.1, float("nan")], [0, 1], "A chance is nan"),
        ([0.1, 0.2], [0, 2], "An outcome is .*2"),
        ([0.1, 0.2], ["no", "yes"], "An outcome is .*no"),
        ([], [], "at least one"),
    ],
)
def test_what_are_no_chances_is_named(chance, ill, said):
    for measure in (calibration.brier, calibration.recalibration, calibration.in_the_large, calibration.curve):
        with pytest.raises(ValueError, match=said):
            measure(chance, ill)


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan")])
def test_a_threshold_lies_between_0_and_1(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration.net_benefit([0.1, 0.9], [0, 1], threshold)


def test_the_error_of_the_top_answer():
    sure = np.array([0.95] * 100 + [0.55] * 100)
    both = np.stack([sure, 1 - sure], axis=1)
    truth = np.r_[np.zeros(80), np.ones(20), np.zeros(50), np.ones(50)].astype(int)
    assert calibration.ece(both, truth) == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)
    with pytest.warns(UserWarning, match="mostly luck"):
        calibration.ece(both[:199], truth[:199])


@pytest.mark.parametrize("truer", [0.5, 1, 2])
def test_the_temperature_is_found(truer):
    given, truth = graded(truer=truer)
    assert calibration.temperature_of(given, truth) == pytest.approx(1 / truer, rel=0.1)
    np.testing.assert_allclose(calibration.tempered(given, 1), given, atol=1e-12)
    assert (calibration.tempered(given, 3).argmax(1) == given.argmax(1)).all()


def test_a_temperature_that_cannot_be_known_is_1_and_says_so():
    given, truth = graded()
    all_right = given.argmax(1)[:20]
    with pytest.warns(UserWarning, match="0 of 20 answers are wrong"):
        assert calibration.temperature_of(given[:20], all_right) == 1
    far_too_sure = calibration.tempered(given, 1 / 40)
    with pytest.warns(UserWarning, match="at its end"):
        assert calibration.temperature_of(far_too_sure, truth) == 1


def test_grades_without_chances_are_named():
    with pytest.raises(ValueError, match="chances of 2 grades"):
        calibration.temperature_of([[0.4, 0.6]], [2])
    with pytest.raises(ValueError, match="a row of chances for each report"):
        calibration.ece([0.4, 0.6], [0, 1])
