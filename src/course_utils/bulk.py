"""Grade a folder of reports, Parquet or CSV, with all cores; a job that was stopped, however, goes on where it stood.

    bulk.grade_folder("dr-grader-1", "reports", "graded", id="report_id")

or `python -m course_utils.serve dr-grader-1 reports --to graded --id report_id`. Parquet needs the extra `bulk`. In a
script, call it below `if __name__ == "__main__":`, since the worker processes import the script.

The rows are divided into parts, in the same way at each start. A worker process grades a part, writes it under a
temporary name, and renames it: a part is there whole or not at all. So rows are neither lost nor doubled, and the parts
in the order of their names, row by row, stand for the source's files in the order of theirs. Each answer says of which
file and row it is. `_job.json` in the target holds what the job stands on: nothing else may go on with it.
"""

import csv
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import FileLock, Timeout

from course_utils import engines, paths, serve, tables

FORMAT = 1  # of the job file
JOB, LOCK = "_job.json", ".lock"  # readers of Parquet folders pass over such names
PART = re.compile(r"part-(\d{6,})\.(?:csv|parquet)")
UNFINISHED = re.compile(r"\.(?:part-\d{6,}\.(?:csv|parquet)|_job\.json)\.\d+\.tmp")
SUFFIXES = (".csv", ".parquet")
ROWS = 2_000  # of a part: what a kill costs each worker at most
AHEAD = 2  # parts for each worker that are read and not yet written: memory stays flat
OBJECT_STORE = 100_000_000  # bytes of shared memory that Ray takes on this machine: the tables are small
GO_ON = "What is done stays: run the same command again and it goes on."
ANEW = "Give the answers a new folder, or delete this one."


class Summary(NamedTuple):
    """What a job has done: rows in all, those with a grade, those without, and the rows that this run graded."""

    rows: int
    graded: int
    refused: int
    now: int
    seconds: float

    def __str__(self) -> str:
        earlier = f", {self.rows - self.now:,} of them by earlier runs" if self.now < self.rows else ""
        speed = f" ({self.now / self.seconds:,.0f} rows/s)" if self.now else ""
        counts = f"{self.rows:,} rows{earlier}: {self.graded:,} graded, {self.refused:,} without a grade"
        return f"{counts}; {self.seconds:,.0f} s{speed}"


class Row(NamedTuple):
    """A row of the source: a report, or, where it can't be read, what is wrong with it."""

    id: Any
    text: Any
    eye: Any
    fault: str = ""


class Source(NamedTuple):
    """A file of the source: its name within the folder, size, SHA-256, and number of rows."""

    name: str
    bytes: int
    sha256: str
    rows: int


class Part(NamedTuple):
    """Rows that are graded and written together: its number, its own file, the source's, and its first row's number."""

    number: int
    path: Path
    source: str
    first: int
    rows: list[Row]


class Plan(NamedTuple):
    """A job as this run sees it: what stands in its file, where the source's files are, and what they were at the start."""

    target: Path
    job: dict
    files: dict[str, Path]
    stamps: dict[str, tuple[int, int]]
    names: list[str]  # of the columns that are read
    glued: Callable[[tables.Table], tables.Glued]  # what tells the rows of a CSV that a quote has glued together

    def sizes(self) -> list[int]:
        """Return how many rows each part has. A part does not reach into the next file."""
        rows = self.job["rows"]
        return [min(rows, one["rows"] - start) for one in self.job["files"] for start in range(0, one["rows"], rows)]

    def path(self, number: int) -> Path:
        """Return where a part is written."""
        return self.target / f"part-{number:06}{next(iter(self.files.values())).suffix.lower()}"


class Work(NamedTuple):
    """What a worker is told with each part."""

    model: Path
    engine: str
    id: str | None
    id_type: Any  # of Arrow; None for CSV


