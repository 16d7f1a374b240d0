"""The minutes of a notebook in a workshop."""

import nbformat
import pytest

from course_utils.authoring import run, workshop


def notebook(words, lines, exercises):
    """Return a notebook with so many words in its text, lines of code, and exercises."""
    cells = [
        nbformat.v4.new_markdown_cell("## At a glance\n\n- **You need** nothing.", id="at-a-glance"),
        nbformat.v4.new_markdown_cell("word " * (words - 6)),
        nbformat.v4.new_code_cell("\n\n".join(["x = 1"] * lines)),
        *(nbformat.v4.new_code_cell('exercises.check("00-one", 1)') for _ in range(exercises)),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize(
    ("words", "lines", "exercises", "seconds", "wanted"),
    [
        (150, 15, 0, 60, {"read": 2, "run": 1, "exercises": 0}),
        (151, 15, 0, 61, {"read": 3, "run": 2, "exercises": 0}),
        (1_500, 28, 2, 121, {"read": 12, "run": 3, "exercises": 12}),
    ],
)
def test_minutes_follow_from_words_lines_exercises_and_the_measured_seconds(words, lines, exercises, seconds, wanted):
    assert workshop.minutes(notebook(words, lines, exercises), seconds) == wanted


def test_the_minutes_stand_once_at_the_top_and_are_renewed():
    made = notebook(150, 15, 1)
    for seconds in (60, 200):
        assert workshop.put(made, seconds)
    lines = made.cells[0].source.splitlines()
    assert lines == [
        "## At a glance",
        "",
        "- **You need** nothing.",
        "- **In a workshop**: read 3 min, run 4 min, exercises 6 min.",
    ]
    del made.cells[0]
    assert not workshop.put(made, 60)


def test_the_minutes_stand_below_the_list_and_count_for_nothing():
    made = notebook(146, 15, 0)  # with the words below two minutes to read, and no room for one word more
    made.cells[0].source += " Or\n\n## Set up\n\nmore."
    for _ in range(2):
        assert workshop.put(made, 60)
        assert workshop.minutes(made, 60)["read"] == 2
    assert made.cells[0].source.splitlines()[2:6] == [
        "- **You need** nothing. Or",
        "- **In a workshop**: read 2 min, run 1 min, exercises 0 min.",
        "",
        "## Set up",
    ]


def test_only_a_notebook_that_ran_gets_them(monkeypatch, tmp_path):
    for name in ("00_ran", "01_did_not"):
        nbformat.write(notebook(150, 15, 1), tmp_path / f"{name}.ipynb")
    monkeypatch.setattr(run, "chapters", lambda: sorted(tmp_path.glob("*.ipynb")))
    monkeypatch.setattr(run, "read_timings", lambda: {"00_ran": {"seconds": 61.0}})
    run.refresh_minutes()
    assert "run 2 min" in (tmp_path / "00_ran.ipynb").read_text(encoding="utf-8")
    assert "workshop" not in (tmp_path / "01_did_not.ipynb").read_text(encoding="utf-8")
