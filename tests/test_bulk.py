"""A folder of reports is graded whole, whatever stops the job: real kills, a full disk, a changed source, broken rows."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("pyarrow", reason="needs the extra bulk")

import pyarrow as pa
import torch
from pyarrow import parquet

import small_models
from course_utils import bulk, data, export, models, serve
from course_utils.experiments import bulk as measurement

SEEN = "severe retinopathy, haemorrhages in four quadrants seen."
KINDS = ("csv", "parquet")
MANY = 4_800
JOB = """
import sys
from course_utils import bulk
if __name__ == "__main__":
    {patch}
    try:
        print(bulk.grade_folder(*sys.argv[1:4], id="report_id", workers=2, rows={rows}))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
"""
killed = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An exported folder."""
    folder = tmp_path_factory.mktemp("bulk")
    grader, tokenizer = models.grader(small_models.bert(folder / "bert"), seed=0, num_labels=5)
    with torch.no_grad():  # so that the answers depend on the words
        grader.classifier.weight.mul_(20)
        grader.classifier.bias.sub_(grader(**tokenizer("right", SEEN, return_tensors="pt")).logits[0])
    file = export.to_onnx(grader, tokenizer, folder / "model.onnx")
    known = [row for row in reports(200, 10_000) if row[2]]
    return export.pack(
        folder / "grader",
        file,
        tokenizer,
        labels=data.GRADE_NAMES,
        reports={"eye": [row[1] for row in known], "text": [row[2] for row in known]},
        examples=[("right", SEEN)],
        figures={},
        max_tokens=32,
    )


def reports(n, start=0):
    """Rows of id, eye, text: each text its own, so that an answer beside another row shows; some without a text."""
    rng = random.Random(start)
    rows = []
    for k in range(start, start + n):
        words = rng.choices(small_models.WORDS[2:-2], k=rng.randrange(3, 20))
        rows.append((f"r{k:06}", rng.choice(("left", "right")), " ".join(words) if k % 50 else ""))
    return rows


