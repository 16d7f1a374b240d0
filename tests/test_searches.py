"""The long run of searching, with few rows, few trials and real training: every number that ships is what it says."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from course_utils import data, paths, results
from course_utils.experiments import origin, plan, runs, searches
from course_utils.experiments.searches import FULL, HEAD, LORA, PEOPLES, PROMPT, TINY, Banked

pytest.importorskip("optuna", reason="needs the extra search")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The shipped reports and bases, results and runs apart, and a plan of seconds."""
    for one in ("dr_reports.csv", "MANIFEST.sha256", "bases"):
        (tmp_path / one).symlink_to(paths.ROOT / "data_samples" / one)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "real"))
    monkeypatch.setattr(data, "course_reports", cache(data.course_reports))
    sizes = {
        (TINY, HEAD): Banked(6, 1, 100, 2, 0.1),
        (TINY, FULL): Banked(4, 2, 60, 1, 1),
        (TINY, LORA): Banked(2, 1, 60, 1, 1),
    }
    sizes |= {("tiny-t5", PROMPT): Banked(2, 1, 60, 1, 1), (PEOPLES, LORA): Banked(2, 1, 60, 1, 1)}
    changed = {"BANKS": sizes, "LABELS": 20, "DEV": 20, "LOOKS": (1, 2, 6), "DEVS": (10,), "APART": 3, "DRAWS": 5}
    changed |= {"STUDIES": {(TINY, HEAD): 1}, "STUDY_SEEDS": range(2), "STUDY_POOL": 100, "RESAMPLES": 3, "MOMENTS": 4}
    changed |= {"NESTED": 2, "FOLDS": 2, "NESTED_LABELS": 15, "NESTED_LOOKS": 2}
    for name, value in changed.items():
        monkeypatch.setattr(searches, name, value)
    forget()
    yield tmp_path
    forget()


def forget():
    for one in (runs.frames, searches.parts, searches.frozen_states):
        one.cache_clear()


def fulfil():
    for task in searches.plan():
        if runs.found(task) is None:
            runs._write(
                task.experiment,
                task.settings,
                origin.of(task.make, task.settings),
                lambda task=task: task.make(**task.settings),
            )


def test_rows_are_of_train_and_no_patient_is_in_two_parts(small):
    parts = searches.parts(100)
    train = runs.frames()["train"]
    patients = [set(rows["patient_id"]) for rows in parts.values()]
    assert not patients[0] & patients[1] and not patients[1] & patients[2] and not patients[0] & patients[2]
    assert set.union(*patients) <= set(train["patient_id"])
    assert np.allclose([len(rows) for rows in parts.values()], [20, 20, 80], atol=3)
    assert len(searches.pooled(100)) == len(parts["dev"]) + len(parts["fresh"])


@pytest.mark.slow
def test_what_ships_is_what_was_measured(small):
    fulfil()
    searches.report()
    file = results.shipped("search_runs")
    assert {(line["base"], line["method"]) for line in file["flattery"]} == {
        (TINY, HEAD),
        (TINY, FULL),
        (TINY, LORA),
        ("tiny-t5", PROMPT),
    }
    for line in file["flattery"]:
        assert line["low"] <= line["mean"] <= line["high"] and line["from"] <= line["to"]
        assert line["mean"] == pytest.approx(100 * (line["said"] - line["worth"]), abs=1e-6)
    check_bank()
    check_studies(file)
    assert {line["setting"] for line in file["importances"] if line["method"] == HEAD} == set(searches.SPACES[HEAD])
    front = file["front"]
    assert [line["depth"] for line in front] == sorted({line["depth"] for line in front})
    assert all(line["low"] <= line["value"] <= line["high"] and line["ms"] > 0 for line in front)
    nested = file["nested"][0]
    kept = runs.needed(searches.crossings(TINY))
    assert nested["gaps"]["said"] == pytest.approx([100 * (run["said"] - run["worth"]) for run in kept])
    assert nested["nested"]["value"] == pytest.approx(np.mean([100 * (run["nested"] - run["worth"]) for run in kept]))


