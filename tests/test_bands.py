"""The bands: where they come from, that every moving number has one, and that a planted fault leaves it."""

import copy
import json
import os
import platform
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from course_utils import paths
from course_utils.authoring import bands, compare
from course_utils.experiments import origin, spread

ROOT = paths.ROOT
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
START = ROOT / "notebooks" / "00_start_here.ipynb"


@pytest.mark.parametrize("path", CHAPTERS, ids=bands.name)
def test_every_number_that_is_stored_is_one_that_the_runs_printed_or_lies_in_its_band(path):
    found = bands.missing(spread.cells_of(path), bands.name(path))
    assert not found, f"{found[:5]}: run `make spread NOTEBOOKS=notebooks/{bands.name(path)}.ipynb`"


@pytest.mark.parametrize("path", CHAPTERS, ids=bands.name)
def test_every_moving_number_notices_a_planted_fault(path):
    """The faults were planted by `make spread`, in the very notebook; here its numbers are held against the bands."""
    asleep = {
        f"{cell}, number {place}"
        for cell, numbers in bands.escapes(bands.name(path)).items()
        for place, faults in numbers.items()
        if not faults
    }
    assert not asleep


@pytest.mark.parametrize("path", SOLUTIONS, ids=bands.name)
def test_a_solution_leaves_what_it_trains_out_of_the_comparison(path):
    """It has no runs of its own, so from where it trains on it is compared by its words and counts alone."""
    trained = False
    for cell in spread.cells_of(path):
        trained = trained or bool(re.search(r"\bfit\w*\(", cell.source))
        text = "" if compare.left_out(cell) else compare.text_of(cell.outputs)
        decimals = [number for number in compare.NUMBER.findall(text) if "." in number]
        assert not (trained and decimals), f"{cell['id']} prints {decimals[:3]}: give it the tag {compare.IGNORE}"


def test_the_runs_are_what_the_course_says_they_are():
    runs = spread.RUNS
    assert {run.setting for run in runs} == set(bands.SETTINGS)
    assert {run.threads for run in runs} == {1, 2} and len({run.seed for run in runs}) > 2
    for path in CHAPTERS:
        shipped = bands.load(bands.name(path))
        assert shipped["runs"] == [run.name for run in runs] and shipped["faults"]


def test_a_kept_run_stands_on_what_its_notebook_reaches_and_shows(monkeypatch):
    source = "from course_utils import drawings as d\nfrom course_utils.trainer import QUIET\nd.lora(QUIET)\nd.lora"
    before, one, other = (origin.of_source(text).code for text in (source, f"{source}\n1", f"{source}\nd.padding"))
    assert before == one != other
    seen = []
    monkeypatch.setattr(origin, "code", lambda *place: seen.append(place) or origin.Reached("", ()))
    origin.of_source(source)
    assert seen == [("course_utils.drawings", "lora"), ("course_utils.trainer", "QUIET")]


def test_a_kept_run_stands_on_the_results_that_its_notebook_shows(monkeypatch, tmp_path):
    path, shown = CHAPTERS[3], tmp_path / "lora_runs.json"
    assert '"lora_runs"' in path.read_text(encoding="utf-8").replace("\\", "")
    monkeypatch.setattr(spread, "shipped_results", lambda: tmp_path)
    found = []
    for name, content in ((shown.name, "1"), ("load_runs.json", "1"), (shown.name, "2")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        found.append(spread.depends_on.__wrapped__(path))
    assert found[0] == found[1] != found[2]


def test_the_page_that_explains_a_band_has_its_width_and_its_runs():
    said = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    assert f"and {bands.BAND_FACTOR:g} times that range on each side" in said
    assert f"over {len(spread.RUNS)} runs" in said


def test_the_table_is_that_of_the_shipped_runs():
    assert bands.TABLE.read_text(encoding="utf-8") == spread.table()


def spoil_code(cells):
    cells["after-score"].source += "\nprint(score)"


def spoil_words(cells):
    cells["tokens"].outputs[0].text = cells["tokens"].outputs[0].text.replace("weights", "leaps")


def spoil_an_exact_number(cells):
    cells["load"].outputs[0].text = cells["load"].outputs[0].text.replace("1245", "1244")


def spoil_a_band(cells):
    text = cells["after-score"].outputs[0].text
    cells["after-score"].outputs[0].text = text.replace(re.search(r"macro F1 (\S+)", text)[1], "0.11", 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_code, "after-score: its numbers have no band"),
        (spoil_words, "tokens: its words or its exact numbers"),
        (spoil_an_exact_number, "load: its words or its exact numbers"),
        (spoil_a_band, "after-score: 0.11 is not in ["),
    ],
)
def test_a_notebook_that_is_stored_without_new_runs_is_noticed(spoil, said):
    cells = {cell["id"]: cell for cell in spread.cells_of(START)}
    spoil(cells)
    (found,) = bands.missing(list(cells.values()), START.stem)
    assert found.startswith(said)


