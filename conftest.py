"""Strict `pytest --nbval`, from the root or from notebooks/, compares outputs by the rules in course_utils.authoring.compare."""

import os
from pathlib import Path

from course_utils.authoring import bands, compare

# before any library that computes is imported, here and in the notebooks' kernels
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if os.environ.get("PYTEST_XDIST_WORKER"):  # two files side by side, each on one thread
    os.environ.setdefault("COURSE_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(bands.environment(os.environ.get("COURSE_SETTING") or "default"))

from nbval.plugin import IPyNbCell

compare_strictly = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None):
    """Stand in for nbval's own comparison: a number may move within its band, and what is wrong is said in sentences."""
    may_move = bands.of_cell(bands.name(Path(cell.parent.path)), cell.cell.get("id"))
    cell.comparison_traceback = compare.differences(compare.text_of(test), compare.text_of(ref), may_move)
    if cell.comparison_traceback:
        return False
    test, ref = compare.without_stderr(test), compare.without_stderr(ref)
    return compare_strictly(cell, compare.settle(test, ref, may_move), ref, skip_compare)


IPyNbCell.compare_outputs = compare_outputs
