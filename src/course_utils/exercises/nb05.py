"""The exercises of 05_take_it_to_a_real_model."""

import re
from collections import Counter

import numpy as np

from course_utils.exercises.judging import by_example

END = "<|im_end|>"
ANSWERS = [  # of a chat model, with the true grade of each
    (["2<|im_end|>", " 0 <|im_end|>", "7<|im_end|>", "The right", "3<|im_end|>"], [2, 1, 2, 0, 4]),
    (["1<|im_end|>", "1<|im_end|>", "1<|im_end|>", "Grade 3<|im_end|>"], [1, 1, 3, 3]),
    (["2 mild", "4", "0<|im_end|>", "01<|im_end|>", "4\n<|im_end|>", ""], [2, 4, 0, 0, 4, 2]),
]


def mean(answer) -> tuple[bool, str]:
    """05: the mean vector of each text of a batch, padding left out."""
    rng = np.random.default_rng(0)
    cases = [
        (
            np.array([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]], [[2.0, 2.0], [5.0, 5.0], [5.0, 5.0]]]),
            np.array([[1, 1, 0], [1, 0, 0]]),
        )
    ]
    for texts, tokens, width in ((3, 5, 4), (4, 6, 2)):
        mask = (np.arange(tokens) < rng.integers(1, tokens, (texts, 1))).astype(int)
        cases.append((rng.normal(size=(texts, tokens, width)), mask))

    def right(hidden, mask):
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)

    mistakes = [
        (
            lambda hidden, mask: hidden.mean(1),
            "You count the padding in: the vectors where the mask is 0 must not add up.",
        ),
        (
            lambda hidden, mask: (hidden * mask[..., None]).mean(1),
            "You divide by all places of the row. Divide by how many tokens the text has: the sum of its mask.",
        ),
        (
            lambda hidden, mask: (hidden * mask[..., None]).sum(1),
            "That is the sum. Divide it by how many tokens the text has.",
        ),
        (
            lambda hidden, mask: hidden[:, 0],
            "That is the first token's vector, as of [CLS]. The mean of all tokens is asked for.",
        ),
        (
            lambda hidden, mask: right(hidden, 1 - mask),
            "That is the mean of the padding: the mask is 1 for tokens.",
        ),
        (
            lambda hidden, mask: (hidden * mask[..., None]).sum((0, 1)) / mask.sum() * np.ones((len(mask), 1)),
            "That is one mean over all texts. Each text has its own.",
        ),
    ]
    return by_example(answer, right, mistakes, cases)


def counts(answer) -> tuple[bool, str]:
    """05: how many answers are in the form, how many are right, and how many the best constant answer would have right."""
    form = re.compile(r"\s*([0-4])\s*" + re.escape(END))

    def count(answers, grades, digit):
        said = [digit(one) for one in answers]
        right = sum(one is not None and int(one) == grade for one, grade in zip(said, grades, strict=True))
        return [sum(one is not None for one in said), right, max(Counter(grades).values())]

    def in_form(one):
        found = form.fullmatch(one)
        return found and found[1]

    def anywhere(one):
        found = re.search(r"[0-4]", one)
        return found and found[0]

    def any_digit(one):
        found = re.fullmatch(r"\s*(\d)\s*" + re.escape(END), one)
        return found and found[1]

    def without_end(one):
        found = re.fullmatch(r"\s*([0-4])\s*", one.replace(END, ""))
        return found and found[1]

    def strict(one):
        found = re.fullmatch(r"([0-4])" + re.escape(END), one)
        return found and found[1]

    mistakes = [
        (
            lambda answers, grades: count(answers, grades, anywhere),
            'You take a digit from anywhere in the answer. "Grade 3" is not in the form: a digit and the end, nothing else.',
        ),
        (lambda answers, grades: count(answers, grades, any_digit), "You take any digit. A grade goes from 0 to 4."),
        (
            lambda answers, grades: count(answers, grades, without_end),
            f"An answer without {END} goes on after the digit: it is not in the form.",
        ),
        (
            lambda answers, grades: count(answers, grades, strict),
            "Spaces and line ends around the digit don't matter: allow them.",
        ),
        (
            lambda answers, grades: count(answers, grades, in_form)[:2] + [max(Counter(answers).values())],
            "The best constant answer is the commonest *true* grade, not the commonest answer.",
        ),
        (
            lambda answers, grades: [one / len(grades) for one in count(answers, grades, in_form)],
            "Return three counts, not shares.",
        ),
    ]
    return by_example(answer, lambda answers, grades: count(answers, grades, in_form), mistakes, ANSWERS)


def operations(answer) -> tuple[bool, str]:
    """05: the operations of a training step with frozen weights below the first trained layer."""
    cases = [
        (0, 10, 1),
        (100, 10, 3),
        (85_000_000, 14_000_000, 640),
        (0, 10_600_000, 1024),
        (7_100_000, 3_500_000, 512),
    ]
    mistakes = [
        (
            lambda frozen, trained, tokens: 6 * (frozen + trained) * tokens,
            "That is a step that trains all. Below the first trained layer there is only the way forward: 2 a weight and token.",
        ),
        (
            lambda frozen, trained, tokens: 6 * trained * tokens,
            "The frozen weights still compute on the way forward: 2 operations for each of them and each token.",
        ),
        (
            lambda frozen, trained, tokens: (frozen + 3 * trained) * tokens,
            "Each weight takes a multiplication *and* an addition: two operations.",
        ),
        (
            lambda frozen, trained, tokens: 2 * (frozen + trained) * tokens,
            "That is the way forward alone. What trains takes twice as many again on the way back.",
        ),
        (
            lambda frozen, trained, tokens: (2 * frozen + 4 * trained) * tokens,
            "What trains takes 2 forward *and* 4 backward.",
        ),
        (
            lambda frozen, trained, tokens: 2 * frozen + 6 * trained,
            "That is for one token. A step has `tokens` of them.",
        ),
    ]
    return by_example(answer, lambda frozen, trained, tokens: (2 * frozen + 6 * trained) * tokens, mistakes, cases)


CHECKERS = {"05-mean": mean, "05-counts": counts, "05-operations": operations}
