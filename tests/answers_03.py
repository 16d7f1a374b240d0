"""Right and wrong answers to the exercises of notebook 03, each wrong one with words of its hint."""

import numpy as np
import pandas as pd
import torch

ENDS = ("query", "value", "q_proj", "v_proj", "q", "v")


def last(names):
    return [name.split(".")[-1] for name in names]


def picked(names):
    return sorted({name for name in last(names) if name in ENDS})


def picked_by_start(names):
    attention = [name.split(".")[-1] for name in names if "attn" in name.lower() or "attention" in name.lower()]
    return sorted({name for name in attention if name[0] in "qv"})


def loop_count(shapes, r):
    total = 0
    for inputs, outputs in shapes:
        total += inputs * r + r * outputs
    return total


def loop_merge(W, A, B, alpha):
    merged = W.astype(float).copy()
    for k in range(A.shape[0]):
        merged += alpha / A.shape[0] * np.outer(B[:, k], A[k])
    return merged


def by_einsum(W, A, B, alpha):
    return W + np.einsum("or,ri->oi", B, A) * alpha / B.shape[1]


def merged_in_place(W, A, B, alpha):
    W += alpha / len(A) * B @ A
    return W


RIGHT = {
    "03-count": [
        loop_count,
        lambda shapes, r: r * int(np.sum(shapes)),
        lambda s, rank: float(rank * sum(map(sum, s))),
        lambda s, r: sum(torch.empty(n, r).numel() for pair in s for n in pair),
        lambda s, r: r * np.array(s).sum(),
    ],
    "03-merge": [
        lambda W, A, B, alpha: W + (alpha / A.shape[0]) * (B @ A),
        loop_merge,
        by_einsum,
        lambda W, A, B, a: torch.from_numpy(W) + a / len(A) * torch.from_numpy(B) @ torch.from_numpy(A),
        lambda W, A, B, a: by_einsum(W, A, B, a).tolist(),
        lambda W, A, B, a: pd.DataFrame(by_einsum(W, A, B, a)),
    ],
    "03-targets": [
        picked,
        picked_by_start,
        lambda names: tuple(picked(names)),
        lambda names: np.unique(picked(names)),
        lambda names: (name for name in picked(names)),
        lambda names: pd.Series(picked(names)),
        lambda names: dict.fromkeys(picked(names)).keys(),
    ],
}

