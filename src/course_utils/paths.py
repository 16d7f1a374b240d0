"""Say where things are, and how a file is known and written: no other module works out a folder from its own place."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from course_utils import __version__

PACKAGE = Path(__file__).resolve().parent
ROOT = (
    PACKAGE.parent.parent
)  # of the repository; of an installed or copied package it is some folder, and nothing is there
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "build"  # what running the course makes; not kept in git


def samples() -> Path:
    """Return the folder of the shipped data: `data_samples`, or the one that the variable COURSE_DATA names."""
    return Path(os.environ.get("COURSE_DATA") or ROOT / "data_samples").expanduser()


def bases() -> Path:
    """Return the folder of the shipped base models."""
    return samples() / "bases"


def real() -> Path:
    """Return the folder of the checkpoints that `make real` makes: `build/real`, or the one that COURSE_REAL names."""
    return Path(os.environ.get("COURSE_REAL") or BUILD / "real").expanduser()


def real_text() -> Path:
    """Return the folder of the text that people wrote: it does not depend on COURSE_DATA."""
    return ROOT / "real_text"


def shipped_results() -> Path:
    """Return the folder of the results that ship: one JSON file for each notebook and each long run."""
    return samples() / "results"


def live_results() -> Path:
    """Return the folder of what runs of the notebooks measured on this machine, one JSON file each."""
    return BUILD / "results"


def progress() -> Path:
    """Return the file of what a learner has done: `progress.jsonl` beside the course, or the one that COURSE_PROGRESS names."""
    return Path(os.environ.get("COURSE_PROGRESS") or ROOT / "progress.jsonl").expanduser()


def code_version() -> str:
    """Return the git commit of the course's code, and whether files were changed since; without git, its release."""
    try:
        commit, changed = (
            subprocess.run(["git", *call], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for call in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return f"finetune-course {__version__}"
    return f"git {commit.strip()}" + (", with changes" if changed.strip() else "")


def sha256(file: str | Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with Path(file).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def digest(content) -> str:
    """Return the SHA-256 of a text as it is, or of anything else as JSON, in hex: a fingerprint that a change changes."""
    text = content if isinstance(content, str) else json.dumps(content)
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(file: Path) -> dict:
    """Return the content of a JSON file, empty if there is no such file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write_json(file: Path, content: dict) -> None:
    """Write a JSON file. It is written beside the old one and then takes its place, so it is always whole."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8", newline="\n")
    os.replace(beside, file)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk, so that a file that is new or renamed is there after a crash; nothing on Windows."""
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


class File(NamedTuple):
    """A file as it is now: what is worked out from it can be kept until it changes."""

    path: Path
    changed: int


def file(path: str | Path | None, usual: str, what: str) -> File:
    """Return a reader's file, or the course's own of the name `usual` if no path is given, as it is now.

    Raises FileNotFoundError, which calls it `what`, if there is no such file.
    """
    path = Path(path or samples() / usual).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no {what} {path}. Copy data_samples/{usual} and change the copy.")
    return File(path, path.stat().st_mtime_ns)
