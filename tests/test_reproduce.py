"""A machine's line says truly how its numbers compare with the stored ones."""

import copy

import nbformat
import pytest

from course_utils.authoring import bands, run
from course_utils.experiments import reproduce, spread

START = run.chapters()[0]


@pytest.fixture
def stored():
    return nbformat.read(START, as_version=4)


def banded(notebook):
    """The first output with a number that has a band: (its text's place, the number's place, its band)."""
    for cell in notebook.cells:
        of = bands.of_cell(bands.name(START), cell.get("id"))
        if cell.cell_type == "code" and of and cell.outputs and "text" in cell.outputs[0]:
            place = min(of)
            return cell, place, of[place]
    raise AssertionError("no number has a band")


def put(cell, place, text):
    """The cell's printed text with another number at that place."""
    found = list(reproduce.compare.NUMBER.finditer(cell.outputs[0]["text"]))[place]
    old = cell.outputs[0]["text"]
    cell.outputs[0]["text"] = old[: found.start()] + text + old[found.end() :]


def test_the_stored_notebook_is_the_same(stored):
    found = reproduce.held(START, stored)
    counted = bands.counts(spread.cells_of(START), bands.name(START))
    assert found["numbers"] == found["same"] == counted["exact"] + counted["banded"] > 50
    assert not found["where"] and not found["words_differ"]


def test_a_number_in_its_band_and_one_outside(stored):
    cell, place, band = banded(stored)
    inside, outside = copy.deepcopy(stored), copy.deepcopy(stored)
    number = f"{band.low + 0.15 * (band.high - band.low):.{band.digits}f}"
    put(next(c for c in inside.cells if c["id"] == cell["id"]), place, number)
    assert reproduce.held(START, inside)["in_band"] == 1 and not reproduce.held(START, inside)["where"]
    put(next(c for c in outside.cells if c["id"] == cell["id"]), place, f"{band.high * 2 + 5:.{band.digits}f}")
    found = reproduce.held(START, outside)
    assert found["outside"] == 1 and cell["id"] in found["where"][0]


def test_other_words_are_named(stored):
    cell, *_ = banded(stored)
    cell.outputs[0]["text"] = "Something else " + cell.outputs[0]["text"]
    found = reproduce.held(START, stored)
    assert found["words_differ"] == 1 and "Something else" in found["where"][0]


def test_a_machine_has_one_line_a_setting():
    line = dict.fromkeys(reproduce.SHOWN, 1) | {"notebooks": 10, "where": [], "setting": "default"}
    again, other = line | {"same": 2}, line | {"setting": "plain"}
    lines = reproduce.added(reproduce.added(reproduce.added([], line), other), again)
    assert [(one["setting"], one["same"]) for one in lines] == [("default", 2), ("plain", 1)]
    assert reproduce.markdown(lines).count("\n| 1 |") == 2 and "## Outside" not in reproduce.markdown(lines)
    assert "- 1, plain: here" in reproduce.markdown([other | {"where": ["here"]}])


def test_a_failed_notebook_writes_no_line(tmp_path, monkeypatch, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0", id="bad")])
    nbformat.write(notebook, tmp_path / "00_bad.ipynb")
    monkeypatch.setattr(reproduce, "LINES", tmp_path / "lines.json")
    assert reproduce.main([str(tmp_path / "00_bad.ipynb"), "--jobs", "1"]) == 1
    assert not (tmp_path / "lines.json").exists() and "00_bad" in capsys.readouterr().err
