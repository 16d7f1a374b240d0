"""The exercises of 02_fine_tune_every_weight."""

import math
from functools import wraps

import numpy as np
import torch

from course_utils.exercises.judging import alike, by_example, plain

END, PAD = 2, 1
BATCHES = [  # token ids and attention mask; in the last, padding and the end of a text are one token
    ([[2, 3, 2, 1]], [[1, 1, 1, 0]]),
    ([[2, 7, 2, 9, 2], [2, 5, 2, 1, 1]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    ([[2, 7, 8, 2, 2, 2], [2, 5, 6, 4, 9, 2]], [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]),
]


def labels(answer) -> tuple[bool, str]:
    """02: the labels of a padded batch."""

    def right(ids, mask):
        return ids.masked_fill(mask == 0, -100)

    def without(*tokens):
        return lambda ids, mask: ids.masked_fill(torch.isin(ids, torch.tensor(tokens)), -100)

    def shifted(ids, mask):
        return right(ids, mask)[:, 1:]

    def shifted_and_filled(ids, mask):
        return torch.nn.functional.pad(shifted(ids, mask), (0, 1), value=-100)

    def last_left_out(ids, mask):
        last = torch.nn.functional.pad(mask[:, 1:], (0, 1)) == 0
        return ids.masked_fill(last, -100)

    def first_is_free(function):
        """The first label is never asked for, so -100 is as good there as the token."""

        @wraps(function)  # its own names are shown to the learner
        def labels_of(ids, mask):
            given = function(ids, mask)
            if alike(given, given) and np.shape(given) == np.shape(ids):  # made of numbers, and in the right shape
                given = np.array(plain(given))
                if (given[:, 0] == -100).all():
                    given[:, 0] = ids[:, 0]
            return given

        return labels_of

    by_token = "You mask by the token. Where padding and end are one token the end goes too: go by the attention mask."
    number = "The loss leaves out -100 and no other number: a 0, a -1 or the padding token is a label like any."
    once = "You shift the labels. The model does that itself; labels stand under their own tokens."
    mistakes = [
        (lambda ids, mask: ids, "That is a copy: it trains on padding. Where the attention mask is 0, put -100."),
        (without(PAD), by_token),
        (without(END), by_token),
        (without(PAD, END), by_token),
        (lambda ids, mask: ids.masked_fill(mask == 0, 0), number),
        (lambda ids, mask: ids.masked_fill(mask == 0, -1), number),
        (lambda ids, mask: ids.masked_fill(mask == 0, PAD), number),
        (lambda ids, mask: ids.masked_fill(mask == 1, -100), "The other way round: padding is where the mask is 0."),
        (shifted, once),
        (shifted_and_filled, once),
        (last_left_out, "You left out the last real token, the end of the text: the model would never learn to stop."),
        (lambda ids, mask: mask, "That is the mask. Labels are tokens, and -100 where the mask is 0."),
    ]
    cases = [tuple(map(torch.tensor, batch)) for batch in BATCHES]
    mistakes = [(first_is_free(wrong), hint) for wrong, hint in mistakes]
    return by_example(first_is_free(answer) if callable(answer) else answer, right, mistakes, cases)


def perplexity(answer) -> tuple[bool, str]:
    """02: perplexity of a set of texts, from their summed losses and their numbers of tokens."""
    cases = [([10.0, 2.0], [4, 2]), ([3.0, 30.0, 12.0], [3, 10, 4]), ([5.0], [2]), ([0.0, 8.0], [5, 5])]
    cases = [tuple(map(np.array, case)) for case in cases]
    mistakes = [
        (
            lambda losses, tokens: np.exp(losses / tokens).mean(),
            "That is the mean of the texts' perplexities. Sum the losses and the tokens first.",
        ),
        (
            lambda losses, tokens: np.exp((losses / tokens).mean()),
            "You average the texts' mean losses, so a short text counts as much as a long one. Sum first.",
        ),
        (lambda losses, tokens: losses.sum() / tokens.sum(), "That is the mean loss. Perplexity is its exponential."),
        (lambda losses, tokens: np.exp(losses.mean()), "You divide by the number of texts. Divide by that of tokens."),
        (lambda losses, tokens: np.exp(losses.sum()), "You never divide by the number of tokens."),
        (lambda losses, tokens: 2 ** (losses.sum() / tokens.sum()), "These losses are natural logarithms: exp, not 2."),
        (lambda losses, tokens: np.exp(losses / tokens), "Those are the texts' perplexities. Return one number."),
        (lambda losses, tokens: np.exp(-losses.sum() / tokens.sum()), "The sign: the more loss, the more perplexity."),
    ]
    return by_example(answer, lambda losses, tokens: np.exp(losses.sum() / tokens.sum()), mistakes, cases)


def rate(answer) -> tuple[bool, str]:
    """02: the learning rate at a step, with linear warm-up and linear fall."""

    def right(step, peak, warm, steps):
        return peak * (step / warm if step < warm else (steps - step) / (steps - warm))

    def of(factor):
        return lambda step, peak, warm, steps: peak * factor(step, warm, steps)

    def cosine(step, warm, steps):
        return step / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2

    mistakes = [
        (of(lambda step, warm, steps: (steps - step) / steps), "There is no warm-up in it: the rate begins at 0."),
        (of(lambda step, warm, steps: min(1, step / warm)), "It never falls after the warm-up."),
        (
            of(lambda step, warm, steps: step / warm if step < warm else (steps - step) / steps),
            "It jumps down where the warm-up ends: the fall starts at `warm`, so it takes steps - warm steps.",
        ),
        (
            of(lambda step, warm, steps: (step + 1) / warm if step < warm else (steps - step) / (steps - warm)),
            "The first step is 0 and has the rate 0: don't add 1.",
        ),
        (
            of(lambda step, warm, steps: step / warm if step < warm else 1 - (step - warm) / steps),
            "At the last step the rate must be 0: the fall takes steps - warm steps.",
        ),
        (of(cosine), "That falls like a cosine. A straight line is asked for."),
        (
            lambda step, peak, warm, steps: right(step, 1, warm, steps),
            "That is the share of the peak. Multiply by the peak.",
        ),
    ]
    cases = [(step, 2.0, 10, 100) for step in (0, 5, 9, 10, 40, 100)] + [(16, 3.0, 4, 20)]
    return by_example(answer, right, mistakes, cases)


CHECKERS = {"02-labels": labels, "02-perplexity": perplexity, "02-rate": rate}
