"""Load the reports: the course's own file, or a CSV of yours with the columns `text,label` and maybe `group`.

Loading goes through `datasets`: the rows lie in an Arrow file on disk that is mapped into memory, not read into it, so
the same lines serve a file of ten million rows. Check a file of yours first, with `validate.check_csv`.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from course_utils import paths, validate
from course_utils.metrics import GRADE_NAMES

if TYPE_CHECKING:  # these take a second to import, so the functions import them when they are called
    import pandas as pd
    from datasets import Dataset, DatasetDict

WHOLE_NUMBERS = {"grade", "reader_1", "reader_2"}
COURSE_NAMES = {"label": "grade", "group": "patient_id"}  # what a user's file may call them, and what the course does
SPLITS = {"train": 70, "dev": 10, "test": 20}  # shares in percent, for a file that has no column "split"
GENERAL_ENGLISH, PARTS = "general_english.csv", ("pre-training", "held out")


class Graded(NamedTuple):
    """Reports for a case study: a DataFrame a split, the labels' names from grade 0 on, and whether the file is a user's."""

    frames: dict[str, "pd.DataFrame"]
    names: list[str]
    own: bool


def load_reports(path: str | Path | None = None) -> "DatasetDict":
    """Load a file of reports, split into train, dev and test.

    Takes the path of a CSV, or nothing for the course's own file.
    Returns a DatasetDict. Its rows have at least `eye`, `text`, `grade` (a whole number) and `patient_id`. In a file of
    yours, `label` becomes `grade` and `group` becomes `patient_id`; `eye` is empty if there is no such column; without
    `group` each row is a patient of its own; without `split` the patients are divided as `split_of` says.
    Raises FileNotFoundError if there is no such file, ValueError if it can't be read as such a table.
    """
    from datasets import DatasetDict

    path = Path(path or paths.samples() / "dr_reports.csv").expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. `make data` makes the course's own reports.")
    reports = _complete(_read(path))
    names = reports.unique("split")
    ordered = [name for name in SPLITS if name in names] + sorted(set(names) - set(SPLITS))
    return DatasetDict({name: _rows_where(reports, "split", name) for name in ordered})


def load_graded(
    path: str | Path = "",
    text: str = "text",
    label: str = "label",
    group: str = "",
    site: str = "",
    order: Sequence = (),
) -> Graded:
    """Load the course's reports, or a CSV with any labels, in the shape that the case study's notebooks read.

    Takes the path ("" for the course's file), the names of its columns for the report, the label and, if there are such,
    the patient and the site, and the labels from the least to the gravest (() for the order of numbers or letters).
    Returns frames with at least eye, text, grade (0 for the first label), patient_id, report_id, site, language and
    split; what a user's file lacks is filled in: eye "", site "all", language by script, split as `split_of` says.
    Says on stdout which rows can't be used. Nothing is written to disk.
    Raises FileNotFoundError if there is no such file, ValueError with the mend if nothing can be learnt from it.
    """
    if not path:
        return Graded({name: rows.to_pandas() for name, rows in load_reports().items()}, list(GRADE_NAMES), False)
    path = Path(path).expanduser()
    labels = [str(value) for value in order] or _labels_of(path, label)
    rows = _usable_rows(validate.check_csv(path, text=text, label=label, group=group or None, labels=labels))
    if site and site not in rows:
        raise ValueError(f'{path.name} has no column "{site}" for the site. It has: {", ".join(rows)}.')
    table = _course_table(rows, text, group, site).assign(grade=[labels.index(value) for value in rows[label]])
    table["split"] = _splits(rows, table["patient_id"])
    frames = {name: table[table["split"] == name].reset_index(drop=True) for name in SPLITS}
    _can_be_learnt(path, frames, labels)
    return Graded(frames, labels, True)


def _usable_rows(report: validate.Report) -> "pd.DataFrame":
    """Return the rows that a check has kept, and print what it says of the others.

    Raises ValueError, with the same, if it has kept none.
    """
    import pandas as pd

    if not report.kept:
        raise ValueError(report.summary())
    if report.problems:
        print(report.summary())
    return pd.DataFrame(report.rows()).map(str.strip)


def _course_table(rows: "pd.DataFrame", text: str, group: str, site: str) -> "pd.DataFrame":
    """Return a user's rows under the course's names, and fill in what they lack; grade and split come later.

    Takes the names of the user's columns for the report, the patient ("" for none) and the site ("" for none).
    """
    import pandas as pd

    numbers = pd.Series([f"row {i + 1}" for i in range(len(rows))])
    return pd.DataFrame(
        {
            "report_id": numbers,
            "patient_id": rows[group] if group else numbers,
            "eye": rows.get("eye", pd.Series([""] * len(rows))),
            "site": rows[site] if site else "all",
            "language": ["zh" if re.search("[\u4e00-\u9fff]", report) else "en" for report in rows[text]],
            "text": rows[text],
        }
    )


def _splits(rows: "pd.DataFrame", patients: "pd.Series") -> list[str]:
    """Return the split of each row: the file's own where it has just the course's splits, otherwise by the patient."""
    if "split" in rows and set(rows["split"]) == set(SPLITS):
        return list(rows["split"])
    return [split_of(patient) for patient in patients]


def _labels_of(path: Path, label: str) -> list[str]:
    """Return the values of a CSV's label column, numbers in their order, words in the alphabet's; [] if there is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            labels = {(row.get(label) or "").strip() for row in csv.DictReader(file)} - {""}
    except (OSError, ValueError, csv.Error):
        return []  # the validator says what is wrong
    return sorted(labels, key=_numbers_first)


def _numbers_first(label: str) -> tuple[int, float, str]:
    """Sort key of labels: numbers in their order, then words in the alphabet's."""
    return (0, float(label), label) if re.fullmatch(r"-?\d+(\.\d+)?", label) else (1, 0, label)


def _can_be_learnt(path: Path, frames: dict[str, "pd.DataFrame"], labels: list[str]) -> None:
    """Raise ValueError if the labels or the splits leave nothing to learn or to measure."""
    if len(labels) < 2:
        raise ValueError(f"{path.name} has one label, {labels[0]}: there is nothing to tell apart.")
    if len(labels) > 20:
        raise ValueError(
            f"{path.name} has {len(labels)} different labels, such as {labels[0]} and {labels[-1]}. "
            "Is LABEL the right column? Grades are a few values; the course goes up to 20."
        )
    for name, frame in frames.items():
        if frame.empty:
            sizes = ", ".join(f"{part} {len(rows)}" for part, rows in frames.items())
            raise ValueError(
                f'No row of {path.name} falls into the split "{name}" ({sizes}). Add rows, of more patients.'
            )
    trained = set(frames["train"]["grade"])
    unseen = [label for grade, label in enumerate(labels) if grade not in trained]
    if unseen:
        raise ValueError(
            f"No training row of {path.name} has the label {', '.join(unseen)}. Add examples, or merge the label."
        )


def split_of(patient: str) -> str:
    """Return the split of a patient: 70 in 100 go to train, 10 to dev and 20 to test.

    The patient's name alone decides, so it is the same on any machine, and new rows never move old ones.
    """
    place = int(paths.digest(patient)[:16], 16) % 100
    return "train" if place < SPLITS["train"] else "dev" if place < SPLITS["train"] + SPLITS["dev"] else "test"


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


def _read(path: Path) -> "Dataset":
    """Read a CSV with every column as text, but for the grades, under the course's names."""
    import datasets

    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        header = next(csv.reader(file), [])
    columns = [COURSE_NAMES.get(name, name) for name in header]
    missing = {"text", "grade"} - set(columns)
    if missing or len(set(columns)) < len(columns):
        raise ValueError(f"{path.name} needs the columns text and label, each once; it has: {', '.join(header)}.")
    kinds = {name: datasets.Value("int64" if name in WHOLE_NUMBERS else "string") for name in columns}
    try:
        with _quiet():
            return datasets.load_dataset(
                "csv",
                data_files=str(path),
                split="train",  # the loader's name for a whole file
                features=datasets.Features(kinds),
                column_names=columns,
                skiprows=1,  # the header, whose names may be the user's
                keep_default_na=False,  # a text "NA" is a text
                encoding="utf-8-sig",
            )
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(
            f"{path.name} can't be read as a table of reports: {error.__cause__ or error}. "
            f'`validate.check_csv("{path.name}")` says which rows to mend.'
        ) from error


def _complete(reports: "Dataset") -> "Dataset":
    """Add the columns eye, patient_id and split where they are missing."""
    n, has = len(reports), reports.column_names
    if "eye" not in has:
        reports = reports.add_column("eye", [""] * n)
    if "patient_id" not in has:
        reports = reports.add_column("patient_id", [f"row {i + 1}" for i in range(n)])
    if "split" not in has:
        reports = reports.add_column("split", [split_of(patient) for patient in reports["patient_id"]])
    return reports


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
