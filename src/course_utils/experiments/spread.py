"""Measure how far the notebooks' numbers move: `make spread` runs each under other arithmetic, threads and seeds.

Each run is one notebook in a copy of the course of its own, kept in build/spread/ until the notebook or the code that it
stands on changes, so that a stopped `make spread` goes on. The last runs plant a fault, to see the numbers leave.
One more run tries what a curious reader does: each cell twice, then all from somewhere in the middle once more.

`make spread` ends by writing data_samples/spread/ and docs/spread.md. It refuses to, and says where, if a notebook's words
differ between two runs, or between two goes of a cell: such a sentence would be wrong on some reader's machine.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
import numpy as np

from course_utils.authoring import bands, compare
from course_utils.authoring.run import chapters, execute
from course_utils.experiments import origin
from course_utils.paths import BUILD, NOTEBOOKS, ROOT, digest, shipped_results, write_json

KEPT = BUILD / "spread"
PARTS = ("src", "notebooks", "data_samples")  # what a run needs of the course
LEFT_OUT = shutil.ignore_patterns("__pycache__", "runs")  # no notebook reads a kept run

# costs are masked in the comparison, so no run waits for them
UNTIMED = """
from course_utils import costs
costs.apart = lambda *_, **__: {"step_ms": 1.0, "cpu_s": [1.0], "peak_mb": 1.0}
"""
SHIFTED = """
import torch
_manual_seed = torch.manual_seed
class _Generator(torch.Generator):
    def manual_seed(self, seed):
        return super().manual_seed(seed + 1000 * {seed})
torch.Generator = _Generator
torch.manual_seed = lambda seed: _manual_seed(seed + 1000 * {seed})
"""
# Adam's step is every optimizer's here but for one of plain gradient descent: AdamW has it too, and so has `Trainer`.
LOST = """
import torch
torch.optim.Adam.step = lambda self, closure=None: None
"""
SHUFFLED = """
import numpy as np
from course_utils import data
def _shuffling(load):
    def wrapped(*arguments, **settings):
        found = load(*arguments, **settings)
        parts = found[0] if isinstance(found, tuple) else found
        for part in ("train",):
            grades = np.random.default_rng(0).permutation(parts[part]["grade"])
            if isinstance(found, tuple):
                parts[part]["grade"] = grades
            else:
                parts[part] = parts[part].map(lambda row, i: {"grade": int(grades[i])}, with_indices=True)
        return found
    return wrapped
data.load_reports, data.load_graded = map(_shuffling, (data.load_reports, data.load_graded))
"""
SECOND = """
from course_utils import training
_fit_grader = training.fit_grader
def fit_grader(model, tokenizer, rows, **settings):
    if len(rows) == 500:
        rows = rows.assign(grade=rows["grade"].sample(frac=1, random_state=0).to_numpy())
    return _fit_grader(model, tokenizer, rows, **settings)
training.fit_grader = fit_grader
"""
IGNORED = """
from course_utils import training
def _ignoring(fit):
    def wrapped(model, *arguments, **settings):
        return fit(model.requires_grad_(True), *arguments, **settings | {"lr": 1e-3})
    return wrapped
training.fit_grader, training.fit_answers = map(_ignoring, (training.fit_grader, training.fit_answers))
"""
OTHERS_LABELS = """
from course_utils import trainer
_training_step = trainer.QuietTrainer.training_step
def training_step(self, model, inputs, *others):
    inputs["labels"] = inputs["labels"].roll(1, 0)
    return _training_step(self, model, inputs, *others)
trainer.QuietTrainer.training_step = training_step
"""
WRONG_COPIES = """
from course_utils import augment
_augmented = augment.augmented
def augmented(*arguments, **settings):
    found = _augmented(*arguments, **settings)
    found.rows["grade"] = 4 - found.rows["grade"]
    return found
augment.augmented = augmented
"""
UNTRAINED = """
from course_utils import models
_grader = models.grader
models.grader = lambda *arguments, **settings: _grader(*arguments, **settings | {"pretrained": False})
"""
HEADLESS = """
import copy
from course_utils import export
_to_onnx = export.to_onnx
def to_onnx(model, *arguments):
    model = copy.deepcopy(model)
    model.classifier.reset_parameters()
    return _to_onnx(model, *arguments)
