"""A tracked run stays on this machine, the watch sees connections, and a run is read back from its file alone."""

import os
import socket
import time
from types import SimpleNamespace

import pytest

from course_utils import tracking

os.environ |= tracking.SILENT  # before a test imports MLflow


def address(ip):
    return SimpleNamespace(raddr=SimpleNamespace(ip=ip))


def looks_until(seen):
    """Wait for what the watch will see, however slow the machine is, and return it; give up after some thousand looks."""
    for _ in range(3000):
        if seen():
            break
        time.sleep(tracking.EVERY)
    return seen()


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ


def test_the_watch_sees_a_connection_and_knows_that_it_is_ours():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        tracking.Watch() as watch,
    ):
        assert looks_until(lambda: watch.remote)
    assert watch.remote == {"127.0.0.1"} and watch.elsewhere() == []


def test_the_watch_reports_every_other_machine(monkeypatch):
    open_ones = [address(ip) for ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.7", "2001:db8::1")]
    process = SimpleNamespace(net_connections=lambda kind: open_ones, name=lambda: "program")
    monkeypatch.setattr(tracking, "_family", lambda me: [process])
    with tracking.Watch() as watch:
        assert looks_until(lambda: watch.programs)
    assert watch.elsewhere() == ["192.0.2.7", "2001:db8::1"]
    assert watch.programs == {"program"}


def test_the_watch_outlives_a_process_that_ends(monkeypatch):
    asked = []

    def ended(kind):
        asked.append(kind)
        raise tracking.psutil.NoSuchProcess(1)

    monkeypatch.setattr(tracking, "_family", lambda me: [SimpleNamespace(net_connections=ended)])
    with tracking.Watch() as watch:
        assert looks_until(lambda: len(asked) > 2)  # so it went on after the first
    assert watch.remote == set()


def test_all_that_trackers_write_goes_to_one_folder_and_nothing_is_sent(tmp_path, environment):
    pytest.importorskip("mlflow", reason="needs the extra registry")
    pytest.importorskip("wandb", reason="needs the extra tracking")
    tracking.go_local(tmp_path, "test")
    assert environment["WANDB_MODE"] == "offline" and environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    for name in (*tracking.PLACES, "MLFLOW_TRACKING_URI"):
        assert str(tmp_path.resolve().as_posix()) in environment[name].replace("\\", "/")


@pytest.mark.parametrize(
    ("switch", "setting"),
    [
        ("WANDB_MODE", "offline"),
        ("WANDB_SILENT", "true"),
        ("WANDB_ERROR_REPORTING", "false"),
        ("WANDB_DISABLE_GIT", "true"),
        ("WANDB_DISABLE_CODE", "true"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("DO_NOT_TRACK", "true"),
    ],
)
def test_each_switch_against_sending_is_set(tmp_path, environment, monkeypatch, switch, setting):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: name)
    environment.pop(switch, None)
    tracking.go_local(tmp_path, "test")
    assert environment[switch] == setting


def test_a_missing_tracker_is_named_with_the_line_that_installs_it(tmp_path, environment, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None if name == "wandb" else name)
    with pytest.raises(ImportError, match=r"needs wandb: pip install -c constraints.txt -e '\.\[registry,tracking\]'"):
        tracking.go_local(tmp_path, "test")
    assert environment.get("WANDB_MODE") != "offline"


def test_a_run_is_read_back_from_its_file(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra registry")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{(tmp_path / 'runs.db').as_posix()}")
    try:
        with pytest.raises(ValueError, match="no run at all"):
            tracking.read_back("loss")
        with mlflow.start_run():
            for step, loss in ((20, 0.5), (10, 1.0)):
                mlflow.log_metric("loss", loss, step=step)
        assert tracking.read_back("loss") == ([10, 20], [1.0, 0.5])
        client = mlflow.MlflowClient()
        older = client.create_run(mlflow.get_experiment_by_name("Default").experiment_id, start_time=1)
        client.log_metric(older.info.run_id, "loss", 9.0, step=1)
        assert tracking.read_back("loss") == ([10, 20], [1.0, 0.5])  # the newest run is the one that began last
        with pytest.raises(ValueError, match=r'no metric "eval_loss"\. There is: loss'):
            tracking.read_back("eval_loss")
    finally:
        mlflow.set_tracking_uri(before)
