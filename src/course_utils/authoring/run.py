"""Run the whole course: `python -m course_utils.authoring.run` executes each notebook and writes the site to build/course/.

Two notebooks run side by side where there are two cores and the memory for it, each on one thread. They are executed in
memory, in their own folder, and are never changed, unless `--store` asks for it.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm

from course_utils import paths, results
from course_utils.authoring import article, bands, compare, doors, render, site, translate, workshop

ROOT, NOTEBOOKS = paths.ROOT, paths.NOTEBOOKS
OUT = paths.BUILD / "course"
CELL_TIMEOUT_S = 600  # as pyproject.toml has it for pytest --nbval
OTHERS_S = 3_600  # with base models of the reader's choice, which may be larger
NOTEBOOK_GB = 2  # what a notebook may take at most
STOPPED = 130  # the exit status of what Ctrl-C ended
# By their numbers: the notebooks that `COURSE_MODELS=real` leaves out, and why. The others run on those checkpoints as on ours.
NOT_ON_REAL = {
    "00": "it holds a loop by hand to the course's own, digit for digit, and MiniLM has dropout; notebook 05 trains MiniLM",
    "02": "its writer, SmolLM2, has 135 million weights there, and is trained again and again",
    "03": "its checks are of what a few steps do at rates that suit our base; notebook 05 puts LoRA on MiniLM",
    "04": "it asks a T5, and no package was found that holds one",
    "06": "its decoder, SmolLM2, has 135 million weights there, and is trained again and again; see `make results-decoder`",
    "09": "its first stage reads 15,000 reports, half an hour of one core with MiniLM",
    "11": "it holds gradients to one another, digit for digit, and MiniLM has dropout; its writer, SmolLM2, is large",
    "12": "its grader learns at a rate that suits our base; `make results-real-costs` counts what int8 changes on MiniLM",
    "13": "its story needs models that pass a gate after 25 to 95 steps, at rates that suit our base",
    "14": "it tries blocks up to the twelfth, and MiniLM has six; see `make results-searches`",
    "15": "it holds two processes to one, digit for digit, and MiniLM has dropout, which each draws for itself",
    "16": "it holds gradients of single reports to autograd's, and MiniLM has dropout; see `make results-federated-real`",
}


@dataclass
class Run:
    """One executed notebook: its path and content, wall-clock and processor seconds, peak megabytes, the error or None.

    `cells` holds the processor seconds of each cell by its id.
    """

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float
    cpu_seconds: float
    peak_mb: float
    error: str | None
    cells: dict[str, float] = field(default_factory=dict)


class Watch(threading.Thread):
    """Watches a notebook's kernel and its children: resident megabytes now and at most, and the processor seconds."""

    def __init__(self, client, every_s=0.2):
        super().__init__(daemon=True)
        self.client, self.every_s, self._done = client, every_s, threading.Event()
        self.mb = self.peak_mb = self.cpu_seconds = 0.0

    def run(self):
        while not self._done.wait(self.every_s):
            mb, seconds = tree_use(kernel_pid(self.client))
            if mb:  # a dead kernel has none, and what it last had is what we want to know
                self.mb, self.peak_mb = mb, max(self.peak_mb, mb)
            self.cpu_seconds = max(self.cpu_seconds, seconds)

    def stop(self):
        self._done.set()
        self.join()


def kernel_pid(client):
    """Return the process id of a client's kernel, or None while it has none."""
    return getattr(getattr(client.km, "provisioner", None), "pid", None)


def tree_use(pid):
    """Return the resident megabytes and the processor seconds of a process and its children, (0, 0) if there is none."""
    mb = seconds = 0.0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid) if pid else None
        for process in [root, *root.children(recursive=True)] if root else []:
            mb += process.memory_info().rss / 2**20
            seconds += sum(process.cpu_times()[:4])  # user and system, its own and those of children that have ended
    return mb, seconds


def end_tree(pid):
    """End a process and its children at once."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid) if pid else None
        for process in [*root.children(recursive=True), root] if root else []:
            with contextlib.suppress(psutil.Error):
                process.kill()


def chapters(folder=None):
    """Return the paths of the course's notebooks, in order."""
    return sorted((folder or NOTEBOOKS).glob("[0-9][0-9]_*.ipynb"))


def read_all(files):
    """Return (path, notebook) pairs as they are stored."""
    return [(path, nbformat.read(path, as_version=4)) for path in files]


