"""Right and wrong answers to the exercises of notebook 04, each wrong one with words of its hint."""

from collections import Counter

import numpy as np
import torch


def mask_with_torch(mask, k):
    mask = torch.as_tensor(mask)
    return torch.cat([mask.new_ones(len(mask), k), mask], dim=1)


def mask_with_numpy(mask, k):
    return np.hstack([np.ones((mask.shape[0], k), int), mask])


def share_by_counter(predictions):
    return max(Counter(list(predictions)).values()) / len(predictions)


def share_by_bincount(predictions):
    return np.bincount(predictions).max() / len(predictions)


RIGHT = {
    "04-parameters": [lambda tokens, stacks, width: tokens * stacks * width, lambda t, s, w: np.zeros((t * s, w)).size],
    "04-mask": [mask_with_torch, mask_with_numpy],
    "04-stuck": [share_by_counter, share_by_bincount],
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
]
