"""The self-tests and the exercises as a file that Moodle and its like import: GIFT, plain text with Markdown in it."""

import re
from collections.abc import Sequence

from course_utils.authoring.outline import Quiz

SPECIAL = re.compile(r"([\\~=#{}:])")  # what GIFT gives a meaning


def gift(notebook: str, quizzes: Sequence[Quiz], exercises: Sequence[tuple[str, str]]) -> str:
    """Return the questions of a notebook in GIFT: its self-test as multiple choice, each answer with why it is right or wrong,
    and its exercises as essays, which a person reads.

    Takes the notebook's number and title, such as "03 Adapt with LoRA".
    """
    blocks = [f"$CATEGORY: {_one_line(notebook).replace('/', '//')}"]
    for i, quiz in enumerate(quizzes, 1):
        choices = [
            f"{'=' if choice.right else '~'}{_escaped(choice.text)}#{_escaped(choice.why)}" for choice in quiz.choices
        ]
        blocks.append(
            "\n".join([f"::{notebook[:2]} self-test {i}::[markdown]{_escaped(quiz.question)} {{", *choices, "}"])
        )
    for name, words in exercises:
        answer = f'The notebook checks it: exercises.check("{name}", ...).'
        blocks.append(f"::{name}::[markdown]{_escaped(words)} {{####{_escaped(answer)}}}")
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    """Return a text for GIFT: its special letters marked, its line ends as \\n, for a blank line would end the question."""
    return SPECIAL.sub(r"\\\1", text).replace("\n", "\\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())
