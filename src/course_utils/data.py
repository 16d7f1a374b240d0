"""Load the reports: the course's own file, or a CSV of yours with a text and a label in each row.

`tables` reads a user's file, `validate` checks it and `columns` says what it means, so that all three agree.
Rows that are loaded as a dataset lie in an Arrow file on disk that is mapped into memory, not read into it.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from course_utils import columns, paths, validate
from course_utils.columns import MOST_LABELS, SPLITS
from course_utils.metrics import GRADE_NAMES

if TYPE_CHECKING:  # these take a second to import, so the functions import them when they are called
    import pandas as pd
    from datasets import Dataset, DatasetDict

WHOLE_NUMBERS = {"grade", "reader_1", "reader_2"}
UNSEEN = "dev_unseen"  # the course's file has it: words that training never showed, and other ones than test's
GENERAL_ENGLISH, PARTS = "general_english.csv", ("pre-training", "held out")


class Graded(NamedTuple):
    """Reports for a case study.

    A DataFrame a split; the labels' names from grade 0 on; whether the file is a user's; whether the order of the labels
    means anything (words have none unless it is given); and a sentence for all that was guessed, taken or left out.
    """

    frames: dict[str, "pd.DataFrame"]
    names: list[str]
    own: bool
    ordered: bool
    notes: list[str]


class _Read(NamedTuple):
    """A user's file as it is understood: what the check found, its labels, and a split for each usable row."""

    report: validate.Report
    names: list[str]
    ordered: bool
    split: list[str]
    notes: list[str]


def load_reports(path: str | Path | None = None) -> "DatasetDict":
    """Load a file of reports whose labels are whole numbers, split into train, dev and test.

    The course's own file has one split more, "dev_unseen": words that training never showed, to choose on.

    Takes the path of a CSV, or nothing for the course's own file.
    Returns a DatasetDict. Its rows have at least `eye`, `text`, `grade` (a whole number), `patient_id` and `split`; a file
    of yours is understood as `load_graded` understands it, and what it lacks is filled in as there.
    Raises FileNotFoundError if there is no such file, ValueError if it can't be read as such a table.
    """
    return course_reports() if path is None else _by_split(_own_reports(path))


def course_reports() -> "DatasetDict":
    """Load the course's own file, split into train, dev, dev_unseen and test.

    What reads a user's file has no part in it, so a change there leaves the long runs that are kept as they are.
    Raises FileNotFoundError, with the mend, if there is no such file.
    """
    return _by_split(_course_reports())


def _by_split(reports: "Dataset") -> "DatasetDict":
    """Return the rows of each split that there is."""
    from datasets import DatasetDict

    names = reports.unique("split")
    return DatasetDict({name: _rows_where(reports, "split", name) for name in (*SPLITS, UNSEEN) if name in names})


def load_graded(
    path: str | Path = "",
    text: str = "",
    label: str = "",
    group: str = "",
    site: str = "",
    order: object = (),
    split: str = "",
    encoding: str = "",
    new_site: object = "",
) -> Graded:
    """Load the course's reports, or a CSV with any labels, in the shape that the case study's notebooks read.

    Takes the path ("" for the course's file); the names of its columns for the report, the label, the patient, the site
    and the split ("": found by name, see `columns.find`); the labels from the least to the gravest, as a list or as
    "mild,severe" (empty: the order of numbers, or none); the encoding ("": found); and a site that has to be there.
    Returns frames, of train, dev and test and of "dev_unseen" if there is such a split, with at least eye, text, grade (0 for
    the first label), patient_id, report_id, site, language and split; what a user's file lacks is filled in: eye "", site
    "all", language by script, split as `columns.assign` says.
    Says on stdout all that was not asked for, and which rows can't be used. Nothing is written to disk.
    Raises FileNotFoundError if there is no such file, ValueError with the mend if nothing can be learnt from it.
    """
    if not path:
        frames = {name: rows.to_pandas() for name, rows in load_reports().items()}
        _has_site(frames, new_site)
        return Graded(frames, list(GRADE_NAMES), False, True, [])
    own = _understand(path, text, label, group, site, columns.order_of(order), split, encoding)
    _is_a_choice(own.report, own.names)
    table = _course_table(own)
    parts = [*SPLITS, *({UNSEEN} & set(own.split))]
    frames = {name: table[table["split"] == name].reset_index(drop=True) for name in parts}
    _has_site(frames, new_site)
    _say(own.notes)
    warnings = _can_be_learnt(own, frames) + _known_texts(frames)
    _say(warnings)
    return Graded(frames, own.names, True, own.ordered, own.notes + warnings)


