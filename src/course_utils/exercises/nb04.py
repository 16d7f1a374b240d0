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


def mask(answer) -> tuple[bool, str]:
    """04: the attention mask of a batch with k rows of prompt before it, an array or, as in the notebook, a tensor."""

    def with_front(mask, k, value):
        return np.concatenate([np.full((len(mask), k), value), mask], axis=1)

    cases = [(np.array([[1, 0, 0]]), 3), (np.array([[1, 1, 1, 0], [1, 1, 0, 0]]), 2), (np.array([[0, 1], [1, 1]]), 1)]
    mistakes = [
        (lambda mask, k: mask, "The mask is as long as before, and the input is k rows longer."),
        (lambda mask, k: with_front(mask, k, 0), "With zeros in front the model never looks at your prompt."),
        (
            lambda mask, k: np.concatenate([mask, np.ones((len(mask), k))], axis=1),
            "You put the ones at the end. The prompt stands in front of the question.",
        ),
        (
            lambda mask, k: np.ones((len(mask), k + mask.shape[1])),
            "Now padding counts too. Keep the old mask behind the ones.",
        ),
        (lambda mask, k: np.ones((len(mask), k)), "That is the prompt's part alone. The question's mask follows it."),
    ]

    def judged(cases):
        return by_example(answer, lambda mask, k: with_front(mask, k, 1), mistakes, cases)

    try:
        return judged(cases)
    except Wrong as wrong:
        if wrong.__cause__ is None:
            raise
        return judged([(torch.tensor(mask), k) for mask, k in cases])  # the notebook's own line asks for a tensor


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


CHECKERS = {"04-parameters": parameters, "04-mask": mask, "04-stuck": stuck}
