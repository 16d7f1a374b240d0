"""What counts as the same output of a notebook, and how an executed notebook is stored.

The same rules serve twice: strict `pytest --nbval` compares with them (see conftest.py), and storing a notebook keeps
the old text where they see no change, so that running an unchanged notebook again leaves `git diff` empty.

Integers, words, version numbers and exponents must be equal. Decimals may differ by two units of their last printed
digit and by 0.002 at most: another thread count or instruction set moves a trained model's loss by about 1e-7, which
can turn the last digit of a rounded figure and no more. Times and megabytes are masked on three lines of a fixed form, and
nowhere else: the one that the clock of `session.start` prints, the one that `costs.say` prints, and the one for latency.
"""

import math
import re

LARGEST_STEP = 2e-3
DECIMAL = re.compile(r"(?<![\w.])[-+]?\d+\.(\d+)(?![\w.]*\w)")
TIMING_LINE = re.compile(
    r"^Time: \d+\.\d s of (\d+) s(?: \([a-z ]+\))?; peak memory: \d+ MB of (\d+) MB$", re.MULTILINE
)
COST_LINE = re.compile(r"^(Cost: [^\n:]+): \d+\.\d ms a step, \d+ MB peak$", re.MULTILINE)
LATENCY_LINE = re.compile(r"^(Latency: [^\n:]+): \d+\.\d+ ms a report$", re.MULTILINE)
IGNORE = "nbval-ignore-output"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def mask_timing(text):
    """Take printed text; return it with the times and megabytes of the lines above masked, but not budgets or names."""
    text = TIMING_LINE.sub(r"Time: # s of \1 s; peak memory: # MB of \2 MB", text)
    text = LATENCY_LINE.sub(r"\1: # ms a report", text)
    return COST_LINE.sub(r"\1: # ms a step, # MB peak", text)


def close(new, old):
    """Say if two printed decimals, matches of DECIMAL, differ by no more than rounding can explain."""
    step = min(LARGEST_STEP, 2 * 10.0 ** -min(len(new.group(1)), len(old.group(1))))
    return math.isclose(float(new.group()), float(old.group()), rel_tol=0, abs_tol=step * (1 + 1e-6))


def same(new, old):
    """Say if two outputs' texts are the same by the rules above. Things that are no text must be equal."""
    if not (isinstance(new, str) and isinstance(old, str)):
        return new == old
    new, old = mask_timing(new), mask_timing(old)
    if DECIMAL.sub("#", new) != DECIMAL.sub("#", old):
        return False
    return all(map(close, DECIMAL.finditer(new), DECIMAL.finditer(old)))


def without_stderr(outputs):
    """Return the outputs that are not on stderr: progress bars and warnings differ from run to run."""
    return [output for output in outputs if output.get("name") != "stderr"]


def settle(new, old):
    """Return the list `new` of outputs with the text of `old` wherever the two are the same."""
    if [output["output_type"] for output in new] != [output["output_type"] for output in old]:
        return new
    return [_settle_one(type(a)(a), b) for a, b in zip(new, old, strict=True)]


def _settle_one(new, old):
    if "text" in new and same(new["text"], old["text"]):
        new["text"] = old["text"]
    if "data" in new:
        new["data"] = {
            kind: old["data"][kind] if kind in old["data"] and same(value, old["data"][kind]) else value
            for kind, value in new["data"].items()
        }
    return new


def normalise(notebook):
    """Strip from an executed notebook, in place, all that differs from run to run or from machine to machine.

    Execution counts become 1..N, stderr goes, a stored error keeps its name and message only, metadata keeps only
    tags and the kernel's name. Cell ids stay as they are. Returns the notebook.
    """
    notebook.metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    count = 0
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = without_stderr(cell.outputs)
        for output in cell.outputs:
            _normalise_output(output, cell.execution_count)
    return notebook


def _normalise_output(output, count):
    if output["output_type"] == "execute_result":
        output["execution_count"] = count
    if output["output_type"] == "error":
        output["traceback"] = [f"{output['ename']}: {output['evalue']}"]


def keep_stored(notebook, stored):
    """Give each unchanged cell of a fresh run, in place, its stored text where the two are the same.

    An unchanged cell whose output is not compared, because it describes the machine, keeps all that was stored.
    """
    before = {cell.get("id"): cell for cell in stored.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        old = before.get(cell.get("id"))
        if cell.cell_type != "code" or old is None or old.source != cell.source or not old.outputs:
            continue
        ignored = IGNORE in cell.metadata.get("tags", [])
        cell.outputs = old.outputs if ignored else settle(cell.outputs, old.outputs)
    return notebook
