"""The course on real checkpoints: what `COURSE_MODELS=real` leaves out is named, what runs asks no depth of a base, lessons are told."""

import copy

import pandas as pd
import pytest
import torch

import small_models
import stored
from course_utils import models, paths, results, training
from course_utils.authoring import reference, render, run
from course_utils.experiments import real, real_costs, runs, stages
from test_real_notebook import tiny_checkpoints

PAGE = paths.ROOT / "docs" / "real_models.md"


def test_the_page_names_the_notebooks_that_run():
    known = {path.stem[:2] for path in [*run.chapters(), *run.chapters(paths.ROOT / "coming")]}
    assert set(run.NOT_ON_REAL) < known
    page = PAGE.read_text(encoding="utf-8")
    assert f"`COURSE_MODELS=real make course` runs {stored.spans(known - set(run.NOT_ON_REAL))}, and leaves" in page


def test_half_an_hour_is_what_the_first_stage_takes():
    readings = stages.FIRST * runs.epochs(stages.FIRST)
    minutes = readings * real.COSTS[real.REPORTS][real.FULL].ms / 60_000
    assert f"{readings:,} reports, half an hour" in run.NOT_ON_REAL["09"] and 25 <= minutes <= 35


# What runs there, on checkpoints of another shape than ours: three layers, dropout, a tokenizer file that cuts.

CELLS = {  # those that touch a checkpoint, and what they need
    "01_set_the_bar": ("setup", "load", "lazy", "tfidf-helper", "probe", "centroid", "knob"),
    "07_prepare_dr_reports": (
        *("setup", "parameters", "load", "forms", "coverage", "unknown-helper", "unknown"),
        *("context-file", "mark", "augment", "live", "live-figure"),
    ),
}
GIVEN = {"counts": "TF-IDF + logistic regression", "ranked": [(2, 3)]}  # of cells that are left out


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_a_notebook_runs_on_checkpoints_of_another_shape(name, monkeypatch, tmp_path):
    pytest.importorskip("negspacy", reason="needs the extra clinical")
    for variable, value in (("REAL", tmp_path / "real"), ("MODELS", "real"), ("THREADS", "1")):
        monkeypatch.setenv(f"COURSE_{variable}", str(value))
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    tiny_checkpoints()
    asked, grader = [], models.grader
    monkeypatch.setattr(models, "grader", lambda where, **more: asked.append(where) or grader(where, **more))
    rate = {"tested": [{"base": "tiny-biobert", "lr": 1e-3}]}
    monkeypatch.setattr(results, "shipped", lambda file: rate)
    texts = stored.printed_by(name, *CELLS[name], **GIVEN)
    assert set(asked) == {str(paths.real() / models.REAL["tiny-biobert"])}
    if name.startswith("01"):  # one encoder stands for both bases
        lines = [line.split(maxsplit=1) for line in texts["probe"].splitlines()]
        said = {base: [rest for own, rest in lines if own == base] for base in ("tiny-biobert", "tiny-plain")}
        assert said["tiny-biobert"] == said["tiny-plain"] and len(lines) == 8
        assert "full fine-tuning" in texts["knob"]
    else:
        assert "our base: at most" in texts["unknown"] and "macro F1 on dev" in texts["live-figure"]


ROWS = pd.DataFrame({"eye": "left", "text": small_models.PHRASES * 2, "grade": [0, 1, 2, 3, 4] * 2})
ROWS["new"] = [False] * 5 + [True] * 5


def after(name, cells, **names):
    """Run cells of a notebook with these names; return all that are there then."""
    for cell in stored.cells(stored.place(name), "code"):
        if cell.id in cells:
            exec(compile(cell.source, cell.id, "exec"), names)
    return names


@pytest.mark.parametrize("layers", [3, 12])
def test_the_second_stage_adapts_the_last_two_layers_of_any_depth(layers, tmp_path):
    checkpoint = small_models.bert(tmp_path / "bert", layers=layers)
    model, tokenizer = models.grader(checkpoint, seed=0)
    known = {"copy": copy, "torch": torch, "models": models, "training": training, "dev": ROWS}
    of_09 = after("09_grade_dr_in_two_stages", ("layers", "initial"), **known, stage_1=model, tokenizer=tokenizer)
    assert of_09["adapted"](of_09["untrained"]) == [layers - 2, layers - 1]


