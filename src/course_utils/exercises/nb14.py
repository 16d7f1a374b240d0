"""The exercises of 14_search_for_settings."""

import numpy as np

from course_utils.exercises.judging import by_example


def flattery(answer) -> tuple[bool, str]:
    """14: by how much the best of some settings says too much, from their scores on dev and what they are worth."""
    cases = [
        ([0.7, 0.9, 0.8], [0.75, 0.8, 0.85]),
        ([0.5, 0.4], [0.6, 0.7]),
        ([0.61, 0.66, 0.72, 0.7], [0.6, 0.71, 0.69, 0.6]),
    ]

    def won(dev):
        return int(np.argmax(dev))

    def right(dev, worth):
        return dev[won(dev)] - worth[won(dev)]

    mistakes = [
        (
            lambda dev, worth: max(dev) - max(worth),
            "That is the worth of the best by *worth*. Nobody knows which that is: take the winner on dev.",
        ),
        (
            lambda dev, worth: max(dev) - np.mean(worth),
            "You took the mean worth of all. What is asked is the worth of the one that won.",
        ),
        (lambda dev, worth: -right(dev, worth), "The wrong way round: what is said, minus what it is worth."),
        (
            lambda dev, worth: worth[won(dev)],
            "That is what the winner is worth. By how much did its score say too much?",
        ),
        (
            lambda dev, worth: np.mean(dev) - np.mean(worth),
            "Those are the means of all settings. A search reports its winner alone.",
        ),
        (
            lambda dev, worth: np.max(np.subtract(dev, worth)),
            "That is the luckiest setting of all. The one that won on dev is asked for.",
        ),
    ]
    return by_example(answer, right, mistakes, [tuple(map(np.array, case)) for case in cases])


def repeats(answer) -> tuple[bool, str]:
    """14: how many of a list of settings repeat an earlier one."""
    a, b, c = {"lr": 1e-3, "r": 8}, {"r": 8, "lr": 1e-3}, {"lr": 1e-2, "r": 8}
    cases = [([a, c, a],), ([a, b, c, c, c],), ([c, a],), ([a, c, b, c],)]

    def points(given):
        return [tuple(sorted(one.items())) for one in given]

    def right(given):
        return len(given) - len(set(points(given)))

    def by_text(given):
        return len(given) - len({str(one) for one in given})

    def neighbours(given):
        known = points(given)
        return sum(one == other for one, other in zip(known, known[1:], strict=False))

    mistakes = [
        (lambda given: len(set(points(given))), "Those are the different ones. How many are there beside them?"),
        (by_text, "The names of two dicts may stand in another order, and the settings be the same: sort them."),
        (
            lambda given: sum(points(given).count(one) > 1 for one in points(given)),
            "You count the first of equal ones, too. It repeats nothing.",
        ),
        (neighbours, "A repeat need not stand beside what it repeats: keep all that were seen."),
        (lambda given: right(given) / len(given), "That is the share of them. Their number is asked for."),
        (
            lambda given: sum(points(given).count(one) > 1 for one in set(points(given))),
            "You count each setting once that comes again. One that is there three times repeats twice.",
        ),
    ]
    return by_example(answer, right, mistakes, cases)


def front(answer) -> tuple[bool, str]:
    """14: which settings no other is at least as fast and as good as, and better in one."""
    cases = [
        ([1.0, 2.0, 3.0, 4.0], [0.5, 0.7, 0.6, 0.8]),
        ([2.0, 1.0, 1.0, 3.0], [0.7, 0.6, 0.6, 0.7]),
        ([5.0, 1.0, 3.0, 2.0, 4.0], [0.9, 0.5, 0.5, 0.8, 0.8]),
    ]

    def right(ms, score, better=lambda least, most: least | most, sign=1):
        ms, score = np.asarray(ms), sign * np.asarray(score)
        as_good = (ms[:, None] <= ms) & (score[:, None] >= score)
        return ~(as_good & better(ms[:, None] < ms, score[:, None] > score)).any(0)

    def strictly(ms, score):
        return right(ms, score, better=lambda least, most: least & most)

    def alone(ms, score):
        """No other may be as good in both, so two that are equal throw each other out."""
        ms, score = np.asarray(ms), np.asarray(score)
        as_good = (ms[:, None] <= ms) & (score[:, None] >= score)
        return as_good.sum(0) == 1

    mistakes = [
        (strictly, "A setting that is as fast and better is enough to throw one out: it need not be better in both."),
        (alone, "Of two that are equal in both, neither is better: both stay."),
        (lambda ms, score: right(-np.asarray(ms), score), "Less time is better: you keep the slow ones."),
        (lambda ms, score: right(ms, score, sign=-1), "More score is better: you keep the poor ones."),
        (lambda ms, score: ~right(ms, score), "The wrong way round: True where a setting *is* on the front."),
        (
            lambda ms, score: np.asarray(score) == np.max(score),
            "That is the best score alone. A faster one with less may be on the front.",
        ),
        (
            lambda ms, score: np.flatnonzero(right(ms, score)),
            "Those are their places. An array of booleans is asked for, one for each setting.",
        ),
    ]
    return by_example(answer, right, mistakes, [tuple(map(np.array, case)) for case in cases])


CHECKERS = {"14-flattery": flattery, "14-repeats": repeats, "14-front": front}