WRONG = [
    ("03-count", lambda shapes, r: sum(r * i for i, o in shapes), "That is A alone"),
    ("03-count", lambda shapes, r: sum(r * o for i, o in shapes), "That is B alone"),
    ("03-count", lambda shapes, r: sum(i * o for i, o in shapes), "Those are the frozen weights"),
    ("03-count", lambda shapes, r: loop_count(shapes, r) + sum(i * o for i, o in shapes), "frozen weights W too"),
    ("03-count", lambda shapes, r: sum(i * o * r for i, o in shapes), "Their sizes add up"),
    ("03-count", lambda shapes, r: sum(i * r * r * o for i, o in shapes), "Their sizes add up"),
    ("03-count", lambda shapes, r: sum(i + o for i, o in shapes), "That is for rank 1"),
    ("03-count", lambda shapes, r: sum(2 * r * i for i, o in shapes), "You took outputs for inputs"),
    ("03-count", lambda shapes, r: sum(2 * r * o for i, o in shapes), "You took inputs for outputs"),
    ("03-count", lambda shapes, r: loop_count(shapes[:1], r), "the first layer alone"),
    ("03-count", lambda shapes, r: loop_count(shapes, r) + sum(o for _, o in shapes), "You added a bias"),
    ("03-count", 36864, "Hand over the function itself"),
    ("03-merge", lambda W, A, B, alpha: W + B @ A, "The scale is missing"),
    ("03-merge", lambda W, A, B, alpha: W + alpha * B @ A, "you multiply by alpha"),
    ("03-merge", lambda W, A, B, alpha: W + len(A) / alpha * B @ A, "the wrong way round"),
    ("03-merge", lambda W, A, B, alpha: W + B @ A / len(A), "you left alpha out"),
    ("03-merge", lambda W, A, B, alpha: W + alpha / np.sqrt(len(A)) * B @ A, "rsLoRA"),
    ("03-merge", lambda W, A, B, alpha: W - alpha / len(A) * B @ A, "added, not taken away"),
    ("03-merge", lambda W, A, B, alpha: alpha / len(A) * B @ A, "the detour alone"),
    ("03-merge", lambda W, A, B, alpha: alpha / len(A) * (W + B @ A), "You scaled W as well"),
    ("03-merge", lambda W, A, B, alpha: (W + alpha / len(A) * B @ A).T, "transposed"),
    ("03-merge", lambda W, A, B, alpha: W + alpha / A.shape[1] * B @ A, "You divide by the inputs"),
    ("03-merge", lambda W, A, B, alpha: W + alpha / len(A) * A @ B, "Look at the order"),
    ("03-merge", np.zeros((4, 4)), "Hand over the function itself"),
    ("03-targets", lambda names: names, "you give whole names"),
    ("03-targets", lambda names: [name for name in last(names) if name in ENDS], "more than once"),
    ("03-targets", lambda names: ["q_proj", "v_proj"], "PEFT would skip it"),
    ("03-targets", lambda names: sorted({n for n in last(names) if n[0] in "qkv"}), "which projects the key"),
    ("03-targets", lambda names: sorted(set(last(names))), "is the head"),
    ("03-targets", lambda names: sorted({*picked(names), "dense", "fc1", "wi"} & set(last(names))), "is no projection"),
    ("03-targets", lambda names: picked(names)[:1], "value is missing"),
    ("03-targets", lambda names: sorted({n for n in last(names) if n in ENDS[:4]}), "For T5 q and v are missing"),
    ("03-targets", lambda names: picked(names)[::-1], "sort them"),
    ("03-targets", lambda names: "all-linear", "A list of names is asked for"),
    ("03-targets", lambda names: None, "returns nothing"),
    ("03-targets", ["query", "value"], "Hand over the function itself"),
    ("03-count", lambda s, r: 8 * sum(map(sum, s)), "For s=[[768, 1]], r=1 your function gives 6152; right is 769"),
    ("03-count", lambda s, r: loop_count(s, r) + len(s) * r * r, "gives 770; right is 769"),
    ("03-count", lambda s, r: [r * (i + o) for i, o in s], "gives [769]; right is 769"),
    ("03-count", lambda s, r: len(s) * r * sum(s[0]), "gives 30720; right is 24576"),
    ("03-count", lambda s, r: 6144, "in all 4 cases"),
    ("03-count", lambda s, r: s.pop() and 0, "changes what it is given (s)"),
    ("03-merge", merged_in_place, "changes what it is given (W)"),
    ("03-merge", lambda W, A, B, alpha: W, "right is"),
    ("03-merge", lambda W, A, B, alpha: W + alpha / 8 * B @ A, "at [0, 0]; right is"),
    ("03-merge", lambda W, A, B, alpha: W + alpha / len(A) * (B @ A).T, "Look at the order"),
    ("03-merge", lambda W, A, B, alpha: W @ (B @ A), "Look at the order"),
    ("03-merge", lambda W, A, B, alpha: by_einsum(W, A, B, alpha).round(), "You round"),
    ("03-merge", lambda W, A, B, alpha: by_einsum(W, A, B, alpha).sum(), "an array of 1 x 2 is asked for"),
    ("03-merge", lambda W, A, B, alpha: W + alpha // len(A) * B @ A, "right is"),
    ("03-targets", lambda names: set(picked(names)), "a set, which has no order"),
    ("03-targets", lambda names: ["query", "value"], "For OPT you give query"),
    (
        "03-targets",
        lambda names: sorted({n for n in last(names) if n in ENDS[:2]}),
        "For OPT q_proj and v_proj are missing",
    ),
    ("03-targets", lambda names: [[name] for name in picked(names)], "A list of names is asked for"),
    ("03-targets", lambda names: " ".join(picked(names)), "gives 'query value'"),
    (
        "03-targets",
        lambda names: list(dict.fromkeys(n for n in last(names) if n in ENDS)),
        "For OPT you have the right",
    ),
    ("03-targets", lambda names: names.clear() or ["query", "value"], "changes what it is given (names)"),
    ("03-targets", lambda names: names[99], "stopped with IndexError"),
    ("03-count", lambda s, r: sum(min(i * o, r * (i + o)) for i, o in s), "gives 768; right is 769"),
    ("03-count", lambda s, r: r * sum(i + o for i, o in set(s)), "r=8 your function gives 1536; right is 4608"),
    ("03-merge", lambda W, A, B, alpha: np.concatenate([W, B @ A]), "an array of 2 x 2; one of 1 x 2 is asked for"),
    ("03-merge", lambda W, A, B, alpha: np.full_like(W, np.nan), "gives nan at [0, 0]; right is"),
    ("03-targets", lambda names: [], "For BERT query and value are missing"),
    ("03-targets", lambda names: 2, "gives 2. A list of names is asked for"),
]
