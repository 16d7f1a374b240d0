"""A picture of a class: `python -m course_utils.board folder` merges learners' files, offline, into a page for the room.

Each learner hands in their `progress.jsonl` (`progress`), under any name, into one folder: a shared one, or by a stick. The page
shows which exercises are passed and which are stuck, and how the predictions of a notebook lie beside its answer. It counts, and
names nobody but those who typed a name. Who hands in twice counts once, as the longer file says. With `--every 10` the page is made
anew every ten seconds, and a browser that shows it follows; nothing listens on a port.
"""

import argparse
import ast
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from course_utils import figures, page, paths, progress

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
LARGE = {"font.size": 15, "axes.titlesize": 18}  # points: a room looks at it


class Question(NamedTuple):
    """A notebook's prediction: the value it stands at, the printed answer, and the answer's number; "" and None if not known."""

    default: Any
    answer: str
    value: float | None


class Exercise(NamedTuple):
    """How a class stands with an exercise: how many passed, how many tried and have not, and how many did neither.

    `wrong` is how many wrong answers came before a right one, the median of those who passed; `hint` the last hint that most
    of those got who have not passed, `names` those of them who typed a name.
    """

    name: str
    passed: int
    stuck: int
    waiting: int
    wrong: float | None
    hint: str
    names: list[str]


def read_class(folder: Path) -> tuple[list[progress.Done], list[str]]:
    """Return what each learner did, and the names of files in which nothing was found or could be read.

    Of copies of one log, of which one goes on where another ends, the longest counts.
    """
    learners, empty = [], []
    for file in sorted(folder.rglob("*.jsonl")):
        try:
            done = progress.read(file)
        except OSError:  # such as a file that is being copied just now: the next look may find it
            done = progress.Done()
        if done.started or done.exercises or done.guesses or done.finished:
            learners.append(done)
        else:
            empty.append(file.name)
    longest = sorted(learners, key=lambda one: -len(one.hashes))
    ends, counted = set(), []
    for one in longest:
        if one.head not in ends:
            counted.append(one)
            ends.update(one.hashes)
    return counted, empty


def questions(folder: Path | None = None) -> dict[str, Question]:
    """Return the predictions that the notebooks ask for, by their numbers, with the answers that are stored in them."""
    found = {}
    for file in sorted((folder or paths.NOTEBOOKS).glob("[0-9][0-9]_*.ipynb")):
        cells = [cell for cell in paths.read_json(file)["cells"] if cell["cell_type"] == "code"]
        default, answer, value = None, "", None
        for cell in cells:
            source = "".join(cell["source"])
            if progress.GUESS not in source:
                continue
            tree = ast.parse(re.sub(r"^[%!].*", "", source, flags=re.MULTILINE))
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    if node.targets[0].id == progress.GUESS:
                        default = ast.literal_eval(node.value)
                elif isinstance(node, ast.JoinedStr) and not answer:
                    answer, value = _answer(node, _printed(cell))
        if default is not None:
            found[file.stem[:2]] = Question(default, answer, value)
    return found


def exercise_states(learners: Sequence[progress.Done], chapters: Sequence[progress.Chapter]) -> list[Exercise]:
    """Return how the class stands with each exercise of the notebooks that anyone began."""
    begun = {number for one in learners for number in one.started | set(one.guesses) | one.finished}
    tried = {name for one in learners for name in one.exercises}
    return [
        _state(name, learners)
        for chapter in chapters
        if chapter.number in begun or tried & set(chapter.exercises)
        for name in chapter.exercises
    ]


def draw_exercises(states: Sequence[Exercise]) -> page.Drawn:
    """Return a figure of how many passed each exercise, are stuck, or have not tried."""
    figure = Figure(figsize=(11, 1.6 + 0.5 * len(states)), layout="constrained")
    axes = figure.subplots()
    left = [0] * len(states)
    kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("passed", "passed", {"color": figures.BLUE}),
        ("stuck", "tried, not passed", {"color": figures.ORANGE, "hatch": "//"}),
        ("waiting", "not tried", {"color": "white"}),
    )
    for kind, label, style in kinds:
        counts = [getattr(one, kind) for one in states]
        axes.barh([one.name for one in states], counts, left=left, label=label, edgecolor=figures.GREY, **style)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="learners", title="Which exercise is stuck?")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    _enlarge(figure)
    said = "; ".join(f"{one.name}: {one.passed} passed, {one.stuck} tried and did not" for one in states)
    return page.Drawn(figure, f"A bar for each exercise. {said}.")


