"""A log's lines are whole, chained and on the disk, and what was changed in it is noticed."""

import json
import subprocess
import sys

import pytest

from course_utils import logbook


@pytest.fixture
def file(tmp_path):
    for i in range(4):
        logbook.append(tmp_path / "log.jsonl", what="step", i=i, name="北京 \u2028 \udc80\n")
    return tmp_path / "log.jsonl"


def test_a_log_reads_back_as_it_was_written(file):
    head = logbook.append(file, what="last")
    found = logbook.read(file, head)
    assert found.faults == [] and [line["n"] for line in found.lines] == [1, 2, 3, 4, 5]
    assert found.hashes[-1] == head and found.lines[0]["before"] == logbook.FIRST
    assert [line["before"] for line in found.lines[1:]] == found.hashes[:-1]
    assert found.lines[2]["name"] == "北京 \u2028 \udc80\n"
    assert logbook.read(file.with_name("none.jsonl")) == ([], [], [])


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda lines: [lines[0].replace(b'"i": 0', b'"i": 9'), *lines[1:]], "line 2 of the log does not follow"),
        (lambda lines: lines[1:], "line 1 of the log does not follow"),
        (lambda lines: [lines[0], *lines], "line 2 of the log does not follow"),
        (lambda lines: [*lines[:2], b"[]\n", *lines[3:]], "line 3 of the log is no line of it"),
        (lambda lines: lines[:-1], "the end of the log"),
        (lambda lines: [], "the end of the log"),
    ],
)
def test_what_was_changed_is_noticed(file, break_it, said):
    head = logbook.append(file, what="last")
    file.write_bytes(b"".join(break_it(file.read_bytes().splitlines(keepends=True))))
    assert any(said in fault for fault in logbook.read(file, head).faults)


def test_a_line_that_a_crash_cut_short_is_cut_off_and_the_next_says_so(file):
    head = logbook.read(file).hashes[-1]
    with file.open("ab") as out:
        out.write(b'{"n": 5, "what": "half a li')
    assert logbook.read(file, head).faults == [] and len(logbook.read(file).lines) == 4
    logbook.append(file, what="next")
    found = logbook.read(file, head)
    assert found.faults == [] and found.lines[-1]["cut_off"].endswith("half a li") and found.lines[-1]["n"] == 5


MANY = "import sys; from course_utils import logbook; [logbook.append(sys.argv[1], what='x') for _ in range(20)]"


@pytest.mark.slow
def test_processes_that_write_at_once_lose_no_line(tmp_path):
    children = [subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path / "log.jsonl")]) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    found = logbook.read(tmp_path / "log.jsonl")
    assert found.faults == [] and len(found.lines) == 80


def test_a_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    synced = []
    real = logbook.os.fsync
    monkeypatch.setattr(logbook.os, "fsync", lambda handle: synced.append(handle) or real(handle))
    logbook.append(tmp_path / "log.jsonl", what="x")
    assert synced
    assert json.loads((tmp_path / "log.jsonl").read_text())["what"] == "x"