def execute(path, first="", go_on=False, started=lambda client: None, cell_done=lambda done, of: None):
    """Execute a copy of one notebook in the notebook's folder and return the Run; what went wrong is kept in it.

    `first` is code that runs before the notebook's own, and is not kept. With `go_on` an error ends its cell only.
    `started` is called with the client before it runs, `cell_done` after each code cell with how many cells are done, of how many.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first, id="first"))
    client = NotebookClient(
        notebook,
        timeout=cell_timeout(),
        allow_errors=go_on,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    at = {"cell": 0, "cpu_seconds": 0.0}
    cells = {}

    def executed(cell, cell_index, execute_reply):
        spent = max(tree_use(kernel_pid(client))[1], at["cpu_seconds"])  # a dead kernel's use is not known
        if cell_index:
            cells[cell.get("id", str(cell_index))] = spent - at["cpu_seconds"]
        at["cpu_seconds"] = spent
        cell_done(cell_index, len(notebook.cells) - 1)

    client.on_cell_start = lambda cell, cell_index: at.update(cell=cell_index)
    client.on_cell_executed = executed  # when the answer is there; `on_cell_complete` is called before
    watch, start, what = Watch(client), time.perf_counter(), ""
    watch.start()
    started(client)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as problem:
        what = describe(problem)
    except (DeadKernelError, RuntimeError, OSError) as problem:  # after a death the client trips over what is not there
        if not isinstance(problem, DeadKernelError) and psutil.pid_exists(kernel_pid(client) or -1):
            raise
        what = describe_death(watch.mb)
    finally:
        watch.stop()
        stopped_at = notebook.cells[at["cell"]].get("id", "none")
        del notebook.cells[0]
    error = f"cell {at['cell']} (id {stopped_at}): {what}" if what else None
    return Run(path, notebook, time.perf_counter() - start, watch.cpu_seconds, watch.peak_mb, error, cells)


def cell_timeout():
    """Return how many seconds a cell may take."""
    return OTHERS_S if os.environ.get("COURSE_MODELS") else CELL_TIMEOUT_S


def describe(problem):
    """Return one line on what an error or the time limit stopped."""
    what = f"it ran longer than {cell_timeout()} s"
    if isinstance(problem, CellExecutionError):
        what = f"{problem.ename}: {problem.evalue}"
    return " ".join(what.split())[:300]


def describe_death(mb):
    """Return one line on a kernel that was ended from outside, most often by the system, for want of memory."""
    return (
        f"the kernel died: {mb:,.0f} MB were in use at its last cell; "
        "close programs, or run one notebook at a time with `make course JOBS=1`"
    )


def jobs_of(wanted=None):
    """Return how many notebooks to run at a time: what is wanted, or two where there are the cores and the memory."""
    roomy = psutil.virtual_memory().available / 2**30 >= 2 * NOTEBOOK_GB and (os.cpu_count() or 1) > 1
    return wanted or (2 if roomy else 1)


def run_all(files, jobs=1, done=lambda run: None):
    """Execute notebooks, some at a time, with a live bar for each, and say in a line how each went.

    `done` is called with each Run as it ends. A failure ends its own notebook; Ctrl-C ends all kernels.
    Returns the Runs, and whether Ctrl-C came.
    """
    runs, clients, waiting = [], {}, Queue()
    ended = Queue()
    for path in files:
        waiting.put(path)

    def work(place):
        while not stop.is_set():
            try:
                path = waiting.get_nowait()
            except Empty:
                break
            with tqdm(
                desc=path.stem, position=place, leave=False, disable=None, unit="cell", dynamic_ncols=True
            ) as bar:
                ended.put(execute(path, started=lambda client: clients.update({place: client}), cell_done=show(bar)))

    def show(bar):
        def cell_done(number, of):
            bar.total = of
            bar.update(number - bar.n)

        return cell_done

    stop = threading.Event()
    for place in range(min(jobs, len(files))):
        threading.Thread(target=work, args=(place,), daemon=True).start()
    try:
        while len(runs) < len(files):
            runs.append(ended.get())
            tqdm.write(line(runs[-1]), file=sys.stdout)
            sys.stdout.flush()
            done(runs[-1])
    except KeyboardInterrupt:
        stop.set()
        for client in list(clients.values()):
            end_tree(kernel_pid(client))
        return runs, True
    return runs, False


def line(run):
    """Return the line of the table for a run."""
    said = f"FAILED in {run.error}" if run.error else "ok"
    return (
        f"{run.path.stem:<34}{run.seconds:7.1f} s {run.cpu_seconds:7.1f} s of processor {run.peak_mb:6.0f} MB  {said}"
    )


def store(run):
    """Write an executed notebook back over its source, without what differs from run to run, and what it measured."""
    compare.normalise(run.notebook)
    name = bands.name(run.path)
    before = nbformat.read(run.path, as_version=4)
    compare.keep_stored(run.notebook, before, bands=lambda cell: bands.of_cell(name, cell), known=bands.known(name))
    write(run.path, run.notebook)
    if run.path.parent == NOTEBOOKS:
        results.ship_last_run(run.path.stem)


def write(path, notebook):
    """Write a notebook's file, the same bytes on every system."""
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8", newline="\n")


