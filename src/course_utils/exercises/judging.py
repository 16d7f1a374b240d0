"""What every checker is made of: a learner's function is called with care, tried on cases, and known mistakes are named."""

import inspect
import signal
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator, MappingView, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np

TOLERANCE = 1e-3
NOT_YET = "Not attempted yet."
FUNCTION = "Hand over the function itself: its name, without brackets after it."
NOTHING = "Your function returns nothing. End it with `return` and the value: `print` only shows it."


class Wrong(Exception):
    """What a learner is told where there is nothing more to judge."""


@contextmanager
def at_most(seconds: float):
    """Raise TimeoutError if what is done in here takes longer. Outside the main thread there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def ring():
        over.set()
        interrupt_main()

    alarm = threading.Timer(seconds, ring)
    alarm.daemon = True
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:  # as in what a shell started in the background: nothing would ring
        signal.signal(signal.SIGINT, signal.default_int_handler)
    alarm.start()
    try:
        yield
    except KeyboardInterrupt:
        if not over.is_set():  # the learner's own interruption
            raise
        raise TimeoutError from None
    finally:
        alarm.cancel()
        if before == signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)


def called(answer, case: tuple, zero: str = ""):
    """Return what a learner's function gives for a case: a copy of it, which the function can't spoil for the next.

    A generator is returned as a list. `zero` is the hint for a division by zero. Raises Wrong where the answer is no
    function, stops with an error, gives `...`, or changes what it was given.
    """
    if not callable(answer):
        raise Wrong(FUNCTION)
    copy = deepcopy(case)
    try:
        given = answer(*copy)
        given = list(given) if isinstance(given, Iterator | MappingView) else given
    except ZeroDivisionError as error:
        raise Wrong(f"For {show_case(answer, case)} your function divides by zero. {zero}".strip()) from error
    except (Exception, SystemExit) as error:
        raise Wrong(f"For {show_case(answer, case)} your function stopped with {said(error)}") from error
    if given is ...:
        raise Wrong(NOT_YET)
    if given is not None and plain(copy) != plain(case):
        raise Wrong(f"Your function changes what it is given ({_changed(answer, copy, case)}). Work on a copy.")
    return given


def by_example(
    answer,
    right: Callable,
    mistakes: Sequence[tuple[Callable, str]],
    cases: Sequence[tuple],
    zero: str = "",
    tolerance: float = TOLERANCE,
) -> tuple[bool, str]:
    """Judge a function by what it returns for some cases.

    Takes the learner's function, the right one, wrong ones each with its hint, and the arguments of each case. A
    mistake is recognised where the answer equals a wrong function's in every case. `zero` is the hint for nan and for
    a division by zero; numbers may differ by `tolerance`. Raises Wrong as `called` does.
    """
    given = [called(answer, case, zero) for case in cases]
    if all(one is None for one in given):
        return False, NOTHING
    expected = [right(*case) for case in cases]
    good = [alike(one, other, tolerance) for one, other in zip(given, expected, strict=True)]
    if all(good):
        return True, f"Right, in all {len(cases)} cases."
    for wrong, hint in mistakes:
        if all(alike(one, wrong(*case), tolerance) for one, case in zip(given, cases, strict=True)):
            return False, hint
    failed = [i for i in range(len(cases)) if not good[i]]
    at = min(failed, key=lambda i: len(_written(plain(cases[i]))))  # the one that is read at a glance
    difference = f"For {show_case(answer, cases[at])} {_difference(given[at], expected[at], tolerance)}"
    if _has_nan(given[at]) and not _has_nan(expected[at]):
        return False, f"{difference} {zero}".strip()
    return False, f"{difference}{_habit(given, expected)}"


def alike(given, expected, tolerance: float = TOLERANCE) -> bool:
    """Say whether two values are the same numbers in the same shape, whatever holds them."""
    one, other = _numbers(given), _numbers(expected)
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool(np.allclose(one, other, rtol=0, atol=tolerance))


def show(value, room: int = 70) -> str:
    """Write a value as a learner would, in no more than about `room` characters; of a matrix, the size."""
    if getattr(value, "ndim", 0) == 2 and len(value) > 1:
        return f"({len(value)} x {value.shape[1]} array)"
    value = plain(value)
    text = _written(value)
    if len(text) <= room:
        return text
    if isinstance(value, str):
        return repr(shorter(value, room - 2))
    if not isinstance(value, list):
        return shorter(text, room)
    shape = _shape(value)
    if len(shape) > 1:
        return f"({' x '.join(map(str, shape))} array)"
    parts = [_written(one) for one in value]
    while parts and len(", ".join(parts)) > room - 20:
        parts.pop()
    return f"[{', '.join([*parts, '...'])} {len(value)} in all]"


def show_case(answer, case: tuple) -> str:
    """Write the arguments of a case, with the names that the learner's function gives them."""
    try:
        parameters = inspect.signature(answer).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have none
        parameters = ()
    names = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD][: len(case)]
    named = names if len(names) == len(case) else [""] * len(case)
    room = 150 // len(case)
    return ", ".join(
        f"{name}={show(one, room)}" if name else show(one, room) for name, one in zip(named, case, strict=True)
    )


