"""Run the course on this machine and write down how its numbers compare with the stored ones: `make reproduce`.

Every notebook runs once, as `make course` runs it. Each number that it prints is held against the stored one: the same, inside
the band that `make spread` measured, or outside; and each cell's words. One line for this machine goes into
docs/reproduced.json, beside those of other machines, and docs/reproduced.md shows them all. `SETTING=all-avx2` adds the line of
another arithmetic, `COURSE_THREADS=2` that of two threads. Nothing of the notebooks is changed.
"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import nbformat

from course_utils import machine, paths
from course_utils.authoring import bands, compare
from course_utils.authoring.run import chapters, jobs_of, run_all

LINES, PAGE = paths.ROOT / "docs" / "reproduced.json", paths.ROOT / "docs" / "reproduced.md"
KNOWN_BY = ("processor", "vector_instructions", "system", "python", "torch", "setting", "threads", "notebooks")
SHOWN = (*KNOWN_BY[:-1], "numbers", "same", "in_band", "outside", "words_differ")
INTRODUCTION = """# What other machines printed

Made by `make reproduce`, which runs every notebook and adds one line for the machine that it runs on. *Same* numbers are those that
are stored, digit for digit. *In band* numbers differ by no more than they did between the runs of `make spread`
([spread.md](spread.md)). *Outside* and *words differ* should be 0: where they are not, the cells are named below the table, and
`make test` fails there. Times and megabytes are not compared."""


def held(path: Path, fresh: nbformat.NotebookNode) -> dict:
    """Return how the numbers of a notebook's fresh run compare with those stored: counts, and where they differ too much."""
    stored = {cell["id"]: cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}
    found = {"numbers": 0, "same": 0, "in_band": 0, "outside": 0, "words_differ": 0, "where": []}
    for cell in fresh.cells:
        old = stored.get(cell.get("id"))
        if old is None or compare.left_out(old):
            continue
        name = f"{bands.name(path)}, {cell['id']}"
        now, before = compare.text_of(cell.outputs), compare.text_of(old.outputs)
        if compare.words(now) != compare.words(before):
            found["words_differ"] += 1
            found["where"].append(f"{name}: {compare.differences(now, before)[0]}")
            continue
        of = bands.of_cell(bands.name(path), cell["id"])
        for i, pair in enumerate(zip(compare.NUMBER.findall(now), compare.NUMBER.findall(before), strict=True)):
            found["numbers"] += 1
            found[kind_of(*pair, of.get(i))] += 1
        found["where"] += [f"{name}: {said}" for said in compare.differences(now, before, of)]
    return found


def kind_of(now: str, before: str, band: bands.Band | None) -> str:
    """Return "same", "in_band" or "outside" for a number that is printed now and was stored before."""
    if now == before:
        return "same"
    return "in_band" if band and band.holds(now) else "outside"


def whole(parts: Sequence[dict]) -> dict:
    """Return the sums of what `held` says of each notebook, and all that differs too much."""
    keys = ("numbers", "same", "in_band", "outside", "words_differ")
    return {key: sum(part[key] for part in parts) for key in keys} | {
        "where": [one for p in parts for one in p["where"]]
    }


def here(setting: str, threads: str, notebooks: int) -> dict:
    """Return what a machine's line is known by: processor, system, versions, arithmetic and threads."""
    facts = machine.facts()
    return {
        "processor": machine.processor(),
        "vector_instructions": " ".join(facts["vector_instructions"]) or "none of use",
        "system": platform.system(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": version("torch").split("+")[0],
        "setting": setting,
        "threads": threads,
        "notebooks": notebooks,
    }


def added(lines: Sequence[dict], new: dict) -> list[dict]:
    """Return the lines with a new one, which takes the place of that of the same machine, versions and setting."""
    key = [new[name] for name in KNOWN_BY]
    kept = [line for line in lines if [line[name] for name in KNOWN_BY] != key]
    return sorted([*kept, new], key=lambda line: [str(line[name]) for name in KNOWN_BY])


def markdown(lines: Sequence[dict]) -> str:
    """Return the page that shows every line, and below it what differed too much."""
    rows = [[str(line[key]) for key in SHOWN] for line in lines]
    table = bands.grid([key.replace("_", " ") for key in SHOWN], rows)
    wrong = [f"- {line['processor']}, {line['setting']}: {one}" for line in lines for one in line["where"]]
    return "\n\n".join([INTRODUCTION, table, *(["## Outside"] + ["\n".join(wrong)] if wrong else [])]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the notebooks, write this machine's line and the page; return 1 if a notebook failed or a number lies outside."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.experiments.reproduce", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="only these notebooks (all, if none is named)")
    parser.add_argument(
        "--setting", default="default", choices=list(bands.SETTINGS), help="an arithmetic of docs/spread.md"
    )
    parser.add_argument("--jobs", type=int, help="how many notebooks at a time (two, where memory and cores allow)")
    options = parser.parse_args(arguments)
    files = [path.resolve() for path in options.notebooks] or chapters()
    jobs = jobs_of(options.jobs)
    os.environ.update(bands.environment(options.setting))
    threads = os.environ.setdefault("COURSE_THREADS", "1" if jobs > 1 else "2")
    runs, stopped = run_all(files, jobs)
    failed = [run.path.stem for run in runs if run.error]
    if stopped or failed:
        print(f"No line is written: {', '.join(failed) or 'the run was stopped'}.", file=sys.stderr)
        return 1
    line = here(options.setting, threads, len(files)) | whole([held(run.path, run.notebook) for run in runs])
    lines = added(paths.read_json(LINES).get("machines", []), line)
    paths.write_json(LINES, {"machines": lines})
    PAGE.write_text(markdown(lines), encoding="utf-8", newline="\n")
    print(
        f"{line['same']:,} of {line['numbers']:,} numbers are the same, {line['in_band']:,} lie in their bands,",
        end=" ",
    )
    print(
        f"{line['outside']} outside; the words of {line['words_differ']} cells differ. {PAGE.relative_to(paths.ROOT)}"
    )
    print("\n".join(line["where"]))
    return 1 if line["where"] else 0


if __name__ == "__main__":
    sys.exit(main())
