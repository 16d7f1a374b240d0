"""A session starts the same each time, forbids the network, and tells its time in one fixed line."""

import os
import random
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_utils import machine, models, session

LINE = re.compile(
    r"Time: ([\d.]+) s of processor time, of 60 s; ([\d.]+) s by the clock; peak memory: \d+ MB of 2000 MB\n"
)


def fresh(code, **variables):
    """Run code in a new Python, and return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COURSE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean | variables, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_start_seeds_everything():
    def draws():
        session.start(seed=5, threads=torch.get_num_threads())
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draws() == draws()


def test_a_start_sets_the_threads(monkeypatch):
    monkeypatch.delenv("COURSE_THREADS", raising=False)
    before = torch.get_num_threads()
    session.start(threads=1)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_variable_overrides_the_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("COURSE_THREADS", "1")
    session.start(threads=2)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_network_is_forbidden_whatever_was_imported_before_unless_the_hub_is_wanted():
    code = (
        "import os, datasets, huggingface_hub; from course_utils import session; session.start(threads=1); "
        "print(huggingface_hub.is_offline_mode()); os.environ.pop('COURSE_MODELS'); session.start(threads=1); "
        "print(huggingface_hub.is_offline_mode(), datasets.config.HF_HUB_OFFLINE, os.environ['HF_HUB_OFFLINE'])"
    )
    assert fresh(code, COURSE_MODELS="hub") == "False\nTrue True 1"


def test_the_timing_line_has_its_fixed_form(capsys):
    session.start(threads=torch.get_num_threads()).report(budget_s=60, budget_mb=2000)
    assert LINE.fullmatch(capsys.readouterr().out)


def test_the_line_tells_processor_time_from_the_clock(capsys, monkeypatch):
    monkeypatch.setattr(session.time, "perf_counter", lambda: 100.0)
    monkeypatch.setattr(session.os, "times", lambda: (3.0, 1.0, 2.0, 0.5, 999.0))  # ours, our children's, the clock
    session.Clock(started=40.0, started_cpu=1.5).report(budget_s=60, budget_mb=2000)
    assert LINE.fullmatch(capsys.readouterr().out).groups() == ("5.0", "60.0")


def test_the_clock_starts_with_the_session():
    clock = session.start(threads=torch.get_num_threads())
    assert 0 <= clock.seconds() <= clock.seconds() and 0 <= clock.cpu_seconds() <= clock.cpu_seconds()


def test_peak_memory_is_never_less_than_what_is_held():
    before = machine.peak_mb()
    held = np.ones(400 * 2**17)  # 400 MB
    grown = machine.peak_mb()
    assert grown >= held.nbytes / 2**20 - 1
    del held
    assert machine.peak_mb() >= max(before, grown) - 1  # the system counts in pages, and a little late


def test_peak_memory_is_in_megabytes_of_2_to_the_20(monkeypatch):
    said = "VmPeak:\t 9999 kB\nVmHWM:\t 2560 kB\nVmRSS:\t 1024 kB\n"  # as Linux writes it
    monkeypatch.setattr(machine, "Path", lambda _: SimpleNamespace(exists=lambda: True, read_text=lambda: said))
    assert machine.peak_mb() == 2.5


def test_warnings_of_the_libraries_are_silent_and_others_are_heard():
    with warnings.catch_warnings(record=True) as heard:
        session.quiet()
        warnings.warn_explicit("noise", UserWarning, "a/path.py", 1, module="torch.nn.modules")
        warnings.warn_explicit("signal", UserWarning, "a/path.py", 1, module="sklearn.linear_model")
        warnings.warn_explicit("signal", UserWarning, "a/path.py", 2, module="torchless")
    assert [str(warning.message) for warning in heard] == ["signal", "signal"]


def test_the_machine_is_checked_in_rows():
    rows = machine.check()
    assert [what for what, _, _ in rows][:2] == ["Python", "processor cores"]
    assert all(len(row) == 3 and all(isinstance(cell, str) and cell for cell in row) for row in rows)


def test_what_is_missing_gets_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.setattr(machine.sys, "version_info", (3, 10))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(machine, "NEEDED_GB", 10**9)
    needs = ["numpy>=1", 'torch<1; extra == "course"', 'no-such-library; extra == "course"', 'none; extra == "lab"']
    monkeypatch.setattr(machine.metadata, "requires", lambda name: needs)
    verdicts = {what: verdict for what, _, verdict in machine.check()}
    assert "Install Python 3.11" in verdicts["Python"]
    assert verdicts["processor cores"] == "The course runs, one notebook at a time."
    assert "Close programs" in verdicts["free memory"] and "Make room" in verdicts["free disk"]
    assert re.match(r"torch .* is outside <1\. no-such-library is missing\. Delete", verdicts["libraries"])
    assert "make data" in verdicts["reports"] and "make bases" in verdicts["base models"]


def test_what_is_there_is_ok(monkeypatch, tmp_path):
    (tmp_path / "dr_reports.csv").touch()
    for name in models.HUB:
        (tmp_path / "bases" / name).mkdir(parents=True)
        (tmp_path / "bases" / name / "model.safetensors").touch()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    verdicts = {what: verdict for what, _, verdict in machine.check()}
    assert {verdicts[what] for what in ("Python", "libraries", "reports", "base models", "GPU")} == {"ok"}
