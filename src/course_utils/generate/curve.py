"""The curve of a run: how much a linear probe reads off the frozen encoder as pre-training goes on.

`python -m course_utils.generate.curve` prints the curves in build/bases/, so that variants of a recipe can be compared.
Everything here is of train and dev: the test split chooses nothing.
"""

import csv
import json

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_utils import paths

LABELS = 1_000  # of the train split, its first rows
STRENGTH = 1.0  # the probe's C, the same for all points of all curves
LONGEST = 192


def rows_of(split, n=None):
    """(eyes, texts, grades) of the first n rows of a split of the reports, or of all."""
    with (paths.samples() / "dr_reports.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split][:n]
    return [[row[key] for row in rows] for key in ("eye", "text", "grade")]


def vectors(encoder, tokenizer, eyes, texts):
    """Two vectors of each report, as {"cls": array, "mean": array}: the first token's, and the mean over its tokens."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = {pool: np.zeros((len(texts), encoder.config.hidden_size), dtype=np.float32) for pool in ("cls", "mean")}
    for i in range(0, len(order), 64):
        chosen = order[i : i + 64]
        batch = tokenizer(
            [eyes[j] for j in chosen],
            [texts[j] for j in chosen],
            padding=True,
            truncation=True,
            max_length=LONGEST,
            return_tensors="pt",
        )
        hidden, there = encoder(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        out["cls"][chosen] = hidden[:, 0].numpy()
        out["mean"][chosen] = ((hidden * there).sum(1) / there.sum(1)).numpy()
    return out


@torch.inference_mode()
def probe(encoder, tokenizer):
    """Macro F1 on dev of a linear probe with 1,000 labels on the frozen encoder, as {"probe_cls": number, "probe_mean": number}."""
    *train, grades = rows_of("train", LABELS)
    *dev, truth = rows_of("dev")
    seen, unseen = vectors(encoder, tokenizer, *train), vectors(encoder, tokenizer, *dev)
    found = {}
    for pool, known in seen.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2_000))
        said = model.fit(known, grades).predict(unseen[pool])
        found[f"probe_{pool}"] = round(float(f1_score(truth, said, average="macro", zero_division=0)), 4)
    return found


def points(file):
    """The points of a curve, one a line of the file; none if there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def as_table(some):
    """Points as the lines of a Markdown table, one column a figure."""
    keys = list(some[0])
    head = ["| " + " | ".join(key.replace("_", " ") for key in keys) + " |", "|" + "---:|" * len(keys)]
    return "\n".join(head + ["| " + " | ".join(f"{point[key]:,}" for key in keys) + " |" for point in some])


def main():
    """Print every curve in build/bases/."""
    for file in sorted((paths.BUILD / "bases").glob("*/curve.jsonl")):
        if some := points(file):
            print(f"{file.parent.name}\n{as_table(some)}\n")


if __name__ == "__main__":
    main()
