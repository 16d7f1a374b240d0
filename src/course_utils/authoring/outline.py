"""Read a notebook as a teacher does: its sections with their minutes, its exercises, its questions, its pictures."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from course_utils import paths, progress
from course_utils.authoring import render, workshop

TIMES = paths.ROOT / "teach" / "times.json"  # processor seconds of each cell, in the last measured run of each notebook
# how an exercise's words begin: **2.**, **2, open.**, **Exercise 2.**; or, where nothing has a number, by a word, **Threshold.**
NUMBERED = re.compile(r"\*\*(?:Exercise \d+\.?|\d+(?:, open)?\.)\*\*[\s,]*")
NAMED = re.compile(r"\*\*[A-Z]\w+\.\*\*\s*")
CHOICE = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
ASK = "Ask yourself"


class Part(NamedTuple):
    """A piece of a section: a text in Markdown, or a code cell (then `cell` holds it)."""

    text: str
    cell: Any = None


class Section(NamedTuple):
    """A section of a notebook: heading, parts, minutes to read, seconds to run (None: not measured), and its exercises."""

    title: str
    parts: list[Part]
    read: float
    run: float | None
    exercises: list[str]


class Choice(NamedTuple):
    """An answer to a question of the self-test: its text, why it is right or wrong, and whether it is right."""

    text: str
    why: str
    right: bool


class Quiz(NamedTuple):
    """A question of the self-test, and the answers to choose from."""

    question: str
    choices: list[Choice]


def sections(notebook: Any, stem: str, times: Mapping[str, Mapping[str, float]]) -> list[Section]:
    """Return the sections of a notebook, each from a heading `## ` to the next; what stands before the first is left out.

    Takes the notebook, its name, and {notebook: {cell: processor seconds}} of the last measured run. Where the notebook stores its
    own time, that is shared out among the cells as they shared that run; a section with a cell that was not measured has no time.
    """
    grouped: list[tuple[str, list[Part]]] = []
    for part in _parts(notebook):
        heading = re.match(r"## +(.+)", part.text) if part.cell is None else None
        if heading:
            grouped.append((render.plain(heading.group(1)), []))
        if grouped:
            grouped[-1][1].append(part)
    measured = times.get(stem, {})
    whole = workshop.stored_seconds(notebook)
    scale = whole / sum(measured.values()) if whole and sum(measured.values()) else 1.0
    return [_section(title, parts, measured, scale) for title, parts in grouped]


def quizzes(notebook: Any) -> list[Quiz]:
    """Return the questions of the self-test, in order."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            blocks = re.split(r"\n\s*\n", cell.source)
            for before, block in zip(["", *blocks], blocks, strict=False):
                if block.startswith("<details>"):
                    question = re.sub(r"^\*\*\d+\.(\*\*)?\s*|\*\*$", "", without_links(before.strip()))
                    choices = [
                        Choice(text.strip(), why.strip(), why.strip().startswith("Right"))
                        for text, why in CHOICE.findall(without_links(block))
                    ]
                    found.append(Quiz(question, choices))
    return found


def exercises(notebook: Any) -> list[tuple[str, str]]:
    """Return (name, words) of each exercise that has a checker, in order.

    The words are those of the items in the last text before the checker that has any; of several, each checker takes the next.
    Raises ValueError for a checker without words.
    """
    found: list[tuple[str, str]] = []
    text, items = "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = f"{text}\n\n{cell.source}"
            continue
        items, text = _items(text) or items, ""
        for name in progress.EXERCISE.findall(cell.source):
            if not items:
                raise ValueError(
                    f"The exercise {name} has no words: begin them with **1.** in the text before its cell."
                )
            found.append((name, items.pop(0)))
    return found


def _items(text: str) -> list[str]:
    """Return the items of a text, without the marks before them: those with a number, or else those that a word names."""
    blocks = re.split(r"\n\s*\n", text)
    pairs = [
        (one, then) for one, then in zip(blocks, [*blocks[1:], ""], strict=True) if not then.startswith("<details>")
    ]
    for mark in (NUMBERED, NAMED):
        found = [without_links(mark.sub("", one, count=1).strip()) for one, _ in pairs if mark.match(one)]
        if found:
            return found
    return []


def without_links(text: str) -> str:
    """Return a text whose links are words: what is made of it lies elsewhere."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def times() -> dict[str, dict[str, float]]:
    """Return the processor seconds of each cell, by notebook, as they are stored."""
    return paths.read_json(TIMES)


def keep_times(timings: Mapping[str, Mapping[str, Any]]) -> None:
    """Store the seconds of each cell of the runs that `make course` timed, those of its failed runs aside."""
    new = {stem: one["cells"] for stem, one in timings.items() if one.get("ok") and one.get("cells")}
    if new:
        paths.write_json(TIMES, times() | new)


def _parts(notebook: Any) -> Iterator[Part]:
    """Yield the notebook piece by piece, texts cut before each heading `## `."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield Part(cell.source, cell)
        elif cell.cell_type == "markdown":
            for text in re.split(r"^(?=## )", cell.source, flags=re.MULTILINE):
                if text.strip():
                    yield Part(text.strip())


def _section(title: str, parts: list[Part], measured: Mapping[str, float], scale: float) -> Section:
    words = "\n".join(part.text for part in parts if part.cell is None)
    code = [part for part in parts if part.cell is not None]
    spent = [measured.get(part.cell.get("id")) for part in code]
    known = [one for one in spent if one is not None]
    run = sum(known) * scale if len(known) == len(spent) else None
    names = [name for part in code for name in progress.EXERCISE.findall(part.text)]
    return Section(title, parts, workshop.reading(words, [part.text for part in code]), run, names)
