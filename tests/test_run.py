"""The runner behind `make course`, on notebooks of a few lines."""

import json
import re

import nbformat
import pytest

from course_utils.authoring import render, run

HELLO = """# Say *hello*

It greets you. Then it ends.

$$x^2$$ and [the next](01_fail.ipynb)"""


def write(path, opening, *sources):
    cells = [nbformat.v4.new_markdown_cell(opening, id="title")]
    cells += [nbformat.v4.new_code_cell(source, id=f"step-{i}") for i, source in enumerate(sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A course of three notebooks, the second of which fails."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(run, "OUT", tmp_path / "build" / "course")
    talk = "import sys\nprint('one')\nprint('50%', file=sys.stderr)\nprint('two')"
    write(tmp_path / "notebooks/00_hello.ipynb", HELLO, talk, "import os\nos.path.basename(os.getcwd())")
    write(tmp_path / "notebooks/01_fail.ipynb", "# Fail", "1", "raise ValueError('no\\nway')")
    write(tmp_path / "notebooks/02_go_on.ipynb", "# Go on", "print('still here')")
    return tmp_path


def contents(place):
    return {path.name: path.read_bytes() for path in (place / "notebooks").iterdir()}


def test_the_course_goes_on_after_a_failure_and_says_so(place, capsys):
    before = contents(place)
    assert run.main([]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert re.fullmatch(r"00_hello +\d+\.\d s +\d+ MB  ok", lines[0])
    assert lines[1].endswith("FAILED in cell 3 (id step-1): ValueError: no way")
    assert lines[2].endswith("ok")
    assert "build/course/index.html" in said.out
    assert "1 of 3 notebooks failed: 01_fail.ipynb" in said.err
    assert contents(place) == before
    check_pages(place / "build/course")


def check_pages(out):
    timings = json.loads((out / "timings.json").read_text())
    assert [timing["ok"] for timing in timings.values()] == [True, False, True]
    assert all(timing["peak_mb"] > 10 and timing["seconds"] > 0 for timing in timings.values())
    hello, index = (out / "00_hello.html").read_text(), (out / "index.html").read_text()
    assert "<script" not in hello
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', hello)
    assert "<math" in hello and 'href="01_fail.html"' in hello and "two" in hello
    assert "Say hello" in index and "It greets you." in index and "Then it ends" not in index
    assert index.count("<strong>failed</strong>") == 1


def test_storing_twice_changes_nothing_and_a_failed_notebook_is_left_alone(place):
    before = contents(place)
    assert run.main(["--store"]) == 1
    first = contents(place)
    assert first["01_fail.ipynb"] == before["01_fail.ipynb"]
    stored = nbformat.read(place / "notebooks/00_hello.ipynb", as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]
    assert [output.text for output in stored.cells[1].outputs] == ["one\ntwo\n"]
    assert stored.cells[2].outputs[0].data["text/plain"] == "'notebooks'"
    assert run.main(["--store"]) == 1
    assert contents(place) == first


def test_rendering_alone_executes_nothing(place):
    assert run.main(["--render-only"]) == 0
    assert "still here" not in re.sub(r"print.*", "", (place / "build/course/02_go_on.html").read_text())
    assert not (place / "build/course/timings.json").exists()


def test_no_notebook_is_an_error_that_says_where(place, capsys):
    for path in (place / "notebooks").iterdir():
        path.unlink()
    assert run.main([]) == 1
    assert "whole copy" in capsys.readouterr().err


def test_the_readme_table_lists_title_and_cost(place):
    timings = {"00_hello": {"seconds": 12.3, "peak_mb": 456, "ok": True}}
    table = render.notebook_table(run.read_all(run.chapters()), timings).splitlines()
    assert table[2] == "| [00 Say hello](notebooks/00_hello.ipynb) | 12 | 456 |"
    assert table[3] == "| [01 Fail](notebooks/01_fail.ipynb) | – | – |"


def test_a_generated_part_is_replaced_and_nothing_else():
    text = "a\n<!-- results:start -->\nold\n<!-- results:end -->\nb\n"
    once = render.replace_between(text, "results", "new")
    assert once == "a\n<!-- results:start -->\nnew\n<!-- results:end -->\nb\n"
    assert render.replace_between(once, "results", "new") == once
    with pytest.raises(ValueError, match="notebooks:start"):
        render.replace_between(text, "notebooks", "new")


def test_a_formula_that_cannot_be_converted_is_shown_as_written():
    assert render.formula("a_b_c", "inline") == "<code>a_b_c</code>"


@pytest.mark.parametrize(
    ("target", "moved"),
    [("01_fail.ipynb", "01_fail.html"), ("../README.md", "../../README.md"), ("x.png", "../../notebooks/x.png")],
)
def test_links_are_moved_with_the_page(place, target, moved):
    assert render.move_link(target, place / "notebooks", place / "build/course") == moved


def test_plain_text_of_markdown():
    assert render.plain("**Set** the `bar` of [all](x.md), snake_case too") == "Set the bar of all, snake_case too"
