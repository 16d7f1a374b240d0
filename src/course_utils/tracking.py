"""Track a run on this machine only, and see for yourself that nothing leaves it.

Nothing here runs unless it is asked for: the course trains with `report_to="none"`. MLflow writes a SQLite file that can be
read back with no server. Weights & Biases, offline, writes a file for a later upload, which never comes by itself.
"""

import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

SILENT = {  # MLflow reads them when it is imported: it would report how it is used, and warn where there is no git
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # it would tell of each table that it makes
}
OFFLINE = {  # Weights & Biases: no login, no upload, no reports of crashes, nothing about this machine's repository
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_CODE": "true",
}
PLACES = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")  # all that it writes goes to one folder
EVERY = 0.02  # seconds between two looks at the connections


def go_local(folder: str | Path, experiment: str) -> None:
    """Let MLflow and Weights & Biases write into a folder, and nowhere else. Call it before either is imported.

    Raises ImportError, with the line that installs what is missing.
    """
    missing = [name for name in ("mlflow", "wandb") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Tracking needs {' and '.join(missing)}: pip install -c constraints.txt -e '.[registry,tracking]'"
        )
    folder = Path(folder).resolve()
    os.environ |= SILENT | OFFLINE | dict.fromkeys(PLACES, str(folder))
    os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{(folder / 'runs.db').as_posix()}"}
    os.environ |= {"MLFLOW_EXPERIMENT_NAME": experiment, "WANDB_PROJECT": experiment}


def read_back(metric: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of a metric of the newest run, from the file that MLflow wrote.

    Raises ValueError if no run has the metric.
    """
    import mlflow

    newest = mlflow.search_runs(search_all_experiments=True, order_by=["start_time DESC"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(newest[0].info.run_id, metric) if newest else []
    if not history:
        known = ", ".join(sorted(newest[0].data.metrics)) if newest else "no run at all"
        raise ValueError(f'The newest run has no metric "{metric}". There is: {known}.')
    ordered = sorted(history, key=lambda point: point.step)
    return [point.step for point in ordered], [point.value for point in ordered]


class Watch:
    """Looks, 50 times a second, at the network connections of this process and of all that it starts.

    Use it with `with`. It sees open connections, not those shorter than a look. `remote` then holds the addresses at the
    other end, and `programs` the names of the processes that were looked at.
    """

    def __enter__(self):
        self.remote, self.programs, self._done = set(), set(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()
        self._thread.join()

    def elsewhere(self) -> list[str]:
        """Return the addresses that were not this machine's own."""
        return sorted(address for address in self.remote if not _is_here(address))

    def _look(self):
        me = psutil.Process()
        while not self._done.wait(EVERY):
            for process in _family(me):
                try:
                    self.remote |= {link.raddr.ip for link in process.net_connections("inet") if link.raddr}
                    self.programs.add(process.name())
                except psutil.Error:  # it has just ended, or the system does not let us look
                    continue


def _family(me: psutil.Process) -> Sequence[psutil.Process]:
    try:
        return [me, *me.children(recursive=True)]
    except psutil.Error:
        return [me]


def _is_here(address: str) -> bool:
    return address == "::1" or address.removeprefix("::ffff:").startswith("127.")
