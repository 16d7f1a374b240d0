"""Plans for a class of 90 minutes, half a day, two days and a term, packed from the notebooks' own minutes.

Which notebooks a plan wants is set here; how far it comes, where it pauses and what it can drop follow from their sections.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from course_utils.authoring.outline import ASK, Section
from course_utils.authoring.workshop import EXERCISE

WORK, BREAK = 50, 10  # minutes of work after which there is a break, and the minutes that it takes
IN_CLASS_S = 60  # a run that takes longer is started beforehand, or its stored outputs are shown
AT_HOME = ("References", "Next")  # sections for which no time is planned
OPENING = (
    "At a glance",
    "Set up",
    "What this course is, and is not",
    "The question",
)  # nothing is learned of these alone
# what can go when it is late, the first first
DROPS = (
    ("the self-tests", "as homework: each choice says why it is right or wrong"),
    ("the sections that sum up what was measured", "they stand in the notebook, with their numbers"),
    ("all exercises but the first of each notebook", "as homework: they check themselves"),
)


class Plan(NamedTuple):
    """A plan: its name, the minutes of each sitting, and the numbers of its notebooks (none: all, in as many sittings as it takes)."""

    name: str
    sittings: dict[str, int]
    notebooks: tuple[str, ...] = ()


PLANS = {
    "90_minutes": Plan("90 minutes", {"The session": 90}, ("00", "01")),
    "half_a_day": Plan("Half a day", {"The session": 210}, ("00", "01", "03", "08")),
    "two_days": Plan(
        "Two days",
        {f"Day {day}, {half}": 180 for day in (1, 2) for half in ("morning", "afternoon")},
        ("00", "01", "03", "08", "07", "09", "10", "12"),
    ),
    "a_term": Plan("A term", {"Session": 90}),
}


class Row(NamedTuple):
    """A line of a sitting: the minute when it begins, the notebook ("" for a break), the section, and the minutes it takes."""

    at: int
    notebook: str
    section: Section | None
    minutes: int


class Sitting(NamedTuple):
    """A sitting: its name, its rows, and the minute at whose break a second instructor can take over (None: there is no break)."""

    name: str
    rows: list[Row]
    handover: int | None


def minutes(section: Section) -> int:
    """Return the minutes of a section in class: to read it, to run it for up to a minute, and to solve its exercises."""
    run = min(section.run or 0, IN_CLASS_S) / 60
    return math.ceil(section.read + run) + EXERCISE * len(section.exercises)


def pack(plan: Plan, course: Sequence[tuple[str, Section]]) -> tuple[list[Sitting], list[tuple[str, Section]]]:
    """Return the sittings of a plan and what has no time in it: whole sections, in order, until the last sitting is full.

    Takes the (notebook, section) pairs of the plan's notebooks, in order. A section that is longer than a sitting has one for itself.
    """
    waiting = [(notebook, section) for notebook, section in course if section.title not in AT_HOME]
    packed = []
    names = list(plan.sittings)
    while waiting and (not plan.notebooks or len(packed) < len(names)):
        name = names[len(packed)] if plan.notebooks else f"{names[0]} {len(packed) + 1}"
        rows = _fill(plan.sittings[names[min(len(packed), len(names) - 1)]], waiting)
        if plan.notebooks and len(packed) + 1 == len(names):
            _give_back(rows, waiting)
        packed.append(Sitting(name, rows, _handover(rows)))
    return packed, waiting


def _fill(room: int, waiting: list[tuple[str, Section]]) -> list[Row]:
    """Take sections from those that wait until a sitting of so many minutes is full; return its rows."""
    rows: list[Row] = []
    at = worked = 0
    while waiting:
        notebook, section = waiting[0]
        takes = minutes(section)
        pause = BREAK if worked and worked + takes > WORK else 0
        if rows and at + pause + takes > room:
            break
        if pause:
            rows.append(Row(at, "", None, pause))
            at, worked = at + pause, 0
        rows.append(Row(at, notebook, section, takes))
        at, worked = at + takes, worked + takes
        waiting.pop(0)
    return rows


def _give_back(rows: list[Row], waiting: list[tuple[str, Section]]) -> None:
    """Take the opening of a notebook from a plan's end, where the rest of that notebook has no time, and a break before it."""
    while waiting and len(rows) > 1 and (not rows[-1].section or rows[-1].section.title in OPENING):
        row = rows.pop()
        if row.section:
            waiting.insert(0, (row.notebook, row.section))