def _understand(
    path: str | Path,
    text: str = "",
    label: str = "",
    group: str = "",
    site: str = "",
    order: list[str] | None = None,
    split: str = "",
    encoding: str = "",
) -> _Read:
    """Check a user's file, and say what its labels are and in which split each row is.

    Raises ValueError, with the mend, if no row can be used or the labels are not those of the order.
    """
    report = validate.check_csv(path, text, label, group, split, order or None, site=site, encoding=encoding)
    if order and report.values:
        _is_the_order(report, order)
    if not report.kept or report.columns is None:
        raise ValueError(report.summary())
    names, ordered = (order, True) if order else columns.in_order(set(report.labels.values()))
    named, parts, patients, labels = report.columns, [], [], []
    for i, row in enumerate(report.rows(), 1):
        patients.append(row[named.group].strip() if named.group else f"row {i}")
        labels.append(report.labels[row[named.label].strip()])
        if named.split:
            parts.append(report.parts[row[named.split].strip()])
    homes, said = columns.assign(parts, patients, labels)
    if not ordered:
        listed = ", ".join(names)
        said.append(
            f"The labels are words without an order ({listed}): give their order, the gravest last, if they have one."
        )
    return _Read(report, names, ordered, homes, _said(report) + said)


def _say(notes: list[str]) -> None:
    for note in notes:
        print(note)


def _said(report: validate.Report) -> list[str]:
    """Return the sentences on a file that has been checked: what was taken, and what is wrong if anything is."""
    assert report.table and report.columns
    named = report.columns
    said = [*report.table.notes, *named.notes, *named.taken()]
    said += [note for note in report.notes if note not in (*said, *named.taken(usual=False))]
    unused = ", ".join(f'"{name}"' for name in named.unused)
    said += [f"Not used: {unused}."] if unused else []
    lines = report.summary().splitlines() if report.problems else []
    return said + [line.removeprefix("- ") for line in lines if not line.startswith("- note:")]


def _is_the_order(report: validate.Report, order: list[str]) -> None:
    """Raise ValueError if an order lacks a label of the file, or has one that is not in it."""
    there, known = set(report.labels.values()), report.values.keys() & report.labels.keys()
    unknown = [value for value in report.values if value not in known]
    absent = [label for label in order if label not in there]
    if unknown or absent:
        wrong = [f"No row has the label {', '.join(absent)} of the order."] if absent else []
        wrong += [f"The order lacks {', '.join(unknown)}."] if unknown else []
        raise ValueError(f"{report.path.name}: {' '.join(wrong)} The file has: {columns.counted(report.values)}.")


def _is_a_choice(report: validate.Report, names: list[str]) -> None:
    """Raise ValueError if there is one label, or more than a grader is for."""
    if len(names) < 2:
        raise ValueError(f"{report.path.name} has one label, {names[0]}: there is nothing to tell apart.")
    if len(names) > MOST_LABELS:
        raise ValueError(
            f"{report.path.name} has {len(names)} different labels, such as {names[0]} and {names[-1]}. "
            f"Is LABEL the right column? Grades are a few values; the course goes up to {MOST_LABELS}."
        )


def _known_texts(frames: dict[str, "pd.DataFrame"]) -> list[str]:
    """Return a sentence if texts of test stand in train, or none."""
    known = frames["test"]["text"].isin(set(frames["train"]["text"]))
    if not known.any():
        return []
    n, rows = int(known.sum()), len(known)
    return [
        f"{n:,} of {rows:,} texts of test stand word for word in train: of these the score shows memory, not skill."
    ]


def _course_table(own: _Read) -> "pd.DataFrame":
    """Return a user's rows under the course's names, and fill in what they lack."""
    import pandas as pd

    named, report = own.report.columns, own.report
    assert named
    grades = {value: own.names.index(label) for value, label in report.labels.items()}
    rows = pd.DataFrame(report.rows()).map(str.strip)
    numbers = pd.Series([f"row {i + 1}" for i in range(len(rows))])
    return pd.DataFrame(
        {
            "report_id": numbers,
            "patient_id": rows[named.group] if named.group else numbers,
            "eye": rows[named.eye] if named.eye else "",
            "site": rows[named.site] if named.site else "all",
            "language": ["zh" if re.search("[\u4e00-\u9fff]", report) else "en" for report in rows[named.text]],
            "text": rows[named.text],
            "grade": rows[named.label].map(grades),
            "split": own.split,
        }
    )


def _has_site(frames: dict[str, "pd.DataFrame"], site: object) -> None:
    """Raise ValueError if a site is asked for ("" asks for none) that no row has."""
    sites = sorted({name for rows in frames.values() for name in rows["site"]})
    if str(site).strip() not in {"", *sites}:
        raise ValueError(f'No row is of the site "{site}". The sites are: {", ".join(sites)}.')