def draw_guesses(number: str, question: Question, guesses: Sequence[Any]) -> page.Drawn:
    """Return a figure of a notebook's predictions, stacked where they are the same, with a line at the answer if it is a number.

    Predictions left as the notebook had them are counted, not drawn.
    """
    made = [guess for guess in guesses if guess != question.default]
    left = len(guesses) - len(made)
    numbers = [float(guess) for guess in made if isinstance(guess, int | float)]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    if len(numbers) == len(made):
        stacked: Counter[float] = Counter()
        for value in sorted(numbers):
            stacked[value] += 1
            axes.plot(value, stacked[value], "o", color=figures.BLUE, markersize=14)
        axes.set_ylim(0, max([*stacked.values(), 3]) + 1)
        if question.value is not None:
            said = f"measured: {question.value:g}"
            axes.axvline(question.value, color=figures.RED, linestyle="--", linewidth=2, label=said)
            axes.legend(loc="upper left")
    else:
        counts = Counter(str(guess) for guess in made)
        axes.bar(list(counts), list(counts.values()), color=figures.BLUE, width=0.5)
    axes.set(ylabel="learners", title=f"Notebook {number}: predicted before the answer was seen")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _enlarge(figure)
    parts = [f"{len(made)} predictions"]
    if numbers and len(numbers) == len(made):
        parts.append(f"from {min(numbers):g} to {max(numbers):g}, the middle one {statistics.median(numbers):g}")
    if left:
        parts.append(f"{left} left at {question.default}, as the notebook has it, and not drawn")
    return page.Drawn(figure, f"{', '.join(parts)}. {question.answer or 'No answer is stored in this notebook.'}")


def sections(
    learners: Sequence[progress.Done],
    chapters: Sequence[progress.Chapter],
    asked: dict[str, Question],
    empty: Sequence[str] = (),
) -> dict[str, list[page.Part]]:
    """Return the parts of the board."""
    short = [f"{len(learners)} learners."]
    if empty:
        short.append(f"In {len(empty)} of the files nothing was found: {', '.join(empty)}.")
    broken = sum(bool(one.faults) for one in learners)
    if broken:
        short.append(
            f"{broken} of the files are not as they were written: their ends or some lines are missing or changed."
        )
    for chapter in chapters:
        ended = sum(chapter.number in one.finished for one in learners)
        if ended:
            short.append(f"{chapter.number} {chapter.title}: run to its last cell by {ended}.")
    parts: dict[str, list[page.Part]] = {"In short": [short]}
    states = exercise_states(learners, chapters)
    if states:
        parts["Exercises"] = [draw_exercises(states), *_stuck(states)]
    for number, question in asked.items():
        guesses = [one.guesses[number] for one in learners if number in one.guesses]
        if guesses:
            parts[f"Predictions of notebook {number}"] = [draw_guesses(number, question, guesses)]
    return parts


