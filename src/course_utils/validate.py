"""Check a CSV of reports before anything is trained on it, ours or yours.

Each problem says what is wrong, where, and how to mend it. An *error* has to be mended; a *warning* deserves a look.
Rows that can't be used are left out of `rows()`, counted and named, never silently.

report = validate.check_csv("my_reports.csv")
print(report.summary())
pandas.DataFrame(report.rows()).to_csv("clean.csv", index=False)  # only if what it left out is no loss
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_utils import columns, tables, twins
from course_utils.columns import Columns

KINDS = {  # what can be wrong: how grave it is, and how it is mended where the place itself does not say
    "empty file": ("error", ""),
    "not a CSV": ("error", ""),
    "wrong encoding": ("error", ""),
    "columns": ("error", "The first line must name the columns, each once."),
    "split names": ("error", "Write train, dev and test, or rename the column: then the patients are divided anew."),
    "several labels": ("error", "Each text needs one label: keep the one that matters, or make a file for each label."),
    "no rows": ("error", "Add the reports below the header, one a line."),
    "broken quote": ("error", ""),
    "wrong number of fields": ("error", ""),
    "empty field": ("error", "Fill it in or delete the row."),
    "bad label": ("error", "Write one of {}."),
    "patient in two splits": ("error", "Move all rows of a patient into one split, or the test knows its patients."),
    "blank line": ("warning", ""),
    "duplicate row": ("warning", "Delete it."),
    "two labels": ("warning", "One of them is wrong, or the text does not hold what decides: look at both."),
    "text in two splits": ("warning", "If both are of one patient, move them into one split."),
    "rare label": ("warning", "Add examples, or merge it with its neighbour and set `labels`."),
    "long text": ("warning", "The model reads the first {} tokens of a text and no more: put what decides first."),
}
Counting = Callable[[str], int]
PIECES = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]")  # words, Chinese characters and signs


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
    """What `check_csv` found: the problems, the lines of the usable rows, and how many were left out for what.

    `columns` says which column is which, `values` how often each value of the label's column is there, `labels` and
    `parts` what each value of the label's and the split's column stands for, and `notes` has a sentence for all that was
    taken without being asked for.
    """

    path: Path
    problems: list[Problem] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    table: tables.Table | None = None
    columns: Columns | None = None
    values: Counter[str] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if there is no error. There may be warnings."""
        return not any(problem.severity == "error" for problem in self.problems)

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the usable rows, read from the file again: however long it is, it is never in memory."""
        kept = iter(self.kept)
        wanted = next(kept, None)
        for line, fields in self.table or ():
            if line == wanted and self.table and fields:
                yield dict(zip(self.table.header, fields, strict=True))
                wanted = next(kept, None)

    def summary(self, most: int = 3) -> str:
        """Return the findings as text: the counts, then at most `most` problems of each kind, errors first."""
        reasons = ", ".join(f"{count:,} {kind}" for kind, count in self.left_out.most_common())
        left_out = f"{self.left_out.total():,} left out" + (f" ({reasons})" if reasons else "")
        lines = [f"{self.path.name}: {len(self.kept):,} rows can be used, {left_out}."]
        lines += [f"- note: {note}" for note in self.notes]
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


def check_csv(
    path: str | Path,
    text: str = "text",
    label: str = "label",
    group: str | None = None,
    split: str | None = None,
    labels: Iterable[object] | None = range(5),
    key: Sequence[str] | None = None,
    alike: float = 0.9,
    tokens: int = 192,
    site: str = "",
    encoding: str = "",
    separator: str = "",
    count: Counting | None = None,
) -> Report:
    """Check a CSV of reports.

    Takes the file; the names of its columns for the report, the label and, if it has them, the patient, the split and the
    site (None is "group" and "split"; for what is "", or not there, `columns.find` looks); the allowed labels (None: those that are
    there); the columns besides text, label and patient that make two rows differ (None: all others); the share of common
    three-word phrases from which on two texts count as near-identical; how many tokens of a report the model will read;
    the encoding and the separator, to overrule what is found; and what counts the tokens of a text (None: its words and
    signs, which are fewer).
    Returns a Report. Raises FileNotFoundError if there is no such file; a bad file is a finding and raises nothing.
    """
    report = Report(Path(path).expanduser())
    try:
        report.table = tables.read(path, encoding, separator)
        report.notes += report.table.notes
        if not any(report.table.header):
            what = "The first line is blank, or opens a quote that is not closed."
            report.problems.append(_problem("columns", what, 1))
            return report
        header = report.table.header
        usual = {name: name if name in header else "" for name in ("group", "split")}
        group, split = (usual[name] if given is None else given for name, given in (("group", group), ("split", split)))
        report.columns = columns.find(report.table, text, label, group, site, split)
        report.notes += report.columns.notes + report.columns.taken(usual=False)
    except tables.TableError as error:
        report.problems.append(_fault_problem(error.fault, error.line))
    except columns.ColumnsError as error:
        report.problems += [_fault_problem(fault, 1) for fault in error.faults]
    if report.table and _has_columns(report, key or ()) and report.columns:
        allowed = None if labels is None else [str(value) for value in labels]
        if _understands_values(report, allowed):
            _check_rows(report, key, allowed, alike, tokens, count or (lambda words: len(PIECES.findall(words))))
        if report.ok and not report.kept:
            report.problems.append(_problem("no rows", "There is a header and no row."))
    return report


def _problem(
    kind: str, what: str, row: int | None = None, column: str | None = None, to: str = "", mend: str = ""
) -> Problem:
    """Return a Problem of a kind, with the kind's usual mend (`to` goes in its gap) unless another is given."""
    severity, usual = KINDS[kind]
    return Problem(kind, row, column, what, mend or usual.replace("{}", to), severity)


