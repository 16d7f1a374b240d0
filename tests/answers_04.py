"""Right and wrong answers to the exercises of notebook 04, each wrong one with words of its hint."""

from collections import Counter

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F


def mask_with_torch(mask, k):
    mask = torch.as_tensor(mask)
    return torch.cat([mask.new_ones(len(mask), k), mask], dim=1)


def mask_with_numpy(mask, k):
    return np.hstack([np.ones((mask.shape[0], k), int), mask])


def share_by_counter(predictions):
    return max(Counter(list(predictions)).values()) / len(predictions)


def share_by_bincount(predictions):
    return np.bincount(predictions).max() / len(predictions)


def line_of_the_notebook(attention_mask, k):
    ones = attention_mask.new_ones((len(attention_mask), k))
    return torch.cat([ones, attention_mask], dim=1)


def filled_with_ones(mask, k):
    mask[:] = 1
    return mask_with_numpy(mask, k)


RIGHT = {
    "04-parameters": [
        lambda tokens, stacks, width: tokens * stacks * width,
        lambda t, s, w: np.zeros((t * s, w)).size,
        lambda *three: np.prod(three),
        lambda t, s, w: sum(w for _ in range(t * s)),
        lambda t, s, w: torch.nn.Embedding(t * s, w).weight.numel(),
    ],
    "04-mask": [
        mask_with_torch,
        mask_with_numpy,
        line_of_the_notebook,
        lambda m, k: np.pad(m, ((0, 0), (k, 0)), constant_values=1),
        lambda m, k: [[1] * k + list(row) for row in m],
        lambda m, k: np.c_[np.ones((len(m), k), bool), m == 1],
        lambda m, k: np.insert(m, [0] * k, 1, axis=1),
        lambda m, k: F.pad(m, (k, 0), value=1),
        lambda m, k: pd.concat([pd.DataFrame(np.ones((len(m), k))), pd.DataFrame(m)], axis=1),
    ],
    "04-stuck": [
        share_by_counter,
        share_by_bincount,
        lambda p: pd.Series(p).value_counts(normalize=True).iloc[0],
        lambda p: np.unique(p, return_counts=True)[1].max() / len(p),
        lambda p: max(list(p).count(one) for one in p) / len(p),
    ],
}

WRONG = [
    ("04-parameters", lambda tokens, stacks, width: tokens * width, "left out the stacks"),
    ("04-parameters", lambda tokens, stacks, width: tokens * stacks, "Those are the rows"),
    ("04-parameters", lambda tokens, stacks, width: tokens * width * 2, "took two stacks always"),
    ("04-parameters", lambda tokens, stacks, width: tokens * stacks * width * width, "not a matrix"),
    ("04-parameters", lambda tokens, stacks, width: tokens * stacks * width * 4, "Those are bytes"),
    ("04-parameters", lambda tokens, stacks, width: tokens + stacks + width, "you added"),
    ("04-parameters", 2560, "Hand over the function itself"),
    ("04-mask", lambda mask, k: mask, "as long as before"),
    ("04-mask", lambda mask, k: np.hstack([np.zeros((len(mask), k)), mask]), "never looks at your prompt"),
    ("04-mask", lambda mask, k: np.hstack([mask, np.ones((len(mask), k))]), "at the end"),
    ("04-mask", lambda mask, k: np.ones((len(mask), mask.shape[1] + k)), "padding counts too"),
    ("04-mask", lambda mask, k: np.ones((len(mask), k)), "the prompt's part alone"),
    ("04-mask", lambda mask, k: None, "End it with `return`"),
    ("04-stuck", lambda p: max(Counter(list(p)).values()), "That is a count"),
    ("04-stuck", lambda p: Counter(list(p)).most_common(1)[0][0], "the commonest answer itself"),
    ("04-stuck", lambda p: len(set(np.asarray(p).tolist())), "how many different answers"),
    ("04-stuck", lambda p: 100 * share_by_counter(p), "in percent"),
    ("04-stuck", lambda p: np.mean(np.asarray(p) == 0), "grade 0 alone"),
    ("04-stuck", lambda p: max(Counter(list(p)).values()) / len(Counter(list(p))), "not of different answers"),
    ("04-parameters", lambda t, s, w: (t + s) * w, "For t=1, s=2, w=96 your function gives 288; right is 192"),
    ("04-parameters", lambda t, s, w: t * s * w + w, "gives 288; right is 192"),
    ("04-parameters", lambda t, s, w: (t, s, w), "gives [1, 2, 96]; right is 192"),
    ("04-parameters", lambda t, s, w: t * s * w / 1000, "gives 0.192; right is 192"),
    ("04-parameters", lambda t, s, w: 2560, "in all 4 cases"),
    ("04-parameters", lambda t, w: t * w, "stopped with TypeError"),
    ("04-mask", filled_with_ones, "changes what it is given (mask)"),
    ("04-mask", lambda m, k: np.hstack([np.ones((len(m), 10)), m]), "an array of 1 x 13; one of 1 x 6 is asked for"),
    ("04-mask", lambda m, k: np.vstack([np.ones((k, m.shape[1])), m]), "an array of 4 x 3; one of 1 x 6 is asked for"),
    ("04-mask", lambda m, k: mask_with_numpy(1 - m, k), "at [0, 3]; right is 1"),
    ("04-mask", lambda m, k: mask_with_numpy(m, k)[:, : m.shape[1]], "an array of 1 x 3"),
    ("04-mask", lambda m, k: np.hstack([np.repeat(m[:, :1], k, 1), m]), "gives 0 at [0, 0]; right is 1"),
    ("04-mask", lambda m, k: mask_with_numpy(m, k)[0], "an array of 1 x 6 is asked for"),
    ("04-mask", lambda m, k: m.ones(k), "stopped with AttributeError"),
    ("04-stuck", lambda p: 1 - share_by_counter(p), "the share of all other answers"),
    ("04-stuck", lambda p: list(p).count(p[0]) / len(p), "For p=[3, 4, 4, 0, 4, 2]"),
    ("04-stuck", lambda p: share_by_counter(p) > 0.9, "gives False; right is 0.75"),
    ("04-stuck", lambda p: 1 / len(set(p)), "For p=[0, 0, 0, 2] your function gives 0.5; right is 0.75"),
    ("04-stuck", lambda p: max(Counter(list(p)).values()) / 5, "For p=[1, 1, 1] your function gives 0.6; right is 1"),
    ("04-stuck", lambda p: round(share_by_counter(p), 1), "You round"),
    ("04-stuck", lambda p: 1.0, "in all 4 cases"),
    ("04-mask", lambda m, k: F.pad(m, (k, 0)), "never looks at your prompt"),
    ("04-mask", lambda m, k: np.hstack([np.ones((len(m), k - 1)), m]), "an array of 1 x 5; one of 1 x 6 is asked for"),
    ("04-mask", lambda m, k: m.shape[1] + k, "gives 6; an array of 1 x 6 is asked for"),
    ("04-stuck", lambda p: list(p).count(max(p)) / len(p), "gives 0.25; right is 0.75"),
    ("04-stuck", lambda p: np.bincount(p) / len(p), "gives [0, 1]; right is 1"),
    ("04-parameters", lambda t, s, w: np.zeros((t, s, w)), "gives (1 x 2 x 96 array); right is 192"),
]
