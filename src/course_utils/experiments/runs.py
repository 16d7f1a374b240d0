"""What the long measurements share: a run is kept when it is done, so that a stopped `make results` goes on.

An experiment lists its runs as tasks (`plan`), and writes its file from the runs that are kept (`report`). Each finished run is
a small file in the folder `runs` beside the data, so that it can be committed as it comes; it is made again when what it stands
on has changed (origin.py). Two rules hold for every method and are fixed before any run: `epochs`, by the number of labels, and
`seeds`, by the seconds that a run is expected to take.
"""

import argparse
import base64
import json
import math
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from importlib import import_module
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_utils import data, machine, metrics, paths, session

from . import origin

WORK = paths.BUILD / "runs"  # what runs leave for other runs and is too large to keep
SEEDS = (0, 1, 2)  # of an experiment that is not of methods
# How often a report is seen in training: as 5,000 readings of all ask, at least 3 times and at most 20.
READINGS, FEWEST, MOST = 5_000, 3, 20
MINUTE, SHORT, LONG = 60, 5, 3  # seconds; the seeds of a run that takes less, and of one that takes more
# Expected milliseconds on one core of a fast machine, of reading a report, training on it, and starting; the slowest machine that
# was met takes SLOWEST times as long. They decide the seeds and the plan alone.
READ_MS, TRAIN_MS, START_S, GRADED = 2, 6, 3, 4_500
SLOWEST = 2.5


class Task(NamedTuple):
    """A run to be made: its experiment, the function that makes it, its settings (the arguments), and expected seconds.

    A setting that is None is not known yet: it is chosen among runs that are not all there.
    """

    experiment: str
    make: Callable[..., dict]
    settings: dict
    seconds: float

    @property
    def waits(self) -> bool:
        return None in self.settings.values()


def epochs(labels: int) -> int:
    """Return how often each report is seen in training, by how many there are: the rule of every method at every size."""
    return min(MOST, max(FEWEST, math.ceil(READINGS / labels)))


def seconds(labels: int, ms: float = TRAIN_MS, read_ms: float = READ_MS, times: float = 1) -> float:
    """Return the expected seconds of a run on so many labels.

    Takes the milliseconds a report of training and of grading, and how many times as many epochs or reports there are.
    """
    return START_S + (labels * epochs(labels) * times * ms + GRADED * read_ms) / 1000


def seeds(expected: float) -> range:
    """Return the seeds of a run that is expected to take so many seconds: five if that is under a minute on any machine, else three."""
    return range(SHORT if expected * SLOWEST < MINUTE else LONG)


def present(bases: Iterable[str]) -> list[str]:
    """Return the base models that are there, of these."""
    return [name for name in bases if (paths.bases() / name / "model.safetensors").is_file()]


def lacking(experiment: str, bases: Iterable[str]) -> bool:
    """Say whether a base model is not there without which an experiment's file can't be written; print which."""
    missing = [name for name in bases if not present([name])]
    if missing:
        print(f"{experiment}: not written, for there is no base model {', '.join(missing)} yet.", flush=True)
    return bool(missing)


def checkpoint(name: str) -> str:
    """Return the folder of a base model. Raises FileNotFoundError, with the mend, if there is none."""
    if not present([name]):
        raise FileNotFoundError(f"There is no base model {paths.bases() / name}. Make it with `make bases`.")
    return str(paths.bases() / name)


# A kept run.


def place(experiment: str, settings: dict) -> Path:
    """Return the file of a run, whatever the order of its settings."""
    items = sorted(settings.items(), key=lambda item: (item[0] not in ("base", "method"), item[0]))
    short = re.sub(r"[^\w=.+-]+", "-", "_".join(f"{key}={value}" for key, value in items))[:120]
    return paths.samples() / "runs" / experiment / f"{short}_{paths.digest(items)[:8]}.json"


def found(task: Task) -> dict | None:
    """Return a task's run if it is kept and stands on what is here now, else None."""
    if task.waits or not place(task.experiment, task.settings).exists():
        return None
    return _read(task.experiment, task.settings, origin.of(task.make, task.settings))


def all_found(tasks: Sequence[Task]) -> list[dict]:
    """Return the runs of tasks, or none at all if one of them is not there."""
    known = [found(task) for task in tasks]
    return [run for run in known if run] if all(known) else []


def needed(tasks: Sequence[Task]) -> list[dict]:
    """Return the runs of tasks. Raises FileNotFoundError, with the mend, if one is not there."""
    known = [found(task) for task in tasks]
    missing = [task for task, run in zip(tasks, known, strict=True) if run is None]
    if missing:
        words = f"{missing[0].experiment} with {missing[0].settings}"
        raise FileNotFoundError(f"{len(missing)} runs are not there, such as {words}. Make them with `make results`.")
    return [run for run in known if run]


def _read(experiment: str, settings: dict, stands_on: dict) -> dict | None:
    file = paths.read_json(place(experiment, settings))
    if file.get("stands_on") != stands_on:
        return None
    return unpacked(file["run"])


