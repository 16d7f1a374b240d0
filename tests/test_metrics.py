"""The measures equal scikit-learn's, the intervals cover, and the comparisons say what they may."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom, binomtest
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
    assert won.verdict == "new is better than old, with 300 rows"
    assert (won.only_first, won.only_second, won.n) == (100, 0, 300) and won.p < 1e-20
    assert metrics.paired(y, worse, y).verdict == "the first is worse than the second, with 300 rows"
    assert metrics.paired(y, y, worse, metrics.mae).verdict == "the first is better than the second, with 300 rows"


def test_a_difference_of_three_in_three_hundred_is_not_called_one():
    y = np.tile(np.arange(5), 60)
    a, b = y.copy(), y.copy()
    a[:10], b[-13:] = (y[:10] + 1) % 5, (y[-13:] + 1) % 5  # 290 of 300 right, and 287
    found = metrics.paired(y, a, b)
    assert found.difference.low < 0 < found.difference.high and found.p > 0.5
    assert found.verdict == "cannot tell the first and the second apart with 300 rows"


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
    metrics.resampled(lambda rows: seen.append(sorted(rows)) or len(seen), groups, n=20)
    assert {tuple(rows) for rows in seen} <= {(0, 1, 2, 3), (0, 0, 2, 2), (1, 1, 3, 3)}


def test_the_order_of_labels_decides_which_measures_there_are():
    assert list(metrics.measures(ordered=True)) == ["macro F1", "weighted F1", "kappa", "MAE"]
    assert list(metrics.measures(ordered=False)) == ["macro F1", "weighted F1"]


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_a_measure_tells_which_way_it_goes_whatever_it_is_called(labels):
    for metric in EVERY:
        if labels > 2 or metric not in (metrics.sensitivity_referable, metrics.specificity_referable):
            lower = metric is metrics.mae
            assert metrics.lower_is_better(metric, labels) is lower
            assert metrics.lower_is_better(lambda cm, m=metric: m(cm), labels) is lower
    assert metrics.lower_is_better(lambda cm: 1 - metrics.accuracy(cm), labels)
    assert metrics.lower_is_better(lambda cm: cm.sum((-2, -1)) * 0, labels) is None


@pytest.mark.parametrize("metric", [metrics.mae, lambda cm: metrics.mae(cm), lambda cm: 1 - metrics.accuracy(cm)])
def test_a_verdict_where_lower_is_better_does_not_hang_on_the_measures_name(metric):
    y = np.tile(np.arange(5), 60)
    worse = np.where(np.arange(300) % 3 == 0, (y + 1) % 5, y)
    assert metrics.paired(y, y, worse, metric).verdict == "the first is better than the second, with 300 rows"
    assert metrics.paired(y, worse, y, metric).verdict == "the first is worse than the second, with 300 rows"


def test_of_what_is_no_quality_the_verdict_says_only_which_is_higher():
    y = np.tile(np.arange(5), 60)
    share_of_4 = lambda cm: cm[..., 4].sum(-1) / cm.sum((-2, -1))  # noqa: E731  how many are called 4
    found = metrics.paired(y, np.full(300, 4), y, share_of_4)
    assert found.verdict == "the first is higher than the second, with 300 rows"


@pytest.mark.parametrize(("k", "n"), [(5, 5), (36, 36), (1, 1), (0, 5), (300, 300)])
def test_where_all_are_right_or_none_is_the_interval_is_wilsons(k, n):
    y, p = np.ones(n, int), (np.arange(n) < k).astype(int)
    reference = binomtest(k, n).proportion_ci(0.95, method="wilson")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one report is of one patient
        for found in (metrics.interval(y, p, metrics.accuracy, labels=2), metrics.share(p)):
            assert found == pytest.approx((k / n, reference.low, reference.high), abs=1e-12)
        twice = metrics.interval(y.repeat(2), p.repeat(2), metrics.accuracy, np.arange(n).repeat(2), labels=2)
    assert twice == pytest.approx(found, abs=1e-12)  # patients count, not reports


def test_nothing_found_among_a_few_ill_is_no_certain_zero():
    y, p = np.r_[np.full(12, 3), np.zeros(100, int)], np.zeros(112, int)
    found = metrics.interval(y, p, metrics.sensitivity_referable)
    assert found[:2] == (0, 0) and found.high == pytest.approx(metrics.wilson(0, 12)[1])


def test_all_right_is_neither_certain_nor_the_fault_of_a_grade_that_a_resample_lacks():
    y = np.repeat(range(5), (17, 4, 10, 2, 3))
    for metric in (metrics.macro_f1, lambda cm: metrics.macro_f1(cm)):
        found = metrics.interval(y, y, metric)
        assert found.value == found.high == 1 and 0.8 < found.low < 0.9
    assert 0.9 < metrics.interval(y, y, metrics.kappa).low < 1
    assert metrics.interval(y, y, metrics.mae)[:2] == (0, 0)
    assert metrics.interval(y, y, metrics.mae).high == pytest.approx(1 - metrics.wilson(36, 36)[0])  # one grade off


def test_one_mistake_more_never_makes_the_interval_start_higher():
    y, lows = np.repeat(range(5), (17, 4, 10, 2, 3)), []
    for wrong in range(8):
        p = np.where(np.arange(36) < wrong, y + 1, y)
        lows.append(metrics.interval(y, p, metrics.accuracy).low)
    assert lows == sorted(lows, reverse=True)


def small_samples(right, times=150):
    """Reports of about 25 patients, one or two eyes each, a patient's eyes right or wrong together half of the time."""
    rng = np.random.default_rng(3)
    for _ in range(times):
        patients = np.repeat(np.arange(25), 1 + (rng.random(25) < 0.6))
        shared, own = rng.random(25)[patients], rng.random(len(patients))
        luck = np.where(rng.random(25)[patients] < 0.5, shared, own)
        y = rng.choice(5, size=len(patients), p=(0.47, 0.11, 0.27, 0.07, 0.08))
        yield y, np.where(luck < right, y, np.where(y == 4, 3, y + 1)), patients