def _can_be_learnt(own: _Read, frames: dict[str, "pd.DataFrame"]) -> list[str]:
    """Return a sentence on each label that is not in all splits; raise ValueError if nothing can be learnt or measured."""
    name, named, names = own.report.path.name, own.report.columns, own.names
    sizes = ", ".join(f"{part} {len(rows):,}" for part, rows in frames.items())
    empty = [part for part, rows in frames.items() if rows.empty]
    if empty:
        patients = len({patient for rows in frames.values() for patient in rows["patient_id"]})
        mend = f"Add rows, of more patients: there are {patients:,}."
        if named and named.group:
            mend += f' They are those of the column "{named.group}"; if it is no patient, name another.'
        if named and named.split:
            mend = f'Write {", ".join(empty)} in some rows of "{named.split}", or take it away: then patients are divided anew.'
        raise ValueError(f'No row of {name} falls into the split "{empty[0]}" ({sizes}). {mend}')
    counts = {part: Counter(rows["grade"]) for part, rows in frames.items()}
    unseen = [label for grade, label in enumerate(names) if not counts["train"][grade]]
    if unseen:
        raise ValueError(
            f"No training row of {name} has the label {', '.join(unseen)}. Add examples, or merge the label."
        )
    return [
        f'The label "{label}" is not in all splits: {", ".join(f"{part} {rows[grade]:,}" for part, rows in counts.items())} rows.'
        for grade, label in enumerate(names)
        if not all(rows[grade] for rows in counts.values())
    ]


def sample(reports: "Dataset", n: int, seed: int = 0) -> "Dataset":
    """Return n rows drawn at random. With the same seed, a smaller sample is part of a larger one.

    Raises ValueError if there are fewer than n rows.
    """
    if not 0 < n <= len(reports):
        raise ValueError(f"{n} rows are wanted of {len(reports)}: choose a number from 1 to {len(reports)}.")
    return reports.shuffle(seed=seed).select(range(n))


@cache
def general_english(held_out: bool = False) -> list[str]:
    """Return paragraphs of general English, from Python's language reference: those that the base models were
    pre-trained on, or those that were held out, to measure what a model forgets.
    """
    with (paths.samples() / GENERAL_ENGLISH).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file) if row["part"] == PARTS[held_out]]


def _course_reports() -> "Dataset":
    """Return the course's own file, in its order."""
    path = paths.samples() / "dr_reports.csv"
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. `make data` makes the course's own reports.")
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)

    def rows() -> Iterator[dict]:
        for line in lines:
            row = dict(zip(header, line, strict=True))
            yield {name: int(value) if name in WHOLE_NUMBERS else value for name, value in row.items()}

    return _dataset(rows, header, paths.sha256(path))


def _own_reports(path: str | Path) -> "Dataset":
    """Return a user's file, its usable rows under the course's names, and print what was left out or taken."""
    own = _understand(path)
    report, named = own.report, own.report.columns
    wrong = [label for label in own.names if not re.fullmatch(r"\d+", label)]
    if wrong:
        raise ValueError(
            f"{report.path.name}: the label {wrong[0]} is no whole number. `load_graded` takes labels of any kind; "
            f'`validate.check_csv("{report.path.name}")` says which rows to mend.'
        )
    assert report.table and named
    names = {
        named.text: "text",
        named.label: "grade",
        named.group: "patient_id",
        named.eye: "eye",
        named.split: "split",
    }
    header = [names.get(name, name) for name in report.table.header]
    lacking = [name for name in ("patient_id", "eye", "split") if name not in header]

    def rows() -> Iterator[dict]:
        for i, (row, split) in enumerate(zip(report.rows(), own.split, strict=True), 1):
            grade = int(report.labels[row[named.label].strip()])
            filled = {"patient_id": f"row {i}", "eye": ""} | {names.get(name, name): row[name].strip() for name in row}
            yield filled | {"grade": grade, "split": split}

    _say(own.notes)
    meaning = [header, lacking, report.labels, own.split]
    return _dataset(rows, header + lacking, paths.digest([paths.sha256(report.path), meaning]))


def _dataset(rows: Callable[[], Iterator[dict]], header: list[str], stamp: str) -> "Dataset":
    """Write rows to an Arrow file in the cache of `datasets`, or find them there by their stamp, and map it into memory."""
    import datasets

    kinds = {name: datasets.Value("int64" if name in WHOLE_NUMBERS else "string") for name in header}
    with _quiet():
        return datasets.Dataset.from_generator(rows, datasets.Features(kinds), fingerprint=stamp)


def _rows_where(reports: "Dataset", column: str, value: str) -> "Dataset":
    """Return the rows with this value, found in the Arrow column itself, so that no row is turned into Python."""
    import pyarrow.compute as pc

    rows = pc.indices_nonzero(pc.equal(reports.data.column(column), value))
    return reports.select(rows.to_numpy().astype("int64"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress bar of `datasets`, whose text would differ between a first and a later run."""
    import datasets

    shown, level = not datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if shown:
            datasets.enable_progress_bars()
