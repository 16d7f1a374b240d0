"""Right and wrong answers to the exercises of notebook 02, each wrong one with words of its hint."""

import math

import numpy as np
import torch
from torch.nn import functional as F


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


RIGHT = {
    "02-labels": [lambda ids, mask: ids.masked_fill(mask == 0, -100), by_where, in_place],
    "02-perplexity": [sums, weighted],
    "02-rate": [rate_at, smaller],
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
    ("02-rate", lambda s, p, w, n: p * s / w, "divides by zero. Where `warm` is 0"),
]
