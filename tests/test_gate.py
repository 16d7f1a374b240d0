"""The gate passes what is shown to be no worse, refuses what is shown to be worse, and sends the rest to a person."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from course_utils import gate


def reports(n, sites=("north", "south"), labels=5, seed=0):
    """n reports, each of a patient of its own."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient_id": np.arange(n),
            "site": [sites[i % len(sites)] for i in range(n)],
            "grade": rng.integers(0, labels, n),
        }
    )


JUDGED = reports(400)


def wrong_at(*rows, judged=JUDGED, labels=5):
    """The right answers, but for some rows."""
    answers = judged["grade"].to_numpy().copy()
    answers[list(rows)] = (answers[list(rows)] + 1) % labels
    return answers


@pytest.mark.parametrize(
    ("candidate", "serving", "answer", "reason"),
    [
        (wrong_at(), wrong_at(*range(40)), "passed", "better"),
        (wrong_at(*range(80)), wrong_at(), "refused", "worse; worse at north; worse at south"),
        (wrong_at(0, 1), wrong_at(0, 1), "passed", "not worse by 0.02"),
        (
            wrong_at(*range(20)),
            wrong_at(*range(20, 40)),
            "not shown",
            "worse than by 0.02 (of 400 patients 20 fare worse, 20 better)",
        ),
        # better in all, and worse at south, the odd rows
        (wrong_at(*range(1, 80, 2)), wrong_at(*range(0, 200, 2)), "refused", "worse at south"),
        # worse, but whether by more than the margins is not shown
        (wrong_at(*range(1, 17, 2)), wrong_at(), "not shown", "; not shown to be no worse than by 0.05 at south"),
    ],
)
def test_the_gate(candidate, serving, answer, reason):
    verdict = gate.verdict(JUDGED, candidate, serving, 5)
    assert (verdict.answer, verdict.passed) == (answer, answer == "passed") and reason in verdict.reason
    assert list(verdict.compared) == ["all", "north", "south"]


def test_without_a_margin_a_candidate_has_to_be_better():
    verdict = gate.verdict(JUDGED, wrong_at(0), wrong_at(0), 5, margin=0)
    assert (verdict.answer, verdict.reason) == ("not shown", "not shown to be better")


def test_wider_margins_let_more_through():
    candidate, serving = wrong_at(*range(20)), wrong_at(*range(20, 40))
    assert gate.verdict(JUDGED, candidate, serving, 5).answer == "not shown"
    assert gate.verdict(JUDGED, candidate, serving, 5, margin=0.2, site_margin=0.2).passed


def test_a_small_loss_that_is_well_known_passes_at_a_large_site():
    judged = reports(20_000, sites=("large",))
    verdict = gate.verdict(judged, wrong_at(*range(40), judged=judged), judged["grade"], 5)
    difference = verdict.compared["large"].difference
    assert -0.004 < difference.low < difference.high < 0  # worse, beyond doubt
    assert verdict.passed and verdict.reason == "not worse by 0.02"


@pytest.mark.parametrize("rows", [range(3), range(0, 6, 2), range(9, 12)])
@pytest.mark.parametrize("labels", [2, 5])
def test_a_large_loss_at_a_small_site_needs_a_person(rows, labels):
    judged = reports(3012, sites=("large",), labels=labels)
    judged.loc[3000:, "site"] = "small"
    serving = wrong_at(*range(3010, 3012), judged=judged, labels=labels)
    candidate = wrong_at(*(3000 + row for row in rows if row < 10), 3010, 3011, judged=judged, labels=labels)
    lost = (serving == judged["grade"]).sum() - (candidate == judged["grade"]).sum()
    verdict = gate.verdict(judged, candidate, serving, labels)
    assert lost and verdict.answer == "not shown"
    assert verdict.reason.startswith("not shown to be no worse than by 0.05 at small (12 patients; it takes 73)")


@pytest.mark.parametrize(("lost", "answer"), [(3, "not shown"), (5, "not shown"), (7, "refused")])
def test_a_dozen_reports_of_few_patients_refuse_nothing_by_luck(lost, answer):
    """The resamples of three who fare worse, of seven, hardly ever miss them all, so the interval lies below 0."""
    judged = reports(3012, sites=("large",))
    judged.loc[3000:, "site"] = "small"
    judged.loc[3000:, "patient_id"] = [3000, 3001, 3002, 3003, 3004, 3005, 3006] + [3007] * 5
    candidate = wrong_at(*range(3000, 3000 + lost), judged=judged)
    verdict = gate.verdict(judged, candidate, judged["grade"], 5)
    assert verdict.compared["small"].difference.high < 0 and verdict.answer == answer


def test_better_takes_more_than_luck_too():
    judged = reports(12, sites=("all",), labels=1)
    for gained, answer, reason in ((5, "not shown", "not shown to be better"), (6, "passed", "better")):
        serving = wrong_at(*range(gained), judged=judged, labels=2)
        verdict = gate.verdict(judged, judged["grade"], serving, 2, margin=0)
        assert verdict.compared["all"].difference.low > 0 and verdict[:2] == (answer, reason)


