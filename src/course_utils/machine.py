"""Look at this machine: is it fit for the course, what decides its speed, how much memory has a process taken?"""

import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from packaging.requirements import Requirement

from course_utils import models, paths

PACKAGE = "finetune-course"
NEEDED_GB = 2  # of memory for the largest notebook, and of disk for what it saves
AGAIN = "Delete the folder .venv and run `make course` again."
RUNS = "The course runs"  # what a verdict begins with that stops nothing
VECTORS = ("avx2", "avx512_f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile")


def check() -> list[tuple[str, str, str]]:
    """Return rows of (what, found, verdict): a verdict is "ok" or a sentence that says what to do.

    The rows differ between machines, so the cell that prints them carries the tag `nbval-ignore-output`.
    """
    cores = os.cpu_count() or 1
    memory = psutil.virtual_memory().available / 2**30
    disk = shutil.disk_usage(".").free / 2**30
    reports = (paths.samples() / "dr_reports.csv").is_file()
    libraries = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    strays = _strays()
    bases, without = _bases()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    seen = facts()
    x86, fast = seen["architecture"] == "x86_64", seen["vector_instructions"]
    rows = [
        ("Python", platform.python_version(), sys.version_info >= (3, 11), f"Install Python 3.11 or newer. {AGAIN}"),
        ("processor cores", str(cores), cores >= 2, f"{RUNS}, one notebook at a time."),
        ("free memory", f"{memory:.1f} GB", memory >= NEEDED_GB, f"Close programs until {NEEDED_GB} GB are free."),
        ("free disk", f"{disk:.1f} GB", disk >= NEEDED_GB, f"Make room: {NEEDED_GB} GB for the models you will save."),
        ("libraries", libraries, not strays, f"{strays} {AGAIN}"),
        ("reports", "dr_reports.csv" if reports else "none", reports, "Get the file back, or run `make data`."),
        ("base models", bases, not without, without),
        ("GPU", gpu, True, ""),
        ("vector instructions", ", ".join(fast) or "none of use", bool(fast) or not x86, f"{RUNS}, slowly."),
    ]
    return [(what, found, "ok" if fine else mend) for what, found, fine, mend in rows]


def facts() -> dict[str, Any]:
    """Return what of a machine decides a time: the CPU's cores, its kind, and the vector instructions that torch can use."""
    flags = torch.cpu.get_capabilities()
    wide = [name for name in VECTORS if flags.get(name)]
    return {"cores": os.cpu_count(), "architecture": flags.get("architecture", ""), "vector_instructions": wide}


def name() -> str:
    """Return what tells this machine's times from another's: the processor, and the vector instructions that torch can use."""
    return f"{processor()}, {' '.join(facts()['vector_instructions'])}"


def processor() -> str:
    """Return the maker, family and model of the processor, as far as the system tells."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8") if listed.is_file() else ""
    said = [re.search(rf"^{name}\s*: (.+)$", text, re.MULTILINE) for name in ("vendor_id", "cpu family", "model")]
    if all(said):
        return "{} family {} model {}".format(*(one.group(1) for one in said if one))
    return platform.processor() or platform.machine()


def peak_mb() -> float:
    """Return the largest memory (resident set, in MB of 2**20 bytes) that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux
        (high_water_mark,) = re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())
        return int(high_water_mark) / 2**10
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts in bytes


def _strays() -> str:
    """Name the libraries that are missing, or outside the range the course was written for."""
    strays = []
    needs = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
    for need in (need for need in needs if not need.marker or need.marker.evaluate({"extra": "course"})):
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
    usable, missing = [], {}
    for name in models.HUB:
        try:
            models.base(name)
            usable.append(name)
        except (OSError, ValueError) as error:
            missing[str(error)] = name
    return ", ".join(usable) or "none", " ".join(missing)
