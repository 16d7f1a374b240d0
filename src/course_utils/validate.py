"""Check a CSV of reports before anything is trained on it, ours or yours.

Each problem says what is wrong, where, and how to mend it. An *error* has to be mended; a *warning* deserves a look.
Rows that can't be used are left out of `rows()`, counted and named, never silently.

report = validate.check_csv("my_reports.csv")
print(report.summary())
pandas.DataFrame(report.rows()).to_csv("clean.csv", index=False)  # only if what it left out is no loss
"""

import codecs
import csv
import difflib
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_utils import twins

KINDS = {  # what can be wrong: how grave it is, and how it is mended
    "empty file": ("error", "Save it again from its source."),
    "not a CSV": ("error", "In the program that made it, save or export it as CSV UTF-8."),
    "wrong encoding": ("error", "Save it as UTF-8: in Excel as 'CSV UTF-8', or in Python with {}."),
    "wrong separator": ("error", "Save it with commas, or in Python with {}."),
    "columns": ("error", "The first line must name the columns, each once."),
    "no rows": ("error", "Add the reports below the header, one a line."),
    "broken quote": ("error", 'Close it, or write each quote inside a text twice (""). This line is left out.'),
    "wrong number of fields": ("error", "Put a text that holds commas in double quotes."),
    "empty field": ("error", "Fill it in or delete the row."),
    "bad label": ("error", "Write one of {}."),
    "patient in two splits": ("error", "Move all rows of a patient into one split, or the test knows its patients."),
    "blank line": ("warning", "Delete it."),
    "duplicate row": ("warning", "Delete it, or name in `key` the column that makes it differ."),
    "text in two splits": ("warning", "If both are of one patient, move them into one split."),
    "rare label": ("warning", "Add examples, or merge it with its neighbour and set `labels`."),
    "long text": ("warning", "The model reads its first {} tokens and no more: keep what decides the label."),
}
FILE_STARTS = {  # the first bytes of files that are sometimes renamed to .csv
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "a web page (HTML or XML)",
}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
NO_TEXT = {"", "na", "n/a", "nan", "none", "null"}  # what programs write for an empty cell
LONG = 10_000  # characters


@dataclass(frozen=True)
class Problem:
    """One defect. `row` is the line of the file, the header being line 1; None where it is about the whole file."""

    kind: str
    row: int | None
    column: str | None
    what: str
    mend: str
    severity: str

    def __str__(self) -> str:
        place = [f"line {self.row}"] if self.row else []
        place += [f'column "{self.column}"'] if self.column else []
        return ": ".join([self.severity, *([", ".join(place)] if place else []), f"{self.what} {self.mend}"])


@dataclass
class Report:
    """What `check_csv` found: the problems, the lines of the usable rows, and how many were left out for what."""

    path: Path
    problems: list[Problem] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """True if there is no error. There may be warnings."""
        return not any(problem.severity == "error" for problem in self.problems)

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the usable rows, read from the file again: however long it is, it is never in memory."""
        kept = set(self.kept)
        if kept:
            with self.path.open(encoding="utf-8-sig", newline="") as lines:
                records = _records(lines)
                header = _header(records)
                usable = (fields for line, fields in records if line in kept and fields is not None)
                yield from (dict(zip(header, fields, strict=True)) for fields in usable)

    def summary(self, most: int = 3) -> str:
        """Return the findings as text: the counts, then at most `most` problems of each kind, errors first."""
        reasons = ", ".join(f"{count:,} {kind}" for kind, count in self.left_out.most_common())
        left_out = f"{self.left_out.total():,} left out" + (f" ({reasons})" if reasons else "")
        lines = [f"{self.path.name}: {len(self.kept):,} rows can be used, {left_out}."]
        for kind in KINDS:
            problems = [problem for problem in self.problems if problem.kind == kind]
            lines += [f"- {problem}" for problem in problems[:most]]
            if len(problems) > most:
                lines.append(f"- {problems[0].severity}: {len(problems) - most:,} more of the kind: {kind}.")
        return "\n".join(lines if self.problems else [*lines, "No problem was found."])

    def raise_if_bad(self) -> None:
        """Raise ValueError, with the summary, if there is an error."""
        if not self.ok:
            raise ValueError(self.summary())


@dataclass(frozen=True)
class _Columns:
    """The names of the columns that matter."""

    text: str
    label: str
    group: str | None
    split: str | None
    key: list[str]

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name in (self.text, self.label, self.group, self.split, *self.key) if name))


def check_csv(
    path: str | Path,
    text: str = "text",
    label: str = "label",
    group: str | None = None,
    split: str | None = None,
    labels: Iterable[object] = range(5),
    key: Sequence[str] | None = None,
    alike: float = 0.9,
    tokens: int = 192,
) -> Report:
    """Check a CSV of reports.

    Takes the file; the names of its columns for the report, the label and, if it has them, the patient and the split
    ("group" and "split", where the file has columns of these names); the allowed labels; the columns besides text,
    label and patient that make two rows differ ("eye", where there is one); the share of common three-word phrases
    from which on two texts count as near-identical; and how many tokens of a report the model will read.
    Returns a Report. Raises FileNotFoundError if there is no such file; a bad file is a finding and raises nothing.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check the folder and the spelling.")
    report = Report(path, list(_file_problems(path)))
    if not report.ok:
        return report
    with path.open(encoding="utf-8-sig", newline="") as lines:
        records = _records(lines)
        header = _header(records)
        keys = [name for name in ("eye",) if name in header] if key is None else list(key)
        group, split = (
            given or (usual if usual in header else None) for given, usual in ((group, "group"), (split, "split"))
        )
        columns = _Columns(text, label, group, split, keys)
        report.problems += _header_problems(header, columns)
        if report.ok:
            allowed = [str(value) for value in labels]
            _check_rows(report, records, header, columns, allowed, alike, tokens)
    if report.ok and not report.kept:
        report.problems.append(_problem("no rows", "There is a header and no row."))
    return report


