"""Measures the five ways of federated.py on a base that people use, all-MiniLM-L6-v2: `make results-federated-real`.

Into results/federated_real.json. A run takes ten minutes and more, so there are three seeds, and neither variants nor faults.
"""

from course_utils import results

from . import federated, real, runs

NAME = "federated_real"
BASE = real.BASE


def plan() -> list[runs.Task]:
    """Return all runs. Raises FileNotFoundError, with the mend, if the base is not there."""
    real.checkpoint()
    cost = real.COSTS[real.REPORTS]["LoRA"]
    tried = [one for way in federated.WAYS for one in federated.tries(BASE, way)]
    listed = tried + [one for way in federated.WAYS for one in federated.tested(BASE, way)[: len(federated.FEWER)]]
    seconds = federated.expected(federated.SPENT, cost.ms, cost.read_ms)
    return [one._replace(seconds=seconds) if one.settings["method"] != federated.PROBE else one for one in listed]


def report() -> None:
    """Write the file."""
    done = {way: federated.of(BASE, federated.tested(BASE, way)[: len(federated.FEWER)]) for way in federated.WAYS}
    results.ship(NAME, federated.rows_of(done), verdicts=federated.verdicts(done, federated.PAIRS, BASE))


if __name__ == "__main__":
    runs.main(__spec__.name)
