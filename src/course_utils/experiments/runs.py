"""What the long measurements share: a run is kept when it is done, so that a stopped `make results` goes on.

Each finished run is a small file in build/runs/<name>/. It is made again when what it stands on has changed (origin.py).
"""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from course_utils import data, metrics, paths, session

from . import origin

WORK = paths.BUILD / "runs"
SEEDS = (0, 1, 2)


def kept(name: str, settings: dict, make: Callable[[], dict]) -> dict:
    """Return the run with these settings of the experiment with this NAME. The settings stand in the run.

    It comes from its file if that stands on the same settings, libraries, code and data (origin.py), else it is made now.
    """
    words = "_".join(f"{key}={value}" for key, value in settings.items())
    path = WORK / name / (re.sub(r"[^\w=.+-]+", "-", words) + ".json")
    file, stands_on = paths.read_json(path), origin.of(name, settings)
    if file.get("stands_on") != stands_on:
        began = time.perf_counter()
        run = settings | make()
        paths.write_json(path, {"stands_on": stands_on, "run": run})
        said = " ".join(f"{key} {run[key]:.3f}" for key in ("dev", "macro_f1") if key in run)
        print(f"{name}: {words}: {said} ({time.perf_counter() - began:.0f} s)", flush=True)
    return paths.read_json(path)["run"]


def alone(function: Callable, *arguments):
    """Return what a function of a module returns in a process of its own, so that the peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@cache
def frames() -> dict:
    """Return the splits as DataFrames."""
    return {name: rows.to_pandas() for name, rows in data.load_reports().items()}


@cache
def train_rows(labels: int, seed: int):
    """Return `labels` training rows drawn by the seed."""
    return data.sample(data.load_reports()["train"], labels, seed=seed).to_pandas()


def score(split: str, predicted) -> float:
    """Return macro F1 on a split."""
    return float(metrics.macro_f1(metrics.confusion(frames()[split]["grade"], predicted)))


def best(runs: Sequence[dict]) -> dict:
    """Return the run with the highest macro F1 on dev."""
    return max(runs, key=lambda run: run["dev"])


def saved_kb(model) -> int:
    """Return the kilobytes of weights that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return round(sum(path.stat().st_size for path in Path(folder).glob("*.safetensors")) / 1000)


def row(method: str, task: str, runs: Sequence[dict], where=slice(None)) -> dict:
    """Return the row of the results table for runs that hold `predicted` grades of the test split, one run a seed.

    `where` chooses the test rows that count.
    """
    test = frames()["test"][where]
    truth, predictions = test["grade"].to_numpy(), [np.array(run["predicted"])[where] for run in runs]
    ci = metrics.interval_over_seeds(truth, predictions, metrics.macro_f1, groups=test["patient_id"])
    counts = {"k": round(np.mean([(p == truth).sum() for p in predictions])), "n": len(truth), "seeds": len(runs)}
    cost = {key: runs[0][key] for key in ("trainable", "saved_kb") if key in runs[0]}
    # the shortest: other work on the machine can only make a run longer
    times = {key: min(run[key] for run in runs) for key in ("seconds", "peak_mb") if key in runs[0]}
    named = {"method": method, "task": task, "metric": "macro F1", "value": ci.value, "low": ci.low, "high": ci.high}
    return named | counts | cost | times


def verdict(
    first: str, a: Sequence[dict], second: str, b: Sequence[dict], where=slice(None), metric=metrics.macro_f1
) -> dict:
    """Return the paired comparison of two methods' runs on the test split, or on its rows `where`, as sentences."""
    test = frames()["test"][where]
    runs = [[np.array(run["predicted"])[where] for run in side] for side in (a, b)]
    found = metrics.paired(test["grade"], *runs, metric, groups=test["patient_id"], names=(first, second))
    return {"first": first, "second": second, "verdict": found.verdict, "difference": str(found.difference)}


def without_predictions(runs: Sequence[dict]) -> list[dict]:
    """Return the runs as they are shipped."""
    return [{key: value for key, value in run.items() if key != "predicted"} for run in runs]


def start() -> None:
    """Prepare a measuring process: one thread, so that two of them share two cores."""
    session.start(seed=0, threads=1)
