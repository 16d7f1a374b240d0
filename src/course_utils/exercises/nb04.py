"""The exercises of 04_tune_a_prompt."""

import numpy as np
import torch

from course_utils.exercises.judging import Wrong, by_example


def parameters(answer) -> tuple[bool, str]:
    """04: how many numbers a prompt trains."""
    cases = [(10, 2, 128), (10, 1, 512), (1, 2, 96), (50, 1, 128)]
    mistakes = [
        (lambda tokens, stacks, width: tokens * width, "You left out the stacks: PEFT sets rows aside for each."),
        (
            lambda tokens, stacks, width: tokens * stacks,
            "Those are the rows. Each row holds as many numbers as an embedding.",
        ),
        (lambda tokens, stacks, width: 2 * tokens * width, "You took two stacks always. Use the number that is given."),
        (
            lambda tokens, stacks, width: tokens * stacks * width**2,
            "A row holds `width` numbers, not a matrix of them.",
        ),
        (
            lambda tokens, stacks, width: 4 * tokens * stacks * width,
            "Those are bytes, at four a number. How many numbers are there?",
        ),
        (lambda tokens, stacks, width: tokens + stacks + width, "Multiply; you added."),
    ]
    return by_example(answer, lambda tokens, stacks, width: tokens * stacks * width, mistakes, cases)


def labels(answer) -> tuple[bool, str]:
    """04: the labels of a batch with k rows of prompt before it, an array or, as a model gets them, a tensor."""

    def with_front(labels, k, value):
        return np.concatenate([np.full((len(labels), k), value), labels], axis=1)

    cases = [(np.array([[-100, 7, 9]]), 3), (np.array([[-100, -100, 5, 2], [-100, 4, 2, -100]]), 2)]
    cases += [(np.array([[3, -100], [8, 1]]), 1)]
    mistakes = [
        (lambda labels, k: labels, "The labels are as long as before, and the input is k rows longer."),
        (
            lambda labels, k: with_front(labels, k, 0),
            "0 is a token like any other: it would be asked for at each row of your prompt.",
        ),
        (
            lambda labels, k: with_front(labels, k, 1),
            "Ones belong to the attention mask. In labels 1 is a token, which would be asked for.",
        ),
        (
            lambda labels, k: np.concatenate([labels, np.full((len(labels), k), -100)], axis=1),
            "You put them at the end. The prompt stands in front.",
        ),
        (
            lambda labels, k: np.full((len(labels), k + labels.shape[1]), -100),
            "Now no token is asked for. Keep the old labels behind those of the prompt.",
        ),
        (
            lambda labels, k: with_front(labels, k, -100)[:, : labels.shape[1]],
            "You cut the end off, where the answer stands: the labels grow by k.",
        ),
        (lambda labels, k: np.full((len(labels), k), -100), "That is the prompt's part alone. The old labels follow."),
    ]

    def judged(cases):
        return by_example(answer, lambda labels, k: with_front(labels, k, -100), mistakes, cases)

    try:
        return judged(cases)
    except Wrong as wrong:
        if wrong.__cause__ is None:
            raise
        return judged([(torch.tensor(labels), k) for labels, k in cases])  # what a model gets is a tensor


def stuck(answer) -> tuple[bool, str]:
    """04: the share of the commonest answer."""
    cases = [([0, 0, 0, 2],), ([1, 1, 1],), ([3, 4, 4, 0, 4, 2],), (np.array([2, 2, 0, 1, 2, 2, 2, 3]),)]

    def counts(predictions):
        return np.unique_counts(np.asarray(predictions)).counts

    mistakes = [
        (lambda p: 1 - counts(p).max() / len(p), "That is the share of all other answers. The commonest is asked for."),
        (lambda p: counts(p).max(), "That is a count. Divide it by the number of predictions."),
        (lambda p: np.unique_counts(np.asarray(p)).values[counts(p).argmax()], "That is the commonest answer itself."),
        (
            lambda p: len(counts(p)),
            "That is how many different answers there are. A few strays would hide a stuck model.",
        ),
        (lambda p: 100 * counts(p).max() / len(p), "That is in percent. Give a share, from 0 to 1."),
        (lambda p: np.mean(np.asarray(p) == 0), "That looks at grade 0 alone. A model can be stuck on any answer."),
        (lambda p: counts(p).max() / len(counts(p)), "Divide by the number of predictions, not of different answers."),
    ]
    return by_example(answer, lambda p: counts(p).max() / len(p), mistakes, cases)


CHECKERS = {"04-parameters": parameters, "04-labels": labels, "04-stuck": stuck}