export.to_onnx = to_onnx
"""
LOST_TRAINING = "training is lost"
FAULTS = {  # each is planted where a number has to notice it
    LOST_TRAINING: LOST,
    "labels of other rows": SHUFFLED,
    "judged by the truth of other rows": SHUFFLED.replace('("train",)', '("dev", "dev_unseen", "test")'),
    "a second stage on labels of other rows": SECOND,
    "labels of the next row": OTHERS_LABELS,
    "rate and freezing ignored": IGNORED,
    "copies with another label": WRONG_COPIES,
    "a base with random weights": UNTRAINED,
    "the export loses its head": HEADLESS,
}
EVERYWHERE = (LOST_TRAINING, "labels of other rows")
MORE = {
    "00_start_here": ("a base with random weights",),
    "02_fine_tune_every_weight": ("labels of the next row",),
    "03_adapt_with_lora": ("rate and freezing ignored",),
    "04_tune_a_prompt": ("rate and freezing ignored",),
    "07_prepare_dr_reports": ("copies with another label",),
    "09_grade_dr_in_two_stages": (
        "a second stage on labels of other rows",
        "judged by the truth of other rows",
    ),
    "10_judge_a_grader": ("judged by the truth of other rows",),
    "12_ship_with_onnx_int8": ("a base with random weights",),
    "13_version_your_models": ("the export loses its head", "judged by the truth of other rows"),
}


@dataclass(frozen=True)
class Run:
    """How a notebook is run: the arithmetic, the threads, how far the seeds are shifted, the planted fault, cells again."""

    setting: str = "default"
    threads: int = 1
    seed: int = 0
    fault: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        if self.fault:
            return self.fault
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.setting}, {threads}{', each cell twice' if self.again else ''}, seed {self.seed}"

    @property
    def first(self) -> str:
        """The code that runs before the notebook's own."""
        shifted = SHIFTED.format(seed=self.seed) if self.seed else ""
        return UNTIMED + FAULTS.get(self.fault, shifted)


AGAIN = Run(again=True)
GO_2, GO_3 = "-go-2", "-go-3"  # what the id of a cell ends in when it runs again
RUNS = [
    Run(threads=2),  # as a learner runs it
    AGAIN,  # of which the first go counts
    Run("torch-avx2", seed=1),
    Run("all-avx2"),
    Run("mkl-avx2", threads=2, seed=2),
    Run("mkl-compatible", threads=2),
    Run("plain"),
]


def planted(path: Path) -> list[Run]:
    """Return the runs of a notebook that plant a fault."""
    return [Run(fault=fault) for fault in (*EVERYWHERE, *MORE.get(path.stem, ()))]


def runs_of(path: Path) -> list[Run]:
    """Return all runs of a notebook."""
    return [*RUNS, *planted(path)]


def cells_of(path: Path) -> list:
    """Return the code cells of a notebook as it is stored."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def run_again(path: Path) -> None:
    """Write each cell of a notebook twice, and after the last all from a drawn place on once more; the id tells the go."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    place = random.Random(path.stem).randrange(len(code))
    order = [(cell, go) for cell in code for go in ("", GO_2)] + [(cell, GO_3) for cell in code[place:]]
    notebook.cells = [nbformat.from_dict(cell | {"id": cell["id"] + go}) for cell, go in order]
    nbformat.write(notebook, path)


def inside(path: Path, run: Run) -> dict:
    """Run one notebook, a copy, in this process's arithmetic; return the code and the text of each cell, and of each go."""
    if run.again:
        run_again(path)
    done = execute(path, run.first, go_on=bool(run.fault))
    if done.error:
        raise RuntimeError(done.error)
    cells = [cell for cell in done.notebook.cells if cell.cell_type == "code"]
    return {cell["id"]: {"code": bands.code_of(cell.source), "text": compare.text_of(cell.outputs)} for cell in cells}


