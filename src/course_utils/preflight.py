"""Say before a workshop whether this machine is ready: `python -m course_utils.preflight`, offline, or `make preflight`.

It looks at the machine, the libraries and the data, and lets a notebook's kernel train one step. It prints a line for each
check and, where one fails, how to mend it; writes `build/preflight.html` and a small file to hand in; and exits with 0 if the
machine is ready, else 1. `--gather folder` makes one sheet of many such files. No name is in them, unless one is typed.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from course_utils import paths  # and nothing that may be missing or broken: a check says so, and goes on

PACKAGE = "finetune-course"
EXTRAS = (
    "lab",
    "clinical",
    "onnx",
    "registry",
    "search",
    "tracking",
)  # of those that `make course` installs, what notebooks need
KERNEL_S = 180  # for a kernel to start, load the libraries and train: far more than a slow laptop takes
OK = "ok"
AGAIN = "Delete the folder .venv and run `make course` again, while there is a network."
ONE_STEP = """
import sys, time
began = time.perf_counter()
from course_utils import data, models, training
rows = data.load_reports()["train"].select(range(2))
model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
steps = training.fit_grader(model, tokenizer, rows, epochs=1, lr=1e-3, batch_size=2)["steps"]
print(f"{sys.executable}|{steps}|{time.perf_counter() - began:.0f}")
"""


class Check(NamedTuple):
    """What was looked at, what was found, and the verdict: "ok", or a sentence that says what to do.

    `stops` says whether the course can't be run until that is done.
    """

    what: str
    found: str
    verdict: str
    stops: bool


def check_all() -> list[Check]:
    """Return all checks of this machine. One that itself fails is a check that stops, with its error."""
    parts: list[tuple[str, Callable[[], list[Check]]]] = [
        ("this machine", of_machine),
        ("optional libraries", of_extras),
        ("notebooks", of_notebooks),
        ("this folder", of_folder),
        ("a notebook's kernel", of_kernel),
    ]
    found = []
    for what, part in parts:
        try:
            found += part()
        except Exception as error:  # whatever a broken installation raises
            found.append(Check(what, f"{type(error).__name__}: {error}"[:200], AGAIN, True))
    return found


def of_machine() -> list[Check]:
    """Return the checks that notebook 00 shows as well: Python, cores, memory, disk, libraries, reports, models."""
    from course_utils import machine

    return [
        Check(what, found, verdict, verdict != OK and not verdict.startswith(machine.RUNS))
        for what, found, verdict in machine.check()
    ]


def of_extras() -> list[Check]:
    """Return whether what single notebooks need besides is installed."""
    from packaging.requirements import Requirement

    needs = [Requirement(line) for line in metadata.requires(PACKAGE) or []]
    missing = {}
    for extra in EXTRAS:
        own = [need for need in needs if _of_extra(need.marker, extra)]
        lost = [need.name for need in own if not _installed(need.name)]
        if lost:
            missing[extra] = lost
    if not missing:
        return [_check("optional libraries", "all that the notebooks use", True, "")]
    names = ", ".join(name for lost in missing.values() for name in lost)
    mend = f"Some notebooks need them: `{_python()} -m pip install -c constraints.txt -e '.[{','.join(missing)}]'`."
    return [Check("optional libraries", f"missing: {names}", mend, stops="lab" in missing)]


def of_notebooks() -> list[Check]:
    """Return whether the notebooks are there and can be read."""
    broken = []
    files = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for file in files:
        try:
            paths.read_json(file)["cells"]
        except (OSError, ValueError, KeyError):
            broken.append(file.name)
    found = f"broken: {', '.join(broken)}" if broken else f"{len(files)} of them"
    return [_check("notebooks", found, bool(files) and not broken, "Get them back: `git checkout notebooks`.")]


def of_folder() -> list[Check]:
    """Return whether the course's folder can be written to: notebooks are saved there, and what they measure."""
    try:
        with tempfile.NamedTemporaryFile(dir=paths.ROOT):
            pass
    except OSError as error:
        mend = "Move the course's folder to one of yours, or ask for the right to write in it."
        return [_check("this folder", f"can't be written to ({type(error).__name__})", False, mend)]
    return [_check("this folder", "can be written to", True, "")]


