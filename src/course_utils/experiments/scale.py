"""Measures what several processes gain, hold and survive, for notebook 15, into results/scale_runs.json: `make results-scale`.

For a machine that does nothing else: each part is a run of its own, kept when it is done, and goes on after a stop. All but
`bulk` take some hours on two cores; `bulk` grades ten million reports, which takes a night by processes and another by Ray Data,
and is left out unless it is asked for: `make results-scale BULK=10000000`. At the end docs/scale.md is written anew from what was
measured, and it is counted, from the grades of dev of one training, what a score loses or gains by rows that are read again.
"""

import argparse
import ctypes
import gc
import hashlib
import importlib.util
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler
from transformers import AutoTokenizer

from course_utils import costs, machine, metrics, models, paths, results, scale, train_many, training

from . import bulk, runs

NAME = "scale_runs"
BASE, LABELS, BATCH, LR, SEED = "tiny-biobert", 1_000, 32, 5e-4, 0
STEPS = runs.epochs(LABELS) * -(-LABELS // BATCH)
TURNS = 3  # of what is timed, one after the other, so that noise meets all alike
WAYS = {  # of the same training: processes, threads of each, and whether they talk
    "one process, one thread": (1, 1, True),
    "one process, two threads": (1, 2, True),
    "two processes": (2, 1, True),
    "two processes, all long rows in one": (2, 1, True),
    "two processes, gradients sent at the end": (2, 1, True),
    "two processes, gradients sent in small pieces": (2, 1, True),
    "two that don't talk": (2, 1, False),  # each on half of the rows: what two processes could reach at most
}
PADDED, DRAWS = ((101, 1_001), (2, 8, 64)), 200  # rows of dev that so many processes grade, drawn so often
TARGETS = {"one process, one thread": 1.7, "one process, two threads": 1.25}
SHAPES, PROCESSES = ("BioBERT", "SmolLM2"), (1, 2, 4)
GIVES_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}  # freed memory goes back to the system
ROWS, FILES, KILLS = 10_000_000, 64, 3
EVERY = 50_000  # rows of a process between two states that are kept
WORK = runs.WORK / NAME
DOCUMENT = paths.ROOT / "docs" / "scale.md"


# Speed, and that the weights are the same.