def _fault_problem(fault: tables.Fault, line: int | None) -> Problem:
    return _problem(fault.kind, fault.what, line, fault.column, mend=fault.mend)


def _has_columns(report: Report, key: Sequence[str]) -> bool:
    """Note each column of the key that is not there; say whether all are."""
    header = report.table.header if report.table else []
    missing = [name for name in key if name not in header]
    for name in missing:
        mend = f"There are: {', '.join(header)}."
        report.problems.append(_problem("columns", f'There is no column "{name}".', 1, name, mend=mend))
    return not missing


def _understands_values(report: Report, allowed: list[str] | None) -> bool:
    """Find what the labels and the splits stand for, from one pass over the file; note what can't be understood."""
    assert report.table and report.columns
    report.values, parts = _counts(report.table, (report.columns.label, report.columns.split))
    report.labels, notes = columns.label_map(report.values, allowed or ())
    report.notes += notes
    try:
        report.parts = columns.part_map(parts)
        renamed = ", ".join(f'"{value}" is {part}' for value, part in report.parts.items() if value != part)
        report.notes += [f"In the column for the split {renamed}."] if renamed else []
    except ValueError as error:
        report.problems.append(_problem("split names", str(error), column=report.columns.split))
    several = columns.several_in_a_cell(report.values, allowed or ())
    if several:
        what = f'A cell holds several labels, such as "{several}" ({report.values[several]:,} times).'
        report.problems.append(_problem("several labels", what, column=report.columns.label))
    return report.ok


def _counts(table: tables.Table, names: Sequence[str]) -> list[Counter[str]]:
    """Return how often each value is there in each of some columns; nothing for a column without a name."""
    counts: list[Counter[str]] = [Counter() for _ in names]
    places = [(counter, table.header.index(name)) for counter, name in zip(counts, names, strict=True) if name]
    for _, fields in table:
        for counter, place in places if fields else ():
            counter[fields[place].strip()] += 1  # type: ignore[index]
    for counter in counts:
        del counter[""]
    return counts


@dataclass
class _Seen:
    """What is remembered of the rows so far, to find what shows only across rows: hashes, and lines of the file."""

    rows: dict[int, int] = field(default_factory=dict)  # the first line of each row
    labels: dict[int, tuple[int, str]] = field(default_factory=dict)  # the first line of a text, for an eye; its label
    texts: dict[tuple[str, str], int] = field(default_factory=dict)  # the first line of each (text, split)
    homes: dict[str, dict[str, int]] = field(default_factory=dict)  # a patient's first line in each split
    examples: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by split and label
    long: list[int] = field(default_factory=list)  # the lines of texts that the model does not read to their end


def _check_rows(
    report: Report, key: Sequence[str] | None, allowed: list[str] | None, alike: float, tokens: int, count: Counting
) -> None:
    """Go through the rows once and note which are usable; then look at what shows only across rows."""
    assert report.table and report.columns
    named, header, seen = report.columns, report.table.header, _Seen()
    matter = header if key is None else [named.text, named.label, named.group, named.split, *key]
    matter = list(dict.fromkeys(name for name in matter if name))
    choices = sorted(set(report.labels.values())) if allowed is None else allowed
    for line, fields, fault in report.table.records():
        row = dict(zip(header, map(str.strip, fields or ()), strict=False))
        problem = (
            _fault_problem(_tried(fault, report), line)
            if fault
            else _row_problem(line, row, named, report.labels, choices)
        )
        problem = problem or _repeat(line, row, matter, seen.rows)
        if problem:
            report.problems.append(problem)
            report.left_out[problem.kind] += 1
            continue
        report.kept.append(line)
        report.problems += _remember(seen, line, row, report)
        text = row[named.text]
        if len(text) > tokens and count(text) > tokens:
            seen.long.append(line)
    report.problems += _rare_labels(seen.examples, named, choices)
    report.problems += _shared_patients(seen.homes, named)
    report.problems += _shared_texts(seen.texts, named, alike)
    report.problems += _long_texts(seen.long, len(report.kept), named, tokens)


