"""How many minutes a notebook takes in a workshop: to read, to run and to solve its exercises.

Running is measured (timings.json, by `make course`); reading and solving are reckoned from what the notebook holds.
"""

import math
import re

WORDS, CODE_LINES, EXERCISE = 150, 15, 6  # words and lines of code read in a minute; minutes for an exercise
PLACE, LINE = "at-a-glance", "- **In a workshop**: "


def minutes(notebook, seconds: float) -> dict[str, int]:
    """Return the minutes, whole and at least one each but for exercises, of a notebook that ran for so many seconds."""
    text = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    exercises = sum(len(re.findall(r"exercises\.check\(", source)) for source in code)
    return {"read": math.ceil(reading(text, code)), "run": math.ceil(seconds / 60), "exercises": exercises * EXERCISE}


def reading(text: str, code: list[str]) -> float:
    """Return the minutes that a text and the sources of code cells take to read."""
    lines = sum(bool(line.strip()) for source in code for line in source.splitlines())
    return len(re.findall(r"\w+", text)) / WORDS + lines / CODE_LINES


def put(notebook, seconds: float) -> bool:
    """Write the minutes into the cell that says what the notebook needs; return whether it has one."""
    for cell in notebook.cells:
        if cell.get("id") == PLACE:
            kept = [line for line in cell.source.splitlines() if not line.startswith(LINE)]
            said = ", ".join(f"{name} {number} min" for name, number in minutes(notebook, seconds).items())
            cell.source = "\n".join([*kept, f"{LINE}{said}."])
            return True
    return False
