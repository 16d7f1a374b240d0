"""Run the whole course: `python -m course_utils.course` executes each notebook and renders it to build/course/.

Notebooks are executed in memory, in their own folder, and are never changed, unless `--store` asks for it.
"""

import argparse
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from course_utils import book, outputs, spread

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
OUT = ROOT / "build" / "course"
CELL_TIMEOUT_S = 1800


@dataclass
class Run:
    """One executed notebook: its path and content, the seconds, the peak megabytes, and the error or None."""

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float
    peak_mb: float
    error: str | None


class PeakMemory(threading.Thread):
    """Watches the resident memory of a notebook's kernel and its children; the highest sum is in `peak_mb`."""

    def __init__(self, client, every_s=0.2):
        super().__init__(daemon=True)
        self.client, self.every_s, self.peak_mb, self._done = client, every_s, 0.0, threading.Event()

    def run(self):
        while not self._done.wait(self.every_s):
            self.peak_mb = max(self.peak_mb, tree_mb(kernel_pid(self.client)))

    def stop(self):
        self._done.set()
        self.join()


def kernel_pid(client):
    """Return the process id of a client's kernel, or None while it has none."""
    return getattr(getattr(client.km, "provisioner", None), "pid", None)


def tree_mb(pid):
    """Return the resident megabytes of a process and its children, 0 if there is no such process."""
    try:
        root = psutil.Process(pid) if pid else None
        family = [root, *root.children(recursive=True)] if root else []
        return sum(process.memory_info().rss for process in family) / 2**20
    except psutil.Error:
        return 0.0


def chapters(folder=None):
    """Return the paths of the course's notebooks, in order."""
    return sorted((folder or NOTEBOOKS).glob("[0-9][0-9]_*.ipynb"))


def read_all(paths):
    """Return (path, notebook) pairs as they are stored."""
    return [(path, nbformat.read(path, as_version=4)) for path in paths]


def execute(path, first="", go_on=False):
    """Execute a copy of one notebook in the notebook's folder and return the Run; an error in a cell is kept in it.

    `first` is code that runs before the notebook's own, and is not kept. With `go_on` an error ends its cell only.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first, id="first"))
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        allow_errors=go_on,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    at = {"cell": 0}
    client.on_cell_start = lambda cell, cell_index: at.update(cell=cell_index)
    memory, start, error = PeakMemory(client), time.perf_counter(), None
    memory.start()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as problem:
        error = describe(problem, at["cell"] - 1, notebook.cells[at["cell"]])
    finally:
        memory.stop()
        del notebook.cells[0]
    return Run(path, notebook, time.perf_counter() - start, memory.peak_mb, error)


def describe(problem, index, cell):
    """Return one line on what stopped a notebook and in which cell."""
    if isinstance(problem, CellExecutionError):
        what = f"{problem.ename}: {problem.evalue}"
    elif isinstance(problem, DeadKernelError):
        what = "the kernel died, most often for want of memory: close other programs and run again"
    else:
        what = f"it ran longer than {CELL_TIMEOUT_S} s"
    return f"cell {index + 1} (id {cell.get('id', 'none')}): {' '.join(what.split())[:300]}"


def run_all(paths):
    """Execute notebooks one after the other with one live line each; go on after a failure. Return the Runs."""
    runs = []
    for path in paths:
        print(f"{path.stem:<34}", end="", flush=True)
        runs.append(execute(path))
        result = f"FAILED in {runs[-1].error}" if runs[-1].error else "ok"
        print(f"{runs[-1].seconds:7.1f} s {runs[-1].peak_mb:7.0f} MB  {result}", flush=True)
    return runs


def store(run):
    """Write an executed notebook back over its source, without what differs from run to run."""
    outputs.normalise(run.notebook)
    name = spread.name(run.path)
    outputs.keep_stored(run.notebook, nbformat.read(run.path, as_version=4), lambda cell: spread.bands(name, cell))
    run.path.write_text(nbformat.writes(run.notebook) + "\n", encoding="utf-8", newline="\n")


def write_course(runs):
    """Render executed notebooks and their index, and write the timings file that the README's table is made from."""
    OUT.mkdir(parents=True, exist_ok=True)
    timings = read_timings() | {run.path.stem: measured(run) for run in runs}
    (OUT / "timings.json").write_text(json.dumps(timings, indent=1) + "\n", encoding="utf-8")
    render([(run.path, run.notebook) for run in runs], timings)


def measured(run):
    """Return what timings.json holds of one run."""
    return {"seconds": round(run.seconds, 1), "peak_mb": round(run.peak_mb), "ok": run.error is None}


def read_timings():
    """Return the content of timings.json, empty if the course has not run."""
    path = OUT / "timings.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def render(pages, timings):
    """Write one HTML page for each (path, notebook) pair and the index page, and say where they are."""
    OUT.mkdir(parents=True, exist_ok=True)
    for path, notebook in pages:
        (OUT / f"{path.stem}.html").write_text(book.page(notebook, path, OUT), encoding="utf-8")
    (OUT / "index.html").write_text(book.index(pages, timings), encoding="utf-8")
    print(f"\nThe pages are in {OUT.relative_to(ROOT)}/ : open {(OUT / 'index.html').relative_to(ROOT)} in a browser.")


def refresh_readme():
    """Rewrite what is generated in README.md: the notebooks with their times, the results, and the picture."""
    from course_utils import results

    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    text = book.replace_between(text, "notebooks", book.notebook_table(read_all(chapters()), read_timings()))
    text = book.replace_between(text, "results", results.markdown(long_runs=True))
    path.write_text(text, encoding="utf-8", newline="\n")
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "overview.png").write_bytes(book.picture(read_all(chapters())[0][1], "after"))


def main(arguments=None):
    """Do what the command line asks; return the exit status, 1 if any notebook failed."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.course", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these notebooks (all, if none is named)")
    parser.add_argument("--render-only", action="store_true", help="render the stored notebooks, execute nothing")
    parser.add_argument("--store", action="store_true", help="write the fresh outputs back into the notebooks")
    parser.add_argument("--readme", action="store_true", help="refresh the tables of README.md")
    options = parser.parse_args(arguments)
    paths = [path.resolve() for path in options.notebooks] or chapters()
    if not paths:
        print(f"No notebook found in {NOTEBOOKS}: is this a whole copy of the course?", file=sys.stderr)
        return 1
    if options.readme:
        refresh_readme()
        return 0
    if options.render_only:
        render(read_all(paths), read_timings())
        return 0
    if options.store and not options.notebooks:
        paths += chapters(NOTEBOOKS / "solutions")
    runs = run_all(paths)
    if options.store:
        for run in runs:
            if not run.error:
                store(run)
    else:
        write_course([run for run in runs if run.path.parent == NOTEBOOKS])
    failed = [run.path.name for run in runs if run.error]
    if failed:
        print(f"{len(failed)} of {len(runs)} notebooks failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
