"""The measures equal scikit-learn's, the intervals cover, and the comparisons say what they may."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as theirs

from course_utils import metrics

GRADES = range(5)
EVERY = [
    metrics.accuracy,
    metrics.macro_f1,
    metrics.weighted_f1,
    metrics.kappa,
    metrics.mae,
    metrics.sensitivity_referable,
    metrics.specificity_referable,
]


def two(seed, n=200, grades=5):
    """Random truth and predictions that agree about half of the time."""
    rng = np.random.default_rng(seed)
    y, other = rng.integers(grades, size=(2, n))
    return y, np.where(rng.random(n) < 0.5, y, other)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("grades", [5, 3])
def test_measures_equal_scikit_learn(seed, grades):
    y, p = two(seed, grades=grades)
    cm = metrics.confusion(y, p)
    options = {"labels": GRADES, "zero_division": 0.0}
    np.testing.assert_array_equal(cm, theirs.confusion_matrix(y, p, labels=GRADES))
    pairs = [
        (metrics.accuracy(cm), theirs.accuracy_score(y, p)),
        (metrics.macro_f1(cm), theirs.f1_score(y, p, average="macro", **options)),
        (metrics.weighted_f1(cm), theirs.f1_score(y, p, average="weighted", **options)),
        (metrics.kappa(cm), theirs.cohen_kappa_score(y, p, labels=GRADES, weights="quadratic")),
        (metrics.mae(cm), theirs.mean_absolute_error(y, p)),
        (metrics.sensitivity_referable(cm), theirs.recall_score(y >= 2, p >= 2)),
        (metrics.specificity_referable(cm), theirs.recall_score(y < 2, p < 2)),
    ]
    for ours, reference in pairs:
        assert abs(ours - reference) < 1e-12
    np.testing.assert_allclose(metrics.f1_per_grade(cm), theirs.f1_score(y, p, average=None, **options), atol=1e-12)


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_a_stack_is_measured_matrix_by_matrix(metric):
    stack = np.stack([metrics.confusion(*two(seed)) for seed in range(6)]).reshape(2, 3, 5, 5)
    one_by_one = [[metric(cm) for cm in row] for row in stack]
    np.testing.assert_allclose(metric(stack), one_by_one, rtol=1e-14)


def test_absent_grades_count_as_zero():
    cm = metrics.confusion([0, 1, 2], [0, 1, 2])
    assert metrics.macro_f1(cm) == pytest.approx(0.6) and theirs.f1_score([0, 1, 2], [0, 1, 2], average="macro") == 1


def test_macro_f1_can_prefer_the_worse_mistake_and_the_ordinal_measures_do_not():
    y = [0, 0, 0, 0, 3, 3, 4, 4]
    near = metrics.confusion(y, [0, 0, 0, 0, 3, 3, 3, 4])  # one 4 is called 3
    far = metrics.confusion(y, [0, 0, 0, 0, 3, 3, 0, 4])  # one 4 is called 0
    assert metrics.macro_f1(far) > metrics.macro_f1(near)
    assert metrics.kappa(far) < metrics.kappa(near)
    assert metrics.mae(far) > metrics.mae(near)
    assert metrics.sensitivity_referable(far) < metrics.sensitivity_referable(near)


def test_what_is_not_defined_is_nan():
    well = metrics.confusion([0, 0, 1], [0, 0, 1])
    assert np.isnan(metrics.sensitivity_referable(well)) and metrics.specificity_referable(well) == 1
    assert np.isnan(metrics.kappa(metrics.confusion([2, 2], [2, 2])))
    assert np.isnan(metrics.interval([0, 0, 1], [0, 0, 1], metrics.sensitivity_referable)).all()


@pytest.mark.parametrize(
    ("y", "p", "said"),
    [
        ([], [], "0 true grades"),
        ([1, 2], [1], "2 true grades and 1 predicted"),
        ([1, 5], [1, 1], "true grades hold 5; only 0 to 4"),
        ([1, 1], [1, 2.5], "predicted grades hold 2.5"),
        ([1, 1], [1, float("nan")], "predicted grades hold nan"),
        ([1, 1], ["1", "2"], "predicted grades hold '1'"),
        ([1, 1], np.full((2, 5), 0.2), "argmax"),
    ],
)
def test_grades_that_are_none_are_named(y, p, said):
    with pytest.raises(ValueError, match=said):
        metrics.confusion(y, p)


@pytest.mark.parametrize(("k", "n"), [(0, 40), (3, 5), (50, 100), (290, 300), (300, 300)])
def test_wilson_equals_scipy(k, n):
    reference = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert metrics.wilson(k, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (0, 0), (5, 4), (-1, 4)])
def test_wilson_wants_a_share(k, n):
    with pytest.raises(ValueError, match="is no share"):
        metrics.wilson(k, n)


def clustered(rng, patients=60, each=4):
    """Grades right in 0 of 4 or 4 of 4 reports of a patient: a patient's reports tell no more than one of them."""
    right = np.repeat(rng.random(patients) < 0.7, each)
    return np.zeros(len(right), int), np.where(right, 0, 1), np.repeat(np.arange(patients), each)


