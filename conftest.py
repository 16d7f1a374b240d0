"""Strict `pytest --nbval`, from the root or from notebooks/, compares outputs by the rules in course_utils.outputs."""

import os
from pathlib import Path

from course_utils import outputs, spread

# before any library that computes is imported, here and in the notebooks' kernels
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.update(spread.environment(os.environ.get("COURSE_SETTING") or "default"))

from nbval.plugin import IPyNbCell

compare_strictly = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None):
    """Stand in for nbval's own comparison: a number may move within its band, and what is wrong is said in sentences."""
    bands = spread.bands(spread.name(Path(cell.parent.path)), cell.cell.get("id"))
    cell.comparison_traceback = outputs.differences(outputs.text_of(test), outputs.text_of(ref), bands)
    if cell.comparison_traceback:
        return False
    test, ref = outputs.without_stderr(test), outputs.without_stderr(ref)
    return compare_strictly(cell, outputs.settle(test, ref, bands), ref, skip_compare)


IPyNbCell.compare_outputs = compare_outputs
