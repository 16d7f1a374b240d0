"""Exercises that check themselves: `check("00-steps", 42)` says whether the answer is right, and what is wrong if not.

A checker is a function of the answer that returns (right, message). The checkers of notebook NN stand in nbNN.py: to add
an exercise, write one there and list it in that file's CHECKERS. A stub gives `...`, or is a function that returns `...`:
that counts as not attempted.
"""

from course_utils import progress
from course_utils.exercises import (
    nb00,
    nb01,
    nb02,
    nb03,
    nb04,
    nb05,
    nb06,
    nb07,
    nb08,
    nb09,
    nb10,
    nb11,
    nb12,
    nb13,
    nb14,
    nb15,
    nb16,
    nb17,
)
from course_utils.exercises.judging import NOT_YET, Wrong, at_most, said

LIMIT_S = 20  # for one answer: long enough for any right one, short enough to wait for
SOLUTIONS = {
    "00": "00_start_here",
    "01": "01_set_the_bar",
    "02": "02_fine_tune_every_weight",
    "03": "03_adapt_with_lora",
    "04": "04_tune_a_prompt",
    "05": "05_take_it_to_a_real_model",
    "06": "06_teach_a_decoder_to_answer",
    "07": "07_prepare_dr_reports",
    "08": "08_find_leaks",
    "09": "09_grade_dr_in_two_stages",
    "10": "10_judge_a_grader",
    "11": "11_train_better_for_less",
    "12": "12_ship_with_onnx_int8",
    "13": "13_version_your_models",
    "14": "14_search_for_settings",
    "15": "15_scale_out",
    "16": "16_train_across_hospitals",
    "17": "17_look_at_the_picture_too",
}
CHECKERS = {
    name: checker
    for notebook in (
        nb00,
        nb01,
        nb02,
        nb03,
        nb04,
        nb05,
        nb06,
        nb07,
        nb08,
        nb09,
        nb10,
        nb11,
        nb12,
        nb13,
        nb14,
        nb15,
        nb16,
        nb17,
    )
    for name, checker in notebook.CHECKERS.items()
}


def check(name: str, answer, data=None) -> None:
    """Print whether an answer is right, and a hint if it is not. A wrong answer never raises.

    Takes the exercise's name, the answer (a value or a function), and rows to try it on where the exercise needs them.
    What was tried goes into the learner's own file: see `progress`.
    """
    right, message = judge(name, answer, data)
    stuck = f" Stuck? The solution is in notebooks/solutions/{SOLUTIONS[name[:2]]}.ipynb."
    print(message if right or message == NOT_YET else message + stuck)
    if message != NOT_YET:
        progress.note("exercise", name=name, right=right, said=message)


def judge(name: str, answer, data=None) -> tuple[bool, str]:
    """Return (right, message) for an answer. Raises ValueError if there is no such exercise."""
    if name not in CHECKERS:
        raise ValueError(f'There is no exercise "{name}". There are: {", ".join(sorted(CHECKERS))}.')
    if answer is ...:
        return False, NOT_YET
    try:
        with at_most(LIMIT_S):
            return CHECKERS[name](answer) if data is None else CHECKERS[name](answer, data)
    except Wrong as wrong:
        return False, str(wrong)
    except TimeoutError:
        return False, f"Your code had not ended after {LIMIT_S} seconds. Is there a loop that never ends?"
    except Exception as error:  # ours: a learner's own errors come as Wrong
        return False, f"The checker itself stopped, with {said(error)} Your answer may be right: please report it."
