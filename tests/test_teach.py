"""What a teacher gets is made from the notebooks, holds what they hold, and is in step with them."""

import re

import nbformat
import pytest

import stored
from course_utils import exercises, paths
from course_utils.authoring import answers, outline, plans, quizzes, run, slides, teach
from course_utils.authoring.outline import Choice, Part, Quiz, Section

COMING = paths.ROOT / "coming"
ALL = [*run.chapters(), *run.chapters(COMING)]
BOTH = [f"{path.parts[-2]}-{path.stem}" for path in ALL]


def notebook(*sources):
    """Return a notebook: a text that begins with a `>` is code."""
    new = {True: nbformat.v4.new_code_cell, False: nbformat.v4.new_markdown_cell}
    cells = [new[one.startswith(">")](one.removeprefix(">"), id=f"c{i}") for i, one in enumerate(sources)]
    return nbformat.v4.new_notebook(cells=cells)


def check(name):
    return f'>exercises.check("{name}", ...)'


# The outline


@pytest.mark.parametrize("path", ALL, ids=BOTH)
def test_every_exercise_has_words_and_every_question_one_right_answer(path):
    found = outline.exercises(stored.read(path))
    names = [name for name in exercises.CHECKERS if name.startswith(path.stem[:2])]
    assert {name for name, _ in found} == set(names) and all(len(words) > 30 for _, words in found)
    asked = outline.quizzes(stored.read(path))
    folded = sum(cell.source.count("<details>") for cell in stored.cells(path, "markdown"))
    assert asked and sum(len(one.choices) for one in asked) == folded
    assert all(one.question and [choice.right for choice in one.choices].count(True) == 1 for one in asked)
    assert not any("](" in words for _, words in found)


@pytest.mark.parametrize("path", run.chapters() + run.chapters(paths.ROOT / "coming"), ids=lambda path: path.stem)
def test_a_question_has_three_answers_for_a_coin_decides_between_two(path):
    assert all(len(one.choices) >= 3 for one in outline.quizzes(stored.read(path)))


def test_the_plans_have_the_minutes_of_a_measured_run_of_each_notebook_that_stands():
    standing = "|".join(path.stem[:2] for path in run.chapters())
    for plan in sorted((paths.ROOT / "teach").glob("plan_*.md")):
        rows = re.findall(rf"^\|[^|]+\| (?:{standing}) \|.*$", plan.read_text(encoding="utf-8"), re.MULTILINE)
        assert rows and not [row for row in rows if "not measured" in row], f"{plan.name}: run `make course teach`"


def test_an_exercise_s_words_stand_before_its_checker():
    found = outline.exercises(
        notebook(
            "**Threshold.** not an exercise, there are numbers",
            "## Exercises\n\n**1.** One, see [this](a.ipynb).\n\n**2, open.** Two.\n\n**3.** Three.",
            check("00-a"),
            check("00-b"),
            ">x = 1",
            "Text.\n\n**Exercise 4.** Four.\n\nMore.",
            ">y = 2",
            check("00-c"),
            "**1.** What?\n\n<details><summary>a</summary>Right.</details>",
            "**Layers.** Five.",
            check("00-d"),
        )
    )
    assert found == [("00-a", "One, see this."), ("00-b", "Two."), ("00-c", "Four."), ("00-d", "Five.")]
    with pytest.raises(ValueError, match="00-a has no words"):
        outline.exercises(notebook("Text.", check("00-a")))


def test_sections_begin_at_their_headings_and_share_out_the_stored_time():
    made = notebook(
        "# Title", ">a", "Text.\n\n## One\n\nwords ## not a heading", ">b", "End.\n\n## Two", ">c", ">clock"
    )
    made.cells[-1].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="Time: 100.0 s of processor time, of 150 s;")
    ]
    times = {"00_x": {"c1": 1.0, "c3": 3.0, "c5": 4.0, "c6": 0.0}}
    first, second = outline.sections(made, "00_x", times)
    assert (first.title, second.title) == ("One", "Two")
    assert (first.run, second.run) == (pytest.approx(37.5), pytest.approx(50))
    assert outline.sections(made, "00_x", {})[0].run is None
    assert outline.sections(made, "00_x", {"00_x": {"c5": 4.0, "c6": 0.0}})[0].run is None