def halved(rows):
    """Return the shorter half of a batch for process 0, the longer for process 1, and what `train_many.share` gives with it."""
    half = -(-len(rows) // 2)
    mine = rows[half:] if scale.rank() else rows[:half]
    return (mine, 1.0) if mine else (rows[:1], 0.0)


# what of `train_many` is another in these ways, to see what its own is worth; the size of a piece in MB
OTHERWISE: dict[str, dict] = {
    "two processes, all long rows in one": {"share": halved},
    "two processes, gradients sent at the end": {
        "DistributedDataParallel": partial(DistributedDataParallel, bucket_cap_mb=1_000)
    },
    "two processes, gradients sent in small pieces": {
        "DistributedDataParallel": partial(DistributedDataParallel, bucket_cap_mb=1)
    },
}


def fitted(rank, rows, batch, threads, way, bits, name):
    """Train in a process of a group, in one of WAYS; return the seconds by the clock, the grades of dev, and the weights."""
    torch.set_num_threads(threads)
    for what, other in OTHERWISE.get(name, {}).items():
        setattr(train_many, what, other)  # in this process alone
    model, tokenizer = models.grader(models.base(BASE), seed=SEED)
    model.to(getattr(torch, f"float{bits}"))
    reports = training.tokenise(tokenizer, rows, "eye", "text", 192)
    settings = {"steps": STEPS, "batch": batch, "lr": LR, "seed": SEED, "way": way}
    train_many.fit(model, tokenizer, reports, list(rows["grade"]), **settings | {"steps": 2})  # warms up
    model, _ = models.grader(models.base(BASE), seed=SEED)
    model.to(getattr(torch, f"float{bits}"))
    scale.over_all(torch.zeros(1))  # all begin together
    began = time.perf_counter()
    train_many.fit(model, tokenizer, reports, list(rows["grade"]), **settings)
    seconds = time.perf_counter() - began
    weights = {name: one.double().numpy() for name, one in scale.weights(model).items()}
    dev = runs.frames()["dev"]
    return seconds, training.predict(model.float(), tokenizer, dev).argmax(1).tolist(), weights


def trained(name, bits=32, way="ddp"):
    """Train in one of WAYS; return the seconds of the slowest process, the grades of dev, and the weights."""
    processes, threads, talk = WAYS[name]
    rows = runs.train_rows(LABELS, SEED)
    if talk:
        found = scale.together(fitted, processes, rows, BATCH, threads, way, bits, name, limit_s=7_200)
    else:
        halves = [rows.iloc[place::processes] for place in range(processes)]
        with ThreadPoolExecutor(processes) as both:
            started = [
                both.submit(
                    scale.together, fitted, 1, half, BATCH // processes, threads, way, bits, name, limit_s=7_200
                )
                for half in halves
            ]
            found = [one.result()[0] for one in started]
    return max(one[0] for one in found), found[0][1], found[0][2]


def speed(way, turn):
    """Return the seconds of one training, its score on dev and its grades there."""
    seconds, grades, _ = trained(way)
    score = runs.score("dev", grades) if WAYS[way][2] else None
    return {"seconds": seconds, "dev": score, "grades": "".join(map(str, grades))}


def same(way, bits):
    """Return how far the weights of two processes lie from those of one after a whole training, and which weight most."""
    one, two = (trained(name, bits, way) for name in ("one process, one thread", "two processes"))
    gaps = {name: float(abs(one[2][name] - two[2][name]).max()) for name in one[2]}
    most = max(gaps, key=lambda name: gaps[name])
    differ = sum(a != b for a, b in zip(one[1], two[1], strict=True))
    return {"apart": gaps[most], "where": most, "median": statistics.median(gaps.values()), "other_grades": differ}


# What an evaluation counts that repeats rows.


def padded(grades):
    """Return by how many points (hundredths) macro F1 is off if DistributedSampler repeats rows, so that all shares are as long.

    Takes the grades of dev, as digits. A row for each number of rows and of processes: how many are `read`, and the difference,
    whatever its sign, on the average (`mean`) and at most (`most`) over sets of rows that are drawn from dev.
    """
    truth, said = runs.frames()["dev"]["grade"].to_numpy(), np.array([int(grade) for grade in grades])
    found = []
    for rows in PADDED[0]:
        sets = [np.random.default_rng([SEED, draw]).permutation(len(truth))[:rows] for draw in range(DRAWS)]
        for processes in PADDED[1]:
            shares = [DistributedSampler(range(rows), processes, rank, shuffle=False) for rank in range(processes)]
            read = [row for share in shares for row in share]
            pairs = [(some, some[read]) for some in sets]
            scores = [[metrics.macro_f1(metrics.confusion(truth[one], said[one])) for one in pair] for pair in pairs]
            off = [100 * abs(float(right - filled)) for right, filled in scores]
            told = {"rows": rows, "processes": processes, "read": len(read)}
            found.append(told | {"mean": statistics.mean(off), "most": max(off)})
    return found


# Memory.


def held(shape, way, processes, allocator):
    """Return what each process of a training step holds, counted, and what the system says that it holds."""
    target = WORK / "held"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    before = {name: os.environ.get(name) for name in GIVES_BACK}
    os.environ |= GIVES_BACK if allocator == "gives back" else {}
    try:
        words = ("-m", "course_utils.experiments.scale", "--held", shape, way, str(target))
        scale.torchrun(*words, processes=processes, limit_s=3_600)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
    found = [paths.read_json(file) for file in sorted(target.glob("*.json"))]
    if len(found) != processes:
        raise RuntimeError(f"{len(found)} of {processes} processes have said what they hold.")
    return {
        "parameters": found[0]["parameters"],
        "held": [one["held"] for one in found],
        "peak_mb": [one["peak_mb"] for one in found],
    }


def hold(shape, way, target):
    """Take three steps in a process of a group and write down what it holds: what a process of `held` does."""
    torch.set_num_threads(1)
    scale.join()
    empty = _resident()
    model = costs.build(shape)
    parameters = models.count_parameters(model)[1]
    net = scale.sharded(model) if way == "fsdp" else torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    gc.collect()
    _forget_peak()  # the whole model, which each process had for a moment, does not count
    ids = torch.randint(10, 1_000, (2, 64), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        loss = net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().mean()
        loss.backward()
        optimizer.step()
        counted = scale.held(model, optimizer)
        optimizer.zero_grad()
    found = {"parameters": parameters, "held": counted, "peak_mb": round(machine.peak_mb() - empty)}
    paths.write_json(Path(target) / f"{scale.rank()}.json", found)
    scale.leave()


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _forget_peak():
    """Give freed memory back to the system and begin its highest mark anew: Linux alone can."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


# Killed, and gone on.


def survived(way, at):
    """Return whether a training whose process 1 was killed after a step ends with the weights of the one that was not."""
    folders = {name: WORK / f"{way}-{at}-{name}" for name in ("straight", "killed")}
    for name, folder in folders.items():
        shutil.rmtree(folder, ignore_errors=True)
        words = ["-m", "course_utils.train_many", str(folder), "--processes", "2", "--steps", "60", "--every", "20"]
        words += ["--way", way, "--labels", str(LABELS)]
        words += ["--kill", "1", str(at)] if name == "killed" else []
        scale.torchrun(*words, restarts=1, limit_s=3_600)
    told = {name: paths.read_json(folder / "done.json") for name, folder in folders.items()}
    if told["straight"]["taken"] == told["killed"]["taken"]:
        raise RuntimeError("The run that was to be killed has taken all its steps at once: nothing was killed.")
    parts = {name: fingerprint(scale.newest(folder)) for name, folder in folders.items()}
    return {
        "steps": told["straight"]["taken"],
        "taken_again": told["killed"]["taken"],
        "same": parts["straight"] == parts["killed"],
        "dev": [one["dev"] for one in told.values()],
    }


def fingerprint(folder):
    """Return the sums of a kept step's tensors, sorted. Which process writes which tensor differs from start to start."""
    parts = [item for file in folder.glob("*.safetensors") for item in load_file(file).items()]
    return sorted(hashlib.sha256(name.encode() + one.numpy().tobytes()).hexdigest() for name, one in parts)


# Rows that don't fit.


def many_rows(rows=ROWS):
    """Return Parquet files with so many numbered rows, made now unless they are there."""
    import pyarrow
    from pyarrow import parquet

    folder = WORK / f"rows-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(rows), FILES)):
        file = folder / f"{number:03}.parquet"
        if not file.exists():
            table = pyarrow.table({"row": part, "text": [f"report {one}" for one in part]})
            parquet.write_table(table, file.with_suffix(".tmp"))
            os.replace(file.with_suffix(".tmp"), file)
    return sorted(folder.glob("*.parquet"))


def read(folder, files, every=EVERY):
    """Read this process's share of the rows, writing down each row's number and, now and then, where it stands.

    Goes on from where it stood. What was written after the last state is written again.
    """
    own = Path(folder) / f"{scale.rank()}"
    state = paths.read_json(own.with_suffix(".json"))
    stream = scale.stream(files, epoch=0)
    if state:
        stream.load_state_dict(state["stream"])
    with own.with_suffix(".rows").open("ab") as out:
        out.truncate(8 * state.get("rows", 0))
        count, some = state.get("rows", 0), []

        def note():
            out.write(np.array(some, np.int64).tobytes())
            out.flush()
            os.fsync(out.fileno())
            held = {
                "rows": count,
                "stream": stream.state_dict(),
                "peak_mb": [*state.get("peak_mb", []), machine.peak_mb()],
            }
            paths.write_json(own.with_suffix(".json"), held)
            return held

        for row in stream:
            some.append(row["row"])
            count += 1
            if len(some) == every:
                state, some = note(), []
        note()


def streamed(rows, processes):
    """Read all rows in processes that are killed a few times at moments drawn at random; count how often each was read."""
    folder = WORK / f"streamed-{rows}-{processes}"
    many_rows(rows)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    moments, killed, began = random.Random(0), 0, time.perf_counter()
    command = [sys.executable, "-m", "course_utils.experiments.scale", "--read", str(folder), str(processes), str(rows)]
    while True:
        process = subprocess.Popen(command, start_new_session=True)
        try:
            # long enough that some states were kept, and never at the same place
            left = None if killed == KILLS else 20 + moments.random() * rows / 200_000
            code = process.wait(timeout=left)
            if code:
                raise RuntimeError(f"Reading ended with {code}. Run it by hand: {' '.join(command)}")
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    seconds = time.perf_counter() - began
    counts = sum(np.bincount(np.fromfile(file, np.int64), minlength=rows) for file in folder.glob("*.rows"))
    megabytes = paths.read_json(folder / "0.json")["peak_mb"]
    return {
        "killed": killed,
        "lost": int((counts == 0).sum()),
        "doubled": int((counts > 1).sum()),
        "read": int(counts.sum()),
        "rows_a_second": round(rows / seconds),
        "peak_mb": [round(megabytes[place * (len(megabytes) - 1) // 3]) for place in range(4)],
    }


def reading(folder, processes, rows):
    """Read in a group of processes: what a process of `streamed` does."""
    scale.together(lambda rank: read(folder, many_rows(int(rows))), int(processes), limit_s=86_400)


# Ten million reports.


def many_reports(reports):
    """Return a folder of Parquet with so many of the course's reports, drawn with replacement, a file at a time."""
    folder = WORK / f"reports-{reports}"
    folder.mkdir(parents=True, exist_ok=True)
    known = pd.concat(runs.frames().values())[["eye", "text"]].reset_index(drop=True)
    for number, part in enumerate(np.array_split(np.arange(reports), max(1, reports // 100_000))):
        file = folder / f"{number:04}.parquet"
        if not file.exists():
            drawn = known.iloc[np.random.default_rng([SEED, number]).integers(0, len(known), len(part))]
            drawn = drawn.assign(report_id=[f"report-{one:010}" for one in part])
            drawn.to_parquet(file.with_suffix(".tmp"), index=False)
            os.replace(file.with_suffix(".tmp"), file)
    return folder


def graded(how, reports, workers):
    """Grade so many reports by processes, which are killed once and go on, or by Ray Data, which goes on after no kill.

    Return the speed and the memory of what was graded after the kill, and how many reports have no answer, or more than one.
    """
    model = WORK / "grader"
    if not (model / "grader").exists():
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir(parents=True)
        bulk.grader(model)
    target = WORK / f"graded-{how.replace(' ', '-')}-{reports}"
    if how == "Ray Data":
        shutil.rmtree(target, ignore_errors=True)  # it goes on after no kill
    source, marked = many_reports(reports), target.with_suffix(".killed")
    if how == "bulk" and not marked.exists():
        begun_and_killed(model / "grader", source, target, workers)
        marked.touch()
    done = _rows_of(target)
    if done == reports:
        raise RuntimeError(
            f"All was graded, and its time was not kept: delete {target} and {marked}, then measure it again."
        )
    found = bulk.measured(how, model / "grader", source, target, workers)
    counts, speed_now = answered(target, reports), (found["reports"] - done) / found["seconds"]
    return found | {
        "killed": int(marked.exists()),
        "lost": int((counts == 0).sum()),
        "doubled": int((counts > 1).sum()),
        "now": found["reports"] - done,
        "rows_a_second": round(speed_now, 1),
        "hours_of_ten_million": round(bulk.LARGE / speed_now / 3600, 1),
    }


def begun_and_killed(model, source, target, workers):
    """Grade by processes until some parts are there, and kill them all. Raises RuntimeError if they end before."""
    command = [sys.executable, "-c", bulk.PROGRAM, "bulk", *map(str, (model, source, target, workers))]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    try:
        while not _rows_of(target):
            if process.poll() is not None:
                raise RuntimeError(f"Grading ended with {process.returncode} before it was killed: {' '.join(command)}")
            time.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _rows_of(folder):
    from pyarrow import parquet

    return sum(parquet.read_metadata(file).num_rows for file in folder.glob("part-*.parquet"))


def answered(folder, reports):
    """Return how many answers each report has, by its number, a file at a time."""
    from pyarrow import parquet

    counts = np.zeros(reports, np.int64)
    for file in folder.glob("*.parquet"):
        ids = parquet.read_table(file, columns=["report_id"])["report_id"].to_pylist()
        np.add.at(counts, [int(one.removeprefix("report-")) for one in ids], 1)
    return counts


# The plan of all, and what is written.


def tasks(reports=0):
    """Return all runs; those of `graded` for so many reports, or none of them."""
    found = [
        runs.Task(NAME, speed, {"way": way, "turn": turn}, 200) for turn in range(TURNS) for way in WAYS
    ]  # in turns
    found += [runs.Task(NAME, same, {"way": way, "bits": bits}, 400) for way in ("ddp", "fsdp") for bits in (64, 32)]
    for shape in SHAPES:
        for processes in PROCESSES:
            for way, allocator in (("ddp", "as it is"), ("fsdp", "as it is"), ("fsdp", "gives back")):
                settings = {"shape": shape, "way": way, "processes": processes, "allocator": allocator}
                found.append(runs.Task(NAME, held, settings, 120))
    found += [runs.Task(NAME, survived, {"way": way, "at": at}, 200) for way in ("ddp", "fsdp") for at in (33, 47)]
    found.append(runs.Task(NAME, streamed, {"rows": ROWS, "processes": 2}, 900))
    if reports:
        ways = ["bulk", *(["Ray Data"] if importlib.util.find_spec("ray") else [])]
        found += [
            runs.Task(NAME, graded, {"how": how, "reports": reports, "workers": 2}, reports / 200) for how in ways
        ]
    return found


def report(reports=0):
    """Write the file, of the runs that are there, and the plan on paper."""
    kept: dict[str, list[dict]] = {}
    for task in tasks(reports):
        run = runs.found(task)
        if run:
            kept.setdefault(task.make.__name__, []).append(run)
    ray = {"ray": metadata.version("ray")} if importlib.util.find_spec("ray") else {}
    told = {"labels": LABELS, "steps": STEPS, "batch": BATCH, "targets": TARGETS}
    graded_dev = [run["grades"] for run in kept.get("speed", []) if run["way"] == "two processes"][:1]
    counted = {"speed": speeds(kept.get("speed", [])), "padded": [line for one in graded_dev for line in padded(one)]}
    results.ship(NAME, parts=kept, settings=told | ray, machine=machine.facts(), **counted)
    DOCUMENT.write_text(paper(), encoding="utf-8")


def speeds(found):
    """Return how many times as fast two processes are as each other way: of each turn, the median, and the ends."""
    of_turn = {(run["way"], run["turn"]): run["seconds"] for run in found}
    told = []
    for way in WAYS:
        times = [
            of_turn[way, turn] / of_turn["two processes", turn]
            for turn in range(TURNS)
            if {(way, turn), ("two processes", turn)} <= of_turn.keys()
        ]
        if times:
            told.append({"way": way, "times": statistics.median(times), "ends": [min(times), max(times)]})
    return told


# A plan on paper.

BREAKS = {  # the power of ten: what breaks there first, and what to do
    3: ("nothing", "a notebook"),
    4: ("patience with one report at a time", "batches of like length"),
    5: ("a run that must not be stopped", "write each part when it is done"),
    6: ("a table that holds all texts", "read in parts; `bulk.grade_folder`"),
    7: ("one night on one laptop", "all cores; a kill must cost one part"),
    8: ("one machine", "the same script on several; each takes its own files"),
    9: ("one disk, and the list of files", "object storage; parts of a million rows"),
    10: (
        "machines that fail while it runs, and the bill",
        "a queue that gives a lost part out again; a smaller model first",
    ),
}
FAILS_DAYS = 365  # assumed, not measured: a machine fails once in so many days of work
PART_ROWS = 2_000


def known(name):
    """Return what a long run measured; an empty dict if it was not made."""
    return paths.read_json(paths.ROOT / "data_samples" / "results" / f"{name}.json")


def by_powers():
    """Return a row for each power of ten: what so many documents take, by rates that were measured."""
    speeds_known = known("bulk_runs").get("runs", [])
    laptop = max((run["rows_a_second"] for run in speeds_known if run["how"] == "bulk"), default=None)
    gpu = [
        run
        for run in known("gpu_runs").get("training", [])
        if run["shape"] == "BioBERT" and run["method"] == costs.METHODS[0] and run["precision"] == "bfloat16"
    ]
    trains = max(gpu, key=lambda run: run["tokens_per_s"]) if gpu else None
    edition = paths.ROOT / "data_samples"
    texts = pd.read_csv(edition / "dr_reports.csv")["text"].tolist()
    each = sum(len(text.encode()) for text in texts) / len(texts)
    tokenizer = AutoTokenizer.from_pretrained(edition / "bases" / BASE)
    tokens = sum(map(len, tokenizer(texts[:1_000])["input_ids"])) / 1_000
    rows = []
    for power in BREAKS:
        number = 10**power
        row = {"documents": number, "gigabytes": number * each / 1e9, "files": -(-number // PART_ROWS)}
        if laptop:
            hours = number / laptop / 3600
            row |= {
                "laptop_hours": hours,
                "laptops_for_a_day": max(1, -(-hours // 24)),
                "failures": hours / 24 / FAILS_DAYS,
            }
        if trains:
            row |= {"epoch_hours": number * tokens / trains["tokens_per_s"] / 3600}
        rows.append(row)
    return {"rows": rows, "rows_a_second": laptop, "gpu": trains, "bytes_each": each, "tokens_each": tokens}


def paper():
    """Return docs/scale.md."""
    found = by_powers()
    lines = [
        "# From one laptop to ten billion documents: a plan on paper",
        "",
        "Made by `python -m course_utils.experiments.scale --paper`, for notebook 15: no number here is typed, but for two.",
        "",
        f"A document is taken to be one of the course's rows: {found['bytes_each']:.0f} bytes, {found['tokens_each']:.0f} tokens.",
    ]
    if found["rows_a_second"]:
        lines.append(
            f"*Grading* goes at the rate that was measured for two processes with the small base in int8, "
            f'{found["rows_a_second"]:.0f} rows a second (`bulk_runs.json`), on two cores; "one laptop" is that machine.'
        )
    if found["gpu"]:
        gpu = found["gpu"]
        lines.append(
            f"*An epoch* is training every weight of {gpu['shape']}'s shape, {gpu['tokens_per_s']:,} tokens a second in "
            f"{gpu['precision']} on one {gpu['device']} (`gpu_runs.json`, {gpu['batch']} texts of {gpu['length']} tokens a step)."
        )
    lines += [
        f"Those two are assumed and not measured: a machine fails once in {FAILS_DAYS} days of work, and a part has {PART_ROWS:,} rows.",
        "All else is multiplied out, and so is worth no more than its rate: the order of magnitude is meant.",
        "",
        f"| documents | text | parts of {PART_ROWS:,} | grading, one laptop | laptops for a day | failures | an epoch, one GPU |",
        "|---|---|---|---|---|---|---|",
    ]
    for power, row in zip(BREAKS, found["rows"], strict=True):
        laptop = (
            (duration(row["laptop_hours"]), f"{row['laptops_for_a_day']:,.0f}", f"{row['failures']:,.1f}")
            if found["rows_a_second"]
            else ("not measured yet",) * 3
        )
        epoch = duration(row["epoch_hours"]) if found["gpu"] else "not measured yet"
        lines.append(f"| 10^{power} | {size(row['gigabytes'])} | {row['files']:,} | {' | '.join(laptop)} | {epoch} |")
    lines += ["", "## What breaks first", "", "| documents | what breaks | what to do |", "|---|---|---|"]
    lines += [f"| 10^{power} | {breaks} | {do} |" for power, (breaks, do) in BREAKS.items()]
    return "\n".join(lines) + "\n"


def duration(hours):
    """Write hours in the unit that one reads."""
    for unit, length in (("years", 24 * 365), ("days", 24), ("hours", 1), ("minutes", 1 / 60)):
        if hours >= length:
            return f"{hours / length:,.1f} {unit}"
    return f"{hours * 3600:,.1f} seconds"


def size(gigabytes):
    """Write gigabytes in the unit that one reads."""
    for unit, length in (("TB", 1e3), ("GB", 1), ("MB", 1e-3)):
        if gigabytes >= length:
            return f"{gigabytes / length:,.1f} {unit}"
    return f"{gigabytes * 1e6:,.0f} kB"


def main():
    """Make the runs and write the file; with another word, be a process of one of them."""
    command = argparse.ArgumentParser(prog="python -m course_utils.experiments.scale")
    command.add_argument(
        "--reports", type=int, default=0, help="so many reports are graded, by processes and by Ray Data"
    )
    command.add_argument("--paper", action="store_true", help="write docs/scale.md and nothing else")
    command.add_argument("--held", nargs=3, help=argparse.SUPPRESS)
    command.add_argument("--read", nargs=3, help=argparse.SUPPRESS)
    told = command.parse_args()
    if told.held:
        hold(*told.held)
    elif told.read:
        reading(*told.read)
    elif told.paper:
        DOCUMENT.write_text(paper(), encoding="utf-8")
    else:
        from course_utils.experiments import scale as itself  # under its own name, not as __main__

        runs.start()
        try:
            runs.fulfil(lambda: itself.tasks(told.reports), jobs=1)
        finally:
            itself.report(told.reports)


if __name__ == "__main__":
    main()