def test_a_new_cell_is_noticed_and_a_comment_is_not():
    cells = spread.cells_of(START)
    new = copy.deepcopy(cells[-1])
    new["id"] = "new"
    cells[2].source = f"# a comment\n{cells[2].source}"
    assert [one.split(":")[0] for one in bands.missing([*cells, new], START.stem)] == ["new"]


@pytest.mark.parametrize(
    ("printed", "inside", "outside"),
    [
        (["0.89", "0.91", "0.90"], ["0.87", "0.93", "0.9"], ["0.86", "0.94", "-0.90", "0.900"]),
        (["0.89", "0.89", "0.89"], ["0.87", "0.91"], ["0.86", "0.92"]),
        (["1,381", "1,391"], ["1,369", "1403"], ["1,368", "1,404"]),
        (["3e-05", "5e-05"], ["1e-05", "7e-05"], ["8e-05"]),
        (["-0.01", "0.01"], ["-0.03", "0.00"], ["0.04"]),
        (["0", "2", "1"], ["0", "4"], ["-3", "5"]),
        (["0.00", "0.03", "0.01"], ["-0.03", "0.06"], ["-0.04", "0.07"]),
    ],
)
def test_a_band_is_the_runs_range_and_more_on_each_side(printed, inside, outside):
    band = bands.Band.of(printed)
    assert all(map(band.holds, inside)) and not any(map(band.holds, outside))


def test_what_only_a_seed_moves_is_exact_and_what_training_or_arithmetic_moves_is_not():
    by_seed = ["3" if run.seed else "2" for run in spread.RUNS]
    by_setting = ["3" if run.setting == "all-avx2" else "2" for run in spread.RUNS]
    same = ["2"] * len(spread.RUNS)
    lost, other = spread.EVERYWHERE
    assert not spread.moves(by_seed, {lost: "2", other: "2"}) and not spread.moves(same, {lost: "5", other: None})
    assert spread.moves(by_seed, {lost: "6", other: "2"}) and spread.moves(by_setting, {lost: "2", other: "2"})


STORED = "A is better; difference 0.30 [0.25, 0.35]\nof 12 rows"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (STORED.replace("0.30", "0.00"), [0, 1, 2, 3]),
        ("cannot tell A; difference 0.00 [-0.02, 0.02]\nof 12 rows", [3]),
        ("of 12 rows", []),
    ],
)
def test_a_fault_is_seen_by_the_words_of_a_numbers_line_as_well(text, places):
    assert [place for place in range(4) if spread.same_line(place, text, STORED)] == places


@pytest.mark.parametrize(
    ("printed", "lost", "other", "moves"),
    [
        ("0.93", "0.20", "0.93", True),
        ("0.93", "0.92", "0.20", False),
        ("0.93", None, "0.93", True),
        ("8", "0", "8", False),
    ],
)
def test_a_trained_measure_has_a_band_though_all_runs_agree(printed, lost, other, moves):
    faulty = dict(zip(spread.EVERYWHERE, (lost, other), strict=True))
    assert spread.moves([printed] * len(spread.RUNS), faulty) == moves


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ValueError, match='no setting "avx3". Choose one of: default, torch-avx2'):
        bands.environment("avx3")


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the settings are for x86-64")
@pytest.mark.parametrize(("setting", "torch_uses"), [("all-avx2", "AVX2"), ("plain", "DEFAULT")])
def test_a_setting_reaches_the_libraries(setting, torch_uses):
    """NumPy, for one, is silent about a name that it does not know: findings/ has the story."""
    program = "import numpy as np, torch; np.show_runtime(); print(torch.backends.cpu.get_cpu_capability())"
    variables = os.environ | bands.environment(setting)
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == torch_uses
    used = re.search(r"'found': \[(.*?)\]", done.stdout, re.DOTALL)[1]
    assert "X86_V4" not in used and "AVX512" not in used
    assert set(re.findall(r"'architecture': '(\w+)'", done.stdout)) == {"Haswell"}


