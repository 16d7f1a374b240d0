"""Look whether the lock can be installed on other systems: every package a wheel, nothing to compile.

`python tools/platforms.py` writes a table into docs/anywhere.md; `make platforms` calls it. It needs the extra `stick` (uv) and a
package index, and installs nothing. pip could not do it: it reads the markers of packages for the machine that it runs on,
whatever `--platform` says, and so misses what only Windows or a Mac needs.
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOC = ROOT / "docs" / "anywhere.md"
START, END = "<!-- platforms:start -->", "<!-- platforms:end -->"
# what `make course` installs, as in the Makefile
EXTRAS = ["course", "lab", "clinical", "onnx", "http", "bulk", "registry", "search", "tracking", "test"]
PYTHONS = ("3.11", "3.12", "3.13")


class System(NamedTuple):
    """A system: how uv calls it, and the tags of its wheels as pip calls them."""

    uv: str
    tags: tuple[str, ...]


def manylinux(machine: str) -> tuple[str, ...]:
    """Return the tags of wheels that a Linux of 2019 or newer takes."""
    return (*(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)), f"manylinux2014_{machine}")


SYSTEMS = {
    "linux-x86_64": System(
        "x86_64-manylinux_2_28", (*manylinux("x86_64"), "manylinux2010_x86_64", "manylinux1_x86_64")
    ),
    "linux-aarch64": System("aarch64-manylinux_2_28", manylinux("aarch64")),
    "macos-arm64": System("aarch64-apple-darwin", ("macosx_14_0_arm64",)),
    "macos-x86_64": System("x86_64-apple-darwin", ("macosx_14_0_x86_64",)),
    "windows-amd64": System("x86_64-pc-windows-msvc", ("win_amd64",)),
}


def uv() -> str:
    """Return where uv is. Raises FileNotFoundError, with the line that installs it."""
    program = Path(sysconfig.get_path("scripts")) / ("uv.exe" if sys.platform == "win32" else "uv")
    if not program.exists():
        raise FileNotFoundError("uv is not installed: pip install -c constraints.txt -e '.[stick]'")
    return str(program)


def pins(system: str, python: str, extras: list[str] = EXTRAS) -> list[str]:
    """Return what the extras install on a system, with a Python such as "3.12", as lines `name==version`.

    All of it has a wheel there. Raises ValueError, with what stands in the way, if that can't be.
    """
    command = [uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    command += ["--python-platform", SYSTEMS[system].uv, "--python-version", python, "--constraints", "constraints.txt"]
    command += [part for extra in extras for part in ("--extra", extra)] + ["pyproject.toml"]
    known = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # torch has no wheel for an older one
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(reason(done.stderr))
    return done.stdout.split("\n")[:-1]


def reason(said: str) -> str:
    """Return what stands in the way, of all that uv says: a package without a wheel, or its last line."""
    found = re.search(r"(\S+==\S+) has no (?:usable wheels|wheels with a matching)", " ".join(said.split()))
    return f"no wheel of {found[1]}" if found else (said.strip().splitlines() or ["uv said nothing"])[-1].strip()


def unlocked(lines: list[str], lock: str) -> list[str]:
    """Return the names among pins that a lock, as text, does not hold."""
    held = {name(line) for line in lock.splitlines() if "==" in line}
    return [name(line) for line in lines if name(line) not in held]


def name(line: str) -> str:
    """Return the name of a package in a line such as `Some_Name==1.0`, in the one way that all its spellings share."""
    return re.sub(r"[-_.]+", "-", line.split("==")[0].strip()).lower()


def table(found: dict[str, list[str]]) -> str:
    """Return a table in Markdown, of a cell for each Python for each system."""
    head = [f"| system | {' | '.join(f'Python {python}' for python in PYTHONS)} |", "|---|" + "---|" * len(PYTHONS)]
    return "\n".join([*head, *(f"| {system} | {' | '.join(cells)} |" for system, cells in found.items())])


def look(system: str, python: str) -> str:
    """Return the cell of a system and a Python, and say what the lock does not hold."""
    try:
        lines = pins(system, python)
    except ValueError as problem:
        return str(problem)
    free = unlocked(lines, (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    print(f"{system}, Python {python}: {len(lines)} packages; not in the lock: {', '.join(free) or 'none'}", flush=True)
    return f"{len(lines)} packages"


def main(arguments: list[str] | None = None) -> int:
    """Look at the systems that are named, all if none is; write the table if all are."""
    parser = argparse.ArgumentParser(prog="python tools/platforms.py", description=__doc__)
    parser.add_argument("systems", nargs="*", help=f"of {', '.join(SYSTEMS)}")
    asked = parser.parse_args(arguments).systems or list(SYSTEMS)
    if strange := sorted(set(asked) - set(SYSTEMS)):
        print(f"There is no system {', '.join(strange)} here: name some of {', '.join(SYSTEMS)}.", file=sys.stderr)
        return 2
    found = {system: [look(system, python) for python in PYTHONS] for system in asked}
    print(table(found))
    if set(asked) == set(SYSTEMS):
        before, rest = DOC.read_text(encoding="utf-8").split(START)
        DOC.write_text(f"{before}{START}\n{table(found)}\n{END}{rest.split(END)[1]}", encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
