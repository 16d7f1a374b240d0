"""Measures the five ways of federated.py on a base that people use, all-MiniLM-L6-v2: `make results-federated-real`.

Into results/federated_real.json. The tries and the seeds are those of the course's own bases, though a run takes ten minutes and more;
neither variants nor faults are run.
"""

from course_utils import results

from . import federated, real, runs

NAME = "federated_real"
BASE = real.BASE


def plan() -> list[runs.Task]:
    """Return all runs. Raises FileNotFoundError, with the mend, if the base is not there."""
    real.checkpoint()
    cost = real.COSTS[real.REPORTS]["LoRA"]
    seconds = federated.expected(federated.SPENT, cost.ms, cost.read_ms)
    listed = federated.of_ways([BASE])
    return [one._replace(seconds=seconds) if one.settings["method"] != federated.PROBE else one for one in listed]


def report() -> None:
    """Write the file."""
    found = federated.by_way([BASE])
    results.ship(NAME, found.pop("rows"), **found)


if __name__ == "__main__":
    runs.main(__spec__.name)