def packed(run: dict) -> dict:
    """Return a run as its file has it: grades as one string of digits, and what each text scored as one compressed string."""
    small = dict(run)
    if isinstance(run.get("predicted"), list):
        small["predicted"] = "".join(map(str, run["predicted"]))
    if "scored" in run:
        small["scored"] = base64.b64encode(zlib.compress(json.dumps(run["scored"]).encode())).decode()
    return small


def unpacked(run: dict) -> dict:
    """Return a run of a file as it was made."""
    whole = dict(run)
    if isinstance(run.get("predicted"), str):
        whole["predicted"] = [int(grade) for grade in run["predicted"]]
    if "scored" in run:
        whole["scored"] = json.loads(zlib.decompress(base64.b64decode(run["scored"])))
    return whole


def _write(experiment: str, settings: dict, stands_on: dict, make: Callable[[], dict]) -> dict:
    """Make a run and keep it, with the processor seconds that it took."""
    began = session.cpu_seconds()
    run = settings | make()
    took = round(session.cpu_seconds() - began, 1)
    content = {"stands_on": stands_on, "run": packed(run), "took_s": took}
    paths.write_json(place(experiment, settings), content)
    said = " ".join(f"{key} {run[key]:.3f}" for key in ("dev", "macro_f1") if key in run)
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    print(f"{experiment}: {words}: {said} ({took:.0f} s)", flush=True)
    return run


def kept(name: str, settings: dict, make: Callable[[], dict]) -> dict:
    """Return the run with these settings of the experiment with this NAME, made now if it is not kept.

    All of the experiment's module counts as its code: for what is not listed as tasks.
    """
    stands_on = origin.of(module_of(name), settings)
    run = _read(name, settings, stands_on)
    if run is None:
        _write(name, settings, stands_on, make)
        run = _read(name, settings, stands_on)
    assert run is not None
    return run


def timed(name: str, settings: dict, make: Callable[[], dict]) -> dict:
    """Return a run as `kept` does, but one of this machine: what is timed is held against no other machine's times.

    The machine's name is left out of it: a file of results says once where it was measured.
    """
    found = kept(name, {"machine": machine.name()} | settings, make)
    return {key: value for key, value in found.items() if key != "machine"}


@cache
def module_of(name: str) -> str:
    """Return the experiment whose NAME this is. The sources say so; a module that is run calls itself "__main__".

    Raises ValueError unless there is just one.
    """
    files = (origin.imports.SOURCES / "course_utils" / "experiments").glob("*.py")
    says = re.compile(rf'^NAME\b[\w, ]*= "{re.escape(name)}"', re.MULTILINE)
    known = [file.stem for file in files if says.search(file.read_text(encoding="utf-8"))]
    if len(known) != 1:
        raise ValueError(f'One experiment must have NAME = "{name}"; it is {", ".join(sorted(known)) or "none"}.')
    return f"course_utils.experiments.{known[0]}"


# Making runs.


def pool(jobs: int) -> ProcessPoolExecutor:
    """Return a pool in which each task has a process of its own, so that its peak memory and its seeds are its own."""
    methods = get_all_start_methods()
    context = get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["course_utils.experiments.frozen"])  # its libraries take seconds to import
    return ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1)


def alone(function: Callable, *arguments):
    """Return what a function of a module returns in a process of its own, in which nothing is loaded beforehand."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
        return one.submit(function, *arguments).result()


def make(task: Task) -> None:
    """Make a task's run and keep it; nothing, if another command that runs beside this one has kept it meanwhile."""
    if found(task) is not None:
        return
    start()
    settings = task.settings
    _write(task.experiment, settings, origin.of(task.make, settings), lambda: task.make(**settings))