def grade_folder(
    model_folder: str | Path,
    source: str | Path,
    target: str | Path,
    *,
    id: str | None = None,
    workers: int | None = None,
    rows: int = ROWS,
    engine: str = "",
    progress: bool = True,
) -> Summary:
    """Grade all reports of a folder, and return a Summary. The same call goes on with a job that was stopped.

    Takes the exported folder, the folder (or one file) of Parquet or CSV with the columns `text` and, if the contract
    names eyes, `eye`, and the folder for the answers, which are Parquet or CSV as the source is. `id` names a column to
    carry through; `workers` is the number of processes, one for each core if none is given; `rows` that of a part's rows;
    `engine` is what `serve.load` takes; "fastest" is measured at the first start. `progress` draws a line on stderr.
    A row that can't be read has a note and no grade.
    Raises FileNotFoundError or ValueError, before anything is graded, for a model or a source that can't be used and for a
    target that holds something else; ChildProcessError if a worker is killed; OSError if an answer can't be written;
    KeyboardInterrupt, which says so, if Ctrl-C stops it.
    """
    model_folder, source, target = (Path(folder).expanduser() for folder in (model_folder, source, target))
    if engine == engines.FASTEST and (target / JOB).exists():
        engine = _read_job(target / JOB)["engine"]
    grader = serve.load(model_folder, engine=engine)
    engine = grader.engine  # the workers, and the runs that go on, take what was measured once
    names = _names(id, grader)
    if rows < 1:
        raise ValueError(f"A part can't have {rows} rows: give 1 or more.")
    files = _files(source)
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise ValueError(f"{target} lies in {source}, so answers would be read as reports. {ANEW}")
    _refuse_strangers(target)
    id_type = _id_type(files, id)
    target.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target / LOCK).acquire(timeout=0):
            stamps = {name: _stamp(path) for name, path in files.items()}
            job = _job(target, grader, files, {"id": id, "rows": rows, "engine": engine})
            plan = Plan(target, job, files, stamps, names, grader.glued)
            return _run(plan, Work(model_folder, engine, id, id_type), workers or _cores(), progress)
    except Timeout as error:
        raise ValueError(f"Another run is writing to {target}. Wait for it, or stop it.") from error


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _files(source: Path) -> dict[str, Path]:
    """Return {name: path} of a source's files, in the order of their names; names with . or _ in front are left out.

    Raises FileNotFoundError if there is none, ValueError if there are both Parquet and CSV.
    """
    if source.is_file():
        found = {source.name: source}
    else:
        within = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
        seen = {name.as_posix(): path for name, path in within.items() if not any(p[0] in "._" for p in name.parts)}
        found = dict(sorted(seen.items()))
    found = {name: path for name, path in found.items() if path.suffix.lower() in SUFFIXES}
    odd = next((name for name in found if not name.isprintable()), None)
    if odd:
        raise ValueError(f"The name of {ascii(odd)} has signs that can't be printed. Rename the file.")
    if not found:
        raise FileNotFoundError(
            f"There is no .csv and no .parquet file in {source}. Check the folder and the spelling."
        )
    if len({path.suffix.lower() for path in found.values()}) > 1:
        raise ValueError(f"{source} holds both CSV and Parquet. Put each kind into a folder of its own.")
    return found


# The job: what it stands on, and what is done.


def _refuse_strangers(target: Path) -> None:
    """Raise ValueError if a folder holds anything that is of no job of ours."""
    there = sorted(path.name for path in target.iterdir()) if target.exists() else []
    ours = {JOB, LOCK} | {name for name in there if UNFINISHED.fullmatch(name)}
    ours |= {name for name in there if PART.fullmatch(name) and JOB in there}
    strangers = [name for name in there if name not in ours]
    if strangers:
        raise ValueError(f"{target} is not empty: it holds {strangers[0]}, which is of no job here. {ANEW}")


def _job(target: Path, grader: serve.Grader, files: dict[str, Path], settings: dict) -> dict:
    """Return the job of a target: the one that stands there, if it is the same, else a new one, which is written.

    Unfinished files of a run that was killed are removed.
    Raises ValueError if the target holds another job.
    """
    for path in target.iterdir():
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
    old = _read_job(target / JOB) if (target / JOB).exists() else None
    sources = {one["name"]: Source(**one) for one in (old or {}).get("files", [])}
    known = [_source(name, path, sources.get(name), settings["id"], grader) for name, path in files.items()]
    job = {"format": FORMAT, "model": grader.model} | settings | {"files": [one._asdict() for one in known]}
    if old is None:
        with whole(target / JOB) as file:
            file.write((json.dumps(job, indent=1, ensure_ascii=False) + "\n").encode())
    elif old != job:
        raise ValueError(f"{target} was begun with {_difference(old, job)}. Take that again. Or: {ANEW}")
    return job


def _read_job(path: Path) -> dict:
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
        assert all({"name", "bytes", "sha256", "rows"} == set(one) for one in job["files"]) and job["engine"]
    except (ValueError, LookupError, TypeError, AssertionError) as error:
        raise ValueError(f"{path} is damaged, so nobody can say what the answers beside it are of. {ANEW}") from error
    return job