def keep(run):
    """Keep an executed notebook for its page, and its cost in the timings file that the README's table is made from."""
    if run.path.parent == NOTEBOOKS:
        paths.write_json(OUT / "timings.json", read_timings() | {run.path.stem: measured(run)})
        executed().mkdir(parents=True, exist_ok=True)
        write(executed() / run.path.name, run.notebook)


def executed():
    """Return the folder of the notebooks as they ran on this machine."""
    return OUT.parent / "executed"


def measured(run):
    """Return what timings.json holds of one run."""
    cost = {"seconds": round(run.seconds, 1), "cpu_seconds": round(run.cpu_seconds, 1), "peak_mb": round(run.peak_mb)}
    return cost | {"ok": run.error is None, "cells": {name: round(spent, 1) for name, spent in run.cells.items()}}


def read_timings():
    """Return the content of timings.json, empty if the course has not run."""
    return paths.read_json(OUT / "timings.json")


def chapter(path, notebook):
    """Return what the site shows of a notebook: its last run on this machine, if that was of the same code, or what is stored."""
    file = executed() / path.name
    ran = nbformat.read(file, as_version=4) if file.exists() else None
    if ran and [cell.source for cell in ran.cells] == [cell.source for cell in notebook.cells]:
        return site.Chapter(path, ran, read_timings().get(path.stem), fresh=True)
    return site.Chapter(path, notebook, None, fresh=False)


def write_site(out, shown, lang=""):
    """Write the site for Chapters, and their copies for Colab beside it, and say where it is; in a language, in a folder of its own."""
    if shown:
        documents, terms = sorted((ROOT / "docs").glob("*.md")), {}
        if lang:
            out, terms = out / lang, translate.current(translate.glossary([one[:2] for one in shown], lang, ROOT))
            shown = [spoken(chapter, lang) for chapter in shown]
        site.write(ROOT, out, shown, documents, terms, lang or "en")
        home = "" if lang else doors.home()
        for chapter in shown if home else ():
            (out / "colab").mkdir(exist_ok=True)
            write(out / "colab" / chapter.path.name, doors.for_colab(chapter.notebook, home))
        place = out.relative_to(ROOT)
        print(f"\nThe pages are in {place}/ : open {place / 'index.html'} in a browser.")


def spoken(chapter, lang):
    """Return a Chapter in a language, as far as it is translated."""
    said = translate.of_notebook(chapter.path, chapter.notebook, lang, ROOT)
    translated = any(cell.cell_type == "markdown" and "lang" not in cell.metadata for cell in said.cells)
    return chapter._replace(said=said, lang=lang if translated else "en")


def refresh_readme():
    """Rewrite what is generated: in the READMEs, CONTRIBUTING.md, docs/results.md and docs/real_models.md, and the README's picture."""
    notebooks = read_all(chapters())
    lessons = paths.read_json(paths.shipped_results() / "lessons.json")["lessons"]
    fill("README.md", "notebooks", render.notebook_table(notebooks, read_timings()))
    fill("README.md", "findings", render.findings(lessons))
    for lang in translate.SAYS:
        called = translate.titles(notebooks, lang)
        fill(f"README.{lang}.md", "notebooks", render.notebook_table(notebooks, read_timings(), called))
        fill(f"README.{lang}.md", "findings", render.findings(lessons))
    fill("CONTRIBUTING.md", "modules", render.module_table(notebooks))
    fill("docs/results.md", "results", results.markdown(long_runs=True))
    fill("docs/real_models.md", "lessons", real_lessons())
    (ROOT / "docs" / "overview.png").write_bytes(render.picture(notebooks[0][1], "after"))


def real_lessons():
    """Return in Markdown which lessons hold on a real base, as far as that ships."""
    shipped = (paths.read_json(paths.shipped_results() / f"{name}.json") for name in ("lessons", "real", "real_costs"))
    return render.real_lessons(*(content.get("lessons", []) for content in shipped))