def test_a_dozen_equal_answers_are_no_proof():
    judged = reports(1012, sites=("large",))
    judged.loc[1000:, "site"] = "small"
    verdict = gate.verdict(judged, judged["grade"], judged["grade"], 5)
    assert verdict.answer == "not shown" and "at small (12 patients; it takes 73)" in verdict.reason


def test_the_fewest_patients_are_those_of_wilson_s_interval():
    for margin in (0.01, 0.02, 0.05, 0.3):
        n = gate.fewest(margin)
        assert gate.metrics.wilson(0, n)[1] < margin <= gate.metrics.wilson(0, n - 1)[1]
    for margin in (0, 1, -0.1):
        with pytest.raises(ValueError, match="must be between 0 and 1"):
            gate.fewest(margin)


def test_few_losses_are_judged_by_more_than_a_resampling():
    """Of 200 patients one fares worse: the resamples reach 3 of 200, but 5 of 200 are not ruled out."""
    verdict = gate.verdict(JUDGED, wrong_at(0), wrong_at(), 5, margin=0.02, site_margin=0.02)
    assert verdict.compared["north"].difference.low > -0.02
    assert verdict.answer == "not shown" and "0.02 at north (of 200 patients 1 fare worse, 0 better)" in verdict.reason


@pytest.mark.parametrize("k", range(8))
def test_the_net_loss_covers_the_exact_interval_of_few_losses(k):
    n = 500
    exact = binomtest(k, n).proportion_ci(0.9, "exact").high  # one-sided 95%
    assert gate.net_loss(k, 0, n) >= exact
    assert gate.net_loss(k, k, n) < gate.net_loss(k, 0, n) or not k


def test_reports_of_one_patient_count_once():
    judged = reports(400).assign(patient_id=np.arange(400) // 10)
    verdict = gate.verdict(judged, judged["grade"], judged["grade"], 5)
    assert "0.02 (40 patients; it takes 189)" in verdict.reason


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_there_are_as_many_labels_as_the_model_knows(labels):
    judged = reports(400, labels=labels)
    found = gate.figures(judged, judged["grade"], labels)
    assert found["all"]["macro_f1"] == found["south"]["macro_f1"] == 1 and found["all"]["right"] == 400
    wrong = wrong_at(*range(0, 400, 4), judged=judged, labels=labels)
    assert gate.verdict(judged, wrong, judged["grade"], labels).answer == "refused"
    expected = f1_score(judged["grade"], wrong, average="macro")
    assert gate.figures(judged, wrong, labels)["all"]["macro_f1"] == pytest.approx(expected)
    with pytest.raises(ValueError, match=f"only 0 to {labels - 2} are grades"):
        gate.figures(judged, judged["grade"], labels - 1)


def test_it_is_measured_over_the_grades_that_the_reports_have():
    judged = JUDGED[JUDGED["grade"] < 3]
    right = judged["grade"].to_numpy()
    wrong = np.where(np.arange(len(right)) % 4 == 0, (right + 1) % 3, right)
    expected = f1_score(right, wrong, average="macro")  # two grades that are absent don't make it smaller
    assert gate.verdict(judged, right, wrong, 5).compared["all"].difference.value == pytest.approx(1 - expected)


def test_the_groups_of_sites_of_any_name():
    judged = pd.DataFrame({"site": ["b", None, "", float("nan"), 3, "a/b"]})
    assert {name: rows.sum() for name, rows in gate.groups(judged).items()} == {
        "all": 6,
        gate.NO_SITE: 3,
        "3": 1,
        "a/b": 1,
        "b": 1,
    }
    assert list(gate.groups({"site": ["all", "all"]})) == ["all"]
    with pytest.raises(ValueError, match='A site is called "all"'):
        gate.groups({"site": ["all", "north"]})
    with pytest.raises(ValueError, match='no column "site": add it. If all are of one site, write "all"'):
        gate.groups(pd.DataFrame({"grade": [0]}))


def test_a_long_name_is_shown_short():
    assert gate.shown(" two\n lines ") == "two lines" and len(gate.shown("x" * 100)) == 60


def test_a_refused_report_is_one_that_is_not_right():
    judged = reports(400, labels=3)
    refusing = np.where(np.arange(400) % 4, judged["grade"], gate.NO_GRADE)
    found = gate.figures(judged, refusing, 3)["all"]
    assert found["no_grade"] == 100 and found["right"] == 300
    expected = f1_score(judged["grade"], refusing, labels=range(3), average="macro")
    assert found["macro_f1"] == pytest.approx(expected) and 0.85 < expected < 0.86  # 6/7, a quarter being missed
    assert gate.verdict(judged, refusing, judged["grade"], 3).answer == "refused"
    assert gate.verdict(judged, refusing, refusing, 3).passed


@pytest.mark.parametrize("given", [None, "2"])
def test_an_answer_that_is_no_number_is_refused_with_a_sentence(given):
    answers = [given, *JUDGED["grade"][1:]]
    for new in (answers, [str(answer) for answer in answers]):
        with pytest.raises(ValueError, match="The answers hold .*; each is a grade, or -1 for a report without one"):
            gate.verdict(JUDGED, new, JUDGED["grade"], 5)
