"""The exercises of 17_look_at_the_picture_too."""

import numpy as np

from course_utils.exercises.judging import by_example

SIMILAR = [  # pictures in rows, reports in columns, the own pairs on the diagonal
    ([[0.9, 0.1, 0.2], [0.8, 0.3, 0.7], [0.1, 0.2, 0.6]],),
    ([[0.1, 0.9, 0.2, 0.3], [0.9, 0.8, 0.1, 0.2], [0.5, 0.6, 0.4, 0.1], [0.2, 0.1, 0.3, 0.25]],),
    ([[0.0, 0.9, 0.8], [0.9, 0.0, 0.8], [0.9, 0.8, 0.0]],),
    ([[25, 1, 24, 2, 3], [6, 7, 8, 9, 10], [20, 19, 18, 17, 16], [23, 22, 11, 12, 13], [5, 4, 15, 14, 21]],),
]


def among_two(similar):
    """The right answer to 17-two."""
    matrix = np.array(similar)
    better = (matrix > np.diag(matrix)[:, None]).sum(1)
    return float((better < 2).mean())


def two(answer) -> tuple[bool, str]:
    """17: the share of pictures whose own report is among the two nearest."""
    mistakes = [
        (
            lambda s: float((np.array(s).argmax(1) == np.arange(len(s))).mean()),
            "You ask that the own report is the first. The second place counts as well.",
        ),
        (
            lambda s: among_two(np.array(s).T),
            "You let each report look for its picture. Go along the rows: each picture looks for its report.",
        ),
        (
            lambda s: float(((-np.array(s) > -np.diag(s)[:, None]).sum(1) < 2).mean()),
            "You take the two least alike. The nearest have the largest similarity.",
        ),
        (
            lambda s: int(((np.array(s) > np.diag(s)[:, None]).sum(1) < 2).sum()),
            "That is a count. Divide it by the number of pictures.",
        ),
    ]
    return by_example(answer, among_two, mistakes, SIMILAR)


ANSWERS = [  # as they are, under a control, and the truth
    ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 4]),
    ([0, 2, 2, 1, 4], [0, 0, 2, 1, 3], [0, 2, 1, 1, 4]),
    ([1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]),
    ([3, 2, 1, 0, 0, 4], [3, 1, 0, 0, 2, 1], [3, 2, 2, 0, 0, 0]),
]


def under_control(before, after, truth):
    """The right answer to 17-look."""
    one, other, right = (np.array(some) for some in (before, after, truth))
    return int((one != other).sum()), int((one == right).sum() - (other == right).sum())


def look(answer) -> tuple[bool, str]:
    """17: how many answers a control changes, and how many right ones it costs."""
    mistakes = [
        (
            lambda b, a, t: (under_control(b, a, t)[0], -under_control(b, a, t)[1]),
            "The sign of what is lost is turned: right before, minus right under the control.",
        ),
        (lambda b, a, t: under_control(b, a, t)[::-1], "The order is turned: answers that changed come first."),
        (
            lambda b, a, t: (under_control(b, a, t)[0],) * 2,
            "An answer that changes need not have been right: count those that were right, before and after.",
        ),
        (
            lambda b, a, t: (
                under_control(b, a, t)[0],
                int(((np.array(b) == np.array(t)) & (np.array(a) != np.array(t))).sum()),
            ),
            "Some answers become right under a control: take them off.",
        ),
        (
            lambda b, a, t: (int((np.array(a) != np.array(t)).sum()), under_control(b, a, t)[1]),
            "You count the answers that are wrong under the control. Count those that differ from before.",
        ),
    ]
    return by_example(answer, under_control, mistakes, ANSWERS)


FLAGS = [(0.8, 0.95, 0.01), (0.9, 0.9, 0.5), (1.0, 0.99, 0.001), (0.5, 0.8, 0.2), (0.6, 1.0, 0.05)]


def right_flags(sensitivity, specificity, share):
    """The right answer to 17-flag: Bayes' rule."""
    right, false = share * sensitivity, (1 - share) * (1 - specificity)
    return right / (right + false)


def flag(answer) -> tuple[bool, str]:
    """17: of the pictures that are flagged, the share that lies in the wrong file."""
    mistakes = [
        (
            lambda se, sp, p: se,
            "That is the sensitivity: of the misfiled, the flagged. Asked for: of the flagged, the misfiled.",
        ),
        (
            lambda se, sp, p: se / (se + 1 - sp),
            "You forget how few are misfiled: weigh both kinds by their share.",
        ),
        (
            lambda se, sp, p: p * se / (p * se + (1 - p) * sp),
            "False flags come from 1 - specificity, not from the specificity.",
        ),
        (
            lambda se, sp, p: p * se + (1 - p) * (1 - sp),
            "That is the share of all pictures that are flagged. Divide the right flags by it.",
        ),
        (
            lambda se, sp, p: (1 - p) * sp / ((1 - p) * sp + p * (1 - se)),
            "That is of the pictures without a flag the share that lies right.",
        ),
    ]
    return by_example(answer, right_flags, mistakes, FLAGS, zero="Is something flagged in each case?")


CHECKERS = {"17-two": two, "17-look": look, "17-flag": flag}
