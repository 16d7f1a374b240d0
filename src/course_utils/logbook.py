"""A log that is only ever added to: JSON lines, each on the disk before the next step, each chained to the line before.

A line holds the SHA-256 of the line before it. So a line that was changed, put in, left out or moved is noticed by the
next one; the last line's own hash (`append` returns it) can be kept elsewhere, and then a missing end is noticed too.
It does not stop anyone who may write to the file from writing all of it anew: against that, keep the hash out of reach.
"""

import getpass
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from course_utils import paths

try:
    from filelock import FileLock
except ImportError as error:
    raise ImportError("The log needs filelock: pip install -c constraints.txt -e '.[registry]'") from error

FIRST = "0" * 64  # what the first line has for the hash of the line before


class Log(NamedTuple):
    """A log that was read: its lines, the hash of each, and what is wrong with it, as sentences; none if all is well."""

    lines: list[dict]
    hashes: list[str]
    faults: list[str]


def append(file: str | Path, **said) -> str:
    """Add a line to a log, or begin one, and return the line's hash, when the line is on the disk.

    Takes the file and what the line says. When, by whom (user and machine), its number and the hash of the line before
    are added here. A last line that a crash cut short was never confirmed: it is cut off, and the new line says so.
    """
    file = Path(file)
    with FileLock(file.with_suffix(".lock")):
        content = file.read_bytes() if file.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        line = {"n": len(lines) + 1, "when": datetime.now(UTC).isoformat(timespec="seconds"), "who": _who(), **said}
        if len(whole) < len(content):
            line["cut_off"] = content[len(whole) :].decode("utf-8", "replace")
            os.truncate(file, len(whole))
        line["before"] = _hash(lines[-1]) if lines else FIRST
        written = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace")
        with file.open("ab") as out:
            out.write(written + b"\n")
            out.flush()
            os.fsync(out.fileno())
        if not lines:
            paths.sync_folder(file.parent)  # else the file's name may not outlive a crash
    return _hash(written)


def read(file: str | Path, head: str | None = None) -> Log:
    """Return a log, checked line by line; of a file that is not there, one without lines.

    Takes the file and, if it was kept elsewhere, the hash of one of its last lines, which must be among them.
    """
    file = Path(file)
    content = file.read_bytes() if file.exists() else b""
    lines: list[dict] = []
    hashes: list[str] = []
    faults: list[str] = []
    for n, raw in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = json.loads(raw)
            before, number = line["before"], line["n"]
        except (ValueError, KeyError, TypeError):
            faults.append(f"line {n} of the log is no line of it")
            before, number, line = None, n, {"n": n}
        if before is not None and before != (hashes[-1] if hashes else FIRST):
            faults.append(
                f"line {n} of the log does not follow on the line before: one was changed, or some are missing"
            )
        elif number != n:
            faults.append(f"line {n} of the log calls itself line {number}")
        lines.append(line)
        hashes.append(_hash(raw))
    if head and head not in hashes:
        faults.append("the end of the log is not the one that was written: lines are missing, or the last was changed")
    return Log(lines, hashes, faults)


def _hash(line: bytes) -> str:
    return paths.digest(line.decode("utf-8", "replace"))


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user: a container's bare number
        user = "unknown"
    return f"{user}@{platform.node()}"