def _problem(
    kind: str, what: str, row: int | None = None, column: str | None = None, to: str = "", mend: str = ""
) -> Problem:
    """Return a Problem of a kind, with the kind's usual mend (`to` goes in its gap) unless another is given."""
    severity, usual = KINDS[kind]
    return Problem(kind, row, column, what, mend or usual.replace("{}", to), severity)


def _file_problems(path: Path) -> Iterator[Problem]:
    """Yield what keeps a file from being read as a UTF-8 CSV at all."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
        start = head.removeprefix(codecs.BOM_UTF8).lstrip()
        kind = next((kind for magic, kind in FILE_STARTS.items() if start.startswith(magic)), None)
        if not start:
            yield _problem("empty file", "The file is empty.")
        elif kind:
            yield _problem("not a CSV", f"This is not a CSV but {kind}.")
        else:
            file.seek(0)
            line = next((line for line, part in enumerate(file, start=1) if not _is_utf8(part)), None)
            if line:
                yield _encoding_problem(head, line)


def _is_utf8(line: bytes) -> bool:
    try:
        return "\0" not in line.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _encoding_problem(head: bytes, line: int) -> Problem:
    encoding = _guess_encoding(head)
    if encoding is None:
        return _problem("not a CSV", "This is no text: it holds binary data.", line)
    python = f'Path("new.csv").write_text(Path("old.csv").read_text(encoding="{encoding}"), encoding="utf-8")'
    return _problem("wrong encoding", f"This is not UTF-8. It looks like {encoding}.", line, to=python)


def _guess_encoding(head: bytes) -> str | None:
    """Guess between UTF-16, GBK and cp1252 from a file's first bytes; None if it looks like no text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:  # in UTF-16 every second byte of a comma or a Latin letter is 0
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) < len(head) / 20 or min(even, odd) > max(even, odd) / 10:
            return None
        return "utf-16-be" if even > odd else "utf-16-le"
    runs = re.findall(rb"[\x80-\xff]+", head)
    in_pairs = sum(len(run) > 1 for run in runs) > len(runs) / 2  # a Chinese character is two bytes, "é" is one
    try:
        codecs.getincrementaldecoder("gbk")().decode(head)
    except UnicodeDecodeError:
        in_pairs = False
    return "gbk" if in_pairs else "cp1252"


Records = Iterator[tuple[int, list[str] | None]]


def _records(lines: Iterable[str]) -> Records:
    """Yield (line, fields) for each record of a CSV, and (line, None) where a quote opens that is not closed.

    Reading goes on at the line after a broken quote, so that one stray quote does not swallow the rest of the file.
    """
    unread = iter(lines)
    again: deque[str] = deque()  # lines to read once more, for they stood after a broken quote
    line = 1
    while True:
        used: list[str] = []

        def feed(used: list[str] = used) -> Iterator[str]:
            while (text := again.popleft() if again else next(unread, None)) is not None:
                used.append(text)
                yield text

        try:
            fields = next(csv.reader(feed(), strict=True), None)
        except csv.Error:
            again.extendleft(reversed(used[1:]))
            fields, used = None, used[:1]
        if not used:
            return
        yield line, fields
        line += len(used)


def _header(records: Records) -> list[str]:
    """Return the names in the first record, an empty list if it is blank or its quotes are broken."""
    return [name.strip() for name in next(records)[1] or []]