def test_the_interval_covers_where_nearly_all_are_right_and_plain_percentiles_do_not():
    held = np.zeros(2)
    for y, p, patients in small_samples(0.97):
        found = metrics.interval(y, p, metrics.accuracy, patients, n=200)
        plain = _plain_percentiles(y, p, metrics.accuracy, patients)
        held += found.low <= 0.97 <= found.high, plain[0] <= 0.97 <= plain[1]
    assert held[0] / 150 > 0.92 and held[1] / 150 < 0.8


def _plain_percentiles(y, p, metric, patients):
    rng = np.random.default_rng(0)
    matrices = [metrics.confusion(y[patients == one], p[patients == one]) for one in np.unique(patients)]
    draws = [metric(np.sum([matrices[i] for i in rng.integers(25, size=25)], axis=0)) for _ in range(200)]
    return np.quantile(draws, (0.025, 0.975))


def test_a_large_sample_has_the_plain_percentiles():
    rng = np.random.default_rng(0)
    y = rng.choice(5, size=1000, p=(0.47, 0.11, 0.27, 0.07, 0.08))
    p = np.where(rng.random(1000) < 0.9, y, rng.integers(5, size=1000))
    codes, times = (found[::-1] for found in np.unique(5 * y + p, return_counts=True))
    draws = np.zeros((2000, 25))
    draws[:, codes] = np.random.default_rng(0).multinomial(1000, times / 1000, 2000)
    for metric in EVERY[:5]:
        low, high = np.quantile(metric(draws.reshape(-1, 5, 5)), (0.025, 0.975))
        assert metrics.interval(y, p, metric)[1:] == (low, high)


def test_three_reports_on_which_one_method_is_right_and_the_other_never_tell_nothing():
    y = np.repeat(range(5), (17, 4, 10, 2, 3))
    same = metrics.paired(y, y, y, metrics.accuracy)
    assert same.difference == (0, 0, 0) and same.verdict.startswith("cannot tell")
    five = metrics.paired([0] * 5, [0] * 5, [1] * 5, metrics.accuracy)
    assert five.difference.low == pytest.approx((5 - metrics.Z**2) / (5 + metrics.Z**2)) and five.difference.high == 1
    three = metrics.paired([0] * 3, [0] * 3, [1] * 3, metrics.accuracy)
    assert three.difference.value == 1 and three.verdict.startswith("cannot tell")