# The plans


def section(title="One", read=10.0, run=0.0, names=(), code=True):
    parts = [Part("words"), *([Part("x", {"id": "c"})] if code else [])]
    return Section(title, parts, read, run, list(names))


SECTIONS = [(f"{n:02d}", section(f"{n}.{i}", 9 + i, 5.0 * i, ["a"] * (i == 4))) for n in range(6) for i in range(5)]


@pytest.mark.parametrize("plan", plans.PLANS.values(), ids=list(plans.PLANS))
def test_a_plan_keeps_to_its_time_in_whole_sections_and_loses_none(plan):
    sittings, left = plans.pack(plan, SECTIONS)
    shown = [(row.notebook, row.section) for sitting in sittings for row in sitting.rows if row.section]
    assert shown + left == SECTIONS
    assert left == [] or plan.notebooks
    for sitting in sittings:
        room = plan.sittings.get(sitting.name, 90)
        ends = [row.at + row.minutes for row in sitting.rows]
        assert ends[-1] <= room and [0, *ends[:-1]] == [row.at for row in sitting.rows]
        worked = 0
        for row in sitting.rows:
            worked = worked + row.minutes if row.section else 0
            assert worked <= plans.WORK
        breaks = [row.at for row in sitting.rows if not row.section]
        assert (sitting.handover in breaks) if breaks else sitting.handover is None


def test_a_section_that_is_longer_than_all_has_its_place():
    sittings, left = plans.pack(plans.PLANS["a_term"], [("00", section(read=200)), ("00", section(read=5))])
    assert [len(sitting.rows) for sitting in sittings] == [1, 1] and not left


def test_a_plan_ends_with_no_opening_of_what_it_has_no_time_for():
    course = [
        ("00", section(read=45)),
        ("00", section("Recap", 5)),
        ("01", section("At a glance", 1)),
        ("01", section("The question", 1)),
        ("01", section("1. Long", 60)),
    ]
    sittings, left = plans.pack(plans.PLANS["90_minutes"], course)
    assert [row.section.title for row in sittings[0].rows] == ["One", "Recap"] and left == course[2:]
    sittings, left = plans.pack(plans.PLANS["90_minutes"], course[:4])
    assert sittings[0].rows[-1].section.title == "The question" and not left


def test_a_run_counts_for_a_minute_at_most_and_is_marked_and_none_is_told():
    assert [plans.minutes(section(run=run)) for run in (None, 0, 30, 60, 600)] == [10, 10, 11, 11, 11]
    assert plans.minutes(section(names=["a", "b"])) == 10 + 2 * plans.EXERCISE
    course = [("00", section(run=90)), ("00", section(run=None)), ("00", section(run=None, code=False))]
    text = plans.markdown(plans.PLANS["90_minutes"], course, {"00": "Start"})
    course[0][1].exercises.append("00-a")
    assert f"| {plans.EXERCISE} min: 00-a |" in plans.markdown(plans.PLANS["90_minutes"], course, {"00": "Start"})
    assert "| 90 s* |" in text and text.count("| not measured |") == 1 and "1 run longer than a minute" in text


def test_what_can_be_dropped_is_counted_and_what_has_no_time_is_named():
    course = [
        ("00", section(names=["a", "b"])),
        ("00", section("What we measured")),
        ("00", section(outline.ASK, 7)),
        ("00", section("References")),
        ("01", section("Too long", 300)),
    ]
    text = plans.markdown(plans.PLANS["90_minutes"], course, {"00": "Start", "01": "Go on"})
    assert [int(number) for number in re.findall(r"^\d\. .*: (\d+) minutes;", text, re.MULTILINE)] == [7, 10, 6]
    assert text.endswith("- 01 Go on: Too long\n") and "References" not in text


# Questions, answers, slides