def _handover(rows: Sequence[Row]) -> int | None:
    """Return when the break begins that is nearest to the middle."""
    end = rows[-1].at + rows[-1].minutes
    return min((row.at for row in rows if not row.section), key=lambda at: abs(at - end / 2), default=None)


def saved(sittings: Sequence[Sitting]) -> list[int]:
    """Return the minutes that each of DROPS saves."""
    rows = [row for sitting in sittings for row in sitting.rows if row.section]
    seen: set[str] = set()
    spare = 0
    for row in rows:
        for _ in row.section.exercises if row.section else []:
            spare += EXERCISE if row.notebook in seen else 0
            seen.add(row.notebook)
    tests = sum(row.minutes for row in rows if row.section and row.section.title == ASK)
    sums = sum(row.minutes for row in rows if row.section and row.section.title == "What we measured")
    return [tests, sums, spare]


def markdown(plan: Plan, course: Sequence[tuple[str, Section]], titles: dict[str, str]) -> str:
    """Return a plan as a page in Markdown. Takes the plan, its sections as `pack` does, and the notebooks' titles."""
    sittings, left = pack(plan, course)
    lines = [f"# {plan.name}", "", *_about(sittings, course), ""]
    for sitting in sittings:
        end = sitting.rows[-1].at + sitting.rows[-1].minutes
        lines += [f"## {sitting.name}: {_clock(end)}", ""]
        lines += ["| at | notebook | section | min | to read | run | exercises |", "|---|---|---|---:|---:|---:|---|"]
        lines += [_line(row) for row in sitting.rows] + [""]
        if sitting.handover is not None:
            lines += [f"A second instructor takes over at the break at {_clock(sitting.handover)}.", ""]
    lines += ["## When it is late", "", "Drop in this order:", ""]
    lines += [
        f"{i}. {what}: {spare} {'minute' if spare == 1 else 'minutes'}; {how}."
        for i, ((what, how), spare) in enumerate(zip(DROPS, saved(sittings), strict=True), 1)
        if spare
    ]
    if left:
        lines += ["", "## Not in this plan", "", "For afterwards, in this order:", ""]
        for notebook in dict.fromkeys(notebook for notebook, _ in left):
            own = [section.title for name, section in left if name == notebook]
            lines.append(f"- {notebook} {titles[notebook]}: {', '.join(own)}")
    return "\n".join(lines).rstrip() + "\n"


def _about(sittings: Sequence[Sitting], course: Sequence[tuple[str, Section]]) -> list[str]:
    shown = [row.section for sitting in sittings for row in sitting.rows if row.section]
    unknown = sum(section.run is None for section in shown)
    long = sum((section.run or 0) > IN_CLASS_S for section in shown)
    said = [
        f"{len(shown)} of {sum(section.title not in AT_HOME for _, section in course)} sections, in {len(sittings)} "
        f"{'sitting' if len(sittings) == 1 else 'sittings'}.",
        f"Reading and exercises ({EXERCISE} minutes each) are reckoned, runs are measured, in seconds of one processor core.",
    ]
    if long:
        said.append(
            f"{long} run longer than a minute (marked *): start them before you explain them, or show what is stored."
        )
    if unknown:
        said.append(
            f"{unknown} were not measured yet, and no time is planned for their runs: `make course teach` measures them."
        )
    return said


def _line(row: Row) -> str:
    if not row.section:
        return f"| {_clock(row.at)} | | *break* | {row.minutes} | | | |"
    section = row.section
    run = "not measured" if section.run is None else f"{section.run:.0f} s{'*' * (section.run > IN_CLASS_S)}"
    has_code = any(part.cell is not None for part in section.parts)
    cells = [
        _clock(row.at),
        row.notebook,
        section.title.replace("|", "\\|"),
        str(row.minutes),
        f"{section.read:.0f} min",
        run if has_code else "",
        f"{EXERCISE * len(section.exercises)} min: {', '.join(section.exercises)}" if section.exercises else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _clock(at: int) -> str:
    return f"{at // 60}:{at % 60:02d}"