def _tried(fault: tables.Fault, report: Report) -> tables.Fault:
    """Return the fault of a row with its mend made exact, if quotes around the text were tried and give a known label."""
    assert report.table and report.columns
    header, named = report.table.header, report.columns
    first, extra = header.index(named.text), len(fault.found) - len(header)
    if extra < 1:
        return fault
    last = first + extra
    row = [*fault.found[:first], "", *fault.found[last + 1 :]]
    label = row[header.index(named.label)].strip()
    if label not in report.labels:
        return fault
    mend = f'Put its fields {first + 1} to {last + 1} in double quotes, as one text: the label is then "{label}".'
    return fault._replace(mend=mend, column=named.text)


def _remember(seen: _Seen, line: int, row: dict[str, str], report: Report) -> Iterator[Problem]:
    """Note a usable row; yield a problem if its text was labelled otherwise before."""
    assert report.columns
    named = report.columns
    text, label = row[named.text], report.labels[row[named.label]]
    part = report.parts[row[named.split]] if named.split else ""
    seen.examples[part][label] += 1
    first, other = seen.labels.setdefault(hash((text, row.get(named.eye))), (line, label))
    if other != label:
        what = f'The text of line {first}, labelled "{other}", is here labelled "{label}".'
        yield _problem("two labels", what, line, named.label)
    if named.split:
        seen.texts.setdefault((text, part), line)
        if named.group:
            seen.homes.setdefault(row[named.group], {}).setdefault(part, line)


def _row_problem(
    line: int, row: dict[str, str], named: Columns, labels: dict[str, str], choices: list[str]
) -> Problem | None:
    """Return what makes a row useless by itself, or None."""
    if tables.no_text(row[named.text]):
        return _problem("empty field", "There is no text.", line, named.text)
    for name in (named.label, named.group, named.split):
        if name and not row[name]:
            return _problem("empty field", f"There is no {name}.", line, name)
    if row[named.label] not in labels:
        return _label_problem(line, row[named.label], named, choices)
    return None


def _label_problem(line: int, label: str, named: Columns, allowed: list[str]) -> Problem:
    """Say what is wrong with a label: not a number, or simply another one."""
    what = "is not allowed"
    try:
        float(label)
    except ValueError:
        if allowed and all(value.isdigit() for value in allowed):
            what = "is not a number"
    return _problem("bad label", f'The label "{label}" {what}.', line, named.label, to=", ".join(allowed))


def _repeat(line: int, row: dict[str, str], names: Sequence[str], seen: dict[int, int]) -> Problem | None:
    """Return a problem if an earlier row is the same in every column that matters."""
    first = seen.setdefault(hash(tuple([row[name] for name in names])), line)
    return None if first == line else _problem("duplicate row", f"Line {first} has the same {', '.join(names)}.", line)


def _long_texts(lines: list[int], rows: int, named: Columns, tokens: int) -> Iterator[Problem]:
    """Yield a problem that says how many texts the model does not read to their end."""
    if lines:
        what = f"{len(lines):,} of {rows:,} texts ({len(lines) / rows:.0%}) have more than {tokens} words and signs, first this one."
        yield _problem("long text", what, lines[0], named.text, to=str(tokens))


def _rare_labels(examples: dict[str, Counter[str]], named: Columns, allowed: list[str]) -> Iterator[Problem]:
    """Yield a problem for each label with no or one example in the file or, if it has splits, in one of them."""
    for part, counts in examples.items():
        for label in allowed:
            if counts[label] < 2:
                where = f' in the split "{part}"' if named.split else ""
                what = f"The label {label} has {('no example', 'one example')[counts[label]]}{where}."
                yield _problem("rare label", what, column=named.label)


def _shared_patients(homes: dict[str, dict[str, int]], named: Columns) -> Iterator[Problem]:
    """Yield a problem for each patient with rows in two splits."""
    for patient, lines in homes.items():
        if len(lines) > 1:
            where = " and ".join(f"{part} (line {line})" for part, line in lines.items())
            yield _problem("patient in two splits", f'"{patient}" is in {where}.', max(lines.values()), named.group)


def _shared_texts(texts: dict[tuple[str, str], int], named: Columns, alike: float) -> Iterator[Problem]:
    """Yield a problem for each text that nearly stands in another split as well."""
    lines, parts = list(texts.values()), [part for _, part in texts]
    for late, early in twins.near_twins([text for text, _ in texts], parts, alike).items():
        what = f"The text nearly repeats line {lines[early]}, which is in {parts[early]}; this one is in {parts[late]}."
        yield _problem("text in two splits", what, lines[late], named.text)