def shorter(text: str, room: int) -> str:
    """Write a text in one line, and cut it where there is no more room."""
    text = " ".join(text.split())
    return text if len(text) <= room else text[: room - 3] + "..."


def said(error: BaseException) -> str:
    """Write an error as the end of a sentence: its kind, and what it says if it says something."""
    text = shorter(str(error).rstrip(" ."), 100)
    return ": ".join(part for part in (type(error).__name__, text) if part) + "." * (not text.endswith("..."))


def plain(value):
    """Return a value as lists, numbers and texts: one form for tuples, arrays and tensors."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple | range):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def _numbers(value) -> np.ndarray | None:
    """Return a value as an array of floats, or None if it isn't made of numbers: a text isn't, even "2"."""
    try:
        array = np.asarray(plain(value))
        return array.astype(float) if array.dtype.kind in "biufO" else None
    except Exception:  # whatever a learner's function may give
        return None


def _shape(value) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:  # rows of different lengths
        return (len(value),)


def _has_nan(value) -> bool:
    numbers = _numbers(value)
    return numbers is not None and bool(np.isnan(numbers).any())


def _changed(answer, copy: tuple, case: tuple) -> str:
    """Name the arguments that a function changed."""
    try:
        names = list(inspect.signature(answer).parameters)
    except (TypeError, ValueError):
        names = []
    at = [i for i in range(len(case)) if plain(copy[i]) != plain(case[i])]
    return ", ".join(names[i] if i < len(names) else f"argument {i + 1}" for i in at)


def _difference(given, expected, tolerance: float) -> str:
    """Say in what a value differs from the right one; of a matrix, the first place where it does."""
    if given is None:
        return "your function returns nothing."
    if np.ndim(expected) != 2:
        return f"your function gives {show(given)}; right is {show(expected)}."
    one, other = _numbers(given), np.asarray(plain(expected), float)
    asked = f"of {other.shape[0]} x {other.shape[1]} is asked for"
    if one is None:
        return f"your function gives something else than numbers; an array {asked}."
    if one.ndim > 1 and one.shape != other.shape:
        return f"your function gives an array of {' x '.join(map(str, one.shape))}; one {asked}."
    if one.shape != other.shape:
        return f"your function gives {show(given)}; an array {asked}."
    row, column = np.argwhere(~np.isclose(one, other, rtol=0, atol=tolerance))[0]
    came, wanted = (show(plain(value)[row][column]) for value in (given, expected))
    return f"your function gives {came} at [{row}, {column}]; right is {wanted}."


def _habit(given: list, expected: list) -> str:
    """Name a mistake that can be made in any exercise: an answer that is always the same, in percent, or rounded."""
    if len(given) > 1 and all(alike(one, given[0], 0) for one in given):
        return f" It gives that in all {len(given)} cases."
    numbers = [_numbers(value) for value in expected]
    if all(alike(one, 100 * other) for one, other in zip(given, numbers, strict=True)):
        return " Is that in percent? A share is asked for, from 0 to 1."
    for digits in range(3) if not isinstance(given[0], bool | np.bool_) else ():
        if all(alike(one, np.round(other, digits), 1e-9) for one, other in zip(given, numbers, strict=True)):
            return " You round: give the number as it comes."
    return ""


def _written(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_written(key)}: {_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if callable(value):
        return f"the function {getattr(value, '__name__', '')}".strip()
    text = repr(shorter(value, 24)) if isinstance(value, str) else repr(value)
    return f"a thing of type {type(value).__name__}" if " at 0x" in text else text
