"""Right and wrong answers to the exercises of notebook 02, each wrong one with words of its hint."""

import math

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from transformers import get_linear_schedule_with_warmup


def by_index(labels, attention_mask):
    last = attention_mask.sum(1) - 1
    ends = labels[torch.arange(len(labels)), last]
    return ((labels != -100) & (attention_mask == 0)).sum(), (ends == -100).sum()


def by_loop(labels, attention_mask):
    on_padding = without_end = 0
    for row, mask in zip(labels.tolist(), attention_mask.tolist(), strict=True):
        on_padding += sum(label != -100 for label, real in zip(row, mask, strict=True) if not real)
        without_end += [label for label, real in zip(row, mask, strict=True) if real][-1] == -100
    return on_padding, without_end


def by_neighbour(labels, mask):
    last = (mask == 1) & (F.pad(mask[:, 1:], (0, 1)) == 0)
    return torch.stack([(labels[mask == 0] != -100).sum(), (labels[last] == -100).sum()])


def by_numpy(labels, mask):
    labels, mask = labels.numpy(), mask.numpy()
    ends = np.take_along_axis(labels, mask.sum(1, keepdims=True) - 1, axis=1)
    return np.array([np.count_nonzero(labels[mask == 0] + 100), np.count_nonzero(ends == -100)])


def by_pad_token(labels, mask):
    return (labels == 1).sum(), by_index(labels, mask)[1]


def by_last_column(labels, mask):
    return by_index(labels, mask)[0], (labels[:, -1] == -100).sum()


def by_end_token(labels, mask):
    return by_index(labels, mask)[0], sum(2 not in row for row in labels.tolist())


def by_all_left_out(labels, mask):
    return by_index(labels, mask)[0], ((labels == -100) & (mask == 1)).sum()


def sums(losses, tokens):
    return math.exp(sum(losses) / sum(tokens))


def weighted(losses, tokens):
    return np.exp(np.average(np.asarray(losses) / tokens, weights=tokens))


def rate_at(step, peak, warm, steps):
    if step < warm:
        return peak * step / warm
    return peak * (steps - step) / (steps - warm)


def smaller(step, peak, warm, steps):
    return peak * min(step / warm if warm else 1, (steps - step) / (steps - warm))


def cosine(step, peak, warm, steps):
    if step < warm:
        return peak * step / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def spoiling(labels, mask):
    labels[mask == 0] = -100
    return by_index(labels, mask)


