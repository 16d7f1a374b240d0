"""Say what the columns of a file mean: which is the text, the label, the patient, and what their values stand for.

Validation and loading both ask here, so a file has one meaning. Each choice that the reader did not make is a sentence in
`notes`; where two choices are as good, or none is, there is an error that lists what the file has.
"""

import difflib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from course_utils import paths
from course_utils.tables import Fault, Table, plain

NAMES = {  # what people call a column, the likeliest first; of two in one line neither is likelier than the other
    "text": (
        ("text",),
        ("文本", "报告", "texte", "befund"),
        ("report", "reporttext", "note", "notes", "notetext", "findings", "impression", "narrative", "transcription"),
        ("sentence", "document", "description", "content", "body", "abstract", "comment", "comments"),
    ),
    "label": (
        ("label",),
        ("标签", "分级", "等级"),
        ("labels", "grade", "class", "target", "category", "outcome"),
        ("y", "classification", "severity", "triage", "stage", "diagnosis"),
    ),
    "group": (
        ("group",),
        ("patientid", "patient", "patientnumber", "patientno", "subjectid", "subject", "mrn"),
        ("患者", "病人", "患者id", "病人id"),
        ("personid", "person", "participant", "participantid", "caseid", "groupid"),
        ("id",),
    ),
    "site": (("site",), ("hospital", "clinic", "centre", "center", "institution", "siteid", "hospitalid"), ("ward",)),
    "eye": (("eye",), ("laterality", "side", "eyeside")),
    "split": (("split",), ("set", "fold", "partition", "subset", "datasplit")),
}
SPLITS = {"train": 70, "dev": 10, "test": 20}  # shares in percent, for a file that does not divide its rows itself
SPLIT_NAMES = {  # what people call the parts
    "train": {"train", "training", "trainset", "trainingset"},
    "dev": {"dev", "development", "devset", "validation", "valid", "val", "validationset", "valset"},
    "test": {"test", "testing", "testset", "holdout", "heldout"},
    "dev_unseen": {"dev_unseen"},  # of the course's own file: see data.UNSEEN
}
ROLES = {"text": "text", "label": "label", "group": "patient", "site": "site", "eye": "eye", "split": "split"}
NONE = "none"  # asked for instead of a column, where a guess would be wrong
MOST_LABELS = 20
COUNTED = 100_000  # distinct values of a column; beyond that it is "more than"
SEVERAL = re.compile(r"[;|,/+&]")  # what stands between the labels of a cell that holds several


@dataclass
class Values:
    """What a column holds, counted over the whole file."""

    rows: int = 0
    letters: int = 0
    numbers: int = 0
    distinct: set[int] = field(default_factory=set)  # hashes, at most COUNTED + 1 of them

    def add(self, value: str) -> None:
        self.rows += 1
        self.letters += len(value)
        self.numbers += _number(value) is not None
        if len(self.distinct) <= COUNTED:
            self.distinct.add(hash(value))

    def repeats(self) -> bool:
        """True if some value stands in several rows."""
        return len(self.distinct) < self.rows or len(self.distinct) > COUNTED

    def is_choice(self) -> bool:
        """True if the column holds a few values again and again, as a label does."""
        return 2 <= len(self.distinct) <= MOST_LABELS and 2 * len(self.distinct) <= self.rows

    def __str__(self) -> str:
        n = len(self.distinct)
        return f"more than {COUNTED:,}" if n > COUNTED else f"{n:,}"


@dataclass(frozen=True)
class Columns:
    """The columns that were asked for or found, "" where there is none.

    `guessed` are the roles that nobody named, `unused` the columns that have no role, and `notes` has a sentence for each
    column that is not as it was asked for.
    """

    text: str
    label: str
    group: str
    site: str
    eye: str
    split: str
    guessed: list[str]
    unused: list[str]
    notes: list[str]

    def taken(self, usual: bool = True) -> list[str]:
        """Return one sentence on the columns that were guessed, or none; without `usual`, of those not named as usual."""
        pairs = [(getattr(self, role), role) for role in self.guessed]
        said = [f'"{name}" as the {ROLES[role]}' for name, role in pairs if usual or name != role]
        return [f"Taken by name or content: {', '.join(said)}."] if said else []


