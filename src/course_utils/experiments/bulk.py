"""Measures how many reports an hour a folder is graded with, and its memory, into data_samples/results/bulk_runs.json.

Ten minutes on two cores, on a machine that does nothing else. Needs the extras `onnx` and `bulk`, and `ray` for the rows of
Ray, which is left out where it is not installed. `python -m course_utils.experiments.bulk 200000` grades as many reports.
The reports are drawn, with replacement, from the course's own; all ways grade the same Parquet files with the same int8
grader of the small base, each in a process of its own, and must give the same answers.
"""

import importlib.util
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import psutil
from pyarrow import parquet

from course_utils import data, export, graphs, machine, models, results, training

from . import runs

NAME, REPORTS, FILES = "bulk_runs", 50_000, 8
LABELS, EPOCHS, LR = 500, 1, 5e-4  # of the grader, whose speed is measured and not its accuracy
LARGE = 10_000_000
BEAT = 0.5  # seconds between two looks at the memory
PROGRAM = """
import sys
from course_utils import bulk
how, model, source, target, workers = sys.argv[1:]
if __name__ == "__main__":
    how = bulk.with_ray if how == "Ray Data" else bulk.grade_folder
    how(model, source, target, id="report_id", workers=int(workers))
"""


def grader(folder: Path) -> Path:
    """Return an exported int8 grader of the small base."""
    runs.start()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    rows = runs.train_rows(LABELS, 0)
    training.fit_grader(model, tokenizer, rows, epochs=EPOCHS, lr=LR, seed=0, bar=False)
    plain = export.to_onnx(model, tokenizer, folder / "float32.onnx")
    small = export.quantise(graphs.for_one_report(plain, folder / "lean.onnx"), folder / "int8.onnx")
    example = runs.frames()["dev"].iloc[0]
    return export.pack(
        folder / "grader",
        small,
        tokenizer,
        labels=data.GRADE_NAMES,
        reports=rows,
        examples=[(example["eye"], example["text"])],
        figures={},
    )


def source(folder: Path, reports: int) -> Path:
    """Return a folder of Parquet files with so many reports, each with an id of its own."""
    folder.mkdir()
    known = pd.concat(runs.frames().values())[["eye", "text"]]
    drawn = known.iloc[np.random.default_rng(0).integers(0, len(known), reports)]
    drawn = drawn.assign(report_id=[f"report-{number:08}" for number in range(reports)])
    for number, rows in enumerate(np.array_split(np.arange(reports), FILES)):
        drawn.iloc[rows].to_parquet(folder / f"{number}.parquet", index=False)
    return folder


def measured(how: str, model: Path, reports: Path, target: Path, workers: int) -> dict:
    """Grade in a process of its own, and return its seconds and the memory of it and all that it started.

    Memory is the proportional set size where the system tells it: what processes share is counted once.
    """
    script = target.with_suffix(".py")
    script.write_text(PROGRAM, encoding="utf-8")
    began = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, str(script), how, str(model), str(reports), str(target), str(workers)]
    process = subprocess.Popen(command, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, **quiet)
    megabytes, processor = [], {}
    while process.poll() is None:
        held, spent = _look(process.pid)
        megabytes.append(held)
        processor |= spent
        time.sleep(BEAT)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{how} ended with {process.returncode}. Run it by hand: {' '.join(command)}")
    quarters = [round(float(np.median(part))) for part in np.array_split(megabytes, 4)]
    rows = sum(parquet.read_metadata(file).num_rows for file in target.glob("*.parquet"))
    return {
        "reports": rows,
        "seconds": round(seconds, 1),
        "processor_seconds": round(sum(processor.values()), 1),
        "rows_a_second": round(rows / seconds, 1),
        "hours_of_ten_million": round(LARGE / rows * seconds / 3600, 1),  # drawn out from this run, not measured
        "mb_by_quarter": quarters,
        "mb_most": round(max(megabytes)),
    }


def _look(pid: int) -> tuple[float, dict[int, float]]:
    """Return the megabytes that a process and its descendants hold, and the processor time that each has taken."""
    held, spent = 0.0, {}
    try:
        family = [psutil.Process(pid)]
        family += family[0].children(recursive=True)
    except psutil.Error:
        return held, spent
    for one in family:
        try:
            memory = one.memory_full_info()
            held += getattr(memory, "pss", memory.rss) / 2**20
            times = one.cpu_times()
            spent[one.pid] = times.user + times.system
        except psutil.Error:
            continue  # it has ended meanwhile
    return held, spent


def ways() -> dict[tuple[str, int], dict]:
    """Return {(name, workers): what else a run stands on} of all ways that can run here."""
    found: dict[tuple[str, int], dict] = {("bulk", 1): {}, ("bulk", 2): {}}
    if importlib.util.find_spec("ray"):
        found["Ray Data", 2] = {"ray": metadata.version("ray")}
    return found


def answers(folder: Path) -> pd.DataFrame:
    """Return what was answered, by id, without the file and the row, which Ray does not know."""
    return (
        parquet.read_table(folder).to_pandas().drop(columns=["file", "row"], errors="ignore").sort_values("report_id")
    )


def main(reports: int = REPORTS) -> None:
    """Measure all ways and write the file."""
    runs.start()
    with TemporaryDirectory() as work:
        folder = Path(work)
        made: dict[str, Path] = {}

        def measure(how: str, workers: int) -> dict:
            if not made:
                made.update(model=grader(folder), reports=source(folder / "reports", reports))
            target = folder / f"{how}-{workers}".replace(" ", "-")
            found = measured(how, made["model"], made["reports"], target, workers)
            first = made.setdefault("answers", target)
            if not answers(first).reset_index(drop=True).equals(answers(target).reset_index(drop=True)):
                raise RuntimeError(f"{how} with {workers} workers gives other answers than {first.name}.")
            return found

        found = [
            runs.timed(
                NAME,
                {"how": how, "workers": workers, "drawn": reports} | more,
                lambda how=how, workers=workers: measure(how, workers),
            )
            for (how, workers), more in ways().items()
        ]
    results.ship(NAME, runs=found, machine=machine.facts())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
