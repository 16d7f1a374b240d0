"""The exercises of 09_grade_dr_in_two_stages."""

from course_utils.exercises.judging import Wrong, by_example, called, show


def layers(answer) -> tuple[bool, str]:
    """09: people's layer numbers as PEFT's, and a refusal of those that don't exist."""
    cases = [([11, 12], 12), ([1], 12), ([12, 11, 10], 12), ([24, 1], 24), ([6, 2, 1], 6)]
    mistakes = [
        (lambda wanted, n: sorted(set(wanted)), "Those are people's numbers still. PEFT counts from 0: take 1 away."),
        (lambda wanted, n: [i - 1 for i in wanted], "The numbers are right. Sort them."),
        (lambda wanted, n: list(wanted), "Those are people's numbers still. PEFT counts from 0: take 1 away."),
        (lambda wanted, n: sorted({i + 1 for i in wanted}), "The other way: PEFT's first layer is 0, people's is 1."),
        (
            lambda wanted, n: sorted({n - i for i in wanted}),
            "You count from the end. Layer 1 is the one next to the words.",
        ),
    ]
    right, message = by_example(answer, lambda wanted, n: sorted({i - 1 for i in wanted}), mistakes, cases)
    if not right:
        return right, message
    for wanted, how_many in (([12, 13], 12), ([0, 1], 12), ([-1], 6)):
        case = f"For {wanted} of {how_many} layers"
        try:
            given = called(answer, (wanted, how_many))
        except Wrong as wrong:
            if isinstance(wrong.__cause__, ValueError):
                continue
            if wrong.__cause__ is None:
                raise
            return False, f"{case} raise ValueError, not {type(wrong.__cause__).__name__}."
        if isinstance(given, ValueError) or given is ValueError:
            return False, f"{case} your function returns ValueError. Raise it: `raise`, not `return`."
        return False, f"{case} your function gives {show(given)}; there is no such layer: raise ValueError."
    return True, "Right: five lists are turned, three that name no layer are refused."


CHECKERS = {"09-layers": layers}
