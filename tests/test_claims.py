"""Numbers that the notebooks' prose quotes are held to the data, the budgets and the stored outputs."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from course_utils import data, results

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


def test_what_notebook_04_says_of_prompts_is_what_was_measured():
    shipped = json.loads((results.RESULTS / "prompt_runs.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in shipped["rows"]}
    told = {(line["first"].split(",")[0], line["second"]): line["verdict"] for line in shipped["verdicts"]}
    prompts = [row for method, row in rows.items() if "prompt" in method]
    for many in ("prompt tuning, 50 rows", "prompt tuning, four questions"):
        run = next(run for run in shipped["tested"] if run["name"] == many)
        assert run["trainable"] <= 0.005 * run["total"]
        assert rows[many]["low"] > max(rows["text prompt"]["high"], rows["majority class"]["high"])
    assert max(row["high"] for row in prompts) < min(rows["LoRA"]["low"], rows["full fine-tuning"]["low"])
    assert told["prompt tuning", "text prompt, four questions"].startswith("cannot tell")
    ten_rows = "cannot tell prompt tuning, 1,000 labels and text prompt apart"
    assert any(line["verdict"].startswith(ten_rows) for line in shipped["verdicts"])
    four = [np.array(run["auc_dev"]) for run in shipped["tested"] if "auc_dev" in run]
    assert max(abs(auc - four[0]).max() for auc in four) < 0.01  # tuning does not sort the reports better


def test_what_notebook_04_says_of_the_settings_is_what_was_measured():
    shipped = json.loads((results.RESULTS / "prompt_runs.json").read_text(encoding="utf-8"))
    median = {
        (what, value): np.median([r["dev"] for r in shipped["swept"] if r["varied"] == what and r[what] == value])
        for what in ("lr", "init", "tokens", "words")
        for value in {run[what] for run in shipped["swept"] if run["varied"] == what}
    }
    assert abs(median["lr", 3e-5] - median["lr", 1e-3]) < 0.02 < 0.1 < median["lr", 0.3] - median["lr", 1e-3]
    assert median["tokens", 1] < median["tokens", 10] < median["tokens", 25]
    assert np.ptp([value for (what, _), value in median.items() if what == "init"]) < 0.02