def coverage(grouped, times=200):
    """How often the interval of the accuracy holds the truth, 0.7."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(times):
        y, p, groups = clustered(rng)
        found = metrics.interval(y, p, metrics.accuracy, groups if grouped else None, n=400)
        hits += found.low <= 0.7 <= found.high
    return hits / times


def test_the_interval_covers_when_it_knows_the_patients_and_only_then():
    assert coverage(grouped=True) > 0.9
    assert coverage(grouped=False) < 0.8


def test_without_patients_the_interval_of_a_share_is_about_wilsons():
    y, p = two(3, n=1000)
    found = metrics.interval(y, p, metrics.accuracy)
    assert found[1:] == pytest.approx(metrics.wilson((y == p).sum(), len(y)), abs=0.003)
    assert found.value == (y == p).mean()


def test_the_interval_equals_drawing_patients_one_by_one():
    y, p = two(5, n=120)
    groups = [f"P{i // 3}" for i in range(len(y))]
    rng, draws = np.random.default_rng(0), []
    for _ in range(3000):
        rows = (rng.integers(40, size=40)[:, None] * 3 + np.arange(3)).ravel()
        draws.append(metrics.macro_f1(metrics.confusion(y[rows], p[rows])))
    found = metrics.interval(y, p, metrics.macro_f1, groups, n=3000)
    assert found[1:] == pytest.approx(np.quantile(draws, (0.025, 0.975)), abs=0.008)


def test_an_interval_is_the_same_each_time_and_prints_short():
    y, p = two(7)
    assert metrics.interval(y, p, seed=1) == metrics.interval(y, p, seed=1) != metrics.interval(y, p, seed=2)
    assert str(metrics.Interval(0.61234, 0.5, 0.7)) == "0.612 [0.500, 0.700]"


def test_over_seeds_the_measure_is_averaged():
    y, p = two(8)
    q = two(9)[1]
    found = metrics.interval_over_seeds(y, [p, q])
    assert found.value == pytest.approx(np.mean([metrics.macro_f1(metrics.confusion(y, one)) for one in (p, q)]))
    assert metrics.interval_over_seeds(y, [p, p]) == pytest.approx(metrics.interval(y, p), abs=1e-12)
    assert metrics.interval(y, p)[1] < metrics.interval(y, p)[0] < metrics.interval(y, p)[2]


def test_each_report_needs_a_patient():
    with pytest.raises(ValueError, match="3 reports and 2 patients"):
        metrics.interval([0, 1, 2], [0, 1, 2], groups=["a", "b"])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (1, 5), (10, 10), (7, 20), (484, 472), (900, 1100)])
def test_mcnemar_equals_scipys_sign_test(b, c):
    reference = binomtest(b, b + c).pvalue if b + c else 1.0
    assert metrics.mcnemar(b, c) == metrics.mcnemar(c, b) == pytest.approx(reference, rel=1e-9)


def test_a_clear_difference_is_called_one_both_ways_round():
    y = np.tile(np.arange(5), 60)
    worse = np.where(np.arange(300) % 3 == 0, (y + 1) % 5, y)
    won = metrics.paired(y, y, worse, names=("new", "old"))
    assert won.verdict == "new is better than old, with 300 reports"
    assert (won.only_first, won.only_second, won.n) == (100, 0, 300) and won.p < 1e-20
    assert metrics.paired(y, worse, y).verdict == "the first is worse than the second, with 300 reports"
    assert metrics.paired(y, y, worse, metrics.mae).verdict == "the first is better than the second, with 300 reports"


def test_a_difference_of_three_in_three_hundred_is_not_called_one():
    y = np.tile(np.arange(5), 60)
    a, b = y.copy(), y.copy()
    a[:10], b[-13:] = (y[:10] + 1) % 5, (y[-13:] + 1) % 5  # 290 of 300 right, and 287
    found = metrics.paired(y, a, b)
    assert found.difference.low < 0 < found.difference.high and found.p > 0.5
    assert found.verdict == "cannot tell the first and the second apart with 300 reports"


def test_an_interval_that_ends_at_0_tells_nothing_apart():
    y = np.zeros(40, int)
    one_wrong = np.where(np.arange(40) == 0, 1, y)  # in 0.975 ** 40 = 36% of the resamples that report is missing
    found = metrics.paired(y, y, one_wrong, metrics.accuracy)
    assert found.difference.low == 0 < found.difference.high and found.verdict.startswith("cannot tell")
    found = metrics.paired(y, one_wrong, y, metrics.accuracy)
    assert found.difference.low < 0 == found.difference.high and found.verdict.startswith("cannot tell")


def test_a_comparison_is_the_same_each_time_and_goes_by_its_seed():
    (y, p), q = two(7), two(8)[1]
    one, again, other = (metrics.paired(y, p, q, seed=seed).difference for seed in (1, 1, 2))
    assert one == again != other


def test_the_difference_pairs_the_patients():
    y, p = two(2, n=500)
    q = p.copy()
    q[:10] = y[:10]
    alone = metrics.interval(y, p)
    gap = metrics.paired(y, p, q).difference
    assert gap.value == pytest.approx(alone.value - metrics.interval(y, q).value)
    assert gap.high - gap.low < (alone.high - alone.low) / 2


def test_a_paired_difference_counts_patients_not_reports():
    rng = np.random.default_rng(0)
    y, first, second = (np.repeat(rng.integers(5, size=60), 9) for _ in range(3))  # nine equal reports a patient
    patients = np.arange(60).repeat(9)
    by_report = metrics.paired(y, first, second, metrics.accuracy).difference
    by_patient = metrics.paired(y, first, second, metrics.accuracy, groups=patients).difference
    assert by_patient.value == by_report.value
    ratio = (by_patient.high - by_patient.low) / (by_report.high - by_report.low)
    assert ratio == pytest.approx(3, rel=0.15)  # the square root of nine


def test_runs_are_compared_by_their_mean_and_by_the_least_sure_pair():
    y = np.tile(np.arange(5), 40)
    good, fair, poor = (np.where(np.arange(200) % k == 0, (y + 1) % 5, y) for k in (20, 4, 2))
    found = metrics.paired(y, [good, fair], poor)
    means = [metrics.macro_f1(metrics.confusion(y, p)) for p in (good, fair, poor)]
    assert found.difference.value == pytest.approx((means[0] + means[1]) / 2 - means[2])
    assert found.p == max(metrics.paired(y, run, poor).p for run in (good, fair))


def test_what_is_not_defined_is_not_compared():
    found = metrics.paired([0, 1], [0, 1], [0, 0], metrics.sensitivity_referable)
    assert "can't be compared" in found.verdict


def test_other_numbers_of_grades_are_measured_alike():
    y, p = [0, 1, 2, 2, 1, 0], [0, 1, 2, 1, 1, 0]
    three = metrics.interval(y, p, metrics.macro_f1, labels=3)
    assert three.value == pytest.approx(theirs.f1_score(y, p, average="macro"))
    assert metrics.paired(y, p, y, labels=3).difference.value < 0


def test_precision_and_recall_per_grade_are_sklearn_s():
    rng = np.random.default_rng(0)
    y, p = rng.integers(5, size=(2, 300))
    cm = metrics.confusion(y, p)
    assert metrics.precision_per_grade(cm) == pytest.approx(theirs.precision_score(y, p, average=None))
    assert metrics.recall_per_grade(cm) == pytest.approx(theirs.recall_score(y, p, average=None))


def test_the_bootstrap_of_any_statistic_agrees_with_that_of_a_measure():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(5, size=400), np.arange(400) // 2
    p = np.where(rng.random(400) < 0.7, y, 0)
    known = metrics.interval(y, p, metrics.accuracy, groups=groups)
    found = metrics.resampled(lambda rows: (y == p)[rows].mean(), groups)
    assert found.value == pytest.approx(known.value)
    assert found.low == pytest.approx(known.low, abs=0.01) and found.high == pytest.approx(known.high, abs=0.01)


def test_the_bootstrap_of_any_statistic_goes_by_its_seed():
    right = np.arange(50) % 3 > 0
    one, again, other = (metrics.resampled(lambda rows: right[rows].mean(), range(50), seed=s) for s in (1, 1, 2))
    assert one == again and one[1:] != other[1:] and one.value == other.value


def test_the_bootstrap_draws_patients_whole():
    groups = ["a", "b", "a", "b"]
    seen = []
    metrics.resampled(lambda rows: seen.append(sorted(rows)) or 0.0, groups, n=20)
    assert {tuple(rows) for rows in seen} <= {(0, 1, 2, 3), (0, 0, 2, 2), (1, 1, 3, 3)}
