"""What every checker is made of: a learner's function is tried on cases, and known mistakes are named."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np

TOLERANCE = 1e-3
NOT_YET = "Not attempted yet."


def by_example(
    answer, right: Callable, mistakes: Sequence[tuple[Callable, str]], cases: Sequence[tuple], no_number: str = ""
) -> tuple[bool, str]:
    """Judge a function by what it returns for some cases.

    Takes the learner's function, the right one, wrong ones each with its hint, and the arguments of each case. A
    mistake is recognised where the answer equals a wrong function's in every case. `no_number` is the hint for nan
    and for a division by zero.
    """
    if not callable(answer):
        return False, "Hand over the function itself: its name, without brackets after it."
    given = []
    for case in cases:
        try:
            given.append(answer(*deepcopy(case)))
        except ZeroDivisionError:
            return False, f"For {_show(case)} your function divides by zero. {no_number}".strip()
        except Exception as error:
            return False, f"For {_show(case)} your function stopped with {type(error).__name__}: {error}."
        if given[-1] is ...:
            return False, NOT_YET
        if given[-1] is None:
            return False, "Your function returns nothing. End it with `return` and the value."
    expected = [right(*case) for case in cases]
    if _alike(given, expected):
        return True, f"Right, in all {len(cases)} cases."
    if any(_has_nan(value) for value in given):
        return False, f"Your function gives nan: it divides by zero. {no_number}".strip()
    for wrong, hint in mistakes:
        if _alike(given, [wrong(*case) for case in cases]):
            return False, hint
    at = next(i for i in range(len(cases)) if not _alike(given[i : i + 1], expected[i : i + 1]))
    return False, f"For {_show(cases[at])} your function gives {_show(given[at])}; right is {_show(expected[at])}."


def _alike(given: list, expected: list) -> bool:
    try:
        return all(
            np.shape(one) == np.shape(other) and np.allclose(np.asarray(one, float), other, rtol=0, atol=TOLERANCE)
            for one, other in zip(given, expected, strict=True)
        )
    except (TypeError, ValueError):  # no number
        return False


def _has_nan(value) -> bool:
    try:
        return bool(np.isnan(np.asarray(value, float)).any())
    except (TypeError, ValueError):
        return False


def _show(value) -> str:
    """Write a value or a case's arguments as a learner would."""
    if isinstance(value, tuple):
        return ", ".join(_show(one) for one in value)
    if isinstance(value, np.ndarray | list):
        return str(np.asarray(value).tolist())
    return f"{value:.3f}" if isinstance(value, float) else str(value)