def _difference(old: dict, new: dict) -> str:
    """Say in words what of a job has changed."""
    for key in ("format", "model", "id", "rows", "engine"):
        if old.get(key) != new[key]:
            return f"{key} {old.get(key) or 'none'}, and this is {new[key] or 'none'}"
    before, now = ({one["name"]: one for one in job["files"]} for job in (old, new))
    name = next(name for name in sorted(before | now) if before.get(name) != now.get(name))
    return f"another {name}" if name in before and name in now else f"other files: {name} is in only one of the two"


def _source(name: str, path: Path, known: Source | None, id: str | None, grader: serve.Grader) -> Source:
    """Return what is known of a file, looked at as a whole; its rows are counted only if it is not the known one.

    Raises ValueError if it lacks a column or can't be read.
    """
    size, digest = path.stat().st_size, paths.sha256(path)
    if known and (known.bytes, known.sha256) == (size, digest):
        return known
    names = _names(id, grader)
    if path.suffix.lower() == ".parquet":
        return Source(name, size, digest, _parquet(path, names).metadata.num_rows)
    table = _table(path, names)
    for note in table.notes:
        print(note, file=sys.stderr)
    return Source(name, size, digest, sum(1 for _ in table.records(grader.glued(table))))


def _names(id: str | None, grader: serve.Grader) -> list[str]:
    """Return the columns that are read: id, text, eye, as far as they are asked for.

    Raises ValueError if the id has the name of another column.
    """
    if id in ("text", "eye", *columns(grader, None)):
        raise ValueError(f"{id} can't be the id: the answers have another column of that name. Rename yours.")
    return [*([id] if id else []), "text", *(["eye"] if grader.asks_eye else [])]


def columns(grader: serve.Grader, id: str | None) -> list[str]:
    """Return the columns of the answers: the source's file and row, the id if there is one, and what the grader says."""
    return ["file", "row", *([id] if id else []), *grader.columns(None)]


def _check_names(path: Path, present: Iterable[str], names: list[str]) -> None:
    """Raise ValueError unless each name is there, once."""
    present = list(present)
    missing = [name for name in names if present.count(name) != 1]
    if missing:
        has = ", ".join(name[:40] for name in present[:20]) or "nothing"
        raise ValueError(f"{path.name} needs the column {' and the column '.join(missing)}, once; it has: {has}.")


def _done(path: Path, rows: int) -> tuple[int, int] | None:
    """Return how many rows of a finished part have a grade and how many have none; None unless it has as many as it should."""
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            grades = parquet.read_table(path, columns=["grade"])["grade"].to_pylist()
        else:
            with path.open(encoding="utf-8", newline="") as file:
                grades = [row["grade"] or None for row in csv.DictReader(file)]
    except (OSError, ValueError, LookupError, csv.Error):  # none is there, or it is no file of ours
        return None
    refused = grades.count(None)
    return (len(grades) - refused, refused) if len(grades) == rows else None


# Reading: rows in order, a few at a time.


def _table(path: Path, names: list[str]) -> tables.Table:
    table = tables.read(path)
    _check_names(path, table.header, names)
    return table


def _csv_rows(path: Path, plan: Plan) -> Iterator[Row]:
    """Yield each row of a CSV; one that can't be read as a row has a fault, and its line as its id ("line 7")."""
    table = _table(path, plan.names)
    take = [table.header.index(name) if name else None for name in _three(plan.names)]
    for line, fields, fault in table.records(plan.glued(table)):
        if fields is None:
            why = f"{fault.what} {fault.mend}" if fault else ""
            yield Row(f"line {line}", None, None, f"line {line} can't be read: {why}")
        else:
            yield Row(*("" if place is None else fields[place] for place in take))


def _three(names: list[str]) -> list[str]:
    """Return the names of id, text and eye, with "" for those that are not read."""
    place = names.index("text")
    return ["" if place == 0 else names[0], "text", "eye" if names[-1] == "eye" else ""]