def library_rate(step, peak, warm, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = get_linear_schedule_with_warmup(optimizer, warm, steps)
    for _ in range(step):
        optimizer.step()
        schedule.step()
    return schedule.get_last_lr()[0]


def early_by_one(step, peak, warm, steps):
    return peak * step / warm if step < warm - 1 else peak * (steps - step) / (steps - warm)


RIGHT = {
    "02-labels": [
        by_index,
        by_loop,
        by_neighbour,
        by_numpy,
        lambda labels, mask: list(by_loop(labels, mask)),
        lambda labels, mask: pd.Series(by_loop(labels, mask)),
        lambda labels, mask: (float(one) for one in by_index(labels, mask)),
    ],
    "02-perplexity": [
        sums,
        weighted,
        lambda x, t: torch.exp(torch.tensor(x).sum() / torch.tensor(t).sum()),
        lambda x, t: math.e ** (sum(x) / sum(t)),
        lambda losses, n: np.exp(np.sum(losses) / np.sum(n)).item(),
    ],
    "02-rate": [
        rate_at,
        smaller,
        library_rate,
        lambda s, p, w, n: p * min(s / w, (n - s) / (n - w)),
        lambda s, p, w, n: np.interp(s, [0, w, n], [0, p, 0]),
        lambda s, p, w, n: torch.tensor(rate_at(s, p, w, n)),
    ],
}

WRONG = [
    ("02-labels", by_pad_token, "The first number: you go by a token"),
    (
        "02-labels",
        lambda labels, m: ((m == 0).sum(), by_index(labels, m)[1]),
        "The first number: you count all padding",
    ),
    ("02-labels", lambda labels, m: ((labels == -100).sum(), by_index(labels, m)[1]), "what the loss leaves out"),
    (
        "02-labels",
        lambda labels, m: ((labels != -100).sum(), by_index(labels, m)[1]),
        "all labels that the loss asks for",
    ),
    ("02-labels", by_last_column, "The second number: the last column is padding"),
    ("02-labels", by_end_token, "The second number: you go by a token"),
    ("02-labels", by_all_left_out, "The second number: you count all tokens"),
    (
        "02-labels",
        lambda labels, mask: (by_index(labels, mask)[0], len(labels) - by_index(labels, mask)[1]),
        "The second number: you count the texts that have their end",
    ),
    (
        "02-labels",
        lambda labels, m: (by_pad_token(labels, m)[0], by_last_column(labels, m)[1]),
        "The first number: you go",
    ),
    ("02-labels", lambda labels, mask: by_index(labels, mask)[::-1], "The other way round"),
    ("02-labels", lambda labels, mask: by_index(labels, mask)[0], "That is the first number"),
    ("02-labels", lambda labels, mask: by_index(labels, mask)[1], "That is the second number"),
    ("02-labels", (0, 0), "Hand over the function itself"),
    ("02-perplexity", lambda losses, tokens: (np.exp(losses / tokens)).mean(), "mean of the texts' perplexities"),
    ("02-perplexity", lambda losses, tokens: np.exp(np.mean(losses / tokens)), "a short text counts as much"),
    ("02-perplexity", lambda losses, tokens: sum(losses) / sum(tokens), "That is the mean loss"),
    ("02-perplexity", lambda losses, tokens: math.exp(sum(losses) / len(losses)), "Divide by that of tokens"),
    ("02-perplexity", lambda losses, tokens: math.exp(sum(losses)), "You never divide"),
    ("02-perplexity", lambda losses, tokens: 2 ** (sum(losses) / sum(tokens)), "exp, not 2"),
    ("02-perplexity", lambda losses, tokens: np.exp(losses / tokens), "Return one number"),
    ("02-perplexity", lambda losses, tokens: 1 / sums(losses, tokens), "The sign"),
    ("02-rate", lambda step, peak, warm, steps: peak * (1 - step / steps), "There is no warm-up in it"),
    ("02-rate", lambda step, peak, warm, steps: peak * min(1, step / warm if warm else 1), "It never falls"),
    ("02-rate", lambda s, p, w, n: p * (s / w if s < w else (n - s) / n), "It jumps down"),
    ("02-rate", lambda s, p, w, n: p * ((s + 1) / w if s < w else (n - s) / (n - w)), "don't add 1"),
    ("02-rate", lambda s, p, w, n: p * (s / w if s < w else 1 - (s - w) / n), "At the last step the rate must be 0"),
    ("02-rate", cosine, "falls like a cosine"),
    ("02-rate", lambda s, p, w, n: rate_at(s, 1, w, n), "Multiply by the peak"),
    ("02-rate", lambda s, p, w, n: p * s / w, "For s=16, p=3, w=4, n=20 your function gives 12; right is 0.75"),
    ("02-labels", spoiling, "changes what it is given (labels)"),
    ("02-labels", lambda labels, mask: (0, 0), "It gives that in all 6 cases"),
    ("02-labels", lambda labels, mask: (labels != -100) & (mask == 0), "right is [1, 0]"),
    ("02-labels", lambda labels, mask: sum(by_loop(labels, mask)), "your function gives 1; right is"),
    ("02-labels", lambda labels, mask: [str(one) for one in by_loop(labels, mask)], "right is [1, 0]"),
    ("02-labels", lambda labels, mask: (*by_loop(labels, mask), 0), "right is [1, 0]"),
    ("02-labels", lambda labels, mask: {"on padding": by_loop(labels, mask)}, "right is [1, 0]"),
    ("02-perplexity", lambda losses, tokens: round(sums(losses, tokens)), "gives 12; right is 12.1825. You round"),
    ("02-perplexity", lambda losses, tokens: 10 ** (sum(losses) / sum(tokens)), "right is 12.1825"),
    ("02-perplexity", lambda losses, tokens: math.log(sums(losses, tokens)), "That is the mean loss"),
    ("02-perplexity", lambda losses, tokens: 7.389, "in all 4 cases"),
    ("02-perplexity", lambda losses, tokens: str(sums(losses, tokens)), "right is 12.1825"),
    ("02-rate", lambda s, p, w, n: p, "For s=16, p=3, w=4, n=20 your function gives 3; right is 0.75"),
    ("02-rate", early_by_one, "For step=9, peak=2, warm=10, steps=100 your function gives 2.02222; right is 1.8"),
    ("02-rate", lambda s, p, w, n: round(rate_at(s, p, w, n), 2), "You round"),
    ("02-rate", lambda s, p, w, n: p * s // w if s < w else p * (n - s) // (n - w), "right is 0.75"),
    ("02-rate", lambda s, p, w, n: p * (s / w if s < w else (s - w) / (n - w)), "gives 2.25; right is 0.75"),
    ("02-rate", lambda s, p, w, n: 0, "in all 7 cases"),
    ("02-labels", lambda labels, mask: labels.masked_fill(mask, 0), "stopped with RuntimeError"),
    ("02-labels", lambda labels, mask: by_loop(labels.T, mask.T), "stopped with IndexError"),
    ("02-perplexity", lambda losses, tokens: np.exp(losses).sum() / tokens.sum(), "right is 12.1825"),
    ("02-perplexity", lambda losses, tokens: math.exp(sum(losses) // sum(tokens)), "gives 7.38906; right is 12.1825"),
    ("02-rate", lambda s, p, w, n: rate_at(s, p, n - w, n), "right is 0.75"),
    ("02-rate", lambda s, p, w, n: p * (s / w) ** 2 if s < w else rate_at(s, p, w, n), "gives 0.5; right is 1"),
    ("02-rate", lambda s, p, w, n: rate_at(s, p, 10, 100), "right is 0.75"),
]