def check_bank():
    """The answers of a kept bank come back to the trial, the seed and the row that they are of."""
    bank, points = searches.whole(TINY, FULL)
    rows = searches.pooled(60)
    assert bank.first.shape == (4, len(rows)) and bank.again.shape == (1, 4, len(rows)) and len(points) == 4
    for trial, seed in ((3, 0), (2, 1)):
        for answer in searches.trained(TINY, FULL, points[trial], seed, 60, 1):
            given = np.concatenate([answer("dev"), answer("fresh")])
        assert (np.stack([bank.first, bank.again[0]])[seed, trial] == given).all()


def check_studies(file):
    """Each study's best so far is the best on dev of what had ended, and what that trial is worth."""
    kept = [run for sampler in searches.SAMPLERS for run in runs.needed(searches.studied(TINY, HEAD, sampler))]
    assert len(file["studies"]) == len(kept) == 8
    for line, run in zip(file["studies"], kept, strict=True):
        assert line["trials"] == len(run["trials"]) and line["pruned"] == sum(one["pruned"] for one in run["trials"])
        whole = [one for one in run["trials"] if not one["pruned"] and one["at"] <= run["budget_s"]]
        if whole:
            best = max(whole, key=lambda one: one["dev"])
            assert (line["dev"][-1], line["fresh"][-1]) == (best["dev"], best["fresh"])
        assert line["dev"] == sorted(line["dev"], key=lambda value: -1 if value is None else value)
    assert not any(line["pruned"] for line in file["studies"] if "Hyperband" not in line["sampler"])
    ends = {
        sampler: [np.mean(line["worth"]) for line in file["studies"] if line["sampler"] == sampler]
        for sampler in searches.SAMPLERS
    }
    for line in file["against"]:
        assert line["gain"] == pytest.approx(100 * (np.mean(ends[line["sampler"]]) - np.mean(ends["random"])))


def test_a_score_is_macro_f1_over_the_grades_of_its_part(small):
    truth = searches.parts(100)["fresh"]["grade"].to_numpy()
    given = np.roll(truth, 3)
    wanted = f1_score(truth, given, labels=sorted(set(truth)), average="macro")
    assert searches.scored(lambda name: given, "fresh", 100) == pytest.approx(wanted)


def test_a_trial_that_ends_after_the_time_or_was_pruned_wins_nothing():
    told = [
        {"at": 1.0, "dev": 0.5, "pruned": False},
        {"at": 2.0, "dev": 0.9, "pruned": True},
        {"at": 3.0, "dev": 0.6, "pruned": False},
        {"at": 5.0, "dev": 0.8, "pruned": False},
    ]
    assert [searches.best_in(told, seconds) for seconds in (0.5, 2, 4, 9)] == [None, told[0], told[2], told[3]]


def test_every_bank_has_enough_dev_sets_to_say_how_they_spread():
    for sizes in searches.BANKS.values():
        assert sizes.pool >= 1.04 * searches.APART * min(searches.DEVS), "rows of whole patients may fall a few short"


def test_a_winner_of_cross_validation_has_the_highest_score(small, monkeypatch):
    rows = pd.DataFrame({"grade": [0, 1] * 10, "patient_id": range(20)})
    monkeypatch.setattr(
        searches, "fitted", lambda point, states, grades, others, seed: (others[:, 0] >= point["cut"]).astype(int)
    )
    states = rows["grade"].to_numpy()[:, None]
    assert searches.crossed([{"cut": 2}, {"cut": 1}, {"cut": 0}], rows, states, 2, 0) == (1.0, {"cut": 1})


def test_a_base_that_is_not_there_is_left_out_and_said(small, capsys):
    assert all(task.settings["base"] != PEOPLES for task in searches.plan())
    fulfil_nothing = pytest.raises(FileNotFoundError, match="runs are not there")
    with fulfil_nothing:
        searches.report()
    assert PEOPLES in capsys.readouterr().out


def test_the_whole_plan_fits_into_five_hours_of_two_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(searches, "is_there", lambda base: True)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / "MANIFEST.sha256").write_text("", encoding="utf-8")
    lines = plan.everything([searches])
    assert 150 < len(lines) < 250 and plan.hours(lines) < 5
    assert json.dumps([line.task.settings for line in lines])  # what a file's name is made from
