"""Right and wrong answers to the exercises of notebook 05, each wrong one with words of its hint."""

import re
from collections import Counter

import numpy as np
import torch

END = "<|im_end|>"


def mean_vectors(hidden, mask):
    real = mask[:, :, None]
    return (hidden * real).sum(axis=1) / real.sum(axis=1)


def mean_by_text(hidden, mask):
    return [vectors[row == 1].mean(0) for vectors, row in zip(hidden, mask, strict=True)]


def mean_in_torch(hidden, mask):
    return torch.einsum(
        "btw,bt->bw", torch.tensor(hidden), torch.tensor(mask) / torch.tensor(mask).sum(1, keepdim=True).double()
    )


def mean_masked(hidden, mask):
    return np.ma.array(hidden, mask=np.repeat(mask[:, :, None] == 0, hidden.shape[2], axis=2)).mean(1).data


def counts(answers, grades):
    said = [re.fullmatch(r"\s*([0-4])\s*<\|im_end\|>", one) for one in answers]
    right = [one and int(one[1]) == grade for one, grade in zip(said, grades, strict=True)]
    return sum(map(bool, said)), sum(map(bool, right)), Counter(grades).most_common(1)[0][1]


def counts_by_hand(answers, grades):
    formed = right = 0
    for one, grade in zip(answers, grades, strict=True):
        digit, end = one[: -len(END)].strip(), one[-len(END) :]
        if end == END and digit in ("0", "1", "2", "3", "4"):
            formed += 1
            right += digit == str(grade)
    return [formed, right, int(np.bincount(grades).max())]


def counted(pattern):
    def count(answers, grades):
        said = [re.search(pattern, one) for one in answers]
        right = sum(one is not None and int(one[1]) == grade for one, grade in zip(said, grades, strict=True))
        return [sum(one is not None for one in said), right, max(Counter(grades).values())]

    return count


def operations(frozen, trained, tokens):
    return 2 * (frozen + trained) * tokens + 4 * trained * tokens


RIGHT = {
    "05-mean": [mean_vectors, mean_by_text, mean_in_torch, mean_masked],
    "05-counts": [counts, counts_by_hand],
    "05-operations": [operations, lambda frozen, trained, tokens: tokens * (frozen * 2.0 + trained * 6.0)],
}

WRONG = [
    ("05-mean", lambda hidden, mask: hidden.mean(axis=1), "You count the padding in"),
    ("05-mean", lambda hidden, mask: (hidden * mask[:, :, None]).mean(axis=1), "You divide by all places"),
    ("05-mean", lambda hidden, mask: np.einsum("btw,bt->bw", hidden, mask), "That is the sum"),
    ("05-mean", lambda hidden, mask: hidden[:, 0, :], "the first token's vector"),
    ("05-mean", lambda hidden, mask: mean_vectors(hidden, 1 - mask), "the mean of the padding"),
    (
        "05-mean",
        lambda hidden, mask: np.tile(hidden[mask == 1].mean(0), (len(mask), 1)),
        "one mean over all texts",
    ),
    ("05-mean", lambda hidden, mask: mean_vectors(hidden, mask).T, "array"),
    ("05-mean", lambda hidden, mask: np.asarray(mean_vectors(hidden, mask)).round(1), "You round"),
    ("05-mean", [[1.0]], "Hand over the function itself"),
    ("05-counts", counted(r"([0-4])"), "a digit from anywhere"),
    ("05-counts", counted(r"^\s*(\d)\s*<\|im_end\|>$"), "A grade goes from 0 to 4"),
    ("05-counts", counted(r"^\s*([0-4])\s*(?:<\|im_end\|>)?$"), "goes on after the digit"),
    ("05-counts", counted(r"^([0-4])<\|im_end\|>$"), "Spaces and line ends"),
    (
        "05-counts",
        lambda answers, grades: [*counts(answers, grades)[:2], max(Counter(answers).values())],
        "the commonest *true* grade",
    ),
    ("05-counts", lambda answers, grades: [one / len(grades) for one in counts(answers, grades)], "counts, not shares"),
    ("05-counts", lambda answers, grades: counts(answers, grades)[:2], "right is [3, 2, 2]"),
    ("05-counts", 3, "Hand over the function itself"),
    ("05-operations", lambda frozen, trained, tokens: 6 * (frozen + trained) * tokens, "a step that trains all"),
    ("05-operations", lambda frozen, trained, tokens: 6 * trained * tokens, "still compute on the way forward"),
    (
        "05-operations",
        lambda frozen, trained, tokens: tokens * (frozen + 3 * trained),
        "a multiplication *and* an addition",
    ),
    ("05-operations", lambda frozen, trained, tokens: 2 * tokens * (frozen + trained), "the way forward alone"),
    (
        "05-operations",
        lambda frozen, trained, tokens: tokens * (2 * frozen + 4 * trained),
        "2 forward *and* 4 backward",
    ),
    ("05-operations", lambda frozen, trained, tokens: 2 * frozen + 6 * trained, "for one token"),
    ("05-operations", lambda frozen, trained, tokens: 0, "in all 5 cases"),
    ("05-operations", 6, "Hand over the function itself"),
]