def of_kernel() -> list[Check]:
    """Return whether a notebook's kernel starts, is this Python, and trains one step."""
    from jupyter_client.manager import start_new_kernel

    said: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            said.append(content["text"])

    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=KERNEL_S)
    try:
        reply = client.execute_interactive(ONE_STEP, timeout=KERNEL_S, output_hook=collect)["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if reply["status"] != "ok":
        return [_check("a notebook's kernel", f"{reply['ename']}: {reply['evalue']}"[:200], False, AGAIN)]
    python, steps, seconds = "".join(said).strip().split("|")
    same = Path(python).resolve() == Path(sys.executable).resolve()
    found = f"trained {steps} step, {seconds} s after its start" if same else f"is another Python: {python}"
    mend = f"Make the kernel this one: `{_python()} -m ipykernel install --sys-prefix`."
    return [_check("a notebook's kernel", found, same, mend)]


def said(checks: Sequence[Check]) -> str:
    """Return the verdict on the machine in a sentence or two."""
    stops = [check.what for check in checks if check.stops]
    if stops:
        return f"Not ready: {', '.join(stops)}. Mend what is named, and run this again."
    less = [check.what for check in checks if check.verdict != OK]
    also = f" Read what is said of: {', '.join(less)}." if less else ""
    return f"Ready: the course can be run here, without a network.{also}"


def report(checks: Sequence[Check], name: str) -> dict[str, Any]:
    """Return what is handed in: when, on what kind of machine, with which code, and the checks. Takes the machine's name."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kind = f"{platform.system()} {platform.machine()}"
    about = {"machine": name, "when": when, "kind": kind, "code": paths.code_version()}
    return about | {"checks": [check._asdict() for check in checks]}


def nickname() -> str:
    """Return a name for this machine that says nothing of its owner, and is the same each time."""
    return "machine-" + hashlib.sha256(f"{platform.node()} {paths.ROOT}".encode()).hexdigest()[:6]


def gather(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the reports in a folder, the newest of each machine, by name; and the files that are none."""
    found: dict[str, dict[str, Any]] = {}
    strangers = []
    for file in sorted(folder.rglob("*.json")):
        try:
            one = json.loads(file.read_text(encoding="utf-8"))
            one["checks"] = [Check(**check) for check in one["checks"]]
            name, when, _, _ = (str(one[key]) for key in ("machine", "when", "kind", "code"))
        except (OSError, ValueError, KeyError, TypeError):
            strangers.append(file.name)
            continue
        if name not in found or when > found[name]["when"]:
            found[name] = one
    return [found[name] for name in sorted(found)], strangers


def sheet(reports: Sequence[dict[str, Any]], strangers: Sequence[str] = ()) -> dict[str, list]:
    """Return the sections of the sheet: how many are ready, what to mend (first what stops a machine), and all in a table."""
    import pandas as pd

    ready = [one for one in reports if not any(check.stops for check in one["checks"])]
    codes = sorted({one["code"] for one in reports})
    mends: dict[tuple[bool, str, str], list[str]] = {}
    for one in reports:
        for check in one["checks"]:
            if check.verdict != OK:
                mends.setdefault((not check.stops, check.what, check.verdict), []).append(one["machine"])
    to_do = [
        f"{what}{' (can wait)' * waits}: {verdict} ({len(who)}: {', '.join(who)})"
        for (waits, what, verdict), who in sorted(mends.items(), key=lambda pair: pair[0][0])
    ]
    rows = {
        one["machine"]: {
            "ready": "yes" if one in ready else "no",
            "kind": one["kind"],
            **{check.what: check.found if check.verdict == OK else f"{check.found}!" for check in one["checks"]},
        }
        for one in reports
    }
    parts: dict[str, list] = {"In short": [f"{len(ready)} of {len(reports)} machines are ready."]}
    if len(codes) > 1:
        parts["In short"].append(f"They have {len(codes)} versions of the course: {'; '.join(codes)}.")
    if strangers:
        parts["In short"].append(f"No report of a machine, and left out: {', '.join(strangers)}.")
    parts["To mend"] = [to_do or ["Nothing."]]
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("not looked at")
    table.index.name = "machine"
    parts["All machines"] = ["A mark ! is at what is not as it should be.", table]
    return parts


def write_page(file: Path, title: str, sections: dict[str, list]) -> None:
    """Write a page."""
    from course_utils import page

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page.html(title, sections), encoding="utf-8", newline="\n")
    print(f"Open {file} in a browser.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit status: 0 if the machine, or each of those gathered, is ready."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.preflight", description=__doc__)
    parser.add_argument("--name", default=nickname(), help="what to call this machine (a few letters that say nothing)")
    parser.add_argument("--gather", type=Path, metavar="FOLDER", help="make one sheet of the files in a folder")
    options = parser.parse_args(arguments)
    if options.gather:
        reports, strangers = gather(options.gather)
        if not reports:
            print(f"There is no report of a machine in {options.gather}.", file=sys.stderr)
            return 1
        sections = sheet(reports, strangers)
        print(*sections["In short"], *sections["To mend"][0], sep="\n")
        write_page(paths.BUILD / "preflights.html", "Who is ready?", sections)
        return int(any(check.stops for one in reports for check in one["checks"]))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    checks = check_all()
    for check in checks:
        print(f"{check.what}: {check.found}" + (f". {check.verdict}" if check.verdict != OK else ""))
    print(said(checks))
    try:
        handed_in = paths.BUILD / f"{options.name}.json"
        paths.write_json(handed_in, report(checks, options.name))
        print(f"If someone gathers these: the file to hand in is {handed_in}.")
        rows = {check.what: {"found": check.found, "verdict": check.verdict} for check in checks}
        write_page(paths.BUILD / "preflight.html", f"Is {options.name} ready?", _sections(rows, said(checks)))
    except (OSError, ImportError) as error:
        print(f"The page could not be written ({type(error).__name__}: {error}).", file=sys.stderr)
    return int(any(check.stops for check in checks))


def _sections(rows: dict[str, dict[str, str]], verdict: str) -> dict[str, list]:
    import pandas as pd

    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "check"
    return {"In short": [verdict], "All checks": [table]}


def _check(what: str, found: str, fine: bool, mend: str) -> Check:
    return Check(what, found, OK if fine else mend, not fine)


def _of_extra(marker: Any, extra: str) -> bool:
    """Say whether what is needed under a marker is needed for an extra alone."""
    return bool(marker) and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _python() -> str:
    return r".venv\Scripts\python" if os.name == "nt" else ".venv/bin/python"


if __name__ == "__main__":
    raise SystemExit(main())
