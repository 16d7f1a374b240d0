"""The exercises of 02_fine_tune_every_weight."""

import math
from collections.abc import Callable

import numpy as np
import torch

from course_utils.exercises.judging import by_example

END, PAD, OUT = 2, 1, -100  # OUT: what the loss leaves out
BATCHES = [  # labels and attention mask; in the third and the fifth, padding and the end of a text are one token
    ([[2, 7, 2, 1]], [[1, 1, 1, 0]]),
    ([[2, 7, OUT, OUT]], [[1, 1, 1, 0]]),
    ([[2, 7, 8, 9, 2], [2, 5, 2, 2, 2]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    ([[2, 7, 8, 2], [2, 5, 2, OUT]], [[1, 1, 1, 1], [1, 1, 1, 0]]),
    ([[OUT, 7, 8, OUT], [OUT, 5, OUT, OUT]], [[1, 1, 1, 1], [1, 1, 1, 0]]),
    ([[2, 7, 8, 9, OUT], [2, 5, 2, OUT, OUT], [2, 6, 2, 1, 1]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]),
]


def labels(answer) -> tuple[bool, str]:
    """02: how many labels stand on padding, and how many texts lack the label of their last token."""

    def on_padding(labels, mask):
        return int(((labels != OUT) & (mask == 0)).sum())

    def without_end(labels, mask):
        return int((labels.gather(1, mask.sum(1, keepdim=True) - 1) == OUT).sum())

    def both(first: Callable, second: Callable) -> Callable:
        return lambda labels, mask: (first(labels, mask), second(labels, mask))

    first = "The first number: "
    firsts = [
        (on_padding, ""),
        (lambda labels, mask: int((labels == PAD).sum()), f"{first}you go by a token. Padding is where the mask is 0."),
        (
            lambda labels, mask: int((mask == 0).sum()),
            f"{first}you count all padding. What is -100 there is right: count the other labels.",
        ),
        (
            lambda labels, mask: int((labels == OUT).sum()),
            f"{first}you count what the loss leaves out. Count what it asks for on padding.",
        ),
        (
            lambda labels, mask: int((labels != OUT).sum()),
            f"{first}you count all labels that the loss asks for. Only those on padding are wrong.",
        ),
    ]
    second = "The second number: "
    seconds = [
        (without_end, ""),
        (
            lambda labels, mask: len(labels) - without_end(labels, mask),
            f"{second}you count the texts that have their end. How many lack it?",
        ),
        (
            lambda labels, mask: int((labels[:, -1] == OUT).sum()),
            f"{second}the last column is padding in a shorter text. Its last token is the last one with mask 1.",
        ),
        (
            lambda labels, mask: int((labels != END).all(1).sum()),
            f"{second}you go by a token, which may open a text, too, and be its padding. Go by the mask.",
        ),
        (
            lambda labels, mask: int(((labels == OUT) & (mask == 1)).sum()),
            f"{second}you count all tokens that are left out. Ask for the last token of each text alone.",
        ),
    ]
    mistakes = [(both(one, other), hint or also) for one, hint in firsts for other, also in seconds if hint or also]
    mistakes += [
        (both(without_end, on_padding), "The other way round: labels on padding first, then texts without their end."),
        (on_padding, "That is the first number. Return both."),
        (without_end, "That is the second number. Return both, the labels on padding first."),
    ]
    cases = [tuple(map(torch.tensor, batch)) for batch in BATCHES]
    return by_example(answer, both(on_padding, without_end), mistakes, cases)


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
