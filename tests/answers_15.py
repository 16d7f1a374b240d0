"""Right and wrong answers to the exercises of notebook 15, each wrong one with words of its hint."""

import numpy as np


def by_stride(rows, rank, processes):
    return rows[rank::processes]


def by_block(rows, rank, processes):
    return list(np.array_split(rows, processes)[rank])


def by_filter(rows, rank, processes):
    return (row for place, row in enumerate(rows) if place % processes == rank)


def rest_to_the_last(rows, rank, processes):
    each = len(rows) // processes
    return rows[rank * each :] if rank == processes - 1 else rows[rank * each : (rank + 1) * each]


def padded(rows, rank, processes):
    return (rows + rows[: -len(rows) % processes])[rank::processes]


def short(rows, rank, processes):
    each = len(rows) // processes
    return rows[rank * each : (rank + 1) * each]


def over_all(sums, weights):
    return sum(sums) / sum(weights)


def over_all_numpy(sums, weights):
    return np.sum(sums) / np.sum(weights)


def gigabytes(weights, processes, shared_out):
    return 16 * weights / (processes if shared_out else 1) / 1e9


def gigabytes_by_parts(weights, processes, shared_out):
    parts = [4 * weights, 4 * weights, 8 * weights]
    return sum(part / processes if shared_out else part for part in parts) / 10**9


RIGHT = {
    "15-share": [by_stride, by_block, by_filter],
    "15-mean": [over_all, over_all_numpy],
    "15-memory": [gigabytes, gigabytes_by_parts],
}
WRONG = [
    ("15-share", lambda rows, rank, processes: rows, "are read twice"),
    ("15-share", padded, "are rows repeated?"),
    ("15-share", short, "the rest of the division"),
    ("15-share", lambda rows, rank, processes: rows[::processes], "are read twice"),
    ("15-share", lambda rows, rank, processes: rows[rank + 1 :: processes], "are lost"),
    ("15-share", rest_to_the_last, "All wait for the last"),
    ("15-share", lambda rows, rank, processes: list(range(len(rows)))[rank::processes], "not their places"),
    ("15-share", lambda rows, rank, processes: None, "returns nothing"),
    ("15-share", lambda rows, rank, processes: 3, "A list of rows"),
    (
        "15-mean",
        lambda sums, weights: np.mean([s / w for s, w in zip(sums, weights, strict=True) if w]),
        "mean of the processes' means",
    ),
    ("15-mean", lambda sums, weights: sum(s / w for s, w in zip(sums, weights, strict=True)), "divides by zero"),
    ("15-mean", lambda sums, weights: sum(sums) / len(sums), "by the number of processes"),
    ("15-mean", lambda sums, weights: sum(sums), "Divide it by the sum of all weights"),
    ("15-mean", lambda sums, weights: sum(sums) * len(sums) / sum(weights), "The factor for DDP's mean"),
    (
        "15-memory",
        lambda weights, processes, shared_out: 4 * weights / (processes if shared_out else 1) / 1e9,
        "weights alone",
    ),
    (
        "15-memory",
        lambda weights, processes, shared_out: 8 * weights / (processes if shared_out else 1) / 1e9,
        "AdamW keeps two",
    ),
    (
        "15-memory",
        lambda weights, processes, shared_out: 12 * weights / (processes if shared_out else 1) / 1e9,
        "You count three",
    ),
    ("15-memory", lambda weights, processes, shared_out: 16 * weights / 1e9, "its part alone"),
    ("15-memory", lambda weights, processes, shared_out: 16 * weights / processes / 1e9, "nothing is shared out"),
    (
        "15-memory",
        lambda weights, processes, shared_out: gigabytes(weights, processes, not shared_out),
        "The wrong way round",
    ),
    (
        "15-memory",
        lambda weights, processes, shared_out: gigabytes(weights, processes, shared_out) * 1e9,
        "Those are bytes",
    ),
    (
        "15-memory",
        lambda weights, processes, shared_out: gigabytes(weights, processes, shared_out) * processes,
        "hold together",
    ),
]
