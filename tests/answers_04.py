"""Right and wrong answers to the exercises of notebook 04, each wrong one with words of its hint."""

from collections import Counter

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F


def labels_with_torch(labels, k):
    labels = torch.as_tensor(labels)
    return torch.cat([labels.new_full((len(labels), k), -100), labels], dim=1)


def labels_with_numpy(labels, k):
    return np.hstack([np.full((labels.shape[0], k), -100), labels])


def share_by_counter(predictions):
    return max(Counter(list(predictions)).values()) / len(predictions)


def share_by_bincount(predictions):
    return np.bincount(predictions).max() / len(predictions)


def of_a_tensor_alone(labels, k):
    front = labels.new_full((len(labels), k), -100)
    return torch.cat([front, labels], dim=1)


def filled(labels, k):
    labels[:] = -100
    return labels_with_numpy(labels, k)


RIGHT = {
    "04-parameters": [
        lambda tokens, stacks, width: tokens * stacks * width,
        lambda t, s, w: np.zeros((t * s, w)).size,
        lambda *three: np.prod(three),
        lambda t, s, w: sum(w for _ in range(t * s)),
        lambda t, s, w: torch.nn.Embedding(t * s, w).weight.numel(),
    ],
    "04-labels": [
        labels_with_torch,
        labels_with_numpy,
        of_a_tensor_alone,
        lambda m, k: np.pad(m, ((0, 0), (k, 0)), constant_values=-100),
        lambda m, k: [[-100] * k + list(row) for row in m],
        lambda m, k: np.c_[np.full((len(m), k), -100), m],
        lambda m, k: np.insert(m, [0] * k, -100, axis=1),
        lambda m, k: F.pad(m, (k, 0), value=-100),
        lambda m, k: pd.concat([pd.DataFrame(np.full((len(m), k), -100)), pd.DataFrame(m)], axis=1),
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
    ("04-labels", lambda labels, k: labels, "as long as before"),
    ("04-labels", lambda labels, k: np.hstack([np.zeros((len(labels), k)), labels]), "0 is a token like any other"),
    ("04-labels", lambda labels, k: np.hstack([np.ones((len(labels), k)), labels]), "belong to the attention mask"),
    ("04-labels", lambda labels, k: np.hstack([labels, np.full((len(labels), k), -100)]), "at the end"),
    ("04-labels", lambda labels, k: np.full((len(labels), labels.shape[1] + k), -100), "no token is asked for"),
    ("04-labels", lambda labels, k: np.full((len(labels), k), -100), "the prompt's part alone"),
    ("04-labels", lambda labels, k: labels_with_numpy(labels, k)[:, : labels.shape[1]], "You cut the end off"),
    ("04-labels", lambda labels, k: None, "End it with `return`"),
    ("04-labels", filled, "changes what it is given (labels)"),
    ("04-labels", lambda m, k: labels_with_numpy(m, 10), "an array of 1 x 13; one of 1 x 6 is asked for"),
    ("04-labels", lambda m, k: np.vstack([np.full((k, m.shape[1]), -100), m]), "an array of 4 x 3; one of 1 x 6"),
    ("04-labels", lambda m, k: labels_with_numpy(m + 1, k), "right is -100"),
    ("04-labels", lambda m, k: np.hstack([np.repeat(m[:, -1:], k, 1), m]), "gives 9 at [0, 0]; right is -100"),
    ("04-labels", lambda m, k: labels_with_numpy(m, k)[0], "an array of 1 x 6 is asked for"),
    ("04-labels", lambda m, k: m.full(k), "stopped with AttributeError"),
    ("04-labels", lambda m, k: F.pad(m, (k, 0)), "0 is a token like any other"),
    ("04-labels", lambda m, k: labels_with_numpy(m, k - 1), "an array of 1 x 5; one of 1 x 6 is asked for"),
    ("04-labels", lambda m, k: m.shape[1] + k, "gives 6; an array of 1 x 6 is asked for"),
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
    ("04-stuck", lambda p: 1 - share_by_counter(p), "the share of all other answers"),
    ("04-stuck", lambda p: list(p).count(p[0]) / len(p), "For p=[3, 4, 4, 0, 4, 2]"),
    ("04-stuck", lambda p: share_by_counter(p) > 0.9, "gives False; right is 0.75"),
    ("04-stuck", lambda p: 1 / len(set(p)), "For p=[0, 0, 0, 2] your function gives 0.5; right is 0.75"),
    ("04-stuck", lambda p: max(Counter(list(p)).values()) / 5, "For p=[1, 1, 1] your function gives 0.6; right is 1"),
    ("04-stuck", lambda p: round(share_by_counter(p), 1), "You round"),
    ("04-stuck", lambda p: 1.0, "in all 4 cases"),
    ("04-stuck", lambda p: list(p).count(max(p)) / len(p), "gives 0.25; right is 0.75"),
    ("04-stuck", lambda p: np.bincount(p) / len(p), "gives [0, 1]; right is 1"),
    ("04-parameters", lambda t, s, w: np.zeros((t, s, w)), "gives (1 x 2 x 96 array); right is 192"),
]
