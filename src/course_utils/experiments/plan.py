"""Lists every run of the methods' experiments with its expected seconds: `python -m course_utils.experiments.plan`.

With the name of another experiment, such as `real`, it lists the runs of that one: `make results-plan OF=real`.

A run that several experiments share is listed once. Expected seconds are those of one core that does nothing else; two rules
stand on them and on nothing that was measured here: how many seeds a run has, and that all of them fit into BUDGET_H. What is
timed comes besides, one after the other on a machine that does nothing else.
"""

import argparse
from importlib import import_module
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from course_utils import paths

from . import losses, methods, practice, preparation, prompts, runs, stages

EXPERIMENTS = (methods, stages, preparation, losses, prompts, practice)  # in the order in which they are run
BUDGET_H, CORES = 4, 2
TIMED_S = {  # expected seconds of what is timed, alone on the machine, one after the other
    "costs": 480,
    "practice, each alone": 1_500,
    "onnx": 600,
    "engines": 900,
    "load": 180,
    "bulk": 600,
    "opt": 900,
    "context": 30,
}
TIMED_H = sum(TIMED_S.values()) / 3600


class Line(NamedTuple):
    """A run of the plan: its task, and the seconds that it took if it is there."""

    task: runs.Task
    took: float | None


def everything(experiments=None) -> list[Line]:
    """Return every run of the experiments once, with the seconds that it took if it is there."""
    distinct = {}
    for task in (task for experiment in experiments or EXPERIMENTS for task in experiment.plan()):
        distinct.setdefault((task.experiment, *map(str, sorted(task.settings.items()))), task)
    known = [task for task in distinct.values() if not task.waits]
    return [Line(task, took(task)) for task in distinct.values() if not any(may_be(task, one) for one in known)]


def may_be(task: runs.Task, known: runs.Task) -> bool:
    """Say whether a task that waits for a setting may turn out to be this one, which does not: the best of some tries is one."""
    if not task.waits or (task.experiment, task.make) != (known.experiment, known.make):
        return False
    return all(value in (None, known.settings.get(key)) for key, value in task.settings.items())


def took(task: runs.Task) -> float | None:
    """Return the seconds that a task's run took, or None if it is not there."""
    return paths.read_json(runs.place(task.experiment, task.settings))["took_s"] if runs.found(task) else None


def table(lines: list[Line]) -> pd.DataFrame:
    """Return the plan by experiment, base and method: runs, how many are there, expected and real minutes."""
    rows = [(*kind(line.task), line) for line in lines]
    found = []
    for key, some in groupby(sorted(rows, key=lambda row: row[:3]), key=lambda row: row[:3]):
        own = [line for *_, line in some]
        spent = [line.took for line in own if line.took is not None]
        expected = sum(line.task.seconds for line in own)
        found.append((*key, len(own), len(spent), round(expected / 60, 1), round(sum(spent) / 60, 1)))
    return pd.DataFrame(found, columns=["experiment", "base", "method", "runs", "there", "expected min", "took min"])


def kind(task: runs.Task) -> tuple[str, str, str]:
    """Return the experiment, the base and the method of a task, as words."""
    settings = task.settings
    names = ("method", "loss", "whole", "collator", "schedule")
    method = next((str(settings[name]) for name in names if name in settings), "")
    return task.experiment, str(settings.get("base", "")), method


def hours(lines: list[Line]) -> float:
    """Return the expected hours of all runs on two cores."""
    return sum(line.task.seconds for line in lines) / CORES / 3600


def main() -> None:
    """Print the plan of the methods' experiments, or of those whose names are given."""
    command = argparse.ArgumentParser(description="List the runs with their expected seconds.")
    command.add_argument("names", nargs="*", help="modules of course_utils.experiments")
    names = command.parse_args().names
    modules = [import_module(f"{__package__}.{name}") for name in names]
    for name, module in zip(names, modules, strict=True):
        if not hasattr(module, "plan"):
            command.error(f"{name} lists no runs")
    runs.start()
    try:
        lines = everything(modules)
    except FileNotFoundError as error:  # a base or a run that another experiment's settings come from
        command.error(str(error))
    print(table(lines).to_string(index=False))
    spent = [line.took for line in lines if line.took is not None]
    print(
        f"{len(spent):,} of {len(lines):,} runs are there; they took {sum(spent) / 3600:.1f} hours of processor time."
    )
    besides = "" if names else f", of {BUDGET_H}; besides {TIMED_H:.1f} hours of what is timed"
    print(f"All are expected to take {hours(lines):.1f} hours of {CORES} cores of a fast machine{besides}.")
    print(f"The slowest machine that was met takes {runs.SLOWEST} times as long.")


if __name__ == "__main__":
    main()
