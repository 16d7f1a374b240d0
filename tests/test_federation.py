"""The run in a framework: what is read of its log, how far its weights lie from the loop by hand, and that it has no network."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from course_utils import paths
from course_utils.experiments import federation

LOG = """2026-11-30 08:08:43,305 - INFO - 
================================================================================
                                 Start FedAvg.                                  
================================================================================
2026-11-30 08:08:43,332 - INFO - Loading model from source checkpoint: first.npy
--------------------------------------------------------------------------------
                                Round 0 started.                                
--------------------------------------------------------------------------------
2026-11-30 08:10:33,265 - INFO - Aggregated 1/3 results
2026-11-30 08:11:06,765 - WARNING - validation metric not existing in harbour
                                Finished FedAvg.                                
"""  # noqa: W291


def can_be_alone():
    command = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True).returncode


needs_namespaces = pytest.mark.skipif(not can_be_alone(), reason="this system makes no namespaces for its users")


def test_of_a_log_the_rounds_are_read():
    assert federation.readable(LOG) == ["Start FedAvg", "Round 0 started", "Aggregated 1/3 results", "Finished FedAvg"]


def test_the_distance_is_a_share_of_what_training_changed():
    first, wanted = np.zeros(2), np.array([3.0, 4.0])
    assert federation.apart(wanted, first, wanted) == 0
    assert federation.apart(np.array([3.0, 4.5]), first, wanted) == pytest.approx(0.1)


@needs_namespaces
def test_a_command_is_alone_in_its_network_and_what_it_starts_ends_with_it(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    program = "import socket, subprocess, sys; print([name for _, name in socket.if_nameindex()]); "
    program += "subprocess.Popen(['sleep', '987.6'])"
    assert federation.alone_in_a_network([sys.executable, "-c", program]).stdout == "['lo']\n"
    running = [one.read_bytes() for one in paths.Path("/proc").glob("[0-9]*/cmdline") if one.exists()]
    assert not [one for one in running if one == b"sleep\0987.6\0"]


def test_without_namespaces_the_mend_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    refused = subprocess.CompletedProcess([], 1, "", "unshare: unshare failed: Operation not permitted\n")
    with monkeypatch.context() as changed:
        changed.setattr(federation.shutil, "which", lambda name: "/usr/bin/unshare")
        changed.setattr(federation.subprocess, "run", lambda *_, **__: refused)
        with pytest.raises(RuntimeError, match=r"Operation not permitted\nA network of its own needs Linux"):
            federation.alone_in_a_network(["true"])
        changed.setattr(federation.shutil, "which", lambda name: None)
        with pytest.raises(RuntimeError, match=r"no `unshare` here. .*job\.py"):
            federation.alone_in_a_network(["true"])


@needs_namespaces
def test_a_command_that_fails_says_its_last_lines(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    with pytest.raises(RuntimeError, match="no such job"):
        federation.alone_in_a_network([sys.executable, "-c", "raise SystemExit('no such job')"])
