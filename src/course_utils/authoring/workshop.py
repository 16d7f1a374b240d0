"""How many minutes a notebook takes in a workshop: to read, to run and to solve its exercises.

Running is measured (timings.json, by `make course`); reading and solving are reckoned from what the notebook holds.
"""

import math
import re

WORDS, CODE_LINES, EXERCISE = 150, 15, 6  # words and lines of code read in a minute; minutes for an exercise
PLACE, LINE = "at-a-glance", "- **In a workshop**: "
STORED_TIME = re.compile(r"Time: ([\d.]+) s of processor time")  # as `session.Clock` prints it


def minutes(notebook, seconds: float) -> dict[str, int]:
    """Return the minutes, whole and at least one each but for exercises, of a notebook that ran for so many seconds."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    exercises = sum(len(re.findall(r"exercises\.check\(", source)) for source in code)
    return {"read": math.ceil(reading(text, code)), "run": math.ceil(seconds / 60), "exercises": exercises * EXERCISE}


def reading(text: str, code: list[str]) -> float:
    """Return the minutes that a text and the sources of code cells take to read."""
    lines = sum(bool(line.strip()) for source in code for line in source.splitlines())
    return len(re.findall(r"\w+", without_minutes(text))) / WORDS + lines / CODE_LINES


def without_minutes(text: str) -> str:
    """Return a text as people wrote it, without the line that `put` adds."""
    return "\n".join(line for line in text.splitlines() if not line.startswith(LINE))


def stored_seconds(notebook) -> float:
    """Return the processor seconds that the notebook's own clock printed when it was stored, 0 if it did not."""
    texts = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    found = [float(match[1]) for match in map(STORED_TIME.search, texts) if match]
    return found[-1] if found else 0.0


def put(notebook, seconds: float) -> bool:
    """Write the minutes into the cell that says what the notebook needs, below its list; return whether it has one."""
    for cell in notebook.cells:
        if cell.get("id") == PLACE:
            kept = without_minutes(cell.source).splitlines()
            said = ", ".join(f"{name} {number} min" for name, number in minutes(notebook, seconds).items())
            points = [at for at, line in enumerate(kept, 1) if line.startswith("- ")]
            kept.insert(points[-1] if points else len(kept), f"{LINE}{said}.")
            cell.source = "\n".join(kept)
            return True
    return False
