"""Writes build/results.html: which long runs are there, which are to come, where the hours go, and the table of lessons.

`python -m course_utils.experiments.progress`, at any time while `make results` runs.
"""

import pandas as pd
from matplotlib.figure import Figure

from course_utils import figures, page, paths, results

from . import plan, runs


def hours(lines: list[plan.Line]) -> tuple[Figure, str]:
    """Return a figure of the processor hours of each experiment, made and to come, and what it shows."""
    names = list(dict.fromkeys(line.task.experiment for line in lines))
    took = [sum(line.took or 0 for line in lines if line.task.experiment == name) / 3600 for name in names]
    to_come = [
        sum(line.task.seconds for line in lines if line.task.experiment == name and line.took is None) / 3600
        for name in names
    ]
    figure = Figure(figsize=(8, 0.5 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, took, label="took", color=figures.BLUE)
    axes.barh(
        names, to_come, left=took, label="to come, as expected", color="none", edgecolor=figures.BLUE, hatch="///"
    )
    axes.invert_yaxis()
    axes.set_xlabel("processor hours")
    axes.legend()
    shown = "; ".join(f"{name} {a:.1f} and {b:.1f}" for name, a, b in zip(names, took, to_come, strict=True))
    return figure, f"A bar for each experiment: the hours that its runs took, and those still expected. {shown}."


def told() -> list[page.Part]:
    """Return the lessons and their verdicts, as far as they are written."""
    file = paths.shipped_results() / "lessons.json"
    if not file.exists():
        return ["The lessons are judged when all runs are there: `python -m course_utils.experiments.lessons`."]
    shipped = results.shipped("lessons")
    rows = [
        {
            "lesson": line["lesson"],
            "claim": f"the first {line['claim']}",
            "holds on": f"{line['holds']} of {line['of']}",
        }
        | {one["base"]: words(one) for one in line["bases"]}
        for line in shipped["lessons"]
    ]
    return [pd.DataFrame(rows).fillna("").set_index("lesson")]


def words(one: dict) -> str:
    """Return a base's verdict and interval as they are printed."""
    value, low, high = one["difference"]
    return f"{one['verdict']}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"


def sections(lines: list[plan.Line]) -> dict[str, list[page.Part]]:
    """Return the parts of the page."""
    there = sum(line.took is not None for line in lines)
    said = (
        f"{there:,} of {len(lines):,} runs are there; all of them are expected to take {plan.hours(lines):.1f} hours."
    )
    return {
        "In short": [said],
        "Where the hours go": [page.Drawn(*hours(lines))],
        "Runs": [plan.table(lines).set_index("experiment")],
        "Lessons": told(),
    }


def main() -> None:
    """Write the page."""
    runs.start()
    target = paths.BUILD / "results.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page.html("The long runs", sections(plan.everything())), encoding="utf-8")
    print(f"Open {target} in a browser.")


if __name__ == "__main__":
    main()
