"""The exercises of 00_start_here."""

import math

import numpy as np

from course_utils.exercises.judging import by_example, show


def steps(answer) -> tuple[bool, str]:
    """00: how many optimiser steps are 4 epochs over 1,300 reports in batches of 64?"""
    reports, batch, epochs = 1300, 64, 4
    an_epoch = math.ceil(reports / batch)
    hints = {
        an_epoch: f"That is one epoch. There are {epochs}.",
        3 * an_epoch: f"That is three epochs. There are {epochs}.",
        reports * epochs: f"You counted reports. A step takes a whole batch of {batch} of them.",
        reports: f"You counted reports, of one epoch. A step takes a whole batch of {batch} of them.",
    }
    last = "You left out the last batch of each epoch: it is not full, but it is a step too."
    hints |= dict.fromkeys((reports // batch * epochs, reports * epochs / batch, reports * epochs // batch + 1), last)
    hints[reports // batch] = "That is one epoch, and without its last batch, which is not full."
    try:
        number = float(answer)
    except (TypeError, ValueError):
        number = None
    if number is None or np.ndim(answer) or isinstance(answer, str | bool):
        return False, f"A number is asked for, and you gave {show(answer)}."
    if number == an_epoch * epochs:
        return True, f"Right: {an_epoch} batches an epoch, the last one not full, times {epochs} epochs."
    return False, hints.get(
        number, f"How many batches of {batch} make {reports:,} reports? Count them for one epoch first."
    )


def majority(answer) -> tuple[bool, str]:
    """00: the accuracy of always answering the commonest grade."""
    cases = [([0, 0, 1, 2],), ([1, 1, 3, 3],), ([4],), (np.array([2, 2, 2, 0, 4, 4, 2, 2]),), ([3, 3, 3, 1, 0],)]

    def counts(labels):
        return np.unique_counts(labels)

    def grade(labels):
        return counts(labels).values[counts(labels).counts.argmax()]

    mistakes = [
        (grade, "That is the commonest grade itself. What share of the reports has it?"),
        (lambda labels: counts(labels).counts.max(), "That is a count. Divide it by the number of reports."),
        (lambda labels: 100 * counts(labels).counts.max() / len(labels), "That is in percent. Give a share, 0 to 1."),
        (lambda labels: counts(labels).counts.max() / len(set(labels)), "Divide by the reports, not by the grades."),
        (lambda labels: 1 / len(set(labels)), "That is guessing at random. The commonest grade is more common."),
        (lambda labels: np.mean(np.asarray(labels) == 0), "That always answers 0. Which grade is commonest here?"),
    ]
    return by_example(answer, lambda labels: counts(labels).counts.max() / len(labels), mistakes, cases)


CHECKERS = {"00-steps": steps, "00-majority": majority}
