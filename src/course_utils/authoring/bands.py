"""How far the numbers of the notebooks move where nothing is wrong: the settings, the bands, and the table.

Sums in another order differ in their last digit, and training carries that into the second or third decimal of a score.
Another processor, another number of threads and another seed all do it. `make spread` runs every notebook under such
changes (experiments/spread.py) and ships what moved in data_samples/spread/: one file a notebook, with each moving
number in every run, and what it becomes when a fault is planted. A number that never moved must stay as it is.
"""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from course_utils import paths
from course_utils.authoring import compare

TABLE = paths.ROOT / "docs" / "spread.md"
# how many ranges of the runs a band has on each side: of 1, 1.25, 1.5, 2 and 2.5 the widest at which every number still
# notices a planted fault
BAND_FACTOR = 1.25

# Each makes one machine count like another: by what torch's own loops, MKL, oneDNN, OpenBLAS and NumPy may use. Where torch's
# loops are held back oneDNN is, too: with AMX it takes a path in half precision that torch 2.13 then refuses (`pack_vnni2`).
OLDER = {
    "DNNL_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
SETTINGS = {
    "default": {},
    "torch-avx2": {"ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"},
    "mkl-avx2": {"MKL_CBWR": "AVX2"},
    "all-avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"} | OLDER,
    "mkl-compatible": {"MKL_CBWR": "COMPATIBLE"},
    "plain": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"} | OLDER,
}


def environment(setting: str) -> dict[str, str]:
    """Return the environment variables of a setting; they must be there before torch and NumPy are imported.

    Raises ValueError for a name that is no setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f'There is no setting "{setting}". Choose one of: {", ".join(SETTINGS)}.')
    return SETTINGS[setting]


@dataclass(frozen=True)
class Band:
    """Where a number may lie: the runs' range, and BAND_FACTOR times that range on each side, or two units of the last digit.

    A difference near zero may change its sign, though no run printed a minus. The runs are few, so their own range is too
    narrow for the next machine: of normal numbers seven runs span 2.7 standard deviations on average, and the band nine and a half.
    """

    low: float
    high: float
    digits: int
    runs: int

    @classmethod
    def of(cls, printed: Sequence[str]) -> "Band":
        """Return the band of a number, from what each run printed for it."""
        values = [number(text) for text in printed]
        digits = max(decimals(text) for text in printed)
        least, most = min(values), max(values)
        margin = max(BAND_FACTOR * (most - least), 2 * 10.0**-digits)
        return cls(least - margin, most + margin, digits, len(values))

    def holds(self, printed: str) -> bool:
        """Say if a printed number lies in the band, its ends included, with no more decimals than the runs printed.

        It may have fewer, for a rounded number is often printed without its last zeros: 0.9 for 0.90.
        """
        if decimals(printed) > self.digits:
            return False
        slack = 1e-9 * max(1.0, abs(self.low), abs(self.high))
        return self.low - slack <= number(printed) <= self.high + slack

    def __str__(self) -> str:
        return f"[{self.low:,.{self.digits}f}, {self.high:,.{self.digits}f}] over {self.runs} runs"


def number(printed: str) -> float:
    """Return the value of a number as it is printed, thousands' commas and all."""
    return float(printed.replace(",", ""))


def decimals(printed: str) -> int:
    """Return how many decimals a printed number has."""
    mantissa, _, exponent = printed.partition("e")
    return max(0, len(mantissa.partition(".")[2]) - int(exponent or 0))


def folder() -> Path:
    """Return the folder of what ships: one file a notebook."""
    return paths.samples() / "spread"


def name(path: Path) -> str:
    """Return what a notebook is called in the data: its stem, with the folder of a solution before it."""
    return f"solutions/{path.stem}" if path.parent.name == "solutions" else path.stem


@cache
def load(notebook: str) -> dict:
    """Return what is shipped of a notebook's spread; no cells, if nothing is."""
    return {"runs": [], "faults": [], "cells": {}} | paths.read_json(folder() / f"{notebook}.json")


def of_cell(notebook: str, cell: str) -> dict[int, Band]:
    """Return the bands of a cell's moving numbers, {position in its text: band}."""
    moved = load(notebook)["cells"].get(cell, {}).get("moved", {})
    return {int(place): Band.of(one["runs"]) for place, one in moved.items()}


def known(notebook: str) -> Callable[[dict], bool]:
    """Return a function that says if the shipped runs of a notebook were of a cell's very code; a solution has no runs."""
    cells = load(notebook)["cells"]
    return lambda cell: not cells or cells.get(cell["id"], {}).get("code") == code_of(cell.source)


def code_of(source: str) -> str:
    """Return a fingerprint of a cell's code that comments and line breaks leave as it is, on any Python."""
    return paths.digest(_outline(ast.parse(source)))[:16]


def _outline(node):
    """Return a part of a syntax tree as nested lists. What is empty is left out: newer Pythons have more empty fields."""
    if isinstance(node, list):
        return [_outline(part) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *([name, _outline(value)] for name, value in fields)]


def rest_of(text: str, moved: Sequence[int]) -> str:
    """Return a fingerprint of a cell's text without the numbers that move: its words and its exact numbers."""
    exact = [found for i, found in enumerate(compare.NUMBER.findall(text)) if i not in moved]
    return paths.digest([compare.words(text), exact])[:16]


def counts(cells, notebook: str) -> dict[str, int]:
    """Count the numbers that a stored notebook prints: compared exactly, within a band, and not at all."""
    found = {"exact": 0, "banded": 0, "left out": 0}
    for cell in cells:
        printed = len(compare.NUMBER.findall(compare.raw_text_of(cell.outputs)))
        compared = 0 if compare.left_out(cell) else len(compare.NUMBER.findall(compare.text_of(cell.outputs)))
        banded = 0 if compare.left_out(cell) else len(of_cell(notebook, cell["id"]))
        found["exact"] += compared - banded
        found["banded"] += banded
        found["left out"] += printed - compared
    return found


