"""What the frozen part of a model makes of the reports, worked out once and kept in build/frozen/ for all runs that share it.

A frozen layer gives a report the same numbers in every epoch, with every seed and every learning rate. So a run that trains
nothing but the top of a model reads what the layers below made of each report (`on_top`), and a probe the base's vectors
(`vectors`). That is exact where the model has no dropout, as ours have none; elsewhere nothing is cached.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import AutoModel

from course_utils import models, paths, training

from . import runs

LENGTH = 192  # tokens of a report, as everywhere in training.py


def vectors(checkpoint: str, rows: pd.DataFrame, pool: str, every: pd.DataFrame | None = None) -> np.ndarray:
    """Return the vectors that a checkpoint makes of rows, pooled as `training.features` says.

    The rows are of the course's reports, or of `every`, which then has the same columns.
    """
    whole = everything() if every is None else every

    def make() -> np.ndarray:
        model, tokenizer = models.grader(checkpoint, seed=0)
        return training.features(model, tokenizer, whole, pool=pool)

    return of_rows(rows, kept(checkpoint, whole, pool, make), whole)


def of_rows(rows: pd.DataFrame, table: np.ndarray, every: pd.DataFrame | None = None) -> np.ndarray:
    """Return the part of a table that is of some rows: it has a row for each of `everything`, or of `every`.

    A report has one for each eye.
    """
    place = {key: number for number, key in enumerate(_keys(everything() if every is None else every))}
    return table[[place[key] for key in _keys(rows)]]


def _keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["report_id"], rows["eye"], strict=True))


def kept(checkpoint: str, rows: pd.DataFrame, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what a checkpoint makes of rows, under a short name: from its file, or made now. Other weights have another."""
    weights = paths.sha256(Path(checkpoint) / "model.safetensors")
    read = paths.digest([weights, what, rows["eye"].tolist(), rows["text"].tolist()])
    file = paths.BUILD / "frozen" / f"{what}-{read[:16]}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{os.getpid()}.npy")  # so that another process never sees half of it
        np.save(beside, make())
        os.replace(beside, file)
    return np.load(file)


@cache
def everything() -> pd.DataFrame:
    """Return the reports of all splits."""
    return pd.concat(runs.frames().values(), ignore_index=True)


def on_top(model, tokenizer, checkpoint: str, rows: pd.DataFrame, depth: int):
    """Return a grader that begins at the block `depth`, and the tokenizer that goes with it: they read `rows` alone.

    Takes a BERT whose blocks below are frozen and as the checkpoint has them; it is changed in place. A model with dropout,
    or of another build, is handed back as it is.
    """
    base = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
    if not hasattr(base, "encoder") or base.config.hidden_dropout_prob or base.config.attention_probs_dropout_prob:
        return model, tokenizer
    tokens = training.tokenise(tokenizer, rows, "eye", "text", LENGTH)
    table = kept(checkpoint, rows, f"states-{depth}", lambda: _states(checkpoint, tokenizer, tokens, depth))
    ids = [tuple(report["input_ids"]) for report in tokens]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in ids])[:-1]])
    base.embeddings = Lookup(table)
    base.encoder.layer = base.encoder.layer[depth:]
    return model, Places(tokenizer, dict(zip(ids, starts.tolist(), strict=True)))


class Lookup(nn.Module):
    """Stands in for a model's embeddings: what the blocks below made of each token, by its number."""

    def __init__(self, table: np.ndarray):
        super().__init__()
        self.register_buffer("table", torch.from_numpy(table), persistent=False)

    def forward(self, input_ids=None, **_) -> torch.Tensor:
        return self.table[input_ids]


class Places:
    """Stands in for a tokenizer: a token's number is its place in the table of `Lookup`."""

    def __init__(self, tokenizer, starts: dict[tuple[int, ...], int]):
        self.tokenizer, self.starts = tokenizer, starts

    def __call__(self, *texts, **settings):
        encoded = self.tokenizer(*texts, **settings)
        starts = [self.starts[tuple(ids)] for ids in encoded["input_ids"]]
        encoded["input_ids"] = [
            list(range(start, start + len(ids))) for start, ids in zip(starts, encoded["input_ids"], strict=True)
        ]
        return encoded

    def __getattr__(self, name: str):
        return getattr(self.tokenizer, name)


@torch.inference_mode()
def _states(checkpoint: str, tokenizer, tokens: list[dict], depth: int, batch_size: int = 64) -> np.ndarray:
    """Return what the first `depth` blocks of a checkpoint make of each token, an array (tokens of all reports, width)."""
    base = AutoModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    base.encoder.layer = base.encoder.layer[:depth]
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]["input_ids"]))
    made: dict[int, np.ndarray] = {}
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        hidden = base(**training.collate(tokenizer, tokens, some, "cpu")).last_hidden_state.numpy()
        made |= {i: hidden[k, : len(tokens[i]["input_ids"])] for k, i in enumerate(some)}
    return np.concatenate([made[i] for i in range(len(tokens))])
