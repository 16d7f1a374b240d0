"""Make what a teacher needs from the notebooks: `python -m course_utils.authoring.teach`, or `make teach`.

Plans, answers and a file of questions go to `teach/`, slides to `build/teach/`. Nothing in them is written by hand: after a notebook
has changed, or `make course` has measured anew, the same command brings them in step.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_utils import paths
from course_utils.authoring import answers, outline, plans, quizzes, render, run, slides

TEACH = paths.ROOT / "teach"
SLIDES = paths.BUILD / "teach"
README = """# For the one who teaches

Made by `make teach` from the notebooks, the checkers and the last measured run. Change those, not these.

| before | |
|---|---|
| [What the learners need](../docs/setup.md) | an installation each: `make extras`; `make lab` is enough for most notebooks |
| `make preflight` | on each machine, offline: a page, a file to hand in, and how to mend what is not ready |
| `.venv/bin/python -m course_utils.preflight --gather folder` | one sheet of all these files |
| `make teach` | slides of each notebook in `build/teach/`: arrows turn, N shows the notes, S opens them in a window, printing has both |

| plan | sections | sittings |
|---|---:|---:|
{plans}

| while you teach | |
|---|---|
| [answers.md](answers.md) | each exercise, the wrong answers to expect, and the hint that each gets |
| `make board FOLDER=folder EVERY=10` | the class as a picture: which exercise is stuck, and the predictions beside the answer |
| `.venv/bin/python -m course_utils.progress` | for a learner: what is done, and what is next |

The board reads the learners' files, `progress.jsonl` in each one's folder of the course, from a folder that you name. Share a folder, or
carry a stick: nothing is sent, and nothing listens. The files hold no names, unless a learner types
`.venv/bin/python -m course_utils.progress --name "..."`.

| after | |
|---|---|
| `.venv/bin/python -m course_utils.progress --record record.html` | for a learner: what is done, the commit, a checksum, what they prove |
| `.venv/bin/python -m course_utils.progress --check record.html` | whether such a page is whole |
| [questions.gift](questions.gift) | the self-tests and exercises, for Moodle and its like: *Question bank*, *Import*, *GIFT* |

Minutes to read are reckoned from words and lines of code, exercises at {exercise} minutes each. Run times are the processor seconds
that the notebooks' last stored run printed, shared out among the cells as they shared the run in [times.json](times.json), which
`make course` measures. Slower machines take longer; `make preflight` shows how long one step of training takes on yours.
"""


def made(folder: Path | None = None) -> dict[str, str]:
    """Return what goes to `teach/`, by file name. Takes the folder of the notebooks, the course's own if none is named."""
    notebooks = run.read_all(run.chapters(folder))
    times = outline.times()
    titles = {path.stem[:2]: render.title(notebook) for path, notebook in notebooks}
    course = [
        (path.stem[:2], section)
        for path, notebook in notebooks
        for section in outline.sections(notebook, path.stem, times)
    ]
    files, rows = {}, []
    for name, plan in plans.PLANS.items():
        wanted = plan.notebooks or tuple(titles)
        own = [pair for number in wanted for pair in course if pair[0] == number]
        files[f"plan_{name}.md"] = plans.markdown(plan, own, titles)
        sittings, _ = plans.pack(plan, own)
        shown = sum(bool(row.section) for sitting in sittings for row in sitting.rows)
        rows.append(f"| [{plan.name}](plan_{name}.md) | {shown} | {len(sittings)} |")
    files["README.md"] = README.format(plans="\n".join(rows), exercise=plans.EXERCISE)
    files["answers.md"] = _answers(notebooks)
    files["questions.gift"] = _questions(notebooks)
    return files


def write_slides(folder: Path | None = None) -> None:
    """Write the slides of each notebook, and a page that lists them, anew."""
    shutil.rmtree(SLIDES, ignore_errors=True)
    SLIDES.mkdir(parents=True)
    links = []
    for path, notebook in run.read_all(run.chapters(folder)):
        (SLIDES / f"{path.stem}.html").write_text(slides.html(notebook, path), encoding="utf-8", newline="\n")
        links.append(f'<li><a href="{path.stem}.html">{path.stem[:2]} {render.title(notebook)}</a>')
    keys = "Right and left: turn. N: notes below. S: notes in a window of their own. Print: slides with notes."
    style = "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}</style>"
    index = f'<!doctype html><meta charset="utf-8"><title>Slides</title>{style}<h1>Slides</h1><p>{keys}</p><ul>'
    (SLIDES / "index.html").write_text(index + "\n".join(links) + "</ul>\n", encoding="utf-8", newline="\n")


def _answers(notebooks: Sequence[tuple[Path, Any]]) -> str:
    head = "# The exercises, and the wrong answers to expect\n\nMade by `make teach`. Solutions are in `notebooks/solutions/`.\n\n"
    return head + "\n".join(
        answers.markdown(_titled(path, notebook), own, answers.expected(path.stem[:2]))
        for path, notebook in notebooks
        if (own := outline.exercises(notebook))
    )


def _questions(notebooks: Sequence[tuple[Path, Any]]) -> str:
    return "\n".join(
        quizzes.gift(_titled(path, notebook), outline.quizzes(notebook), outline.exercises(notebook))
        for path, notebook in notebooks
    )


def _titled(path: Path, notebook: Any) -> str:
    return f"{path.stem[:2]} {render.title(notebook)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.authoring.teach", description=__doc__)
    parser.add_argument(
        "--notebooks", type=Path, help="the folder of the notebooks (the course's own, if none is named)"
    )
    parser.add_argument("--into", type=Path, default=TEACH, help="where plans, answers and questions go")
    options = parser.parse_args(arguments)
    if not run.chapters(options.notebooks):
        print(f"No notebook found in {options.notebooks or run.NOTEBOOKS}: name a folder of them.", file=sys.stderr)
        return 1
    outline.keep_times(run.read_timings())
    options.into.mkdir(parents=True, exist_ok=True)
    for name, text in made(options.notebooks).items():
        (options.into / name).write_text(text, encoding="utf-8", newline="\n")
    write_slides(options.notebooks)
    print(f"Open {options.into / 'README.md'}; the slides are in {SLIDES / 'index.html'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