def missing(cells, notebook: str) -> list[str]:
    """Return a sentence for each cell whose stored output is not what the shipped runs printed, within their bands."""
    known, found = load(notebook)["cells"], []
    for cell in cells:
        here, shipped = cell["id"], known.get(cell["id"])
        if shipped is None or shipped["code"] != code_of(cell.source):
            found.append(f"{here}: its numbers have no band, for the cell is new or was changed since")
            continue
        text = compare.text_of(cell.outputs)
        numbers, of = compare.NUMBER.findall(text), of_cell(notebook, here)
        if compare.left_out(cell):
            continue
        if shipped["rest"] != rest_of(text, list(of)):
            found.append(f"{here}: its words or its exact numbers are not those of the runs")
            continue
        for i, band in of.items():
            if not band.holds(numbers[i]):
                found.append(f"{here}: {numbers[i]} is not in {band}")
    return found


def escapes(notebook: str) -> dict[str, dict[int, list[str]]]:
    """Return for each cell and moving number the planted faults that it notices.

    It leaves its band, its line says other words, or it isn't printed.
    """
    noticed = {}
    for cell, content in load(notebook)["cells"].items():
        for place, one in content.get("moved", {}).items():
            band = Band.of(one["runs"])
            seen = [fault for fault, text in one["faults"].items() if text is None or not band.holds(text)]
            noticed.setdefault(cell, {})[int(place)] = seen
    return noticed


def held_out(seed_0: bool) -> tuple[int, int]:
    """Return how often a run lies outside the band of the others, and of how many numbers: runs with seed 0, or the rest."""
    outside = whole = 0
    for path in sorted(folder().rglob("*.json")):
        content = load(path.relative_to(folder()).with_suffix("").as_posix())
        held = [i for i, run in enumerate(content["runs"]) if run.endswith("seed 0") == seed_0]
        for one in (one for cell in content["cells"].values() for one in cell.get("moved", {}).values()):
            values = one["runs"]
            outside += sum(not Band.of(values[:i] + values[i + 1 :]).holds(values[i]) for i in held)
            whole += len(held)
    return outside, whole


def markdown(notebooks: dict[str, list]) -> str:
    """Return the text of docs/spread.md, from the code cells of each notebook by its name."""
    runs = load(next(iter(notebooks)))["runs"]
    machines, seeds = ("{:,} of {:,}".format(*held_out(seed_0)) for seed_0 in (True, False))
    made = [[name, " ".join(f"`{key}={value}`" for key, value in one.items()) or "–"] for name, one in SETTINGS.items()]
    counted = [[name, *map(str, counts(cells, name).values())] for name, cells in notebooks.items()]
    parts = [
        "# How far the numbers move",
        "Made by `make spread`. The notebooks print the same words everywhere, and the same numbers but for the last digits "
        "of what was trained or fitted. Here is how far each of those went.",
        f"Each notebook ran {len(runs)} times with nothing wrong: {'; '.join(runs)}. A seed shifts all that torch draws: "
        f"new heads, the order of batches, prompts. A *band* is the range of these runs and {BAND_FACTOR:g} times that range on "
        "each side, at least two units of the last digit.",
        "Is that wide enough for a machine that was not among the runs? Each run with the course's own seed was held against "
        f"the band of the other runs: {machines} numbers lay outside. (Of the runs with other seeds, {seeds}: a seed moves a "
        "number further than a processor does, and no reader's machine changes the seed.)",
        "## The settings",
        "`make test SETTING=<name>` runs the tests with one of them. They are stand-ins for other processors.",
        grid(["setting", "variables"], made),
        "## How the numbers are compared",
        "*Left out* are times and megabytes, what describes the machine, where a notebook quotes a model's own words or "
        "mistakes, what a solution trains, a few cells whose numbers no planted fault moved, and what one training of 09's two "
        "stages gave, which says other words on other processors. Their code still has to run.",
        grid(["notebook", "exact", "banded", "left out"], counted),
        "## Each number that moves",
        "The last column plants a fault: what the number became, where it left its band. *Other words* means that the "
        "number's line said something else, or was not printed.",
    ]
    head = ["cell", "after", "stored", "least", "most", "band", "with a fault"]
    for name, cells in notebooks.items():
        rows = lines(name, cells)
        if rows:
            parts += [f"### {name}", grid(head, rows)]
    return "\n\n".join(parts) + "\n"


def grid(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def lines(notebook: str, cells) -> list[list[str]]:
    """Return the rows of the table: cell, what stands before the number, stored, least, most, band, planted faults."""
    rows, seen = [], escapes(notebook)
    for cell in cells:
        moved = load(notebook)["cells"].get(cell["id"], {}).get("moved", {})
        text = compare.text_of(cell.outputs)
        stored = list(compare.NUMBER.finditer(text))
        for place in sorted(map(int, moved)):
            one = moved[str(place)]
            least, most = (choose(one["runs"], key=number) for choose in (min, max))
            found = stored[place] if place < len(stored) else None  # none in a notebook that is not stored again yet
            before = re.sub(r"\s+", " ", text[: found.start()])[-32:].replace("|", "/") if found else ""
            band = str(Band.of(one["runs"])).split(" over")[0]
            faults = ", ".join(f"{fault}: {one['faults'][fault] or 'other words'}" for fault in seen[cell["id"]][place])
            rows.append([cell["id"], f"…{before}", found.group() if found else "–", least, most, band, faults])
    return rows