def make(folder: Path, file: Path, every: int | None = None) -> int:
    """Write the board of a folder; return of how many learners. With `every`, the page reloads itself after so many seconds."""
    learners, empty = read_class(folder)
    text = page.html("The class", sections(learners, progress.course(), questions(), empty))
    if every:
        text = text.replace("<head>", f'<head>\n<meta http-equiv="refresh" content="{every}">', 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.replace(file)  # so that a browser never finds half a page
    return len(learners)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit status, 1 if the folder has no file of a learner."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.board", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the learners' files are")
    parser.add_argument("--every", type=int, metavar="SECONDS", help="make it anew so often, until Ctrl-C")
    options = parser.parse_args(arguments)
    file = paths.BUILD / "board.html"
    if not options.folder.is_dir():
        print(
            f"There is no folder {options.folder}: make it, and gather the learners' progress.jsonl in it.",
            file=sys.stderr,
        )
        return 1
    found = make(options.folder, file, options.every)
    print(f"{found} learners. Open {file} in a browser.")
    try:
        while options.every:
            time.sleep(options.every)
            make(options.folder, file, options.every)
    except KeyboardInterrupt:
        make(options.folder, file)
    return 0 if found else 1


def _state(name: str, learners: Sequence[progress.Done]) -> Exercise:
    tried = [(one, one.exercises[name]) for one in learners if name in one.exercises]
    passed = [tries.wrong for _, tries in tried if tries.right]
    stuck = [(one, tries) for one, tries in tried if not tries.right]
    hints = Counter(tries.said for _, tries in stuck).most_common(1)
    return Exercise(
        name,
        len(passed),
        len(stuck),
        len(learners) - len(tried),
        statistics.median(passed) if passed else None,
        hints[0][0] if hints else "",
        [one.name for one, _ in stuck if one.name],
    )


def _stuck(states: Sequence[Exercise]) -> list[page.Part]:
    """Return what to say of the exercises that anyone is stuck at, the most first."""
    said = []
    for one in sorted((one for one in states if one.stuck), key=lambda one: -one.stuck):
        names = f" ({', '.join(one.names)})" if one.names else ""
        said.append(f"{one.name}: {one.stuck} tried and did not pass{names}. Their last hint, most often: {one.hint}")
    through = [f"{one.name} after {one.wrong:g}" for one in states if one.wrong is not None]
    if through:
        said.append(f"Wrong answers before the right one, the middle of those who passed: {', '.join(through)}.")
    return [said] if said else []


def _printed(cell: dict[str, Any]) -> str:
    """Return what a stored cell printed."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout")


def _answer(template: ast.JoinedStr, printed: str) -> tuple[str, float | None]:
    """Return the answer to a prediction, as it was printed by an f-string "You guessed ...", and its number.

    The answer is what follows the first clause. Its number is that of the first value there which is written as the guess is
    (`:.2f`, say), else of the first that is one; None if no value is a number.
    """
    parts = list(_parts(template))
    if not parts or not parts[0][0].startswith("You guessed") or not printed:
        return "", None
    pattern = "".join(re.escape(text) if form is None else "(.+?)" for text, form in parts)
    found = re.search(pattern + "$", printed, re.MULTILINE) or re.search(
        pattern, printed
    )  # more may be printed behind it
    if not found:
        return "", None
    line = printed[found.start() :].splitlines()[0]
    clause = re.search(r"[;.]\s+", line)
    begin = found.start() + clause.end() if clause else found.end()
    forms = [form for _, form in parts if form is not None]
    later = [(found.group(i), form) for i, form in enumerate(forms, 1) if found.start(i) >= begin]
    likely = [text for text, form in later if form == forms[0]] + [text for text, _ in later]
    numbers = [number.group() for number in map(NUMBER.match, likely) if number]
    answer = line[clause.end() :] if clause else line
    return answer[:1].upper() + answer[1:], float(numbers[0].replace(",", "")) if numbers else None


def _parts(template: ast.JoinedStr) -> Iterator[tuple[str, str | None]]:
    """Yield the parts of an f-string: (text, None), or ("", how the value is written)."""
    for part in template.values:
        if isinstance(part, ast.FormattedValue):
            yield "", ast.unparse(part.format_spec) if part.format_spec else ""
        elif isinstance(part, ast.Constant):
            yield str(part.value), None


def _enlarge(figure: Figure) -> None:
    for axes in figure.axes:
        axes.title.set_fontsize(LARGE["axes.titlesize"])
        for text in [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]:
            text.set_fontsize(LARGE["font.size"])
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
        for text in legend.get_texts() if legend else []:
            text.set_fontsize(LARGE["font.size"])


if __name__ == "__main__":
    raise SystemExit(main())
