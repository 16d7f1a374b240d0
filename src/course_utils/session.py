"""Start a notebook: one call for seed, threads, quiet libraries, the network rule and the figure style.

clock = session.start(seed=0)
...
clock.report(budget_s=60, budget_mb=2000)
"""

import os
import platform
import random
import re
import shutil
import sys
import time
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import psutil
import threadpoolctl
import torch
import transformers
from packaging.requirements import Requirement

from course_utils import figures, models

PACKAGE = "finetune-course"
NOISY = r"(torch|transformers|datasets|peft|huggingface_hub|accelerate)(\.|$)"
NEEDED_GB = 2  # of memory for the largest notebook, and of disk for what it saves
AGAIN = "Delete the folder .venv and run `make course` again."


@dataclass(frozen=True)
class Clock:
    """A stopwatch that `start` sets going."""

    started: float

    def seconds(self) -> float:
        """Return the wall-clock seconds since the start."""
        return time.perf_counter() - self.started

    def report(self, budget_s: float, budget_mb: float) -> None:
        """Print the one timing line of a notebook. Its form is fixed, for the tests mask this line and no other."""
        seconds = self.seconds()
        note = " (your reading time counts too)" if seconds > budget_s else ""
        print(f"Time: {seconds:.1f} s of {budget_s:.0f} s{note}; peak memory: {peak_mb():.0f} MB of {budget_mb:.0f} MB")


def start(seed: int = 0, threads: int = 2) -> Clock:
    """Prepare this process for a notebook.

    Takes the seed for Python, NumPy and torch, and the number of threads of torch (COURSE_THREADS, if set, overrides it).
    Call it after all imports: it also limits the BLAS libraries that are loaded by then to one thread.
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
    return Clock(time.perf_counter())


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


def peak_mb() -> float:
    """Return the largest memory (resident set, in MB of 2**20 bytes) that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 2**10
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts in bytes


def check_machine() -> list[tuple[str, str, str]]:
    """Return rows of (what, found, verdict): a verdict is "ok" or a sentence that says what to do.

    The rows differ between machines, so the cell that prints them carries the tag `nbval-ignore-output`.
    """
    cores = os.cpu_count() or 1
    memory = psutil.virtual_memory().available / 2**30
    disk = shutil.disk_usage(".").free / 2**30
    reports = (models.SAMPLES / "dr_reports.csv").is_file()
    libraries = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    strays = _strays()
    bases, without = _bases()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    flags = torch.cpu.get_capabilities()
    x86 = flags.get("architecture") == "x86_64"
    fast = [name for name in ("avx2", "avx512_f", "avx512_vnni", "avx_vnni", "avx512_bf16") if flags.get(name)]
    rows = [
        ("Python", platform.python_version(), sys.version_info >= (3, 11), f"Install Python 3.11 or newer. {AGAIN}"),
        ("processor cores", str(cores), cores >= 2, "The course runs, at about half the stated speed."),
        ("free memory", f"{memory:.1f} GB", memory >= NEEDED_GB, f"Close programs until {NEEDED_GB} GB are free."),
        ("free disk", f"{disk:.1f} GB", disk >= NEEDED_GB, f"Make room: {NEEDED_GB} GB for the models you will save."),
        ("libraries", libraries, not strays, f"{strays} {AGAIN}"),
        ("reports", "dr_reports.csv" if reports else "none", reports, "Get the file back, or run `make data`."),
        ("base models", bases, not without, without),
        ("GPU", gpu, True, ""),
        ("vector instructions", ", ".join(fast) or "none of use", bool(fast) or not x86, "The course runs, slowly."),
    ]
    return [(what, found, "ok" if fine else mend) for what, found, fine, mend in rows]


def _strays() -> str:
    """Name the libraries that are missing, or outside the range the course was written for."""
    strays = []
    for need in (Requirement(line) for line in metadata.requires(PACKAGE) if "extra ==" not in line):
        try:
            version = metadata.version(need.name).split("+")[0]
        except metadata.PackageNotFoundError:
            strays.append(f"{need.name} is missing.")
            continue
        if not need.specifier.contains(version):
            strays.append(f"{need.name} {version} is outside {need.specifier}.")
    return " ".join(strays)


def _bases() -> tuple[str, str]:
    """Return the base models that can be found where COURSE_MODELS says, and what is wrong with the others."""
    found, missing = [], {}
    for name in models.HUB:
        try:
            models.base(name)
            found.append(name)
        except (OSError, ValueError) as error:
            missing[str(error)] = name
    return ", ".join(found) or "none", " ".join(missing)
