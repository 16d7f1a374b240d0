"""Keep what a learner has done, beside the course: `python -m course_utils.progress` says what is done and what is next.

A notebook that a person runs, in Jupyter or VS Code, adds lines to `progress.jsonl` (COURSE_PROGRESS names another file): it was
started, a prediction was made, the answer was seen, an exercise was tried, the last cell was reached. What runs by a command,
such as `make course` or the tests, adds nothing unless that variable is set, and the solutions never do. The file is a log
(`logbook`), so two notebooks can write at once. It holds no name unless one is typed, and it goes nowhere by itself. A number
that was drawn stands in its first line, so that two learners' files differ from there on.
"""

import argparse
import ast
import html
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from IPython import get_ipython

from course_utils import logbook, paths

GUESS = "my_guess"  # what a notebook calls the learner's prediction
WHO = "a learner"  # in place of the user's name, which a log otherwise holds
EXERCISE = re.compile(r"exercises\.check\(\s*[\"']([\w-]+)")
CONTENT = re.compile(r"<pre>(.*?)</pre>", re.DOTALL)
PROVES = [
    "The commit names the course's code that judged the answers, and says whether files of it had been changed.",
    "The checksum is that of the content below. It shows that the content was changed since, if someone kept the checksum: "
    "who gives this page to a teacher tells it them, or writes it down, on the same day.",
    "It does not prove who did the work, nor that it was done without help: the file on which it rests lies on the "
    "learner's own machine, where it can be edited. Talk about one exercise, and you know more.",
]


class Chapter(NamedTuple):
    """A notebook of the course: its number, the name of its file without the ending, its title and its exercises."""

    number: str
    stem: str
    title: str
    exercises: list[str]


@dataclass
class Tries:
    """What was tried of an exercise: wrong answers before the first right one, whether that came, and the last hint."""

    wrong: int = 0
    right: bool = False
    said: str = ""


@dataclass
class Done:
    """What a learner has done, notebooks by their numbers, exercises by their names. `guesses` were made before the answer."""

    name: str = ""
    started: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    exercises: dict[str, Tries] = field(default_factory=dict)
    guesses: dict[str, Any] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # notebooks whose answer to the prediction was shown
    hashes: list[str] = field(default_factory=list)  # of the log's lines
    faults: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The hash of the log's last line."""
        return self.hashes[-1] if self.hashes else ""


def notebook() -> Path | None:
    """Return the path of the notebook that a person runs here, None if it is none or its editor does not say."""
    shell = get_ipython()
    of_vs_code = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    said = of_vs_code or (os.environ.get("JPY_SESSION_NAME") if shell else None)
    return Path(said.replace("\\", "/")) if said else None


def recording() -> bool:
    """Say whether what is done here is written down."""
    at = notebook()
    return bool(at or os.environ.get("COURSE_PROGRESS")) and not (at and "solutions" in at.parts)


def note(what: str, **said) -> None:
    """Add a line to the learner's file, if this is where one is kept. If it can't be written, say so once, and go on.

    Takes what was done, such as "exercise", and what else the line says.
    """
    if not recording():
        return
    try:
        file = paths.progress()
        drawn = {} if file.exists() else {"drawn": secrets.token_hex(8)}
        logbook.append(file, who=WHO, what=what, **said, **drawn)
    except OSError as error:
        _say_once(
            f"Your progress could not be written to {paths.progress()} ({type(error).__name__}), and is not kept; "
            "all else works. To keep it, let COURSE_PROGRESS name a file in a folder where you may write."
        )


def watch() -> None:
    """Write down that a notebook was started, and from here on its prediction. `session.start` calls it."""
    number = _number()
    if number and recording():
        note("start", notebook=number)
        get_ipython().events.register("post_run_cell", _after_cell)  # once, however often it is called


def finished() -> None:
    """Write down that a notebook was run to its last cell. `Clock.report` calls it."""
    number = _number()
    if number:
        note("end", notebook=number)


