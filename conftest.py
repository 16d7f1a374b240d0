"""Strict `pytest --nbval`, from the root or from notebooks/, compares outputs by the rules in course_utils.outputs."""

import os

# before any library is imported, here and in the notebooks' kernels
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from nbval.plugin import IPyNbCell

from course_utils import outputs

compare_strictly = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None):
    """Stand in for nbval's own comparison: leave out stderr, take decimals and the timing line as outputs.py says."""
    test, ref = outputs.without_stderr(test), outputs.without_stderr(ref)
    return compare_strictly(cell, outputs.settle(test, ref), ref, skip_compare)


IPyNbCell.compare_outputs = compare_outputs