def write(path, rows, group=1_000):
    """Write rows as a CSV or a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("report_id", "eye", "text"), *rows])
    else:
        columns = dict(zip(("report_id", "eye", "text"), map(list, zip(*rows, strict=True)), strict=True))
        parquet.write_table(pa.table(columns), path, row_group_size=group)
    return path


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    """A folder with two files, 70 rows and 45, of either kind."""
    write(tmp_path / "in" / f"a.{request.param}", reports(70))
    write(tmp_path / "in" / "more" / f"b.{request.param}", reports(45, 70), group=7)
    return tmp_path / "in"


def parts(target):
    return {path.name: path.read_bytes() for path in sorted(target.iterdir()) if path.name.startswith("part-")}


def rows_of(target):
    """The answers in order, as dictionaries of texts, "" for nothing."""
    found = []
    for path in sorted(target.glob("part-*")):
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                found += list(csv.DictReader(file))
        else:
            found += parquet.read_table(path).to_pylist()
    return [{name: "" if value is None else str(value) for name, value in row.items()} for row in found]


def grade(model, source, target, **options):
    return bulk.grade_folder(model, source, target, **({"id": "report_id", "rows": 20, "progress": False} | options))


def test_each_row_has_its_own_answer_in_the_order_of_the_source(model, source, tmp_path):
    summary = grade(model, source, tmp_path / "out", workers=1)
    assert (summary.rows, summary.graded, summary.refused, summary.now) == (115, 112, 3, 115)
    grader, given, found = serve.load(model), reports(70) + reports(45, 70), rows_of(tmp_path / "out")
    assert [row["report_id"] for row in found] == [id for id, _, _ in given]
    kind = next(source.glob("a.*")).suffix
    places = [(f"a{kind}", str(n)) for n in range(1, 71)] + [(f"more/b{kind}", str(n)) for n in range(1, 46)]
    assert [(row["file"], row["row"]) for row in found] == places
    for row, (_, eye, text) in zip(found, given, strict=True):
        record = {
            name: "" if value is None else value for name, value in grader.record(grader.grade(text, eye)).items()
        }
        for name, value in record.items():
            same = float(row[name]) == pytest.approx(value) if isinstance(value, float) else row[name] == str(value)
            assert same, (name, row)
    assert len({row["probability"] for row in found}) > 50  # else one row's answer could stand beside another
    assert len(parts(tmp_path / "out")) == 4 + 3
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".tmp"]


def test_the_number_of_workers_changes_no_byte_and_a_second_run_nothing(model, source, tmp_path):
    grade(model, source, tmp_path / "one", workers=1)
    grade(model, source, tmp_path / "two", workers=2)
    assert parts(tmp_path / "one") == parts(tmp_path / "two")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("part-*")}
    again = grade(model, source, tmp_path / "two")
    assert (again.rows, again.graded, again.now) == (115, 112, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("part-*")}


def test_a_part_that_is_missing_or_not_whole_is_graded_again_and_no_other(model, source, tmp_path):
    grade(model, source, tmp_path / "out", workers=1)
    whole = parts(tmp_path / "out")
    first, second, third, *_ = sorted((tmp_path / "out").glob("part-*"))
    first.unlink()
    second.write_bytes(whole[second.name][: len(whole[second.name]) // 2])
    (tmp_path / "out" / f".{third.name}.1.tmp").write_bytes(b"half of it")
    third.touch()
    assert grade(model, source, tmp_path / "out", workers=1).now == 40
    assert parts(tmp_path / "out") == whole
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_rows_that_cannot_be_read_keep_their_place(model, tmp_path):
    (tmp_path / "in").mkdir()
    lines = ["report_id,eye,text", f'a,left,"{SEEN}"', "b,left", 'c,right,"no\nretinopathy"', 'd,left,"never closed']
    lines += [
        f'e,left,"{SEEN}"',
        "",
        "f,neither,no retinopathy",
        'g,left,"no ""severe"" retinopathy, in two quadrants seen"',
    ]
    (tmp_path / "in" / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for rows in (1, 2, 100):  # whatever stands at the end of a part
        summary = grade(model, tmp_path / "in", tmp_path / f"out{rows}", rows=rows, workers=1)
        found = rows_of(tmp_path / f"out{rows}")
        assert (summary.rows, summary.graded, summary.refused) == (8, 4, 4)
        assert [row["report_id"] for row in found] == ["a", "line 3", "c", "line 6", "e", "line 8", "f", "g"]
        assert [bool(row["grade"]) for row in found] == [True, False, True, False, True, False, False, True]
        notes = [row["note"] for row in found]
        assert "broken row: line 3 can't be read: The row has 2 fields" in notes[1] and "A quote opens here" in notes[3]
        assert "The line is blank" in notes[5] and 'the eye is "neither"' in notes[6]
        assert [row["row"] for row in found] == [str(n) for n in range(1, 9)]
    assert rows_of(tmp_path / "out1") == rows_of(tmp_path / "out2") == rows_of(tmp_path / "out100")


def test_missing_values_of_parquet_and_ids_of_numbers_stay_what_they_are(model, tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.table(
        {
            "key": pa.array([7, None, 2**62]),
            "text": pa.array([SEEN, None, SEEN]).dictionary_encode(),
            "eye": ["left", "left", None],
            "other": [1.5, 2.5, 3.5],
        }
    )
    parquet.write_table(table, tmp_path / "in" / "a.parquet")
    grade(model, tmp_path / "in", tmp_path / "out", id="key", workers=1)
    found = parquet.read_table(tmp_path / "out")
    assert found.schema.field("key").type == pa.int64() and found.schema.field("grade").type == pa.int64()
    assert found["key"].to_pylist() == [7, None, 2**62]
    assert found["grade"].null_count == 2 and found["note"][1].as_py().startswith("no text")
    assert "other" not in found.schema.names


def test_one_file_is_a_source_and_an_empty_table_has_no_rows(model, tmp_path):
    file = write(tmp_path / "one.csv", reports(5))
    assert grade(model, file, tmp_path / "out", workers=1).rows == 5
    empty = write(tmp_path / "none.csv", [])
    assert grade(model, empty, tmp_path / "nothing", workers=1).rows == 0


def test_names_with_a_dot_or_a_line_in_front_are_left_out(model, tmp_path):
    write(tmp_path / "in" / "a.csv", reports(3))
    write(tmp_path / "in" / "_old" / "b.csv", reports(3))
    write(tmp_path / "in" / ".c.csv", reports(3))
    assert grade(model, tmp_path / "in", tmp_path / "out", workers=1).rows == 3


# What is refused, before anything is graded.


def changed(path):
    rows = reports(70)
    rows[30] = (rows[30][0], rows[30][1], rows[30][2] + " ")
    write(path, rows)


RESTARTS = {
    "another id": (lambda source: {"id": None}, "begun with id report_id, and this is none"),
    "other parts": (lambda source: {"rows": 30}, "begun with rows 20, and this is 30"),
    "a changed file": (lambda source: changed(next(source.glob("a.*"))), "begun with another a"),
    "a file more": (lambda source: write(source / f"c{next(source.glob('a.*')).suffix}", reports(2)), "other files: c"),
    "a file less": (lambda source: next(source.glob("a.*")).unlink(), "other files: a"),
}


@pytest.mark.parametrize("restart", RESTARTS)
def test_a_restart_with_something_else_is_refused_and_loses_nothing(model, source, tmp_path, restart):
    grade(model, source, tmp_path / "out", workers=1)
    next((tmp_path / "out").glob("part-*")).unlink()
    before = parts(tmp_path / "out")
    change, message = RESTARTS[restart]
    options = change(source)
    with pytest.raises(ValueError, match=message):
        grade(model, source, tmp_path / "out", workers=1, **(options if isinstance(options, dict) else {}))
    assert parts(tmp_path / "out") == before


def test_another_model_does_not_go_on(model, source, tmp_path):
    grade(model, source, tmp_path / "out", workers=1)
    job = tmp_path / "out" / bulk.JOB
    content = json.loads(job.read_text(encoding="utf-8"))
    assert content["model"] == serve.load(model).model
    job.write_text(json.dumps(content | {"model": "another"}), encoding="utf-8")
    with pytest.raises(ValueError, match="begun with model another, and this is"):
        grade(model, source, tmp_path / "out")


MEMORY = """
import sys
from pathlib import Path
import pyarrow
from course_utils import bulk
plan = bulk.Plan(*[None] * 4, ["text"], None)
print(sum(1 for _ in bulk._parquet_rows(Path(sys.argv[1]), plan)), pyarrow.default_memory_pool().max_memory())
"""


def test_a_large_row_group_is_not_held_whole(tmp_path):
    letters = np.random.default_rng(0).integers(97, 123, (20_000, 1_000), dtype=np.uint8)
    table = pa.table({"text": [row.tobytes().decode() for row in letters]})
    parquet.write_table(table, tmp_path / "one.parquet", compression="none", use_dictionary=False)
    assert parquet.ParquetFile(tmp_path / "one.parquet").num_row_groups == 1
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "one.parquet")]
    rows, held = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert rows == 20_000 and held < 10_000_000  # bytes, of a file of 20 million


def test_the_fastest_engine_is_measured_once(model, source, tmp_path, monkeypatch):
    grade(model, source, tmp_path / "out", workers=1, engine="fastest")
    whole = parts(tmp_path / "out")
    next((tmp_path / "out").glob("part-*")).unlink()
    monkeypatch.setattr(serve.engines, "fastest", lambda *_: pytest.fail("measured again"))
    grade(model, source, tmp_path / "out", workers=1, engine="fastest")
    assert parts(tmp_path / "out") == whole


def test_a_damaged_job_file_is_refused(model, source, tmp_path):
    (tmp_path / "out").mkdir()
    for content in ("", "{", "[]", "{}", '{"files": [{"name": "a"}]}', '{"files": 3}', "\x00"):
        (tmp_path / "out" / bulk.JOB).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match="is damaged"):
            grade(model, source, tmp_path / "out")


@pytest.mark.parametrize("name", ["notes.txt", "part-000000.csv"])
def test_a_target_that_holds_something_else_is_left_as_it_is(model, source, tmp_path, name):
    write(tmp_path / "out" / "x.csv", []).rename(tmp_path / "out" / name)
    with pytest.raises(ValueError, match=f"is not empty: it holds {name}"):
        grade(model, source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("inside", ["", "graded"])
def test_answers_are_not_written_among_the_reports(model, source, inside):
    with pytest.raises(ValueError, match="answers would be read as reports"):
        grade(model, source, source / inside)


def other_ids(folder):
    parquet.write_table(pa.table({"report_id": [1.5], "eye": ["left"], "text": ["no"]}), folder / "a.parquet")


def two_kinds_of_ids(folder):
    write(folder / "a.parquet", reports(2))
    parquet.write_table(pa.table({"report_id": [1], "eye": ["left"], "text": ["no"]}), folder / "b.parquet")


REFUSED = {
    "none": (lambda folder: None, "There is no .csv and no .parquet file"),
    "both": (lambda folder: [write(folder / f"a.{kind}", reports(2)) for kind in KINDS], "both CSV and Parquet"),
    "no id": (lambda folder: (folder / "a.csv").write_text("eye,text\nleft,no\n"), "a.csv needs the column report_id"),
    "no text": (
        lambda folder: parquet.write_table(pa.table({"report_id": [1], "eye": ["left"]}), folder / "a.parquet"),
        "a.parquet needs the column text, once; it has: report_id, eye",
    ),
    "text of numbers": (
        lambda folder: parquet.write_table(
            pa.table({"report_id": [1], "eye": ["left"], "text": [3]}), folder / "a.parquet"
        ),
        "The column text of a.parquet is int64",
    ),
    "broken": (lambda folder: (folder / "a.parquet").write_bytes(b"PAR1 and so on"), "no Parquet file, or was cut"),
    "empty": (lambda folder: (folder / "a.csv").write_bytes(b""), "The file is empty"),
    "ids": (other_ids, "The column report_id of a.parquet is double. Make the id text or whole numbers"),
    "two ids": (two_kinds_of_ids, "is string in a.parquet and int64 in b.parquet"),
    "name": (lambda folder: write(folder / "a\n.csv", reports(2)), "has signs that can't be printed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_source_that_cannot_be_used_is_refused_before_anything_is_graded(model, tmp_path, case):
    make, message = REFUSED[case]
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        grade(model, tmp_path / "in", tmp_path / "out")
    assert not parts(tmp_path / "out") if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("id", ["text", "eye", "row", "grade", "note"])
def test_an_id_that_has_another_columns_name_is_refused(model, source, tmp_path, id):
    with pytest.raises(ValueError, match=f"{id} can't be the id"):
        grade(model, source, tmp_path / "out", id=id)


def test_a_file_that_changes_while_it_is_read_stops_the_job(model, source, tmp_path, monkeypatch):
    file = next(source.glob("a.*"))
    in_workers = bulk._in_workers

    def change(*arguments):
        write(file, reports(70))
        os.utime(file, ns=(1, 1))
        return in_workers(*arguments)

    monkeypatch.setattr(bulk, "_in_workers", change)
    with pytest.raises(ValueError, match="changed after the run began"):
        grade(model, source, tmp_path / "out", workers=1)
    assert not parts(tmp_path / "out")


def test_a_second_run_at_the_same_time_is_refused(model, source, tmp_path):
    (tmp_path / "out").mkdir()
    with bulk.FileLock(tmp_path / "out" / bulk.LOCK), pytest.raises(ValueError, match="Another run is writing"):
        grade(model, source, tmp_path / "out")


def test_few_parts_are_in_hand_however_long_the_source_is(model, tmp_path, monkeypatch):
    source, taken, most = write(tmp_path / "in" / "a.csv", reports(200)), [0], []
    missing, in_workers = bulk._missing, bulk._in_workers

    def counted(*arguments):
        for part in missing(*arguments):
            taken[0] += 1
            yield part

    def watched(work, parts_, workers):
        for written, done in enumerate(in_workers(work, parts_, workers)):
            most.append(taken[0] - written)
            yield done

    monkeypatch.setattr(bulk, "_missing", counted)
    monkeypatch.setattr(bulk, "_in_workers", watched)
    grade(model, source.parent, tmp_path / "out", rows=5, workers=1)
    assert taken[0] == 40 and max(most) <= bulk.AHEAD + 1


def test_the_command_line_grades_a_folder_and_counts(model, tmp_path, capsys):
    write(tmp_path / "in" / "a.csv", reports(60))
    command = [str(model), str(tmp_path / "in"), "--to", str(tmp_path / "out"), "--id", "report_id"]
    assert serve.main(command) == 1  # some have no text
    assert "60 rows: 58 graded, 2 without a grade" in capsys.readouterr().err
    assert [row["report_id"] for row in rows_of(tmp_path / "out")] == [id for id, _, _ in reports(60)]
    assert serve.main([*command[:-1], "grade"]) == 2
    assert "grade can't be the id" in capsys.readouterr().err


def test_ctrl_c_on_the_command_line_is_a_sentence(model, tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt(f"Stopped. {bulk.GO_ON}")

    monkeypatch.setattr(bulk, "grade_folder", stopped)
    assert serve.main([str(model), str(tmp_path), "--to", str(tmp_path / "out")]) == 130
    assert bulk.GO_ON in capsys.readouterr().err


# Real kills.


def start(model, source, target, rows=100, patch="pass", tmp=None, **more):
    """Begin a job in a process of its own, as a user would."""
    script = tmp / "job.py"
    script.write_text(JOB.format(patch=patch, rows=rows), encoding="utf-8")
    command = [sys.executable, str(script), str(model), str(source), str(target)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def workers_of(process):
    """The worker processes of a job that runs."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def wait_for_parts(process, target, more):
    """Wait until a job has written so many more parts, or has ended."""
    least = len(list(target.glob("part-*"))) + more
    while process.poll() is None and len(list(target.glob("part-*"))) < least:
        time.sleep(0.002)


