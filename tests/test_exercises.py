"""Each checker passes right answers of all styles, names each known mistake, and survives whatever code it is given.

The answers stand in answers_NN.py, one file a notebook.
"""

import signal
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from answers_01 import sensitivity
from course_utils import exercises

ANSWERS = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("answers_*.py"))]
RIGHT = {name: answers for module in ANSWERS for name, answers in module.RIGHT.items()}
WRONG = [case for module in ANSWERS for case in module.WRONG]
VALUES = {name for module in ANSWERS for name in getattr(module, "VALUES", ())}
DATA = {name: rows for module in ANSWERS for name, rows in getattr(module, "DATA", {}).items()}
ROOM = 300  # letters of a message
ODD = [None, "", "text", b"bytes", [], {}, {1: "a"}, set(), object(), 1j, float("nan"), float("inf"), -1, "2"]
ODD += [
    np.array([]),
    np.array(["a"]),
    np.zeros((2, 2, 2)),
    [[1], [1, 2]],
    [None],
    torch.zeros(2, requires_grad=True),
]


def judge(name, answer):
    return exercises.judge(name, answer, DATA.get(name))


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_right_answers_pass(name, answer):
    assert judge(name, answer)[0], judge(name, answer)[1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_wrong_answers_get_their_own_hint(name, answer, hint):
    right, message = judge(name, answer)
    assert not right and hint in message
    assert len(message) <= ROOM, message


def test_every_exercise_is_tested_and_its_solution_is_there():
    assert set(RIGHT) == {name for name, _, _ in WRONG} == set(exercises.CHECKERS)
    root = Path(__file__).parents[1]
    places = [root / "notebooks" / "solutions", root / "coming" / "solutions"]
    for name in exercises.CHECKERS:
        assert any((place / f"{exercises.SOLUTIONS[name[:2]]}.ipynb").is_file() for place in places)


@pytest.mark.parametrize("name", exercises.CHECKERS)
def test_a_stub_is_not_attempted(name, capsys):
    for stub in (..., *([] if name in VALUES else [lambda *arguments: ...])):
        exercises.check(name, stub, DATA.get(name))
        assert capsys.readouterr().out == "Not attempted yet.\n"


def test_a_wrong_answer_ends_with_the_way_to_the_solution_and_a_right_one_does_not(capsys):
    exercises.check("00-steps", 32)
    exercises.check("00-steps", 84)
    wrong, right = capsys.readouterr().out.splitlines()
    assert wrong.endswith("The solution is in notebooks/solutions/00_start_here.ipynb.")
    assert right == "Right: 21 batches an epoch, the last one not full, times 4 epochs."


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", exercises.CHECKERS)
def test_whatever_comes_back_is_judged_in_few_words_and_no_fault_of_the_checker(name):
    for value in ODD:
        for answer in (value, *([] if name in VALUES else [lambda *arguments, value=value: value])):
            right, message = judge(name, answer)
            assert not right, value
            assert len(message) <= ROOM and " at 0x" not in message, message
            assert "checker itself" not in message and "stopped" not in message, message


@pytest.mark.parametrize("name", sorted(set(exercises.CHECKERS) - VALUES))
def test_a_function_that_gives_nothing_or_fails_is_told_so(name):
    def leaves(*arguments):
        raise SystemExit(1)

    def long(*arguments):
        raise RuntimeError("a long tale of what went wrong, " * 40)

    assert "nothing" in judge(name, lambda *arguments: print(1))[1] or name == "01-keyword"
    assert "stopped with SystemExit: 1." in judge(name, leaves)[1]
    assert "stopped with RuntimeError" in judge(name, long)[1] and len(judge(name, long)[1]) <= ROOM


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_loop_that_never_ends_is_ended(monkeypatch, handler):
    def endless(labels):
        while True:
            pass

    monkeypatch.setattr(exercises, "LIMIT_S", 0.2)
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert exercises.judge("00-majority", endless) == (
            False,
            "Your code had not ended after 0.2 seconds. Is there a loop that never ends?",
        )
        assert signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interruption_by_the_learner_is_not_held_back():
    def interrupted(labels):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exercises.judge("00-majority", interrupted)


def test_a_fault_of_a_checker_is_not_the_learners(monkeypatch):
    def faulty(answer):
        return [][0]

    monkeypatch.setitem(exercises.CHECKERS, "00-steps", faulty)
    right, message = exercises.judge("00-steps", 84)
    assert not right and message.startswith("The checker itself stopped, with IndexError")
    assert "Your answer may be right" in message


def test_code_that_raises_is_told_its_error(capsys):
    def broken(y, p):
        raise KeyError("grade")

    for name in ("01-referable", "01-keyword"):
        exercises.check(name, broken, DATA.get(name))
        assert "stopped with KeyError: 'grade'" in capsys.readouterr().out


def test_an_answer_cannot_change_the_cases():
    def spoil(y, p):
        y[:] = 0
        return 0.0

    assert not judge("01-referable", spoil)[0]
    assert judge("01-referable", sensitivity)[0]


def test_an_unknown_exercise_is_an_error_of_ours():
    with pytest.raises(ValueError, match="00-steps"):
        exercises.check("00-stepz", 1)