class ColumnsError(ValueError):
    """Columns that are not there, or that several could be. Has the `faults`, each with its column."""

    def __init__(self, table: Table, faults: Sequence[Fault]):
        super().__init__(f"{table.path.name}: " + " ".join(f"{fault.what} {fault.mend}" for fault in faults))
        self.faults = faults


def find(table: Table, text: str = "", label: str = "", group: str = "", site: str = "", split: str = "") -> Columns:
    """Return which column is which.

    Takes a table and the names that the reader gave, "" where a column is to be found by its name or, for text and
    label, by its values; "none" for a patient, a site or a split says that the file has no such column. A given name
    that is not there is looked for in another spelling, then among the names that people use for such a column.
    Raises ColumnsError, with the columns and how many different values each has, where nothing fits or several fit.
    """
    given = {"text": text, "label": label, "group": group, "site": site, "eye": "", "split": split}
    given = {role: name.strip() for role, name in given.items()}
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for role in sorted(given, key=lambda role: not given[role]):  # what was named is no other role's
        try:
            found[role] = _by_name(table, role, given[role], set(found.values()))
        except LookupError as error:
            found[role] = ""
            faults.append(error.args[0])
    if faults:
        raise ColumnsError(table, faults)
    notes = [
        f'There is no column "{given[role]}"; "{name}" is taken for it.'
        for role, name in found.items()
        if given[role] and name not in ("", given[role])
    ]
    _by_values(table, found, group, notes)
    guessed = [role for role in ROLES if found[role] and not given[role]]
    unused = [name for name in table.header if name and name not in found.values()]
    return Columns(**found, guessed=guessed, unused=unused, notes=notes)


def count_values(table: Table) -> dict[str, Values]:
    """Return what each column holds, from one pass over the file."""
    values = {name: Values() for name in table.header}
    for _, fields in table:
        for name, value in zip(table.header, fields or (), strict=False):
            values[name].add(value.strip())
    return values


def _by_name(table: Table, role: str, name: str, taken: set[str]) -> str:
    """Return the column that has a role's name, "" if none has and none was asked for; else raise LookupError(Fault)."""
    free = [column for column in table.header if column and column not in taken]
    if name == NONE and role in ("group", "site", "split") and NONE not in free:
        return ""
    fitting = [column for column in free if column == name] or [
        column for column in free if name and plain(column) == plain(name)
    ]
    for usual in NAMES[role] if not fitting else ():
        fitting = fitting or [column for column in free if plain(column) in usual]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        doubled = len(set(fitting)) == 1
        what = (
            f'{len(fitting)} columns are named "{fitting[0]}".' if doubled else f"{_quoted(fitting)} may be the {role}."
        )
        mend = "Rename all but one." if doubled else f"Name one of them. {_counts(table)}"
        raise LookupError(Fault("columns", what, mend, name or role))
    if not name:
        return ""
    lowered = {column.casefold(): column for column in free}
    similar = difflib.get_close_matches(name.casefold(), lowered, n=1)
    question = f'Is it "{lowered[similar[0]]}"? ' if similar else ""
    raise LookupError(Fault("columns", f'There is no column "{name}".', f"{question}{_counts(table)}", name))


