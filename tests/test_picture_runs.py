"""The long run of notebook 17 in miniature: few drawn eyes, a text tower that counts letters; runs made for real, and what is written."""

import numpy as np
import pandas as pd
import pytest

from course_utils import metrics, paths, pictures, results
from course_utils.experiments import pictures as measured
from course_utils.experiments import runs

BASE = "tiny-biobert"
REPORTS = paths.samples() / "dr_reports.csv"
PARTS = measured.parts  # before it is replaced below


def letters(reports):
    """Vectors that know the eye, and how often some letters stand in the text."""
    return np.array([[len(eye), *(text.count(sign) for sign in "aeiouhms")] for eye, text in reports], np.float32)


@pytest.fixture(scope="module")
def done():
    """The runs of two seeds, made once."""
    with pytest.MonkeyPatch.context() as patch:
        rows = pd.read_csv(REPORTS, dtype=str, keep_default_na=False, nrows=700)
        rows = pictures.facts(rows[rows["site"] != "delta"].astype({"grade": int})).head(356)
        some = [rows.iloc[:64], rows.iloc[64:224], rows.iloc[224:346]]
        small = measured.Parts(*map(pictures.drawn, some), pictures.drawn(some[2], camera="two"))
        patch.setattr(measured, "parts", lambda seed: small)
        patch.setattr(measured, "reader", lambda base: letters)
        for name, value in {"EPOCHS": 1, "PROJECT_EPOCHS": 2, "PLANTED": 0.5, "REPAIR": 20}.items():
            patch.setattr(measured, name, value)
        yield small, [{"base": BASE, "seed": seed} | measured.one(BASE, seed) for seed in (0, 1)]


def test_a_run_answers_for_each_eye_under_each_control(done):
    small, (first, second) = done
    controls = {"as they are", *pictures.CONTROLS}
    assert all(set(of) == controls for of in first["answers"].values())
    assert {len(said) for of in first["answers"].values() for said in of.values()} == {len(small.held)}
    assert {len(said) for said in first["camera"].values()} == {len(small.held)}
    assert {len(said) for said in first["hits"].values()} == {100}
    assert first["answers"]["picture alone"] != second["answers"]["picture alone"]


def test_what_does_not_look_keeps_its_answers(done):
    _, found = done
    for run in found:
        report, picture = run["answers"]["report alone"], run["answers"]["picture alone"]
        assert report["blank picture"] == report["another eye's picture"] == report["as they are"]
        assert picture["another eye's report"] == picture["as they are"] != picture["another eye's picture"]


def test_a_row_holds_the_mean_over_the_seeds(done):
    small, found = done
    line = next(
        one
        for one in measured.looks(found, BASE, small.held)
        if (one["grader"], one["control"]) == ("picture alone", "as they are")
    )
    grades = [np.array([int(one) for one in run["answers"]["picture alone"]["as they are"]]) for run in found]
    each = [float(metrics.macro_f1(metrics.confusion(small.held.grades, one))) for one in grades]
    assert line["score"][0] == pytest.approx(np.mean(each))
    report = [one for one in measured.looks(found, BASE, small.held) if one["grader"] == "report alone"]
    assert {one["control"]: one.get("verdict") for one in report}["another eye's picture"] == "not used"


def test_the_file_holds_all_of_it(done, monkeypatch, tmp_path):
    small, found = done
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(measured, "parts", lambda seed: small)
    monkeypatch.setattr(measured, "present", lambda: [BASE, "another"])
    monkeypatch.setattr(measured, "SEEDS", (0, 1))
    monkeypatch.setattr(measured, "task", lambda base, seed: runs.Task(measured.NAME, measured.one, {"seed": seed}, 1))
    monkeypatch.setattr(runs, "lacking", lambda name, bases: False)
    monkeypatch.setattr(runs, "needed", lambda tasks: [found[one.settings["seed"]] for one in tasks])
    measured.report()
    shipped = results.shipped(measured.NAME)
    both = {(row["method"], row["base"]) for row in shipped["rows"]}
    alone = {(name, "no base") for name in measured.WITHOUT_TEXT}
    others = set(found[0]["answers"]) - set(measured.WITHOUT_TEXT)
    assert both == alone | {(name, base) for name in others for base in (BASE, "another")}
    assert {row["seeds"] for row in shipped["rows"]} == {2}
    assert [line["what"] for line in shipped["retrieval"]] == 2 * list(found[0]["hits"])
    assert [line["how"] for line in shipped["camera"]] == list(found[0]["camera"])
    assert all(("repair" in line) == (line["how"] != "as it is") for line in shipped["camera"])
    assert [line["against"] for line in shipped["fused"]] == 2 * ["picture alone", "report alone"]
    assert len(shipped["preferred"]) == 2 * 3 * 4 and {len(line["shares"]) for line in shipped["preferred"]} == {2}
    assert len(shipped["flags"]) == 2 * 2 and len(shipped["flags"][0]["sensitivity"]) == 2
    assert len(shipped["fed"]) == 4 and min(shipped["draw_ms"]) > 0


def test_the_plan_lists_each_text_tower_that_is_there_with_each_seed(monkeypatch):
    monkeypatch.setattr(measured, "present", lambda: ["tiny-biobert", "all-MiniLM-L6-v2"])
    monkeypatch.setattr(runs, "frames", lambda: {"train": range(100), "test": range(40)})
    tasks = measured.plan()
    assert [(one.settings["base"], one.settings["seed"]) for one in tasks] == [
        (base, seed) for base in ("tiny-biobert", "all-MiniLM-L6-v2") for seed in range(5)
    ]
    assert runs.module_of(measured.NAME) == "course_utils.experiments.pictures"


def test_the_parts_share_no_patient_and_the_new_camera_sees_the_same_eyes(monkeypatch):
    rows = pd.read_csv(REPORTS, dtype=str, keep_default_na=False).astype({"grade": int})
    few = {name: rows[rows["split"] == name].head(40) for name in ("train", "test")}
    monkeypatch.setattr(runs, "frames", lambda: few)
    some = PARTS.__wrapped__(0)
    people = [set(one.patients) for one in (some.school, some.pairs, some.held)]
    assert all(people) and not people[0] & people[1] and not (people[0] | people[1]) & people[2]
    assert some.by_new_camera.rows.equals(some.held.rows) and (some.by_new_camera.pixels != some.held.pixels).any()
    assert "delta" not in set(some.held.rows["site"]) | set(some.pairs.rows["site"])