@pytest.mark.slow
def test_a_shifted_seed_gives_the_draws_of_another_seed():
    program = """
import torch
draws = lambda seed: (torch.manual_seed(seed), torch.rand(3), torch.randperm(9, generator=torch.Generator().manual_seed(seed)))
before, other = draws(0), draws(2000)
exec({shifted!r})
after = draws(0)
assert not torch.equal(before[1], after[1]) and torch.equal(after[1], other[1]) and torch.equal(after[2], other[2])
"""
    program = program.replace("{shifted!r}", repr(spread.SHIFTED.format(seed=2)))
    subprocess.run([sys.executable, "-c", program], check=True)


CELLS = {
    "count": "n = 0",
    "grow": "n += 1\nprint('once' if n == 1 else 'more than once', n)",
    "say": "print('score', 0.5)",
}


def stored(folder, cells):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source, id=name) for name, source in cells.items()]
    path = folder / "a.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
def test_a_cell_that_says_something_else_the_second_time_is_named(tmp_path):
    texts = {name: cell["text"] for name, cell in spread.inside(stored(tmp_path, CELLS), spread.Run()).items()}
    again = spread.inside(stored(tmp_path, CELLS), spread.AGAIN)
    assert {"count-go-2", "grow-go-2", "say-go-2", "say-go-3"} <= set(again)
    assert spread.goes_apart("grow", texts["grow"], again, {}) == [
        f'grow-go-{go}, run again: It says "more than once {go}", and "once 1" is stored.' for go in (2, 3)
    ]
    assert not spread.goes_apart("say", texts["say"], again, {})


@pytest.mark.slow
def test_a_cell_that_cannot_run_twice_stops_the_run(tmp_path):
    path = stored(tmp_path, {"open": "rows = [1]", "take": "print(rows.pop())"})
    with pytest.raises(RuntimeError, match="take-go-2.*pop from empty list"):
        spread.inside(path, spread.AGAIN)


@pytest.mark.slow
def test_a_lost_head_turns_the_first_notebook_red_with_a_sentence(tmp_path):
    """The whole way: the fault is planted in the package, pytest --nbval runs the notebook, and says what it found."""
    for part in ("src", "notebooks", "data_samples"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "solutions", "runs"))
    for part in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / part, tmp_path / part)
    module = tmp_path / "src" / "course_utils" / "training.py"
    whole, place = (
        module.read_text(encoding="utf-8"),
        "    return _forward(model, tokenizer, reports, batch_size, lambda batch: model(",
    )
    lost = "    if len(reports) > 100:  # the eight that are learned by heart stop the notebook by an assert\n"
    lost += "        model.classifier.reset_parameters()\n"
    assert whole.count(place) == 1
    module.write_text(whole.replace(place, lost + place), encoding="utf-8")
    notebook = tmp_path / "notebooks" / START.name
    cut = nbformat.read(notebook, as_version=4)
    ids = [cell["id"] for cell in cut.cells]
    cut.cells = cut.cells[: ids.index("after-score") + 1]  # it speaks there; the rest would only take longer
    nbformat.write(cut, notebook)
    command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:xdist", str(notebook)]
    paths = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True)
    assert done.returncode == 1
    said = re.search(
        r"(\d\.\d\d), expected (\d\.\d\d) \[(\d\.\d\d), (\d\.\d\d)\] over (\d+) runs, in the line: macro F1",
        done.stdout,
    )
    assert said, done.stdout[-2000:]
    found, stored, low, high, runs = map(float, said.groups())
    assert found < low <= stored <= high and runs == len(spread.RUNS)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "status"), [(spread.FAULTS[spread.LOST_TRAINING], 0), ("", 1)])
def test_training_is_lost_in_a_loop_of_any_kind(fault, status):
    """In one that a notebook writes, with a schedule or without, and in `Trainer`'s, which has the fused kind."""
    program = """
{fault}
import torch
weights = torch.nn.Parameter(torch.ones(2))
for kind in (torch.optim.AdamW, torch.optim.Adam):
    for fused in (False, True):
        optimizer = kind([weights], lr=0.5, fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        weights.sum().backward()
        optimizer.step()
        schedule.step()
assert (weights == 1).all()
""".replace("{fault}", fault)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == status and ("AssertionError" in done.stderr) == bool(status), done.stderr


def test_the_files_hold_no_more_than_the_runs():
    for path in bands.folder().rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert set(content) == {"runs", "faults", "cells"}
        for cell in content["cells"].values():
            for one in cell.get("moved", {}).values():
                assert len(one["runs"]) == len(content["runs"]) and all(map(compare.NUMBER.fullmatch, one["runs"]))
