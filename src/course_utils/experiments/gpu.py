"""Measures what training costs on a GPU, for notebook 03, into data_samples/results/gpu_runs.json: `make results-gpu`.

About three minutes, where there is a GPU. The models have the true shapes of checkpoints that people use, and random weights.
Each method is measured in three precisions, with few short reports and with more and longer ones; all weights are trained by
FSDP2 in one process, too. Besides: how fast the GPU multiplies matrices, and an epoch of `Trainer`.
"""

import os
import sys

import torch
import transformers

from course_utils import costs, results

NAME, STEPS, REPORTS = "gpu_runs", 5, 2_000
SHAPES = ("MiniLM", "BioBERT", "SmolLM2", "opt-350m")
SIZES = ((8, 128), (32, 512))  # reports in a batch, tokens in a report
SHARDED = ("SmolLM2", "opt-350m")


def steps(shape):
    """Return what a training step of a shape costs, by each method, in each precision."""
    found = []
    for batch, length in SIZES:
        size = {"shape": shape, "steps": STEPS, "batch": batch, "length": length, "device": "cuda"}
        for precision in costs.PRECISIONS:
            found += [costs.train(method, precision=precision, **size) for method in costs.METHODS]
        if shape in SHARDED:
            found.append(costs.train(costs.METHODS[0], precision="bfloat16", sharded=True, **size))
    return found


def epochs():
    """Return what an epoch of `Trainer` costs on the course's reports, with the settings that a user would turn on."""
    found = []
    for precision, settings in {"float32": {}, "bfloat16": {"bf16": True}, "float16": {"fp16": True}}.items():
        for shape in ("MiniLM", "BioBERT"):
            cost = costs.epoch(shape, REPORTS, batch_size=32, use_cpu=False, **settings)
            seconds = round(sum(cost["wall_s"]), 2)
            found.append({"shape": shape, "precision": precision, "reports": REPORTS, "batch": 32, "seconds": seconds})
    return found


def main():
    """Measure everything and write the file."""
    if not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can see. The notebooks show what was measured where there was one.")
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = {
        "device": costs.device_name("cuda"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "matmul_tflops": {name: costs.matmul_tflops("cuda", name, size=8192) for name in costs.PRECISIONS},
        "training": [],
    }
    for shape in SHAPES:
        print(f"steps of {shape}", flush=True)
        found["training"] += steps(shape)
        results.ship(NAME, **found)
    print("epochs", flush=True)
    results.ship(NAME, epochs=epochs(), **found)


if __name__ == "__main__":
    main()