def _by_values(table: Table, found: dict[str, str], group: str, notes: list[str]) -> None:
    """Find the text and the label by what the columns hold, where no name told; note a patient who has one row each."""
    asks_patient = bool(found["group"] and not group)
    if found["text"] and found["label"] and not asks_patient:
        return
    values = count_values(table)
    free = [name for name in table.header if name and name not in found.values()]
    if not found["text"]:
        lengths = {name: values[name].letters for name in free if 2 * values[name].numbers < values[name].rows}
        ranked = sorted(lengths, key=lambda name: -lengths[name])
        if not ranked or (len(ranked) > 1 and lengths[ranked[1]] > 0.5 * lengths[ranked[0]]):
            raise ColumnsError(table, [_unclear(table, "text", ranked[:2])])
        found["text"] = ranked[0]
    if not found["label"]:
        fitting = [name for name in free if name != found["text"] and values[name].is_choice()]
        if len(fitting) != 1:
            raise ColumnsError(table, [_unclear(table, "label", fitting)])
        found["label"] = fitting[0]
    if asks_patient and not values[found["group"]].repeats():
        notes.append(f'"{found["group"]}" is another in each row: each row is its own patient.')


def _unclear(table: Table, role: str, fitting: list[str]) -> Fault:
    what = f"{_quoted(fitting)} may be the {role}." if len(fitting) > 1 else f"No column can be told to be the {role}."
    return Fault("columns", what, f"Name one. {_counts(table)}", role)


def _counts(table: Table) -> str:
    """Say which columns a file has, each with the number of its different values."""
    counted = ", ".join(f'"{name}" ({values})' for name, values in count_values(table).items())
    return f"The columns, and how many different values each has: {counted}."


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def spelling(label: str) -> str:
    """Return a label as it is compared: no case, single spaces, a number by its value ("1", "1.0" and "1,0" are one)."""
    number = _number(label)
    words = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    return words if number is None else repr(number)


def _number(value: str) -> float | None:
    value = value.strip().replace(",", ".")
    return float(value) if re.fullmatch(r"[+-]?\d+(\.\d*)?", value) else None


def order_of(order: object) -> list[str]:
    """Return the labels of an order as they come from a notebook or a command line, least first.

    Takes a list of words or numbers, or a string: "[mild,severe]", "mild,severe" or '["mild","severe"]'.
    Raises ValueError if a label stands in it twice.
    """
    values: object = order
    if isinstance(order, str):
        try:
            values = json.loads(order)
        except json.JSONDecodeError:
            values = [one.strip().strip("\"'") for one in re.split("[,;]", order.strip().strip("[]()"))]
    values = values if isinstance(values, Iterable) else [values]
    labels = [label for value in values if (label := str(value).strip())]
    doubled = [label for label, n in Counter(labels).items() if n > 1]
    if doubled:
        raise ValueError(f"The order names {_quoted(doubled)} twice: {', '.join(labels)}.")
    return labels


