"""The runner behind `make course`, on notebooks of a few lines."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import psutil
import pytest

from course_utils import paths, results
from course_utils.authoring import doors, render, run
from course_utils.experiments.lessons import LESSONS

HELLO = """# Say *hello*

It greets you. Then it ends.

$$x^2$$ and [the next](01_fail.ipynb)"""


def write(path, opening, *sources):
    cells = [nbformat.v4.new_markdown_cell(opening, id="title")]
    cells += [nbformat.v4.new_code_cell(source, id=f"step-{i}") for i, source in enumerate(sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A course of three notebooks, the second of which fails."""
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(doors, "home", lambda: "")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COURSE_THREADS", "1")
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(run, "OUT", tmp_path / "build" / "course")
    talk = "import sys\nprint('one')\nprint('50%', file=sys.stderr)\nprint('two')"
    write(tmp_path / "notebooks/00_hello.ipynb", HELLO, talk, "import os\nos.path.basename(os.getcwd())")
    write(tmp_path / "notebooks/01_fail.ipynb", "# Fail", "1", "raise ValueError('no\\nway')")
    write(tmp_path / "notebooks/02_go_on.ipynb", "# Go on", "print('still here')")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/article.md").write_text("<!-- ledger:start -->\n<!-- ledger:end -->\n")
    return tmp_path


def contents(place):
    return {path.name: path.read_bytes() for path in (place / "notebooks").iterdir()}


@pytest.mark.slow
def test_the_course_goes_on_after_a_failure_and_says_so(place, capsys):
    before = contents(place)
    assert run.main(["--jobs", "1"]) == 1
    said = capsys.readouterr()
    first, *lines = said.out.splitlines()
    assert first == "3 notebooks, one after the other."
    assert re.fullmatch(r"00_hello +\d+\.\d s +\d+\.\d s of processor +\d+ MB  ok", lines[0])
    assert lines[1].endswith("FAILED in cell 3 (id step-1): ValueError: no way")
    assert lines[2].endswith("ok")
    assert "build/course/index.html" in said.out
    assert "1 of 3 notebooks failed: 01_fail.ipynb" in said.err
    assert contents(place) == before
    check_pages(place / "build/course")


def check_pages(out):
    timings = json.loads((out / "timings.json").read_text())
    assert [timing["ok"] for timing in timings.values()] == [True, False, True]
    assert all(timing["peak_mb"] > 10 and timing["seconds"] >= 0 for timing in timings.values())
    hello, index = (out / "00_hello.html").read_text(), (out / "index.html").read_text()
    assert "<math" in hello and 'href="01_fail.html"' in hello and "two" in hello
    printed = re.findall(r'<pre class="printed">(.*?)</pre>', hello, re.DOTALL)
    assert "one" in printed[0] and not any("50%" in text for text in printed)
    assert "was run on this machine" in hello
    assert "Say hello" in index and "It greets you." in index and "Then it ends" not in index
    assert index.count(">failed</strong>") == 1


@pytest.mark.slow
def test_storing_twice_changes_nothing_and_a_failed_notebook_is_left_alone(place):
    before = contents(place)
    assert run.main(["--store"]) == 1
    first = contents(place)
    assert first["01_fail.ipynb"] == before["01_fail.ipynb"]
    stored = nbformat.read(place / "notebooks/00_hello.ipynb", as_version=4)
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]
    assert [output.text for output in stored.cells[1].outputs] == ["one\ntwo\n"]
    assert stored.cells[2].outputs[0].data["text/plain"] == "'notebooks'"
    assert run.main(["--store"]) == 1
    assert contents(place) == first


@pytest.mark.slow
def test_two_at_a_time_give_the_same_pages_and_each_its_own_cost(place, capsys):
    busy = "import time\nheld = b'x' * (300 * 2**20)\nbegan = time.process_time()\nwhile time.process_time() < began + 1.5: pass"
    write(place / "notebooks/03_busy.ipynb", "# Busy", busy)
    write(place / "notebooks/04_idle.ipynb", "# Idle", "import time\ntime.sleep(1.5)")
    assert run.main(["--jobs", "2"]) == 1
    assert "5 notebooks, two at a time." in capsys.readouterr().out
    timings = json.loads((place / "build/course/timings.json").read_text())
    assert timings["03_busy"]["peak_mb"] > timings["04_idle"]["peak_mb"] + 250
    assert timings["03_busy"]["cpu_seconds"] > timings["04_idle"]["cpu_seconds"] + 0.5
    assert timings["03_busy"]["cells"]["step-0"] > 1.3 > timings["04_idle"]["cells"]["step-0"]
    pages = {page.name for page in (place / "build/course").glob("*.html")}
    assert pages >= {f"{path.stem}.html" for path in run.chapters()} | {"index.html"}


