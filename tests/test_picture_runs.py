"""The long run of notebook 17 in miniature: few drawn eyes, a text tower that counts letters; runs made for real, and what is written."""

import ast

import numpy as np
import pandas as pd
import pytest
import torch

import stored
from course_utils import metrics, models, paths, pictures, results
from course_utils.experiments import pictures as measured
from course_utils.experiments import runs

BASE = "tiny-biobert"
REPORTS = paths.samples() / "dr_reports.csv"
PARTS, ADAPTED = measured.parts, measured.adapted  # before they are replaced below


def letters(reports):
    """Vectors that know the eye, and how often some letters stand in the text."""
    return np.array([[len(eye), *(text.count(sign) for sign in "aeiouhms")] for eye, text in reports], np.float32)


@pytest.fixture(scope="module")
def done():
    """The runs of two seeds, made once."""
    with pytest.MonkeyPatch.context() as patch:
        rows = pd.read_csv(REPORTS, dtype=str, keep_default_na=False, nrows=700)
        rows = pictures.facts(rows[rows["site"] != "delta"].astype({"grade": int})).head(446)
        some = [rows.iloc[:64], rows.iloc[64:224], rows.iloc[224:324], rows.iloc[324:446]]
        small = measured.Parts(*map(pictures.drawn, some), pictures.drawn(some[3], camera="two"))
        patch.setattr(measured, "parts", lambda seed: small)
        patch.setattr(measured, "reader", lambda base: letters)
        patch.setattr(measured, "adapted", lambda base, start, seen, pairs, seed, lr: start)
        for name, value in {"EPOCHS": 1, "PROJECT_EPOCHS": 2, "PLANTED": 0.5, "REPAIR": 20}.items():
            patch.setattr(measured, name, value)
        for name in ("RATES", "LORA_RATES", "STRENGTHS"):
            patch.setattr(measured, name, getattr(measured, name)[1:3])
        yield small, [{"base": BASE, "seed": seed} | measured.one(BASE, seed) for seed in (0, 1)]


def test_a_run_answers_for_each_eye_under_each_control(done):
    small, (first, second) = done
    controls = {"as they are", *pictures.CONTROLS, "red and blue swapped"}
    assert all(set(of) == controls for of in first["answers"].values())
    assert {len(said) for of in first["answers"].values() for said in of.values()} == {len(small.held)}
    assert {len(said) for said in first["camera"].values()} == {len(small.held)}
    assert {len(said) for said in first["hits"].values()} == {100}
    assert set(first["losses"]) == set(first["hits"]) and len(first["hits"]) == 9
    assert first["answers"]["picture alone"] != second["answers"]["picture alone"]


def test_what_does_not_look_keeps_its_answers(done):
    _, found = done
    for run in found:
        report, picture = run["answers"]["report alone"], run["answers"]["picture alone"]
        assert report["blank picture"] == report["another eye's picture"] == report["as they are"]
        assert picture["another eye's report"] == picture["as they are"] != picture["another eye's picture"]
        assert report["red and blue swapped"] == report["as they are"]
        for words in measured.PROMPTS:
            said = run["answers"][words]
            assert said["report states a wrong grade"] == said["as they are"] and set(said["as they are"]) <= set(
                "01234"
            )


def test_each_run_chooses_among_all_tries_for_each_grader_and_each_way(done):
    _, found = done
    for run in found:
        probes = {"colours", "file size", "picture alone", "report alone", "both"}
        assert set(run["chosen"]) == probes | set(run["hits"])
    lines = {line["what"]: line for line in measured.tried(found, BASE)}
    assert lines["picture alone"]["text_tower"] == "none" and lines["report alone"]["text_tower"] == BASE
    assert all(len(line["chosen"]) == 2 and set(line["chosen"]) <= set(line["tried"]) for line in lines.values())
    assert lines[measured.LORA]["tried"] == lines[measured.LONGER]["tried"] != lines[measured.FIRST]["tried"]


def test_the_best_of_the_tries_is_taken_and_the_first_of_equals():
    made = []
    assert measured.chosen((1, 2, 3, 4), lambda one: made.append(one) or -((one - 2.5) ** 2), lambda it: it) == (
        2,
        -0.25,
    )
    assert made == [1, 2, 3, 4]


def test_ways_are_paired_with_the_two_towers_and_lora_with_the_same_epoch_more(done):
    small, found = done
    lines = {line["what"]: line for line in measured.retrieval(found, BASE, small.held)}
    assert "against" not in lines[measured.FIRST]
    assert {line["against"] for what, line in lines.items() if what not in (measured.FIRST, measured.LORA)} == {
        measured.FIRST
    }
    # in miniature LoRA changes nothing, so it is the two towers
    assert lines[measured.LORA]["against"] == measured.LONGER
    for line in lines.values():
        gap = line["share"][0] - lines[line.get("against", line["what"])]["share"][0]
        assert line.get("difference", [0])[0] == pytest.approx(gap, abs=1e-9)