def pending(tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks, each once, whose settings are known and whose runs are not there."""
    distinct = {place(task.experiment, task.settings): task for task in tasks if not task.waits}
    return [task for task in distinct.values() if found(task) is None]


def fulfil(plan: Callable[[], list[Task]], jobs: int) -> None:
    """Make all runs of a plan, side by side in `jobs` processes, until it lists none that is not there.

    The plan is asked again after each round, for what it chooses among the runs of the round.
    Raises RuntimeError at the end, with the reasons, if runs could not be made.
    """
    failed: dict[Path, str] = {}
    while ready := [task for task in pending(plan()) if place(task.experiment, task.settings) not in failed]:
        with pool(jobs) as workers:
            try:
                futures = {workers.submit(make, task): task for task in ready}
                for future in as_completed(futures):
                    task = futures[future]
                    if error := future.exception():
                        failed[place(task.experiment, task.settings)] = f"{task.settings}: {error}"
                        print(f"{task.experiment}: {task.settings}: {error}", file=sys.stderr, flush=True)
            finally:
                workers.shutdown(cancel_futures=True)
        for task in pending(ready):
            changed = f"{task.settings}: what it stands on changed while it was made"
            failed.setdefault(place(task.experiment, task.settings), changed)
    if failed:
        raise RuntimeError(f"{len(failed)} runs could not be made:\n" + "\n".join(failed.values()))


def main(module: str) -> None:
    """Make the runs of an experiment and write its file: what `python -m` of it does. Takes the module's full name."""
    command = argparse.ArgumentParser(prog=f"python -m {module}")
    command.add_argument("--jobs", type=int, default=2, help="processes side by side, a thread each")
    jobs = command.parse_args().jobs
    start()
    experiment = import_module(module)  # under its own name, not as __main__
    fulfil(experiment.plan, jobs)
    experiment.report()


def start() -> None:
    """Prepare a measuring process: one thread, so that two of them share two cores."""
    session.start(seed=0, threads=1)


# What runs train on and grade.


@cache
def frames() -> dict:
    """Return the splits as DataFrames."""
    return {name: rows.to_pandas() for name, rows in data.course_reports().items()}


@cache
def train_rows(labels: int, seed: int):
    """Return `labels` training rows drawn by the seed."""
    return data.sample(data.course_reports()["train"], labels, seed=seed).to_pandas()


def score(split: str, predicted, of: dict | None = None) -> float:
    """Return macro F1 on a split of the reports, or of other splits."""
    return float(metrics.macro_f1(metrics.confusion((of or frames())[split]["grade"], predicted)))


def graded(answer: Callable, read: Callable | None = None, of: dict | None = None) -> dict:
    """Return the scores of a function that grades rows on every split but train, and its grades of each, as digits but for test.

    `read` changes the rows before they are graded; `of` has other splits than those of the reports.
    """
    rows = {split: read(part) if read else part for split, part in (of or frames()).items() if split != "train"}
    said = {split: [int(grade) for grade in answer(part)] for split, part in rows.items()}
    scores = {"macro_f1" if split == "test" else split: score(split, grades, of) for split, grades in said.items()}
    chosen_on = {split: "".join(map(str, grades)) for split, grades in said.items() if split != "test"}
    return scores | {"predicted": said["test"], "graded": chosen_on}


def best(runs: Sequence[dict]) -> dict:
    """Return the run with the highest macro F1 on dev."""
    return max(runs, key=lambda run: run["dev"])


def saved_kb(model) -> int:
    """Return the kilobytes of weights that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return round(sum(path.stat().st_size for path in Path(folder).glob("*.safetensors")) / 1000)


# What is written down of runs.


def row(method: str, task: str, runs: Sequence[dict], where=slice(None), of: dict | None = None) -> dict:
    """Return the row of the results table for runs that hold `predicted` grades of the test split, one run a seed.

    `where` chooses the test rows that count, and `of` has other splits than those of the reports. Runs of a base model have its
    name in the row.
    """
    test = (of or frames())["test"][where]
    truth, predictions = test["grade"].to_numpy(), [np.array(run["predicted"])[where] for run in runs]
    ci = metrics.interval_over_seeds(truth, predictions, metrics.macro_f1, groups=test["patient_id"])
    counts = {"k": round(np.mean([(p == truth).sum() for p in predictions])), "n": len(truth), "seeds": len(runs)}
    cost = {key: runs[0][key] for key in ("base", "trainable", "saved_kb") if key in runs[0]}
    # the shortest: other work on the machine can only make a run longer
    times = {key: min(run[key] for run in runs) for key in ("seconds", "peak_mb") if key in runs[0]}
    named = {"method": method, "task": task, "metric": "macro F1", "value": ci.value, "low": ci.low, "high": ci.high}
    return named | counts | cost | times


def verdict(
    first: str,
    a: Sequence[dict],
    second: str,
    b: Sequence[dict],
    where=slice(None),
    metric=metrics.macro_f1,
    of: dict | None = None,
) -> dict:
    """Return the paired comparison of two methods' runs on the test split, or on its rows `where`: as sentences, and the difference with
    both ends of its interval as numbers.
    """
    compared = paired(a, b, where, metric, (first, second), of)
    said = {"verdict": compared.verdict, "difference": str(compared.difference)}
    return {"first": first, "second": second} | said | {"interval": list(compared.difference)}


def paired(
    a: Sequence[dict],
    b: Sequence[dict],
    where=slice(None),
    metric=metrics.macro_f1,
    names=("the first", "the second"),
    of: dict | None = None,
) -> metrics.Comparison:
    """Return the paired comparison of two methods' runs on the test split, or on its rows `where`.

    `of` has other splits than those of the reports.
    """
    test = (of or frames())["test"][where]
    sides = [[np.array(run["predicted"])[where] for run in side] for side in (a, b)]
    return metrics.paired(test["grade"], *sides, metric, groups=test["patient_id"], names=names)


def without_predictions(runs: Sequence[dict]) -> list[dict]:
    """Return the runs as they are shipped."""
    return [{key: value for key, value in run.items() if key not in ("predicted", "graded")} for run in runs]
