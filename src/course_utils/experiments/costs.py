"""Measures time and memory of training methods by model size, for notebook 03, into data_samples/results/cost_runs.json.

About eight minutes on one core. A round measures every method at every size once, each in a process of its own; a busy
machine then slows all methods of a round, and their ratios stand. Where there is a GPU it is measured too, and with it
opt-350m, at its true shape.
"""

import os

import torch

from course_utils import costs, machine, results

from . import runs

NAME, ROUNDS = "cost_runs", 3
STEPS = {  # how many steps are timed, by device and shape
    "cpu": {"tiny-biobert": 10, "BERT 192": 10, "BERT 384": 5, "BioBERT": 3},
    "cuda": dict.fromkeys(costs.SHAPES, 20),
}


def measured(task, device, number, **settings):
    """Return one measurement of one round; it is kept."""
    named = {"task": task, "device": device, "round": number} | settings
    found = runs.kept(NAME, named, lambda: costs.apart(task, device=device, **settings))
    return {key: value for key, value in found.items() if key != "task"}


def main():
    """Measure everything and write the file."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    runs.start()
    training, latency = [], []
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for number in range(ROUNDS):
            for shape, steps in STEPS[device].items():
                for method in costs.METHODS:
                    more = {"method": method, "shape": shape, "steps": steps, "batch": 8, "length": 128}
                    training.append(measured("train", device, number, **more))
                latency.append(measured("latency", device, number, shape=shape, repeats=10, batch=1, length=128))
    results.ship(NAME, training=training, latency=latency, machine=machine.facts())


if __name__ == "__main__":
    main()
