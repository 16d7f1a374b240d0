"""Each checker passes two right answers, names each known mistake, and survives whatever code it is given.

The answers stand in answers_NN.py, one file a notebook.
"""

from importlib import import_module
from pathlib import Path

import pytest

from answers_01 import sensitivity
from course_utils import exercises

ANSWERS = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("answers_*.py"))]
RIGHT = {name: answers for module in ANSWERS for name, answers in module.RIGHT.items()}
WRONG = [case for module in ANSWERS for case in module.WRONG]
VALUES = {name for module in ANSWERS for name in getattr(module, "VALUES", ())}
DATA = {name: rows for module in ANSWERS for name, rows in getattr(module, "DATA", {}).items()}


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


def test_every_exercise_is_tested_and_its_solution_is_there():
    assert set(RIGHT) == {name for name, _, _ in WRONG} == set(exercises.CHECKERS)
    solutions = Path(__file__).parents[1] / "notebooks" / "solutions"
    for name in exercises.CHECKERS:
        assert (solutions / f"{exercises.SOLUTIONS[name[:2]]}.ipynb").is_file()


@pytest.mark.parametrize("name", exercises.CHECKERS)
def test_a_stub_is_not_attempted(name, capsys):
    for stub in (..., *([] if name in VALUES else [lambda *arguments: ...])):
        exercises.check(name, stub, DATA.get(name))
        assert capsys.readouterr().out == "Not attempted yet.\n"


def test_a_wrong_answer_ends_with_the_way_to_the_solution_and_a_right_one_does_not(capsys):
    exercises.check("00-steps", 32)
    exercises.check("00-steps", 96)
    wrong, right = capsys.readouterr().out.splitlines()
    assert wrong.endswith("The solution is in notebooks/solutions/00_start_here.ipynb.")
    assert right == "Right: 32 batches an epoch, the last one not full, times 3 epochs."


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