# The lessons on real checkpoints.


def lesson(says, text, verdict, difference=(0.1, 0.0, 0.2)):
    found = {"lesson": says, "text": text, "base": "b", "seeds": [3, 5]}
    return found | {"verdict": verdict, "difference": list(difference)}


def test_what_is_not_measured_yet_is_said():
    told = render.real_lessons([], [], [])
    assert told.count("not measured yet") == 2 and "`make results-real`" in told and "`make results-real-costs`" in told


def test_the_tables_of_lessons_say_which_do_not_carry_over():
    ours = [
        {"lesson": says, "notebook": "03", "holds": holds, "of": 2} for says, holds in (("A", 2), ("B", 0), ("C", 1))
    ]
    verdicts = {"A": "does not hold", "B": "holds", "C": "can't tell", "D": "does not hold"}
    scores = [lesson(says, render.REPORTS, verdict) for says, verdict in verdicts.items()]
    scores += [lesson(says, "another text", "holds", (-0.1, -0.2, 0.0)) for says in verdicts]
    cost = {"base": "b", "interval": [0.5, 0.4, 0.6], "unit": "times", "over": "3 turns"}
    costs = [
        cost | {"lesson": "E", "verdict": "does not hold", "holds": 1, "of": 4},
        cost | {"lesson": "F", "verdict": "does not hold", "holds": 0, "of": 0},
    ]
    lines = render.real_lessons(ours, scores, costs).splitlines()
    assert lines[0] == "| lesson | notebook | our bases | b, the course's reports | b, another text |"
    assert lines[2] == (
        "| A | 03 | 2 of 2 | does not hold, +0.100 [+0.000, +0.200], seeds 3 and 5 | "
        "holds, -0.100 [-0.200, +0.000], seeds 3 and 5 |"
    )
    assert lines[5].startswith("| D | – | not asked | does not hold")
    assert lines[7].endswith("**do not carry over** to b on the course's reports: A.")
    assert lines[8] == "Hold there, and on none of ours: B."
    assert lines[10:14] == [
        "| lesson of cost | our sizes | b |",
        "| --- | --- | --- |",
        "| E | 1 of 4 | does not hold, 0.500 [0.400, 0.600] times, 3 turns |",
        "| F | not measured | does not hold, 0.500 [0.400, 0.600] times, 3 turns |",
    ]
    assert lines[-1] == "Hold at one of our sizes or more, and **do not carry over** to b: E."


def test_the_page_shows_the_lessons_that_ship():
    page = PAGE.read_text(encoding="utf-8")
    assert render.replace_between(page, "lessons", run.real_lessons()) == page, "`make readme` writes it anew"
    assert render.REPORTS == real.REPORTS


@pytest.mark.skipif(
    not (paths.shipped_results() / "real_costs.json").is_file(), reason="`make results-real-costs` was not run"
)
def test_the_lessons_of_cost_that_ship_are_those_of_the_files_beside_them():
    shipped = results.shipped("real_costs")
    measured = {name: shipped[name] for name in ("speed", "steps", "latency")}
    assert real_costs.judged(shipped["told"]["int8"], **measured) == shipped["lessons"], "`make results-real-costs`"


def test_the_site_puts_a_real_base_beside_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    ours = [{"base": "tiny", "difference": [0.03, 0.01, 0.05], "verdict": "holds"}]
    about = {"notebook": "03", "claim": "is better", "bases": ours, "holds": 1, "of": 1, "turns_round": False}
    results.ship("lessons", lessons=[about | {"lesson": "A"}, about | {"lesson": "B"}], margin=0.02)
    before = reference.carries_over({})
    assert "<th" in before and "checkpoint that people use" not in before
    results.ship("real", lessons=[lesson("A", "another text", "holds"), lesson("A", render.REPORTS, "does not hold")])
    page = reference.carries_over({})
    assert "b is a checkpoint that people use" in page and page.count("does not hold (+0.100 [+0.000, +0.200])") == 1
    assert page.count("not asked") == 1 and page.count("1 of 1") == 2