def test_the_prompts_are_the_notebook_s():
    path = stored.place("17_look_at_the_picture_too")
    (cell,) = [one for one in stored.cells(path, "code") if one["id"] == "prompts"]
    lists = {
        node.targets[0].id: tuple(ast.literal_eval(node.value))
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    }
    words = (lists["NAMES"], lists["FINDINGS"])
    assert tuple(measured.PROMPTS.values()) == words and {len(one) for one in words} == {5}


def test_a_prompt_is_read_for_the_eye_that_is_asked_about():
    both = pictures.Projections(2, 2, width=2)
    with torch.no_grad():
        for side in (both.image, both.text):
            side.weight.copy_(torch.eye(2))
    rows = pd.DataFrame({"eye": ["left", "right"] * 2, "text": "", "grade": 0, "patient_id": list("abcd")})
    of = pictures.Pairs(np.zeros((4, 8, 8, 3), np.uint8), rows)

    def see(pixels):
        return np.tile(np.float32([1, 0]), (len(pixels), 1))

    def read(reports):  # the first words of a left eye lie where the pictures do, of a right eye the second
        near = [eye == "left" if text == "one" else eye == "right" for eye, text in reports]
        return np.float32([[1, 0] if one else [0, 1] for one in near])

    assert measured.by_prompts(both, see, read, ["one", "two"], of).tolist() == [0, 1, 0, 1]


def test_swapped_channels_are_swapped_in_all_pictures_and_twice_is_nothing(done):
    small, _ = done
    once = measured.channels_swapped(small.held)
    assert (once.pixels[..., 0] == small.held.pixels[..., 2]).all() and (once.pixels != small.held.pixels).any()
    assert (measured.channels_swapped(once).pixels == small.held.pixels).all()


@pytest.mark.slow
def test_lora_changes_the_text_tower_and_starts_where_the_projections_are(done, monkeypatch):
    small, _ = done
    pairs = small.pairs.take(range(64))
    seen = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    read = measured.reading(*models.grader(measured.checkpoint(BASE), seed=0), "first")
    said = read(pairs.reports)
    start = measured.Matcher(pictures.Projections(6, said.shape[1]), read, [])
    before = [one.clone() for one in start.both.parameters()]
    frozen = measured.longer(start, seen, said, 0, 1e-3)
    lora = ADAPTED(BASE, start, seen, pairs, 0, 1e-3)
    assert frozen.losses[0] == pytest.approx(lora.losses[0], abs=1e-4)  # LoRA has changed nothing yet
    assert len(frozen.losses) == len(lora.losses) == 2
    assert np.array_equal(frozen.read(pairs.reports), said) and abs(lora.read(pairs.reports) - said).max() > 1e-4
    for way in (frozen, lora):
        assert all(not torch.equal(one, other) for one, other in zip(before, way.both.parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(before, start.both.parameters(), strict=True))


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
    told = [(line["text_tower"], line["what"]) for line in shipped["tried"]]
    assert len(set(told)) == len(told) and {tower for tower, _ in told} == {"none", BASE, "another"}
    assert [line["how"] for line in shipped["camera"]] == list(found[0]["camera"])
    assert all(("repair" in line) == (line["how"] != "as it is") for line in shipped["camera"])
    assert [line["against"] for line in shipped["fused"]] == 2 * ["picture alone", "report alone"]
    assert len(shipped["preferred"]) == 2 * 3 * 4 and {len(line["shares"]) for line in shipped["preferred"]} == {2}
    assert len(shipped["flags"]) == 2 * 2 and len(shipped["flags"][0]["sensitivity"]) == 2
    assert len(shipped["fed"]) == 4 and min(shipped["draw_ms"]) > 0


def test_the_plan_lists_each_text_tower_that_is_there_with_each_seed(monkeypatch):
    monkeypatch.setattr(measured, "present", lambda: ["tiny-biobert", "all-MiniLM-L6-v2"])
    monkeypatch.setattr(runs, "frames", lambda: {"train": range(100), "dev": range(30), "test": range(40)})
    tasks = measured.plan()
    assert [(one.settings["base"], one.settings["seed"]) for one in tasks] == [
        (base, seed) for base in ("tiny-biobert", "all-MiniLM-L6-v2") for seed in range(5)
    ]
    assert runs.module_of(measured.NAME) == "course_utils.experiments.pictures"


def test_the_parts_share_no_patient_and_the_new_camera_sees_the_same_eyes(monkeypatch):
    rows = pd.read_csv(REPORTS, dtype=str, keep_default_na=False).astype({"grade": int})
    few = {name: rows[rows["split"] == name].head(40) for name in ("train", "dev", "test")}
    monkeypatch.setattr(runs, "frames", lambda: few)
    some = PARTS.__wrapped__(0)
    people = [set(one.patients) for one in (some.school, some.pairs, some.dev, some.held)]
    assert all(people) and len(set().union(*people)) == sum(map(len, people))
    assert some.by_new_camera.rows.equals(some.held.rows) and (some.by_new_camera.pixels != some.held.pixels).any()
    assert "delta" not in {site for one in some for site in one.rows["site"]}
