"""Measures time and memory of training methods by model size, for notebook 03, into data_samples/results/cost_runs.json.

About eight minutes on one core. A round measures every method at every size once, each in a process of its own; a busy
machine then slows all methods of a round, and their ratios stand. A GPU is measured in gpu.py.
"""

import os

from course_utils import costs, machine, results

from . import runs

NAME, ROUNDS = "cost_runs", 3
STEPS = {"tiny-biobert": 10, "BERT 192": 10, "BERT 384": 5, "BioBERT": 3}  # how many steps of a shape are timed


def measured(task, number, **settings):
    """Return one measurement of one round; it is kept."""
    named = {"task": task, "round": number} | settings
    found = runs.timed(NAME, named, lambda: costs.apart(task, **settings))
    return {key: value for key, value in found.items() if key != "task"}


def main():
    """Measure everything and write the file."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    runs.start()
    training, latency = [], []
    for number in range(ROUNDS):
        for shape, steps in STEPS.items():
            for method in costs.METHODS:
                more = {"method": method, "shape": shape, "steps": steps, "batch": 8, "length": 128}
                training.append(measured("train", number, **more))
            latency.append(measured("latency", number, shape=shape, repeats=10, batch=1, length=128))
    results.ship(NAME, training=training, latency=latency, machine=machine.facts())


if __name__ == "__main__":
    main()