def read(file: str | Path | None = None) -> Done:
    """Return what a learner has done, from their file (this learner's own, if none is named); nothing, if there is no file.

    Of several predictions the last before the answer counts.
    """
    log = logbook.read(file or paths.progress())
    done = Done(hashes=log.hashes, faults=log.faults)
    for line in log.lines:
        what, number = line.get("what"), str(line.get("notebook", ""))
        if what == "exercise":
            tries = done.exercises.setdefault(str(line.get("name")), Tries())
            if not tries.right:
                tries.right = line.get("right") is True
                tries.wrong += not tries.right
                tries.said = str(line.get("said", ""))
        elif what == "guess" and number not in done.seen:
            done.guesses[number] = line.get("value")
        elif what == "seen":
            done.seen.add(number)
        elif what in ("start", "end"):
            (done.started if what == "start" else done.finished).add(number)
        elif what == "name":
            done.name = str(line.get("name", ""))
    return done


def course(folder: Path | None = None) -> list[Chapter]:
    """Return the notebooks of the course, in order: those of a folder, `notebooks` if none is named."""
    found = []
    for file in sorted((folder or paths.NOTEBOOKS).glob("[0-9][0-9]_*.ipynb")):
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in paths.read_json(file)["cells"]]
        text, code = ("\n".join(source for kind, source in cells if kind == one) for one in ("markdown", "code"))
        title = re.search(r"^# +(.+)$", text, re.MULTILINE)
        found.append(Chapter(file.stem[:2], file.stem, title.group(1) if title else file.stem, EXERCISE.findall(code)))
    return found


def lines(done: Done, chapters: Sequence[Chapter]) -> list[str]:
    """Return what is done as sentences, one a notebook that was begun."""
    return [_line(done, chapter) for chapter in chapters if _begun(done, chapter)]


def next_step(done: Done, chapters: Sequence[Chapter]) -> str:
    """Return what is next: an exercise left in a notebook that was begun, else to finish one, else the next to open."""
    begun = [chapter for chapter in chapters if _begun(done, chapter)]
    for chapter in begun:
        for name in chapter.exercises:
            tries = done.exercises.get(name, Tries())
            if not tries.right:
                hint = f" The last hint was: {tries.said}" if tries.said else ""
                return f"exercise {name} in notebooks/{chapter.stem}.ipynb.{hint}"
    rest = [chapter for chapter in begun if chapter.number not in done.finished]
    if rest:
        return f"run notebooks/{rest[0].stem}.ipynb to its last cell."
    new = [chapter for chapter in chapters if chapter not in begun]
    return f"open notebooks/{new[0].stem}.ipynb: {new[0].title}." if new else "nothing. You are through all of it."


def record(done: Done, chapters: Sequence[Chapter], version: str) -> dict[str, Any]:
    """Return the content of the one-page record: what is done, with which code, on which log."""
    notebooks = {
        chapter.stem: {
            "run to the end": chapter.number in done.finished,
            "prediction": done.guesses.get(chapter.number),
            "exercises passed": [name for name in chapter.exercises if done.exercises.get(name, Tries()).right],
            "exercises": len(chapter.exercises),
        }
        for chapter in chapters
        if _begun(done, chapter)
    }
    return {
        "name": done.name,
        "code": version,
        "notebooks": notebooks,
        "log": {"head": done.head, "faults": done.faults},
    }


def record_page(content: dict[str, Any], told: Sequence[str]) -> str:
    """Return the record as a page: the sentences, the content and its checksum, and what these prove."""
    from course_utils import page  # which draws, and a checker should not wait for that

    sections: dict[str, Sequence[Any]] = {
        "Done": [list(told) or "Nothing yet."],
        "Commit and checksum": [f"{content['code']}. Checksum: {checksum(content)}.", list(PROVES)],
        "Content": ["    " + json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)],
    }
    return page.html("A record of the course" + (f": {content['name']}" if content["name"] else ""), sections)


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's content, in hex."""
    return paths.digest(json.dumps(content, sort_keys=True, ensure_ascii=False))


