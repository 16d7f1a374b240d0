"""Write a folder that installs the course in a room without Wi-Fi: wheels, the repository, its pages, one script.

`python tools/stick.py --system windows-amd64 --python 3.12` writes build/stick-windows-amd64-3.12; `make stick` calls it, after the
pages are rendered. Without names it is for this machine's own system and Python. It needs the extra `stick` (uv) and a package
index; `install.py` in the folder needs neither.
"""

import argparse
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import platforms

ROOT = platforms.ROOT
BUILDER = "setuptools==84.2.1"  # which pip asks for when it installs the repository itself
CUDA = ("nvidia-", "cuda-", "triton")  # what torch's usual build for Linux asks for, and its CPU build does not
OWN = {"AMD64": "amd64", "ARM64": "arm64"}  # how Windows spells a processor
SAID = """Fine-tune language models: the course for a room without Wi-Fi ({system}, Python {python}).

1. Type, in this folder:  python{python} install.py        (on Windows:  py -{python} install.py)
   It copies the course into the folder finetune-course of your home, installs it there, and says how to open it.
   Another place:         python{python} install.py some/other/folder
2. Only reading? Open course/build/course/index.html in a browser.
"""


def here() -> str:
    """Return the name of this machine's system, as in `platforms.SYSTEMS`."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    return f"{system}-{OWN.get(platform.machine(), platform.machine())}"


def fetch(lines: list[str], into: Path, system: str, python: str, more: list[str]) -> None:
    """Download wheels by pip for a system, without what they ask for. Raises CalledProcessError if pip can't."""
    with tempfile.TemporaryDirectory() as place:
        wanted = Path(place) / "wanted.txt"
        wanted.write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", *more]
        command += [
            "--implementation",
            "cp",
            "--python-version",
            python,
            "--dest",
            str(into),
            "--requirement",
            str(wanted),
        ]
        command += [part for tag in platforms.SYSTEMS[system].tags for part in ("--platform", tag)]
        subprocess.run(command, check=True)


def wheels(into: Path, system: str, python: str, torch_index: str | None) -> None:
    """Download all that the course installs on a system. On Linux that is torch's CPU build if pip finds one."""
    more = ["--extra-index-url", torch_index] if torch_index else []
    lines = [*platforms.pins(system, python), BUILDER]
    torch = [line for line in lines if platforms.name(line) == "torch"]
    fetch(torch, into, system, python, more)
    lean = not system.startswith("linux") or any("+cpu" in file.name for file in into.glob("torch-*"))
    if not lean:
        print(
            "This is torch with CUDA, several GB. For the CPU build: make stick TORCH_INDEX=<address> (see docs/setup.md)"
        )
    rest = [line for line in lines if line not in torch and not (lean and platforms.name(line).startswith(CUDA))]
    fetch(rest, into, system, python, more)
    # a version of the lock may hold for the last Pythons of a minor version alone: both go along
    last = f"{python}.9"
    if newer := [line for line in platforms.pins(system, last) if line not in lines]:
        fetch(newer, into, system, last, more)


def repository(into: Path) -> None:
    """Write the repository's last commit into a folder, and its rendered pages where `make course` would have them."""
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(into, filter="data")
    shutil.copytree(ROOT / "build" / "site", into / "build" / "course")


def main(arguments: list[str] | None = None) -> int:
    """Write the folder, in the place of an earlier one, and say how large it is."""
    parser = argparse.ArgumentParser(prog="python tools/stick.py", description=__doc__)
    parser.add_argument("--system", default=here(), help=f"of {', '.join(platforms.SYSTEMS)}")
    parser.add_argument("--python", default=".".join(platform.python_version_tuple()[:2]), help="such as 3.12")
    parser.add_argument("--torch-index", help="the address of PyTorch's CPU wheel index, for Linux")
    chosen = parser.parse_args(arguments)
    if chosen.system not in platforms.SYSTEMS:
        print(f"There is no system {chosen.system} here: name one of {', '.join(platforms.SYSTEMS)}.", file=sys.stderr)
        return 2
    if not (ROOT / ".git").exists():
        print("A stick carries the repository's last commit, and this is no clone: get one by git.", file=sys.stderr)
        return 1
    out = ROOT / "build" / f"stick-{chosen.system}-{chosen.python}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        wheels(out / "wheels", chosen.system, chosen.python, chosen.torch_index)
    except (ValueError, subprocess.CalledProcessError) as problem:
        why = problem if isinstance(problem, ValueError) else "pip's last lines above say why"
        print(f"No stick for {chosen.system} with Python {chosen.python}: {why}", file=sys.stderr)
        return 1
    repository(out / "course")
    shutil.copy(ROOT / "tools" / "stick_install.py", out / "install.py")
    said = SAID.format(system=chosen.system, python=chosen.python)
    (out / "READ ME FIRST.txt").write_text(said, encoding="utf-8", newline="\r\n")
    megabytes = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    print(f"{out.relative_to(ROOT)}: {megabytes:,.0f} MB. Copy it to a stick; it says how to go on.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