@pytest.mark.slow
def test_the_course_begins_where_it_is_told_to_and_keeps_the_pages_before(place, capsys):
    run.main(["--jobs", "1"])
    assert run.main(["--jobs", "1", "--from", "2"]) == 0
    assert "1 notebook." in capsys.readouterr().out
    check_pages(place / "build/course")
    assert run.main(["--from", "7"]) == 1
    assert "There is no notebook 7 or later: the last is 02." in capsys.readouterr().err


@pytest.mark.slow
def test_what_does_not_run_on_real_checkpoints_is_left_out_with_a_sentence(place, monkeypatch, capsys):
    monkeypatch.setattr(run, "NOT_ON_REAL", {"01": "it fails on them"})
    monkeypatch.setenv("COURSE_MODELS", "real")
    assert run.main(["--jobs", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"{'01_fail':<34}left out: it fails on them.", "2 notebooks, one after the other."]
    assert [line.split()[0] for line in said[2:4]] == ["00_hello", "02_go_on"]
    pages = {page.name for page in (place / "build/course").glob("*.html")}
    assert "01_fail.html" in pages  # as it is stored
    monkeypatch.setattr(run, "NOT_ON_REAL", dict.fromkeys(("00", "01", "02"), "no"))
    assert run.main([]) == 0 and "0 notebooks" in capsys.readouterr().out


def test_a_cell_may_take_longer_on_other_base_models(monkeypatch):
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    assert run.cell_timeout() == run.CELL_TIMEOUT_S < run.OTHERS_S
    monkeypatch.setenv("COURSE_MODELS", "real")
    assert run.cell_timeout() == run.OTHERS_S and f"{run.OTHERS_S} s" in run.describe(ValueError("too long"))
    assert not run.left_out(Path("99_new.ipynb")) and run.left_out(Path("04_tune_a_prompt.ipynb"))
    monkeypatch.setenv("COURSE_MODELS", "hub")
    assert not run.left_out(Path("04_tune_a_prompt.ipynb"))


@pytest.mark.slow
def test_a_kernel_that_is_killed_is_one_line_and_the_next_notebook_runs(place, capsys):
    killed = (
        "held = bytearray(400 * 2**20)\nimport os, signal, time\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    write(place / "notebooks/01_fail.ipynb", "# Killed", "1", killed)
    assert run.main(["--jobs", "1"]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 6 and lines[3].endswith("ok")
    death = re.search(
        r"FAILED in cell 3 \(id step-1\): the kernel died: ([\d,]+) MB were in use at its last cell; close", lines[2]
    )
    assert death and int(death[1].replace(",", "")) > 400
    assert said.err == "1 of 3 notebooks failed: 01_fail.ipynb.\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_at_once_with_the_table_so_far_and_leaves_no_process(place, number):
    child = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])\ntime.sleep(99)"
    write(place / "notebooks/01_fail.ipynb", "# Long", child)
    program = f"""
import os, pathlib, signal, sys
from course_utils import paths
from course_utils.authoring import run
here = pathlib.Path({str(place)!r})
run.ROOT, run.NOTEBOOKS, run.OUT, paths.BUILD = here, here / "notebooks", here / "build" / "course", here / "build"
signal.signal(signal.SIGTERM, run.interrupt)
signal.signal(signal.SIGINT, signal.default_int_handler)
run.leave(run.main(["--jobs", "1"]))
"""
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    parent = psutil.Process(started.pid)
    for _ in range(600):  # until the notebook's own child is there
        family = parent.children(recursive=True)
        if len(family) >= 2 and any("time.sleep(99)" in " ".join(one.cmdline()) for one in family):
            break
        time.sleep(0.1)
    os.kill(started.pid, number)
    out, err = started.communicate(timeout=60)
    assert started.returncode == run.STOPPED
    assert re.search(r"^00_hello .* ok$", out, re.MULTILINE) and "index.html" in out
    assert err == "Stopped: 1 of 3 notebooks were done. Go on with `make course FROM=01`.\n"
    gone, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


@pytest.mark.slow
def test_what_a_run_records_is_shipped_when_it_is_stored_and_not_before(place):
    record = "from course_utils import results\nresults.ledger('02_go_on', 'C1', 'said', 'measured', 'verdict')"
    write(
        place / "notebooks/02_go_on.ipynb",
        "# Go on",
        f"import course_utils.paths as p, pathlib\np.BUILD = pathlib.Path({str(place / 'build')!r})\n{record}",
    )
    assert run.main(["--jobs", "1", "--from", "02"]) == 0
    assert not (place / "data").exists()
    assert run.main(["--store", str(place / "notebooks/02_go_on.ipynb")]) == 0
    assert results.shipped("02_go_on")["ledger"][0]["id"] == "C1"
    assert "| C1 | said | 1 | measured | verdict | [02]" in (place / "docs/article.md").read_text()


def test_the_site_of_what_is_stored_executes_nothing(place):
    assert run.main(["--site"]) == 0
    page = (place / "build/site/02_go_on.html").read_text()
    assert "still here" in page and '<pre class="printed">' not in page and "as the course ships it" in page
    assert not (place / "build/course").exists()


def test_no_notebook_is_an_error_that_says_where(place, capsys):
    for path in (place / "notebooks").iterdir():
        path.unlink()
    assert run.main([]) == 1
    assert "whole copy" in capsys.readouterr().err


def test_the_readme_table_lists_title_and_cost(place):
    timings = {"00_hello": {"cpu_seconds": 11.2, "seconds": 12.3, "peak_mb": 456, "ok": True}}
    table = render.notebook_table(run.read_all(run.chapters()), timings).splitlines()
    assert table[2] == "| **1 Methods** | | | |"
    assert table[3] == "| [00 Say hello](notebooks/00_hello.ipynb) | 2 | 11 | 456 |"  # one to read, one to run
    assert table[4] == "| [01 Fail](notebooks/01_fail.ipynb) | – | – | – |"


def test_the_readme_says_of_each_finding_what_the_lessons_say():
    assert set(render.FINDINGS) <= {lesson.says for lesson in LESSONS}
    bases = [
        {"base": "a", "difference": [0.0312, -0.001, 0.0704], "verdict": "can't tell"},
        {"base": "b", "difference": [-0.2, -0.25, -0.15], "verdict": "does not hold"},
    ]
    lessons = [{"lesson": says, "bases": bases, "holds": 0, "of": 2} for says in render.FINDINGS]
    line = render.findings(lessons).splitlines()[0]
    assert line == (
        f"- **{render.FINDINGS[0]}**: holds on 0 of 2 bases. "
        "a can't tell, +0.031 [-0.001, +0.070]; b does not hold, -0.200 [-0.250, -0.150]."
    )
    with pytest.raises(ValueError, match="results-lessons"):
        render.findings(lessons[1:])


@pytest.mark.parametrize(
    ("number", "part"), [("06", "1 Methods"), ("07", "2 Case study"), ("13", "3 P"), ("14", "4 B")]
)
def test_a_notebook_is_in_the_part_of_its_number(number, part):
    assert render.part(Path(f"{number}_some.ipynb")).startswith(part)


def test_a_generated_part_is_replaced_and_nothing_else():
    text = "a\n<!-- results:start -->\nold\n<!-- results:end -->\nb\n"
    once = render.replace_between(text, "results", "new")
    assert once == "a\n<!-- results:start -->\nnew\n<!-- results:end -->\nb\n"
    assert render.replace_between(once, "results", "new") == once
    with pytest.raises(ValueError, match="notebooks:start"):
        render.replace_between(text, "notebooks", "new")


def test_plain_text_of_markdown():
    assert render.plain("**Set** the `bar` of [all](x.md), snake_case too") == "Set the bar of all, snake_case too"


def test_a_cell_may_take_as_long_in_make_test_as_in_make_course():
    options = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"][
        "ini_options"
    ]
    assert f"--nbval-cell-timeout={run.CELL_TIMEOUT_S}" in options["addopts"].split()


@pytest.mark.slow
def test_a_cell_counts_as_done_when_its_answer_is_there(tmp_path):
    write(tmp_path / "00_slow.ipynb", "# Slow", "import time\ntime.sleep(2)", "1")
    seen = []
    run.execute(
        tmp_path / "00_slow.ipynb",
        first="1",
        cell_done=lambda done, of: seen.append((done, of, time.perf_counter())),
    )
    (first, _, begun), (slow, _, answered), (last, of, ended) = seen
    assert (first, slow, last) == (0, 2, of) and answered - begun >= 2 > ended - answered
