"""Start a notebook: one call for seed, threads, quiet libraries, the network rule and the figure style.

clock = session.start(seed=0)
...
clock.report(budget_s=60, budget_mb=2000)
"""

import os
import random
import time
import warnings
from dataclasses import dataclass

import datasets
import huggingface_hub
import numpy as np
import threadpoolctl
import torch
import transformers

from course_utils import figures, machine, progress

NOISY = r"(torch|transformers|datasets|peft|huggingface_hub|accelerate)(\.|$)"


@dataclass(frozen=True)
class Clock:
    """A stopwatch that `start` sets going: when it started by the clock on the wall, and by the processor's."""

    started: float
    started_cpu: float = 0.0

    def seconds(self) -> float:
        """Return the wall-clock seconds since the start."""
        return time.perf_counter() - self.started

    def cpu_seconds(self) -> float:
        """Return the processor seconds since the start, those of child processes that have ended among them."""
        return cpu_seconds() - self.started_cpu

    def report(self, budget_s: float, budget_mb: float) -> None:
        """Print the one timing line of a notebook. Its form is fixed, for the tests mask this line and no other.

        The budget is one of processor time: reading does not lengthen it, and another program far less than it does the clock.
        """
        spent = (
            f"{self.cpu_seconds():.1f} s of processor time, of {budget_s:.0f} s; {self.seconds():.1f} s by the clock"
        )
        print(f"Time: {spent}; peak memory: {machine.peak_mb():.0f} MB of {budget_mb:.0f} MB")
        progress.finished()


def cpu_seconds() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def start(seed: int = 0, threads: int = 2) -> Clock:
    """Prepare this process for a notebook.

    Takes the seed for Python, NumPy and torch, and the number of threads of torch (COURSE_THREADS, if set, overrides it).
    Call it after all imports: it also limits the BLAS libraries that are loaded by then to one thread.
    A notebook that a person runs writes down their progress from here on (`progress`); what runs by a command does not.
    Returns the clock that the last cell reads. Without `COURSE_MODELS=hub` no library will look for the network.
    """
    if os.environ.get("COURSE_MODELS") != "hub":
        go_offline()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # scikit-learn's sums, too, must not depend on how many cores there are; one thread is faster for them as well
    threadpoolctl.threadpool_limits(1, user_api="blas")
    torch.set_num_threads(int(os.environ.get("COURSE_THREADS") or threads))
    quiet()
    figures.set_style()
    progress.watch()
    return Clock(time.perf_counter(), cpu_seconds())


def go_offline() -> None:
    """Forbid the hub. The libraries read the variable when they are imported, so those in memory are told as well."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True


def quiet() -> None:
    """Leave errors and our own progress bars; silence the libraries' logs, bars and warnings."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    warnings.filterwarnings("ignore", module=NOISY)