def fill(file, name, content):
    """Write what is generated between the marks of that name in a file of the repository."""
    path = ROOT / file
    text = render.replace_between(path.read_text(encoding="utf-8"), name, content)
    path.write_text(text, encoding="utf-8", newline="\n")


def refresh_minutes():
    """Write into each notebook that `make course` ran how long it takes in a workshop."""
    timings = read_timings()
    for path, notebook in read_all(chapters()):
        if path.stem in timings and workshop.put(notebook, timings[path.stem]["seconds"]):
            write(path, notebook)


def refresh_article():
    """Rewrite the ledger in docs/article.md from what ships."""
    fill("docs/article.md", "ledger", article.table(read_all(chapters())))


def left_out(path):
    """Return in a sentence why a notebook does not run on the base models that COURSE_MODELS names, nothing if it does."""
    return NOT_ON_REAL.get(path.stem[:2], "") if os.environ.get("COURSE_MODELS") == "real" else ""


def run_course(files, jobs, storing, lang=""):
    """Run notebooks, render them and, if asked to, store them; return the status: 1 if one failed, 130 after Ctrl-C.

    Those that do not run on the reader's base models are left out, each with a line that says why.
    """
    if jobs > 1:
        os.environ.setdefault("COURSE_THREADS", "1")
    for path in filter(left_out, files):
        print(f"{path.stem:<34}left out: {left_out(path)}.")
    files = [path for path in files if not left_out(path)]
    how = {1: "one after the other", 2: "two at a time"}.get(jobs, f"{jobs} at a time")
    print("1 notebook." if len(files) == 1 else f"{len(files)} notebooks, {how}.", flush=True)
    runs, stopped = run_all(files, jobs, keep)
    for run in runs[-1:] if stopped else []:
        keep(run)  # it may have been half written
    for run in runs if storing else []:
        if not run.error:
            store(run)
    if storing:
        refresh_article()
    write_site(OUT, [chapter(path, notebook) for path, notebook in read_all(chapters())], lang)
    failed = sorted(run.path.name for run in runs if run.error)
    if failed:
        print(f"{len(failed)} of {len(files)} notebooks failed: {', '.join(failed)}.", file=sys.stderr)
    if stopped:
        rest = [path for path in files if path not in {run.path for run in runs}]
        go_on = f" Go on with `make course FROM={rest[0].stem[:2]}`." if rest else ""
        print(f"Stopped: {len(runs)} of {len(files)} notebooks were done.{go_on}", file=sys.stderr)
        return STOPPED
    return 1 if failed else 0


def main(arguments=None):
    """Do what the command line asks; return the exit status, 1 if any notebook failed."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.authoring.run", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these notebooks (all, if none is named)")
    parser.add_argument("--from", dest="start", default="", help="the number of the notebook to begin with, such as 07")
    parser.add_argument("--jobs", type=int, help="how many notebooks at a time (two, where memory and cores allow)")
    parser.add_argument("--site", action="store_true", help="write the stored notebooks to build/site, execute nothing")
    parser.add_argument(
        "--lang", default="", choices=sorted(translate.SAYS), help="show the pages in this language, as far as it goes"
    )
    parser.add_argument("--store", action="store_true", help="write the fresh outputs back into the notebooks")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="refresh what is generated in README.md, CONTRIBUTING.md and docs, and the minutes",
    )
    options = parser.parse_args(arguments)
    files = [path.resolve() for path in options.notebooks] or chapters()
    if not files:
        print(f"No notebook found in {NOTEBOOKS}: is this a whole copy of the course?", file=sys.stderr)
        return 1
    if options.readme:
        refresh_minutes()
        refresh_readme()
        refresh_article()
        return 0
    if options.store and not options.notebooks:
        files += chapters(NOTEBOOKS / "solutions")
    last = files[-1].stem[:2]
    files = [path for path in files if path.stem[:2] >= options.start.zfill(2)] if options.start else files
    if not files:
        print(f"There is no notebook {options.start} or later: the last is {last}.", file=sys.stderr)
        return 1
    if options.site:
        write_site(
            OUT.parent / "site",
            [site.Chapter(path, notebook, None, False) for path, notebook in read_all(files)],
            options.lang,
        )
        return 0
    return run_course(files, jobs_of(options.jobs), options.store, options.lang)


def interrupt(number, frame):
    """Treat a request to end like Ctrl-C."""
    raise KeyboardInterrupt


def leave(status):
    """End the process; after Ctrl-C at once, for the threads that talked to the kernels may still wait for them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status) if status == STOPPED else sys.exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    leave(main())