def label_map(counts: Mapping[str, int], allowed: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Return the label that each value of a column stands for, and a sentence for each that is spelt otherwise.

    Takes how often each value is there, and the labels that may be; with none, the commonest spelling of each is the
    label. A value that is no spelling of an allowed label is not in the answer.
    """
    wins: dict[str, str] = {}
    for label in allowed or sorted(counts, key=lambda value: (-counts[value], len(value), value)):
        wins.setdefault(spelling(label), label)
    labels = {value: value if value in allowed else wins.get(spelling(value), "") for value in counts}
    labels = {value: label for value, label in labels.items() if label}
    notes = [
        f'The label "{value}" ({_rows(counts[value])}) is read as "{label}".'
        for value, label in labels.items()
        if value != label
    ]
    return labels, notes


def in_order(labels: Iterable[str]) -> tuple[list[str], bool]:
    """Return labels in their order, and whether it means anything: numbers do, the alphabet does not."""
    labels = list(labels)
    numbers = [_number(label) for label in labels]
    known = [number for number in numbers if number is not None]
    if len(known) == len(labels):
        return [label for _, label in sorted(zip(known, labels, strict=True))], True
    return sorted(labels), False


def several_in_a_cell(counts: Mapping[str, int], allowed: Sequence[str] = ()) -> str:
    """Return a value of a label column such as "cough;fever" if the column holds several labels a cell, otherwise "".

    It does if most of what stands between the signs stands in other values as well. A label that is allowed as it is
    written is one label.
    """
    parts = {value: {_bare(part) for part in SEVERAL.split(value)} - {""} for value in counts if value not in allowed}
    holding = Counter(part for found in parts.values() for part in found)
    joined = [value for value, found in parts.items() if len(found) > 1]
    pieces = {part for value in joined for part in parts[value]}
    again = sum(holding[part] > 1 for part in pieces)
    return max(joined, key=lambda value: counts[value]) if joined and 2 * again > len(pieces) else ""


def part_map(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the split, a key of SPLIT_NAMES, that each value of a split column stands for.

    Takes how often each value is there. Raises ValueError, with the values and a mend, if one is not understood.
    """
    known = {plain(name): part for part, names in SPLIT_NAMES.items() for name in names}
    strange = [value for value in counts if value and plain(value) not in known]
    if strange:
        raise ValueError(f"The column for the split holds {counted(counts)}; {_quoted(strange)} is not understood.")
    return {value: known[plain(value)] for value in counts if value}


def assign(parts: Sequence[str], patients: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the split of each row, and a sentence if the file did not say it all.

    Takes for each row the split that the file names (an empty sequence if it names none), the patient and the label.
    A file that names train and test keeps them, and dev is taken from train; one that names none is divided.
    """
    if not parts:
        homes = divide(patients, labels, SPLITS)
        return [homes[patient] for patient in patients], [_divided(homes, len(patients))]
    if "dev" in parts or not {"train", "test"} <= set(parts):
        return list(parts), []
    rows = [i for i, part in enumerate(parts) if part == "train"]
    homes = divide([patients[i] for i in rows], [labels[i] for i in rows], {"train": 70, "dev": 10})
    split = [homes[patient] if part == "train" else part for part, patient in zip(parts, patients, strict=True)]
    n = split.count("dev")
    return split, [f"The file names train and test and no dev: {_rows(n)} of train, an eighth by patient, are dev."]


def divide(patients: Sequence[str], labels: Sequence[str], shares: Mapping[str, int]) -> dict[str, str]:
    """Return the split of each patient, stratified by label as far as whole patients allow.

    Takes the patient and the label of each row, and the share of each split, the first being what is left over.
    A patient counts for the rarest label that one of the rows has. Among the patients of a label the SHA-256 of the name
    decides, so the same rows are divided alike on any machine; a label of as many patients as there are splits is in each.
    """
    common = Counter(labels)
    rarest: dict[str, str] = {}
    for patient, label in zip(patients, labels, strict=True):
        now = rarest.get(patient, label)
        rarest[patient] = min(now, label, key=lambda one: (common[one], one))
    strata: defaultdict[str, list[str]] = defaultdict(list)
    for patient, label in rarest.items():
        strata[label].append(patient)
    first, *others = shares
    homes = dict.fromkeys(rarest, first)
    for members in strata.values():
        left = sorted(members, key=paths.digest)
        least = 1 if len(members) >= len(shares) else 0
        for name in others:
            n = max(least, round(len(members) * shares[name] / sum(shares.values())))
            homes |= dict.fromkeys(left[:n], name)
            left = left[n:]
    return homes


def counted(counts: Mapping[str, int]) -> str:
    """Return values with how often each is there: "mild (7 rows), severe (1 row)"."""
    return ", ".join(f"{value or 'nothing'} ({_rows(n)})" for value, n in counts.items())


def _divided(homes: Mapping[str, str], rows: int) -> str:
    sizes = Counter(homes.values())
    who = "rows" if len(homes) == rows else "patients"
    parts = ", ".join(f"{name} {sizes[name]:,}" for name in SPLITS)
    return f"No column names the splits: the {len(homes):,} {who} are divided 70/10/20, label by label ({parts})."


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"


def _bare(part: str) -> str:
    return spelling(part.strip(" []()'\""))
