"""For each exercise the wrong answers to expect, with the hint that each gets: the tests' own lists, judged by the checkers."""

import ast
import contextlib
import io
import re
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from course_utils import exercises, paths
from course_utils.authoring.workshop import EXERCISE

TESTS = paths.ROOT / "tests"
# what stands in a hint that names no mistake: it shows where the answer fails, or what kind of answer is wanted
UNNAMED = re.compile(r"right is|is asked for|stopped|divides by zero|^(Your function|Hand over|Not attempted)")
ROOM = 160  # letters of a wrong answer's code


class Wrong(NamedTuple):
    """A wrong answer: its code, and the hint that it gets."""

    code: str
    hint: str


def expected(number: str) -> dict[str, tuple[list[Wrong], int]]:
    """Return, for each exercise of a notebook, the wrong answers whose hint names the mistake, one for each hint, and how many
    more the tests try, which get a hint that names none. Takes the notebook's number, such as "03".
    """
    file = TESTS / f"answers_{number}.py"
    if not file.exists():
        return {}
    module = _module(file)
    codes = _codes(file)
    found: dict[str, dict[str, str]] = {}
    more: dict[str, int] = {}
    for (name, answer, _), code in zip(module.WRONG, codes, strict=True):
        hint = _hint(name, answer, getattr(module, "DATA", {}).get(name))
        own = found.setdefault(name, {})
        named = not UNNAMED.search(hint) and hint not in own
        if named:
            own[hint] = code
        more[name] = more.get(name, 0) + (not named)
    return {name: ([Wrong(code, hint) for hint, code in hints.items()], more[name]) for name, hints in found.items()}


def markdown(title: str, own: Sequence[tuple[str, str]], wrong: dict[str, tuple[list[Wrong], int]]) -> str:
    """Return a notebook's exercises in Markdown: words, minutes, wrong answers with their hints.

    Takes the notebook's number and title, its (name, words) pairs, and what `expected` returns.
    """
    lines = [f"## {title}", ""]
    for name, words in own:
        lines += [f"### {name}", "", words, "", f"About {EXERCISE} minutes (reckoned).", ""]
        listed, more = wrong.get(name, ([], 0))
        if listed:
            lines += ["| a wrong answer | the hint it gets |", "|---|---|"]
            lines += [f"| `{_cell(one.code)}` | {_cell(one.hint)} |" for one in listed] + [""]
        if more:
            also = "more " if listed else ""
            lines += [
                f"{more} {also}wrong answers of the tests are told where they fail, or what kind of answer is wanted.",
                "",
            ]
    return "\n".join(lines)


def _hint(name: str, answer: object, rows: object) -> str:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return exercises.judge(name, answer, rows)[1]


def _module(file: Path):
    """Return the module of a file of answers, which may import its neighbours."""
    sys.path.insert(0, str(file.parent))
    try:
        return import_module(file.stem)
    finally:
        sys.path.remove(str(file.parent))


def _codes(file: Path) -> list[str]:
    """Return the code of each wrong answer of a file, in one line: that of a function by its name, if it stands in the file."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    codes = []
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "WRONG" and isinstance(node.value, ast.List):
            for case in node.value.elts:
                answer = case.elts[1]
                called = functions.get(answer.id) if isinstance(answer, ast.Name) else None
                codes.append(_short(called.body[-1] if called else answer, called.name if called else ""))
    return codes


def _short(node: ast.AST, name: str) -> str:
    text = " ".join(ast.unparse(node).split())
    text = f"{name}: ... {text}" if name else text
    return text if len(text) <= ROOM else text[: ROOM - 3] + "..."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