def _header_problems(header: list[str], columns: _Columns) -> Iterator[Problem]:
    """Yield a problem for a wrong separator, and for each column that is missing, misspelt or there twice."""
    if not header:
        yield _problem("columns", "The first line is blank, or opens a quote that is not closed.", 1)
        return
    sign = next((sign for sign in SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if sign:
        python = f'pandas.read_csv("old.csv", sep={sign!r}).to_csv("new.csv", index=False)'
        yield _problem("wrong separator", f"{SEPARATORS[sign].capitalize()} stand between the columns.", 1, to=python)
        return
    lowered = {name.casefold(): name for name in header}
    for name in columns.names():
        if header.count(name) > 1:
            yield _problem("columns", f'{header.count(name)} columns are named "{name}".', 1, name)
        elif name not in header:
            similar = difflib.get_close_matches(name.casefold(), lowered, n=1)
            mend = (
                f'Is it "{lowered[similar[0]]}"? Rename that column.' if similar else f"There are: {', '.join(header)}."
            )
            yield _problem("columns", f'There is no column "{name}".', 1, name, mend=mend)


def _check_rows(
    report: Report,
    records: Records,
    header: list[str],
    columns: _Columns,
    allowed: list[str],
    alike: float,
    tokens: int,
) -> None:
    """Go through the rows once and note which are usable; then look at what shows only across rows."""
    seen: dict[int, int] = {}  # the first line of each row, by the row's hash
    texts: dict[tuple[str, str], int] = {}  # the first line of each (text, split)
    homes: defaultdict[str, dict[str, int]] = defaultdict(dict)  # for each patient, the first line in each split
    examples: defaultdict[str, Counter[str]] = defaultdict(Counter)  # for each split, the rows of each label
    for line, fields in records:
        row = {name: value.strip() for name, value in zip(header, fields or (), strict=False)}
        problem = _row_problem(line, fields, row, header, columns, allowed) or _repeat(line, row, columns, seen)
        if problem:
            report.problems.append(problem)
            report.left_out[problem.kind] += 1
            continue
        report.kept.append(line)
        part, text = row[columns.split] if columns.split else "", row[columns.text]
        examples[part][row[columns.label]] += 1
        if columns.split:
            texts.setdefault((text, part), line)
            if columns.group:
                homes[row[columns.group]].setdefault(part, line)
        if len(text) >= LONG:
            what = f"The report has {len(text):,} characters."
            report.problems.append(_problem("long text", what, line, columns.text, to=str(tokens)))
    report.problems += _rare_labels(examples, columns, allowed)
    report.problems += _shared_patients(homes, columns)
    report.problems += _shared_texts(texts, columns, alike)


def _row_problem(
    line: int, fields: list[str] | None, row: dict[str, str], header: list[str], columns: _Columns, allowed: list[str]
) -> Problem | None:
    """Return what makes a row useless by itself, or None."""
    if fields is None:
        return _problem("broken quote", "A quote opens here and is not closed as it should.", line)
    if not fields:
        return _problem("blank line", "The line is blank.", line)
    if len(fields) != len(header):
        what = f"The row has {len(fields)} fields and the header {len(header)}."
        return _problem("wrong number of fields", what, line)
    if row[columns.text].strip("\u200b\ufeff").casefold() in NO_TEXT:
        return _problem("empty field", "There is no text.", line, columns.text)
    for name in (columns.label, columns.group, columns.split):
        if name and not row[name]:
            return _problem("empty field", f"There is no {name}.", line, name)
    if row[columns.label] not in allowed:
        return _label_problem(line, row[columns.label], columns, allowed)
    return None


def _label_problem(line: int, label: str, columns: _Columns, allowed: list[str]) -> Problem:
    """Say what is wrong with a label: not a number, a decimal such as 2.0, or simply another one."""
    what, mend = "is not allowed", ", ".join(allowed)
    try:
        if float(label) % 1 == 0 and str(round(float(label))) in allowed:
            what, mend = "is not written as a whole number", str(round(float(label)))
    except ValueError:
        if all(value.isdigit() for value in allowed):
            what = "is not a number"
    return _problem("bad label", f'The label "{label}" {what}.', line, columns.label, to=mend)


def _repeat(line: int, row: dict[str, str], columns: _Columns, seen: dict[int, int]) -> Problem | None:
    """Return a problem if an earlier row is the same in every column that matters."""
    names = columns.names()
    first = seen.setdefault(hash(tuple(row[name] for name in names)), line)
    return None if first == line else _problem("duplicate row", f"Line {first} has the same {', '.join(names)}.", line)


def _rare_labels(examples: dict[str, Counter[str]], columns: _Columns, allowed: list[str]) -> Iterator[Problem]:
    """Yield a problem for each label with no or one example in the file or, if it has splits, in one of them."""
    for part, counts in examples.items():
        for label in allowed:
            if counts[label] < 2:
                where = f' in the split "{part}"' if columns.split else ""
                what = f"The label {label} has {('no example', 'one example')[counts[label]]}{where}."
                yield _problem("rare label", what, column=columns.label)


def _shared_patients(homes: dict[str, dict[str, int]], columns: _Columns) -> Iterator[Problem]:
    """Yield a problem for each patient with rows in two splits."""
    for patient, lines in homes.items():
        if len(lines) > 1:
            where = " and ".join(f"{part} (line {line})" for part, line in lines.items())
            yield _problem("patient in two splits", f'"{patient}" is in {where}.', max(lines.values()), columns.group)


def _shared_texts(texts: dict[tuple[str, str], int], columns: _Columns, alike: float) -> Iterator[Problem]:
    """Yield a problem for each text that nearly stands in another split as well."""
    lines, parts = list(texts.values()), [part for _, part in texts]
    for late, early in twins.near_twins([text for text, _ in texts], parts, alike).items():
        what = f"The text nearly repeats line {lines[early]}, which is in {parts[early]}; this one is in {parts[late]}."
        yield _problem("text in two splits", what, lines[late], columns.text)