@pytest.fixture(scope="module", params=KINDS)
def long_job(request, model, tmp_path_factory):
    """A folder of several thousand rows, and the answers of a job that nobody stopped."""
    folder = tmp_path_factory.mktemp("long")
    for k in range(3):
        write(folder / "in" / f"{k}.{request.param}", reports(MANY // 3, k * MANY // 3))
    bulk.grade_folder(model, folder / "in", folder / "expected", id="report_id", rows=100, workers=2, progress=False)
    return folder / "in", parts(folder / "expected")


def check_whole(target, expected):
    assert parts(target) == expected
    found = rows_of(target)
    assert [row["report_id"] for row in found] == [f"r{k:06}" for k in range(MANY)]


@killed
@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_loses_and_doubles_nothing(model, long_job, tmp_path):
    source, expected = long_job
    target, rng, stopped = tmp_path / "out", random.Random(len(source.name)), 0
    target.mkdir()
    for more in (0, 1, 3, 7, 12):
        process = start(model, source, target, tmp=tmp_path)
        wait_for_parts(process, target, more)
        time.sleep(rng.random() * 0.3)
        orphans = workers_of(process)
        process.kill()
        process.communicate()
        stopped += process.returncode == -signal.SIGKILL
        assert all(path.read_bytes() == expected[path.name] for path in target.glob("part-*"))
        _, alive = psutil.wait_procs(orphans, timeout=60)
        assert not alive, "workers outlive a parent that was killed"
    assert stopped >= 4
    process = start(model, source, target, tmp=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith(f"{MANY:,} rows, ") and "by earlier runs" in out
    check_whole(target, expected)


@killed
@pytest.mark.slow
def test_a_killed_worker_ends_the_job_with_a_sentence_and_it_goes_on(model, long_job, tmp_path):
    source, expected = long_job
    target = tmp_path / "out"
    target.mkdir()
    for victim in (0, 1):
        process = start(model, source, target, tmp=tmp_path)
        wait_for_parts(process, target, 3)
        workers = workers_of(process)
        workers[victim].kill()
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1 and "A worker process was killed" in err and bulk.GO_ON in err
        assert "Traceback" not in err
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
    process = start(model, source, target, tmp=tmp_path)
    assert process.communicate()[0] and process.returncode == 0
    check_whole(target, expected)


@killed
@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_the_job_goes_on(model, long_job, tmp_path):
    source, expected = long_job
    target = tmp_path / "out"
    target.mkdir()
    process = start(model, source, target, tmp=tmp_path, start_new_session=True)
    wait_for_parts(process, target, 3)
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the parent and to the workers
    _, err = process.communicate(timeout=120)
    assert process.returncode and "KeyboardInterrupt" in err and bulk.GO_ON in err
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive and err.count("Traceback") == 1  # the parent's: the workers say nothing
    process = start(model, source, target, tmp=tmp_path)
    assert process.communicate()[0] and process.returncode == 0
    check_whole(target, expected)


AT = {  # kills itself at that moment
    "before the job file is on the disk": "bulk.os.fsync = lambda file: bulk.os.kill(bulk.os.getpid(), 9)",
    "before the job file has its name": "bulk.os.replace = lambda a, b: bulk.os.kill(bulk.os.getpid(), 9)",
    "after the job file has its name": "bulk.paths.sync_folder = lambda folder: bulk.os.kill(bulk.os.getpid(), 9)",
}


@killed
@pytest.mark.slow
@pytest.mark.parametrize("moment", AT)
def test_a_kill_while_the_job_file_is_written(model, source, tmp_path, moment):
    process = start(model, source, tmp_path / "out", rows=20, patch=AT[moment], tmp=tmp_path)
    assert process.wait() == -signal.SIGKILL and not parts(tmp_path / "out")
    process.communicate()
    assert [path for path in (tmp_path / "out").iterdir() if path.name != bulk.LOCK]  # it was killed in the middle
    grade(model, source, tmp_path / "out", workers=1)
    grade(model, source, tmp_path / "expected", workers=1)
    assert parts(tmp_path / "out") == parts(tmp_path / "expected")
    assert not list((tmp_path / "out").glob(".*.tmp"))


@killed
@pytest.mark.slow
@pytest.mark.parametrize("most", [100, 5_000])  # too little for the job file, and for a part
def test_a_disk_that_is_full_is_a_sentence_and_the_job_goes_on(model, source, tmp_path, most):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))"
    process = start(model, source, tmp_path / "out", rows=70, patch=limit, tmp=tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in err
    assert "can't be written: File too large. Make room." in err and bulk.GO_ON in err
    left = parts(tmp_path / "out")
    assert len(left) < 2
    grade(model, source, tmp_path / "out", rows=70, workers=1)
    grade(model, source, tmp_path / "expected", rows=70, workers=1)
    assert not list((tmp_path / "out").glob(".*.tmp"))
    assert left.items() <= parts(tmp_path / "expected").items()
    assert parts(tmp_path / "out") == parts(tmp_path / "expected")


# Ray, and the measurements.


def test_ray_asks_the_same_grader(model):
    given = reports(60)
    table = pa.table(dict(zip(("report_id", "eye", "text"), map(list, zip(*given, strict=True)), strict=True)))
    found, grader = bulk.OnRay(str(model), "report_id")(table), serve.load(model)
    assert found["report_id"].to_pylist() == [id for id, _, _ in given]
    assert found["grade"].to_pylist() == [grader.grade(text, eye).grade for _, eye, text in given]
    assert found.schema.names == bulk.columns(grader, "report_id")[2:]


@pytest.mark.slow
def test_ray_gives_the_same_answers(model, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    write(tmp_path / "in" / "a.parquet", reports(300))
    grade(model, tmp_path / "in", tmp_path / "out", workers=1)
    bulk.with_ray(model, tmp_path / "in", tmp_path / "ray", id="report_id", workers=1)
    ours, rays = (parquet.read_table(tmp_path / name).sort_by("report_id") for name in ("out", "ray"))
    assert rays.equals(ours.drop_columns(["file", "row"]))


@pytest.mark.slow
def test_the_measurement_grades_all_reports_each_way_and_ships_it(model, monkeypatch):
    shipped = {}
    monkeypatch.setattr(measurement, "grader", lambda folder: model)
    monkeypatch.setattr(measurement, "ways", lambda: {("bulk", 1): {}, ("bulk", 2): {}})
    monkeypatch.setattr(measurement, "BEAT", 0.05)
    monkeypatch.setattr(measurement.runs, "kept", lambda name, settings, make: settings | make())
    monkeypatch.setattr(measurement.results, "ship", lambda name, **content: shipped.update(content))
    measurement.main(400)
    assert [(run["how"], run["workers"], run["reports"]) for run in shipped["runs"]] == [
        ("bulk", 1, 400),
        ("bulk", 2, 400),
    ]
    for run in shipped["runs"]:
        assert run["rows_a_second"] == pytest.approx(400 / run["seconds"], rel=0.1)
        assert run["hours_of_ten_million"] == pytest.approx(1e7 / 400 * run["seconds"] / 3600, rel=0.1)
        assert len(run["mb_by_quarter"]) == 4 and 50 < max(run["mb_by_quarter"]) <= run["mb_most"]
        assert run["processor_seconds"] > 0.1
