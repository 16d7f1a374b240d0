"""On Google Colab: install the course's lock beside what Colab has, and let this notebook take it from there.

The first cell of a notebook's copy for Colab runs it (course_utils/authoring/doors.py). Colab's own packages stay as they are, for
Colab needs them; the kernel stays Colab's too. torch is the CPU build: the course asks for no GPU.
"""

import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

COURSE = Path(__file__).resolve().parents[1]
BESIDE = COURSE.parent / "beside"
EXTRAS = "course,clinical,onnx,registry,search,tracking"


def commands(python: str) -> list[list[str]]:
    """Return the commands that make the environment and fill it, by a Python and its pip."""
    lock = (COURSE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    uv = [python, "-m", "uv"]
    into = ["--python", str(BESIDE), "--torch-backend", "cpu", "--constraints", str(COURSE / "constraints.txt")]
    return [
        [python, "-m", "pip", "install", "--quiet", *(line for line in lock if line.startswith("uv=="))],
        [*uv, "venv", "--quiet", "--python", python, str(BESIDE)],
        [*uv, "pip", "install", "--quiet", *into, "--editable", f"{COURSE}[{EXTRAS}]"],
    ]


def go_first(packages: Path) -> None:
    """Let this process, and those that it starts, import from a folder of packages before all others, and find the course's code."""
    ours = [str(packages), str(COURSE / "src")]
    sys.path[:] = [*ours, *(place for place in sys.path if place not in ours)]
    others = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place and place not in ours]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [*ours, *others]
    )  # what is timed, served or killed is a process of its own
    importlib.invalidate_caches()


def in_memory(packages: Path) -> list[str]:
    """Return a sentence for each package that this process holds in another version than the folder has: it stays so."""
    said = []
    for found in metadata.distributions(path=[str(packages)]):
        held = getattr(sys.modules.get(found.name.replace("-", "_")), "__version__", None)
        if held and held.split("+")[0] != found.version.split("+")[0]:
            said.append(f"{found.name} {held} was in memory already; the lock has {found.version}.")
    return sorted(said)


def main() -> None:
    """Install once a session, then change where this process imports from. Raises CalledProcessError if that fails."""
    done = BESIDE / "done"
    if not done.exists():
        for command in commands(sys.executable):
            subprocess.run(command, check=True)
        done.touch()
    (packages,) = BESIDE.glob("lib/python*/site-packages")
    go_first(packages)
    print("\n".join([*in_memory(packages), "The course is ready."]))


if __name__ == "__main__":
    main()