def measure(path: Path, run: Run) -> None:
    """Run one notebook in a copy of the course of its own, unless that run is kept, and keep what it printed."""
    target = kept(path, run)
    if target.exists():
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            shutil.copytree(ROOT / part, Path(folder) / part, ignore=LEFT_OUT)
        variables = os.environ | bands.environment(run.setting) | {"COURSE_THREADS": str(run.threads)}
        variables |= {"PYTHONPATH": str(Path(folder) / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
        asked = json.dumps([str(Path(folder) / path.relative_to(ROOT)), run.__dict__])
        command = [sys.executable, "-m", "course_utils.experiments.spread", "--inside", asked]
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        print(f"{bands.name(path)}: {run.name}: FAILED, {done.stderr.strip().splitlines()[-1]}", flush=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(done.stdout, encoding="utf-8")
    print(f"{bands.name(path)}: {run.name} ({time.perf_counter() - began:.0f} s)", flush=True)


def kept(path: Path, run: Run) -> Path:
    """Return the file of a run; its name holds a fingerprint of all that the run depends on."""
    words = "_".join(run.name.replace(",", "").split())
    return KEPT / bands.name(path) / f"{words}_{depends_on(path)}.json"


@cache
def depends_on(path: Path) -> str:
    """Return a fingerprint of a notebook's code and of what it stands on: code that it reaches, data, results, versions."""
    cells = [cell.source for cell in cells_of(path)]
    text = "\n".join(cells)
    others = [file for file in sorted(shipped_results().glob("*.json")) if file.stem != path.stem]
    shown = [file for file in others if re.search(rf"""["']{file.stem}["']""", text)]
    parts = [bands.code_of(source) for source in cells]
    parts += [file.read_text(encoding="utf-8") for file in (*shown, ROOT / "constraints.txt")]
    return digest([*parts, origin.of_source(text).code, origin.shipped_data()])[:12]


def read(path: Path, run: Run) -> dict:
    return json.loads(kept(path, run).read_text(encoding="utf-8"))


def gathered(path: Path) -> tuple[dict, list[str]]:
    """Return what is shipped of a notebook's runs, and a sentence for each cell whose words differ between them."""
    done = {run: read(path, run) for run in runs_of(path)}
    shipped, trouble = {}, []
    for cell in cells_of(path):
        texts = [done[run][cell["id"]]["text"] for run in RUNS]
        entry = shipped[cell["id"]] = {"code": bands.code_of(cell.source)}
        if compare.left_out(cell):
            continue
        others = [i for i, text in enumerate(texts) if compare.words(text) != compare.words(texts[0])]
        if others:
            where = compare.differences(texts[others[0]], texts[0])[0]
            trouble.append(f"{bands.name(path)}, {cell['id']}, in {len(others)} of {len(RUNS)} runs: {where}")
            continue
        printed = [compare.NUMBER.findall(text) for text in texts]
        broken = {run.fault: done[run][cell["id"]]["text"] for run in planted(path)}
        moved = {}
        for i, values in enumerate(zip(*printed, strict=True)):
            faults = {fault: number_at(i, text, texts[0]) for fault, text in broken.items()}
            if moves(values, faults):
                other_words = {fault: None for fault, text in broken.items() if not same_line(i, text, texts[0])}
                moved[str(i)] = {"runs": values, "faults": faults | other_words}
        entry["rest"] = bands.rest_of(texts[0], [int(i) for i in moved])
        if moved:
            entry["moved"] = moved
        trouble += [f"{bands.name(path)}, {said}" for said in goes_apart(cell["id"], texts[0], done[AGAIN], moved)]
    names = {"runs": [run.name for run in RUNS], "faults": [run.fault for run in planted(path)]}
    return names | {"cells": shipped}, trouble


def number_at(place: int, text: str, stored: str) -> str | None:
    """Return a number of a text by its place, or None if the text has not as many numbers as the stored one."""
    numbers = compare.NUMBER.findall(text)
    return numbers[place] if len(numbers) == len(compare.NUMBER.findall(stored)) else None


def same_line(place: int, text: str, stored: str) -> bool:
    """Say if the line that holds a number, by its place in the stored text, has the same words in the other text."""
    lines, others = stored.splitlines(), text.splitlines()
    ends = np.cumsum([len(compare.NUMBER.findall(line)) for line in lines])
    line = int(np.searchsorted(ends, place, side="right"))
    return len(lines) == len(others) and compare.words(lines[line]) == compare.words(others[line])


def goes_apart(name: str, text: str, again: dict, moved: dict) -> list[str]:
    """Return a sentence for each go of a cell that said something else than `text`, or a number outside of its band."""
    of = {int(place): bands.Band.of(one["runs"]) for place, one in moved.items()}
    goes = {go: again[name + go]["text"] for go in (GO_2, GO_3) if name + go in again}
    found = {go: compare.differences(said, text, of) for go, said in goes.items()}
    return [f"{name}{go}, run again: {others[0]}" for go, others in found.items() if others]


def moves(values: Sequence[str], faulty: dict[str, str | None]) -> bool:
    """Say if a number may move on another machine, from what each run and each planted fault, by its name, made of it.

    What only another seed moves is the same everywhere, for the course has one seed: what a random head answers, say, or
    the loss of a first step. It gets a band all the same if a fault in the training throws it out of that band, for then
    it was trained, and another machine may move it. So does a measure (it has decimals) in which all runs happen to agree,
    if lost training throws it out of the narrowest band there is.
    """
    if len({value for value, run in zip(values, RUNS, strict=True) if not run.seed}) > 1:
        return True
    band = bands.Band.of(values)
    thrown = [fault for fault, text in faulty.items() if text is None or not band.holds(text)]
    return bool(thrown) if len(set(values)) > 1 else LOST_TRAINING in thrown and bands.decimals(values[0]) > 0


def ship(paths: Sequence[Path]) -> list[str]:
    """Write the shipped file of each notebook whose runs agree in their words; return what is wrong with the others."""
    wrong = []
    for path in paths:
        content, trouble = gathered(path)
        wrong += trouble
        if not trouble:
            write_json(bands.folder() / f"{bands.name(path)}.json", content)
    return wrong


def table() -> str:
    """Return docs/spread.md: the settings, how many numbers of each notebook are compared how, and each that moves."""
    paths = chapters() + chapters(NOTEBOOKS / "solutions")
    return bands.markdown({bands.name(path): cells_of(path) for path in paths})


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the runs that are not kept, some at a time, and ship them; return 1 if a run failed or two disagree in words."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.experiments.spread", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these notebooks (all, if none is named)")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at a time, two by default")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        path, settings = json.loads(options.inside)
        print(json.dumps(inside(Path(path), Run(**settings)), ensure_ascii=False))
        return 0
    paths = [path.resolve() for path in options.notebooks] or chapters()
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda job: measure(*job), [(path, run) for path in paths for run in runs_of(path)]))
    whole = [path for path in paths if all(kept(path, run).exists() for run in runs_of(path))]
    wrong = ship(whole) + [f"{bands.name(path)}: a run failed" for path in paths if path not in whole]
    bands.TABLE.write_text(table(), encoding="utf-8", newline="\n")
    print("\n".join(wrong or ["All notebooks say the same in all runs."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