def check(text: str) -> tuple[bool, str]:
    """Say whether a record's page is whole, and in a sentence what was found. Takes the page's text."""
    found = CONTENT.search(text)
    try:
        content = json.loads(html.unescape(found.group(1))) if found else None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return False, "This is no record, or its content was broken: ask for the page again."
    if checksum(content) not in html.unescape(text):
        return False, "The content is not that of the checksum on the page: it was changed. Ask for the page again."
    return True, f"The content is that of its checksum, {checksum(content)}: compare it with the one you were told."


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit status, 1 for a record that is not whole or can't be written."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.progress", description=__doc__)
    parser.add_argument("--name", help="write this name into your file; without it there is none")
    parser.add_argument("--record", type=Path, metavar="PAGE", help="write a one-page record here, such as record.html")
    parser.add_argument("--check", type=Path, metavar="PAGE", help="say whether a record is whole")
    options = parser.parse_args(arguments)
    if options.check:
        try:
            whole, sentence = check(options.check.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            whole, sentence = False, f"{options.check} can't be read ({type(error).__name__}): name the record's page."
        print(sentence)
        return 0 if whole else 1
    if options.name:
        logbook.append(paths.progress(), who=WHO, what="name", name=options.name)
    done, chapters = read(), course()
    told = lines(done, chapters)
    print("\n".join([*(told or ["Nothing is written down yet."]), f"Next: {next_step(done, chapters)}"]))
    print(f"Your file is {paths.progress()}: plain text, and yours.")
    for fault in done.faults:
        print(f"Your file is not as it was written: {fault}.", file=sys.stderr)
    if options.record:
        content = record(done, chapters, paths.code_version())
        try:
            options.record.write_text(record_page(content, told), encoding="utf-8", newline="\n")
        except OSError as error:
            why = f"{type(error).__name__}: name a file in a folder that is there and where you may write"
            print(f"The record could not be written to {options.record} ({why}).", file=sys.stderr)
            return 1
        print(f"The record is in {options.record}. Its checksum is {checksum(content)}.")
    return 0


def _begun(done: Done, chapter: Chapter) -> bool:
    known = done.started | done.finished | set(done.guesses)
    return chapter.number in known or any(name in done.exercises for name in chapter.exercises)


def _line(done: Done, chapter: Chapter) -> str:
    passed = sum(done.exercises.get(name, Tries()).right for name in chapter.exercises)
    parts = ["run to its last cell" if chapter.number in done.finished else "begun"]
    if chapter.exercises:
        parts.append(f"{passed} of {len(chapter.exercises)} exercises passed")
    if chapter.number in done.guesses:
        parts.append(f"predicted {done.guesses[chapter.number]}")
    return f"{chapter.number} {chapter.title}: {', '.join(parts)}"


def _number() -> str:
    """Return the number of the notebook that a person runs here, or nothing."""
    at = notebook()
    found = re.match(r"\d\d(?=_)", at.name) if at else None
    return found.group() if found else ""


def _after_cell(result) -> None:
    """Write down a prediction that a cell set, and that a cell showed the answer to it: it read the prediction."""
    if not result.success or GUESS not in result.info.raw_cell:
        return
    for name in _uses(result.info.raw_cell):
        if name == "set":
            value = get_ipython().user_ns.get(GUESS)
            plain = value if isinstance(value, bool | int | float | str) else repr(value)[:100]
            note("guess", notebook=_number(), value=plain)
        else:
            note("seen", notebook=_number())


def _uses(code: str) -> Iterator[str]:
    """Yield "set" and "read", each at most once, as a cell sets or reads the prediction."""
    try:
        tree = ast.parse("\n".join(line for line in code.splitlines() if not line.startswith(("%", "!"))))
    except SyntaxError:
        return
    names = [type(node.ctx) for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == GUESS]
    if ast.Store in names:
        yield "set"
    if ast.Load in names:
        yield "read"


@cache
def _say_once(sentence: str) -> None:
    print(sentence)


if __name__ == "__main__":
    raise SystemExit(main())
