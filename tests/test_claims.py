"""Numbers that the notebooks' prose quotes are held to the data, the budgets and the stored outputs."""

import re
from pathlib import Path

import nbformat
import pytest

from course_utils import data

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def sizes():
    reports = data.load_reports()
    return {name: len(rows) for name, rows in reports.items()} | {"all": sum(map(len, reports.values()))}


def prose(path):
    return "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")


def code(path):
    return "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_quoted_sizes_are_the_data_s(path, sizes):
    text = prose(path)
    assert f"{sizes['all']:,} *synthetic*" in text
    for split in ("dev", "test"):
        quoted = re.findall(rf"([\d,]+) {split}\b", text)
        assert all(number == f"{sizes[split]:,}" for number in quoted), (split, quoted)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_budget_in_the_glance_is_the_one_that_is_kept(path):
    seconds, memory = re.search(r"under (\d+) s and under ([\d,]+) MB", prose(path)).groups()
    budget = re.search(r"report\(budget_s=(\d+), budget_mb=(\d+)\)", code(path)).groups()
    assert (seconds, memory.replace(",", "")) == budget


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_stored_run_kept_its_budget(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    line = "".join(o.get("text", "") for o in cells[-1].outputs)
    found = re.search(r"Time: ([\d.]+) s of (\d+) s; peak memory: (\d+) MB of (\d+) MB", line)
    assert found, f"the last cell prints no timing line but {line!r}"
    seconds, budget_s, memory, budget_mb = map(float, found.groups())
    assert seconds <= budget_s and memory <= budget_mb