def test_questions_are_written_so_that_each_can_be_read_back():
    asked = [
        Quiz(
            "Is {a} = b~c#d:\nor not?",
            [Choice("yes = 1", "Right. So it is.", True), Choice("no", "No: it isn't.", False)],
        )
    ]
    text = quizzes.gift("00 Start / here", asked, [("00-a", "Write f(x) = {x}.\n\nReturn it.")])
    category, first, second = re.split(r"\n\n", text.strip())
    assert category == "$CATEGORY: 00 Start // here"
    head, *choices, end = first.splitlines()
    assert head == r"::00 self-test 1::[markdown]Is \{a\} \= b\~c\#d\:\nor not? {" and end == "}"
    assert choices == [r"=yes \= 1#Right. So it is.", r"~no#No\: it isn't."]
    assert second.startswith(r"::00-a::[markdown]Write f(x) \= \{x\}.\n\nReturn it. {####")


def test_expected_wrong_answers_are_those_of_the_tests_with_the_hint_of_the_checker():
    found = answers.expected("00")
    listed, more = found["00-steps"]
    assert more >= 0 and {one.hint for one in listed} == {
        exercises.judge("00-steps", eval(one.code))[1] for one in listed
    }
    text = answers.markdown("00 Start", [("00-steps", "How many steps?")], found)
    assert all(one.hint in text for one in listed) and listed
    assert answers.expected("99") == {}


def test_slides_need_no_network_and_hold_every_picture_and_question_with_notes():
    path = run.chapters()[0]
    made = slides.slides(stored.read(path))
    pictures = [
        output
        for cell in stored.cells(path, "code")
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert sum(one.body.startswith("<img") for one in made) == len(pictures) > 2
    asked = outline.quizzes(stored.read(path))
    assert sum(one.body.count("<details>") for one in made) == sum(len(one.choices) for one in asked)
    assert all(one.notes for one in made if one.body.startswith("<img"))
    page = slides.html(stored.read(path), path)
    assert not re.findall(r'(?:src|href)="(?!data:|https?://|#)', page)
    assert not re.findall(r'(?:src)="https?:', page) and page.count("<section>") == len(made)


# In step


STALE = "teach/ is not in step with the notebooks: run `make teach` and commit what it changes"


def written(name):
    file = teach.TEACH / name
    return file.read_text(encoding="utf-8") if file.exists() else ""


def test_plans_and_questions_are_in_step_with_the_notebooks(monkeypatch):
    monkeypatch.setattr(answers, "expected", lambda number: {})
    made = teach.made()
    assert [name for name in made if name != "answers.md" and made[name] != written(name)] == [], STALE
    assert {file.name for file in teach.TEACH.iterdir()} == {*made, "times.json"}


@pytest.mark.slow
def test_answers_are_in_step_with_the_checkers():
    assert teach._answers(run.read_all(run.chapters())) == written("answers.md"), STALE


def test_the_next_edition_needs_no_other_code(monkeypatch):
    monkeypatch.setattr(answers, "expected", lambda number: {})
    made = teach.made(COMING)
    for path in run.chapters(COMING):
        assert f"| {path.stem[:2]} |" in made["plan_a_term.md"]
        assert f"$CATEGORY: {path.stem[:2]} " in made["questions.gift"]


def test_times_of_a_run_are_kept_and_those_of_a_failed_one_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(outline, "TIMES", tmp_path / "times.json")
    outline.keep_times({})
    assert not outline.TIMES.exists()
    outline.keep_times({"00_a": {"ok": True, "cells": {"c": 1.0}}, "01_b": {"ok": False, "cells": {"c": 2.0}}})
    outline.keep_times({"02_c": {"ok": True, "cells": {"d": 3.0}}, "00_a": {"ok": True}})
    assert outline.times() == {"00_a": {"c": 1.0}, "02_c": {"d": 3.0}}


def test_a_folder_without_notebooks_is_told(tmp_path, capsys):
    assert teach.main(["--notebooks", str(tmp_path)]) == 1
    assert "name a folder of them" in capsys.readouterr().err