def _parquet(path: Path, names: list[str]):
    """Return a Parquet file that is open and has these columns, text and eye being text.

    Raises ValueError if it is none, or lacks one of them.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install -c constraints.txt -e '.[bulk]'") from error
    try:
        # without the reader's own buffer, which holds whole row groups: some writers make one of a whole file
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path.name} is no Parquet file, or was cut short: {error} Copy it again.") from error
    schema = file.schema_arrow
    _check_names(path, schema.names, names)
    for name in ("text", "eye"):
        if name in names and not _is_text(schema.field(name).type):
            raise ValueError(f"The column {name} of {path.name} is {schema.field(name).type}. Make it text (string).")
    return file


def _is_text(kind) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)


def _parquet_rows(path: Path, plan: Plan) -> Iterator[Row]:
    """Yield each row of a Parquet file, read in small batches whatever its row groups are."""
    with _parquet(path, plan.names) as file:
        for batch in file.iter_batches(batch_size=1_000, columns=plan.names):
            wanted = _three(plan.names)
            filled = [batch[name].to_pylist() if name else itertools.repeat("", len(batch)) for name in wanted]
            yield from map(Row, *filled)


def _id_type(files: dict[str, Path], id: str | None) -> Any:
    """Return the Arrow type of the id's column; None if there is no id, or for CSV.

    Raises ValueError unless it is text or whole numbers, the same in all files.
    """
    those = [path for path in files.values() if path.suffix.lower() == ".parquet"]
    if id is None or not those:
        return None
    from pyarrow import types

    kinds = {}
    for path in those:
        with _parquet(path, [id]) as file:
            kind = file.schema_arrow.field(id).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (_is_text(kind) or types.is_integer(kind)):
            raise ValueError(f"The column {id} of {path.name} is {kind}. Make the id text or whole numbers.")
        kinds[kind] = path.name
    if len(kinds) > 1:
        found = " and ".join(f"{kind} in {name}" for kind, name in kinds.items())
        raise ValueError(f"The column {id} is {found}. Make it the same in all files.")
    return next(iter(kinds))


def _missing(plan: Plan, ready: set[int]) -> Iterator[Part]:
    """Yield the parts that are not ready, in order. Files whose parts all are ready are not opened.

    Raises ValueError if a file has changed since the run began.
    """
    number, rows = 0, plan.job["rows"]
    for source in (Source(**one) for one in plan.job["files"]):
        path, own = plan.files[source.name], range(number, number + math.ceil(source.rows / rows))
        number = own.stop
        if ready.issuperset(own):
            continue
        content = (_csv_rows if path.suffix.lower() == ".csv" else _parquet_rows)(path, plan)
        for part, first in zip(own, itertools.count(1, rows), strict=False):
            taken = list(itertools.islice(content, rows))
            if len(taken) != min(rows, source.rows - first + 1) or _stamp(path) != plan.stamps[source.name]:
                raise ValueError(f"{path} changed after the run began. Put back the file that it was. {GO_ON}")
            if part not in ready:
                yield Part(part, plan.path(part), source.name, first, taken)


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


# Grading, in worker processes.


def _run(plan: Plan, work: Work, workers: int, progress: bool) -> Summary:
    """Grade the parts that are missing, and return a Summary."""
    sizes, began = plan.sizes(), time.monotonic()
    found = {number: _done(plan.path(number), size) for number, size in enumerate(sizes)}
    counts = {number: counted for number, counted in found.items() if counted is not None}
    earlier, now = sum(map(sum, counts.values())), 0
    for number, counted in _in_workers(work, _missing(plan, set(counts)), workers):
        counts[number] = counted
        now += sum(counted)
        if progress:
            _draw(earlier + now, sum(sizes), now / (time.monotonic() - began))
    if progress and now:
        print(file=sys.stderr)
    graded, refused = (sum(counted[i] for counted in counts.values()) for i in (0, 1))
    return Summary(graded + refused, graded, refused, now, time.monotonic() - began)


def _draw(done: int, total: int, speed: float) -> None:
    left = (total - done) / speed
    clock = f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    line = f"{done:,} of {total:,} rows | {speed:,.0f} rows/s | {clock} left"
    print(f"\r{line:70}", end="", file=sys.stderr, flush=True)


def _in_workers(work: Work, parts: Iterable[Part], workers: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield (number, (graded, refused)) for each part as soon as it is written. A few are in hand at a time.

    Raises ChildProcessError if a worker dies. Whatever ends it early, no worker is left.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    waiting: set[Future] = set()
    try:
        for part in parts:
            waiting.add(pool.submit(_grade_part, work, part))
            if len(waiting) >= AHEAD * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()  # what it has in hand is an unfinished file, which the next start removes
        if isinstance(error, BrokenProcessPool):
            why = "A worker process was killed, for example because memory ran out; then fewer workers help."
            raise ChildProcessError(f"{why} {GO_ON}") from error
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"Stopped. {GO_ON}") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Prepare a worker: Ctrl-C is for the parent to hear, and a worker without a parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread each
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()  # a killed parent can't end its workers, and they would wait for the next part for ever
        os._exit(1)


@cache
def _grader(folder: Path, engine: str) -> serve.Grader:
    return serve.load(folder, engine=engine)


def _grade_part(work: Work, part: Part) -> tuple[int, tuple[int, int]]:
    """Grade a part, write it, and return its number and how many rows have a grade and how many have none."""
    grader = _grader(work.model, work.engine)
    answers = answered(grader, part.rows)
    records = [
        {"file": part.source, "row": row} | ({work.id: given.id} if work.id else {}) | grader.record(answer)
        for row, given, answer in zip(itertools.count(part.first), part.rows, answers, strict=False)
    ]
    with whole(part.path) as file:
        if part.path.suffix == ".csv":
            _write_csv(file, columns(grader, work.id), records)
        else:
            _write_parquet(file, columns(grader, work.id), records, work)
    refused = sum(answer.grade is None for answer in answers)
    return part.number, (len(answers) - refused, refused)


def answered(grader: serve.Grader, rows: list[Row]) -> list[serve.Answer]:
    """Return an answer for each row, in order; a row with a fault has it as its note."""
    said = iter(grader.answers((row.text, row.eye) for row in rows if not row.fault))
    return [serve.refusal("broken row", row.fault) if row.fault else next(said) for row in rows]


# Writing: a file is there whole or not at all.


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write that gets its name when it is whole and on the disk; until then it has another one.

    Raises OSError, and leaves nothing, if it can't be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        paths.sync_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} can't be written: {error.strerror or error}. Make room. {GO_ON}") from error
    finally:
        beside.unlink(missing_ok=True)


def _write_csv(file: BinaryIO, names: list[str], records: list[dict]) -> None:
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, names, lineterminator="\n")
    out.writeheader()
    out.writerows(records)
    file.write(text.getvalue().encode())


def _write_parquet(file: BinaryIO, names: list[str], records: list[dict], work: Work) -> None:
    from pyarrow import parquet

    parquet.write_table(as_table(names, records, work.id, work.id_type), file, compression="zstd")


def as_table(names: list[str], records: list[dict], id: str | None, id_type: Any):
    """Return records as an Arrow table; its types depend on the names alone, so that all parts have the same."""
    import pyarrow

    def kind(name: str) -> Any:
        if name == id:
            return id_type
        if name in ("row", "grade"):
            return pyarrow.int64()
        number = name == "probability" or name.startswith(("chance ", "calibrated "))
        return pyarrow.float64() if number else pyarrow.string()

    schema = pyarrow.schema([(name, kind(name)) for name in names])
    return pyarrow.Table.from_pylist(records, schema)


# The same job on Ray Data: where one machine is not enough.


def with_ray(
    model_folder: str | Path, source: str | Path, target: str | Path, *, id: str, workers: int | None = None
) -> None:
    """Grade a folder of Parquet on Ray Data: on the cluster that Ray is connected to, else on this machine's cores.

    Takes folders of Parquet, the id's column and the number of workers; the default engine grades. Ray keeps no order and
    goes on after no kill, so it is the id that tells rows apart.
    Raises ImportError without the extra `ray`.
    """
    import ray

    workers, grader, ours = workers or _cores(), serve.load(model_folder), not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        cores = workers + 1  # one for reading and writing, which would wait for ever behind the graders
        here = {"include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
        ray.init(num_cpus=cores, object_store_memory=OBJECT_STORE, **here)
    reports = ray.data.read_parquet(str(source), columns=_names(id, grader))
    graders = ray.data.ActorPoolStrategy(size=workers)
    arguments = {"fn_constructor_args": (str(model_folder), id), "batch_format": "pyarrow", "batch_size": ROWS}
    reports.map_batches(OnRay, compute=graders, **arguments).write_parquet(str(target))
    if ours:
        ray.shutdown()


class OnRay:
    """A grader in a process of Ray's: called with a table of reports, it returns one of answers."""

    def __init__(self, model_folder: str, id: str):
        self.grader, self.id = serve.load(model_folder), id

    def __call__(self, reports):
        """Return the answers to an Arrow table of reports, without the source's file and row, which Ray does not know."""
        kind = reports.schema.field(self.id).type
        texts, eyes = (
            reports[n].to_pylist() if n in reports.schema.names else [""] * len(reports) for n in ("text", "eye")
        )
        answers = self.grader.answers(zip(texts, eyes, strict=True))
        records = [
            {self.id: given} | self.grader.record(answer)
            for given, answer in zip(reports[self.id].to_pylist(), answers, strict=True)
        ]
        return as_table([self.id, *self.grader.columns(None)], records, self.id, kind)
