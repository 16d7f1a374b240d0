"""Right and wrong answers to the exercises of notebook 02, each wrong one with words of its hint."""

import math

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F
from transformers import get_linear_schedule_with_warmup


def by_where(input_ids, attention_mask):
    return np.where(np.asarray(attention_mask) == 1, np.asarray(input_ids), -100)


def in_place(input_ids, attention_mask):
    labels = input_ids.clone()
    labels[attention_mask == 0] = -100
    labels[:, 0] = -100  # never asked for
    return labels


def by_token(*tokens):
    def answer(input_ids, attention_mask):
        labels = input_ids.clone()
        for token in tokens:
            labels[labels == token] = -100
        return labels

    return answer


def filled_with(number):
    return lambda ids, mask: torch.where(mask.bool(), ids, torch.tensor(number))


def without_last(input_ids, attention_mask):
    labels = input_ids.clone()
    for row, mask in zip(labels, attention_mask, strict=True):
        row[int(mask.sum()) - 1 :] = -100
    return labels


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


def by_lists(ids, mask):
    return [
        [one if seen else -100 for one, seen in zip(*rows, strict=True)]
        for rows in zip(ids.tolist(), mask.tolist(), strict=True)
    ]


def spoiling(ids, mask):
    ids[mask == 0] = -100
    return ids


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
        lambda ids, mask: ids.masked_fill(mask == 0, -100),
        by_where,
        in_place,
        by_lists,
        lambda i, m: i * m - 100 * (1 - m),
        lambda i, m: torch.where(m == 1, i, torch.tensor(-100)),
        lambda ids, mask: (row for row in by_where(ids, mask)),
        lambda ids, mask: pd.DataFrame(ids.numpy()).where(mask.numpy() == 1, -100),
        lambda ids, mask: ids.float().masked_fill(~mask.bool(), -100),
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
    ("02-labels", lambda ids, mask: ids.clone(), "it trains on padding"),
    ("02-labels", by_token(1), "You mask by the token"),
    ("02-labels", by_token(2), "You mask by the token"),
    ("02-labels", by_token(1, 2), "You mask by the token"),
    ("02-labels", filled_with(0), "The loss leaves out -100"),
    ("02-labels", filled_with(-1), "The loss leaves out -100"),
    ("02-labels", filled_with(1), "The loss leaves out -100"),
    ("02-labels", lambda ids, mask: torch.where(mask.bool(), -100, ids), "The other way round"),
    ("02-labels", lambda ids, mask: ids.masked_fill(mask == 0, -100)[:, 1:], "You shift the labels"),
    (
        "02-labels",
        lambda ids, mask: F.pad(ids.masked_fill(mask == 0, -100), (0, 1), value=-100)[:, 1:],
        "You shift the",
    ),
    ("02-labels", without_last, "the model would never learn to stop"),
    ("02-labels", lambda ids, mask: mask, "That is the mask"),
    ("02-labels", [[-100]], "Hand over the function itself"),
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
    ("02-labels", spoiling, "changes what it is given (ids)"),
    ("02-labels", lambda ids, mask: ids.masked_fill(mask == 0, 100), "gives 100 at [0, 3]; right is -100"),
    ("02-labels", lambda ids, mask: ids[mask == 1], "gives [2, 3, 2]; an array of 1 x 4 is asked for"),
    ("02-labels", lambda ids, mask: ids.masked_fill(mask == 0, -100) + 0.4, "gives 2.4 at [0, 0]; right is 2"),
    ("02-labels", lambda ids, mask: torch.where(mask.bool(), ids, math.nan), "gives nan at [0, 3]; right is -100"),
    ("02-labels", lambda ids, mask: {"labels": by_lists(ids, mask)}, "something else than numbers"),
    ("02-labels", lambda ids, mask: by_lists(ids, mask)[0], "an array of 1 x 4 is asked for"),
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
    (
        "02-labels",
        lambda ids, mask: (ids.masked_fill(mask == 0, -100),),
        "an array of 1 x 1 x 4; one of 1 x 4 is asked",
    ),
    ("02-labels", lambda ids, mask: ids.masked_fill(mask.roll(-1, 1) == 0, -100), "gives -100 at [0, 2]; right is 2"),
    ("02-labels", lambda ids, mask: ids.masked_fill(mask, -100), "stopped with RuntimeError"),
    ("02-perplexity", lambda losses, tokens: np.exp(losses).sum() / tokens.sum(), "right is 12.1825"),
    ("02-perplexity", lambda losses, tokens: math.exp(sum(losses) // sum(tokens)), "gives 7.38906; right is 12.1825"),
    ("02-rate", lambda s, p, w, n: rate_at(s, p, n - w, n), "right is 0.75"),
    ("02-rate", lambda s, p, w, n: p * (s / w) ** 2 if s < w else rate_at(s, p, w, n), "gives 0.5; right is 1"),
    ("02-rate", lambda s, p, w, n: rate_at(s, p, 10, 100), "right is 0.75"),
]