def test_a_subgroup_is_measured_on_the_grades_that_it_has():
    y = np.repeat(range(5), 20)
    p = np.where(np.arange(100) % 4 == 0, (y + 1) % 5, y)
    p[y < 2] = y[y < 2]  # the subgroup of grades 0 and 1 is all right
    whole, mild = metrics.subgroups(y, p, {"all": y >= 0, "mild": y < 2})
    assert whole.score == metrics.interval(y, p) and whole.lacks == () and whole.reports == whole.patients == 100
    assert mild.score.value == mild.score.high == 1 > mild.score.low and mild.lacks == (2, 3, 4)
    assert metrics.lowest([whole, mild]) == whole and metrics.lowest([mild]) is None
    right = np.full(100, True)
    half = metrics.subgroups(y, np.where(np.arange(100) < 50, y, p), {"all": right, "2": y == 2}, np.arange(100) // 2)
    assert half[1].patients == 10 and half[1].lacks == (0, 1, 3, 4)


def test_the_lowest_subgroup_is_not_the_one_that_lacks_a_grade():
    y = np.r_[np.tile(range(5), 20), np.zeros(26, int)]
    p = np.where((np.arange(126) % 3 == 0) & (np.arange(126) < 100), (y + 1) % 5, y)
    there = np.arange(126) < 100
    found = metrics.subgroups(y, p, {"site a": there, "site b": ~there})
    assert metrics.lowest(found).name == "site a" and found[1].score.value == 1


def test_macro_f1_of_some_grades_equals_scikit_learns():
    y, p = two(3)
    for grades in ((0, 1, 2), (4,), (1, 3)):
        ours = metrics.macro_f1_of(grades)(metrics.confusion(y, p))
        assert ours == pytest.approx(theirs.f1_score(y, p, average="macro", labels=grades))
    with pytest.raises(ValueError, match="at least one grade"):
        metrics.macro_f1_of(())


def test_a_score_that_no_answer_could_reach_is_not_given_in_silence():
    y = np.repeat(range(4), (14, 4, 6, 2))
    with pytest.warns(UserWarning, match="No report has the grade 4: 0.800 is the best that they can reach, not 1.000"):
        assert metrics.interval(y, y).value == pytest.approx(0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in (*EVERY[:1], *EVERY[2:], metrics.macro_f1_of(range(4))):
            metrics.interval(y, y, metric)
        metrics.interval(y, y, labels=4)


def test_a_subgroup_without_reports_is_named():
    with pytest.raises(ValueError, match='"nobody" has no reports'):
        metrics.subgroups([0, 1], [0, 1], {"nobody": [False, False]})


MISSING = [None, float("nan"), np.nan, "", "  ", pd.NA, pd.NaT, "nan", "None"]


@pytest.mark.parametrize("missing", MISSING, ids=str)
@pytest.mark.parametrize("known", [("a", "b"), (7, 3)])
def test_a_report_without_a_patient_is_a_patient_of_its_own(missing, known):
    groups = [known[0], missing, known[1], missing, known[0]]
    with pytest.warns(UserWarning, match="2 of 5 reports have no patient"):
        numbers = metrics.patient_numbers(groups, 5)
    assert len(set(numbers)) == 4 and numbers[0] == numbers[4] and sorted(set(numbers)) == [0, 1, 2, 3]


@pytest.mark.parametrize("groups", [pd.Series(["a", pd.NA, "b"], dtype="string"), pd.Series([1, None, 2]), [None] * 3])
def test_a_column_with_gaps_gives_three_patients(groups):
    with pytest.warns(UserWarning, match="have no patient"):
        assert sorted(metrics.patient_numbers(groups, 3)) == [0, 1, 2]


def test_patients_are_numbered_by_name_whatever_kind_they_are_of():
    assert metrics.patient_numbers(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    assert metrics.patient_numbers([10, 9, 10], 3).tolist() == [1, 0, 1]
    assert metrics.patient_numbers([10, "9", 10], 3).tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r"2 reports and 2 patients' names of \(2,\) parts"):
        metrics.patient_numbers([["a", "b"], ["a", "c"]], 2)


def test_missing_patients_do_not_widen_an_interval_as_one_patient_would():
    y, p = two(0, n=100)
    known = metrics.interval(y, p, metrics.accuracy)
    with pytest.warns(UserWarning, match="100 of 100"):
        assert metrics.interval(y, p, metrics.accuracy, groups=[np.nan] * 100) == known


def test_one_patient_tells_little_of_others_and_it_is_said():
    with pytest.warns(UserWarning, match="of one patient"):
        found = metrics.interval([0, 1], [0, 0], metrics.accuracy, groups=["a", "a"])
    assert found.low < 0.15 and found.high > 0.85
    with pytest.warns(UserWarning, match="not known: 4 reports of 1 patient"):
        alone = metrics.resampled(lambda rows: 0.5, ["a"] * 4)
    assert alone.value == 0.5 and str(alone) == "0.500 [not known]"


def test_one_grade_for_all_has_no_kappa_and_an_accuracy_that_is_not_certain():
    y = np.full(30, 2)
    assert str(metrics.interval(y, y, metrics.kappa)) == "not defined"
    assert 0.8 < metrics.interval(y, y, metrics.accuracy).low < 1
    assert metrics.interval(y, y, metrics.macro_f1_of([2])).low < 1


def test_no_reports_are_refused_with_a_sentence():
    for measured in (lambda: metrics.interval([], []), lambda: metrics.paired([], [], [])):
        with pytest.raises(ValueError, match="0 true grades"):
            measured()
    with pytest.raises(ValueError, match="at least one"):
        metrics.share([])
    with pytest.raises(ValueError, match="no reports"):
        metrics.resampled(lambda rows: 0, [])


def test_a_share_over_patients_is_the_interval_of_the_same_measure():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(5, size=400), np.arange(400) // 2
    p = np.where(rng.random(400) < 0.8, y, 0)
    ill = y >= 2
    known = metrics.interval(y[ill], p[ill], metrics.sensitivity_referable, groups[ill])
    assert metrics.share(p[ill] >= 2, groups[ill]) == pytest.approx(known, abs=0.015)


@pytest.mark.parametrize(("k", "n", "more"), [(11, 1473, 1000), (0, 30, 100), (5, 5, 10)])
def test_the_next_count_equals_scipys_beta_binomial(k, n, more):
    low, high = betabinom(more, k + 0.5, n - k + 0.5).ppf((0.025, 0.975))
    assert metrics.next_count(np.arange(n) < k, more=more) == (low, high)


def test_eleven_of_1473_promise_2_to_16_of_the_next_thousand():
    assert metrics.next_count(np.arange(1473) < 11) == (2, 16)


def test_the_next_count_holds_the_next_count():
    rng, held = np.random.default_rng(0), {"patients": 0, "reports": 0}
    for _ in range(300):
        share = rng.beta(2, 30)
        past, future = (np.repeat(rng.random(n) < share, 4) for n in (100, 50))  # a patient's four reports are alike
        for known, groups in (("patients", np.arange(100).repeat(4)), ("reports", None)):
            low, high = metrics.next_count(past, groups, more=200)
            held[known] += low <= future.sum() <= high
    assert held["patients"] / 300 > 0.92 and held["reports"] / 300 < 0.75


def test_what_defines_a_resample_decides_no_verdict():
    """A resample that lacks a grade is given a grain of the sample: where the two are equal, it must not part them."""
    y, a, b = [0, 1, 2, 2, 2, 4, 4, 4, 4, 4], [0, 1, 2, 1, 3, 4, 2, 2, 4, 4], [1, 0, 2, 0, 2, 0, 4, 4, 4, 4]
    found = metrics.paired(y, a, b, n=400)
    assert found.difference.low == 0 and found.verdict.startswith("cannot tell")
