"""A report's record: what a language model is asked to write of one eye, as JSON, and how what it writes is counted.

A record names what is there now in the eye that was asked for, then the grade, then whether the eye is referable:

    {"findings":["MA","IRH 3+","DME"],"grade":2,"refer":true}

The findings come first, for the grade follows from them, and a model writes from left to right. A digit is a number of quadrants,
and "+" means more than 20 haemorrhages in each. It stands where the reports always say it and the grade can hang on it; a record
that asked for more than a report holds would teach a model to make things up.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from course_utils import paths

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd

NAMES = {
    "MA": "microaneurysms",
    "IRH": "haemorrhages in the retina",
    "HE": "hard exudates",
    "CWS": "cotton wool spots",
    "VB": "venous beading",
    "IRMA": "misshapen vessels in the retina (IRMA)",
    "NVD": "new vessels at the disc",
    "NVE": "new vessels elsewhere",
    "VH": "blood in front of the retina",
    "DME": "oedema of the macula",
    "PRP": "scars of panretinal laser",
    "GRID": "scars of laser at the macula",
}
IN_QUADRANTS = ("IRH", "VB", "IRMA")  # written with the number of quadrants
SEP = r"(?:(?<=\[)|(?<!\[),)"  # nothing before the first finding of a list, a comma before each other
FINDINGS = "".join(
    rf'(?:{SEP}"{code}{(" [1-4]" + ("[+]?" if code == "IRH" else "")) if code in IN_QUADRANTS else ""}")?'
    for code in NAMES
)
FORM = (
    rf'\{{"findings":\[{FINDINGS}\],"grade":[0-4],"refer":(?:true|false)\}}'  # each finding once, in the order of NAMES
)
INVALID = -1  # the grade of an answer that is no record
COUNTED = ("named", "made_up", "missed", "there")


HOW = (
    'Write the record of one eye as JSON and nothing else, such as {"findings":["MA","IRH 3"],"grade":2,"refer":true}. '
    "Findings that are there now in that eye: "
    + ", ".join(f"{code} {name}" for code, name in NAMES.items())
    + ". After IRH, VB and IRMA the number of quadrants. The grade is 0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative. "
    "Refer from grade 2 on, or for oedema."
)


class Record(NamedTuple):
    """The findings as they are written ("IRH 3+"), the grade 0-4, and whether the eye is referable."""

    findings: tuple[str, ...]
    grade: int
    refer: bool

    def codes(self) -> frozenset[str]:
        """Return the findings without their quadrants."""
        return frozenset(finding.split()[0] for finding in self.findings)


def with_facts(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Return rows of the course's reports with a column `record`: the true Record of each row's eye.

    Raises FileNotFoundError if the file of facts is not there, ValueError for a row that it does not have.
    """
    known = _facts()
    keys = list(zip(rows["report_id"], rows["eye"], strict=True))
    if unknown := [key for key in keys if key not in known]:
        raise ValueError(
            f"dr_pictures.csv has no facts of {len(unknown)} rows, such as report {unknown[0][0]}, {unknown[0][1]} eye. "
            "Records can be made of the course's own reports only."
        )
    return rows.assign(record=[told(known[key], grade) for key, grade in zip(keys, rows["grade"], strict=True)])


@cache
def _facts() -> dict[tuple[str, str], str]:
    import pandas as pd

    file = paths.samples() / "dr_pictures.csv"
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}. Get it back from the repository, or make it with `make pictures`."
        )
    rows = pd.read_csv(file, keep_default_na=False)
    return dict(zip(zip(rows["report_id"], rows["eye"], strict=True), rows["facts"], strict=True))


def told(facts: str, grade: int) -> Record:
    """Return the record of an eye from its facts, such as "MA 13;IRH 1234;heavy", and its adjudicated grade.

    An eye is referable from grade 2 on, or with oedema of the macula.
    """
    parts = {} if facts == "-" else {part.partition(" ")[0]: part for part in facts.split(";")}
    codes = {"LASER": "PRP", "central": "DME", "not": "DME"}  # "not central" is oedema too
    there = {codes.get(name, name): part for name, part in parts.items() if name != "heavy"}
    findings = []
    for code in NAMES:
        if code in there and code in IN_QUADRANTS:
            quadrants = len(there[code].partition(" ")[2])
            findings.append(f"{code} {quadrants}{'+' if code == 'IRH' and 'heavy' in parts else ''}")
        elif code in there:
            findings.append(code)
    return Record(tuple(findings), int(grade), grade >= 2 or "DME" in there)


def write(record: Record) -> str:
    """Return a record as JSON, without a blank: what a model is trained to write."""
    content = {"findings": list(record.findings), "grade": record.grade, "refer": record.refer}
    return json.dumps(content, separators=(",", ":"))


def read(answer: str) -> Record | None:
    """Return the record that an answer is, or None. White space and another order are allowed; more text is not.

    A finding that is unknown, stands twice or lacks its quadrants makes it no record.
    """
    try:
        content = json.loads(answer)
    except json.JSONDecodeError:
        return None
    findings = content.get("findings") if isinstance(content, dict) else None
    if not isinstance(findings, list) or not all(isinstance(one, str) for one in findings):
        return None
    places = {code: place for place, code in enumerate(NAMES)}
    content["findings"] = sorted(findings, key=lambda one: places.get(one.partition(" ")[0], len(places)))
    keys = [key for key in ("findings", "grade", "refer") if key in content]
    compact = json.dumps({key: content[key] for key in keys}, separators=(",", ":"), ensure_ascii=False)
    if len(content) != len(keys) or not re.fullmatch(FORM, compact):
        return None
    return Record(tuple(content["findings"]), content["grade"], content["refer"])


def ask(eye: str, text: str, how: str = "") -> list[dict[str, str]]:
    """Return the question of a report as a chat of one message; `how` says what a record is, to a model that was not taught."""
    lines = [how] if how else []
    return [{"role": "user", "content": "\n".join([*lines, f"Record of the {eye} eye.", text])}]


def said(record: Record) -> list[dict[str, str]]:
    """Return a record as the answer to `ask`: a chat of one message."""
    return [{"role": "assistant", "content": write(record)}]


def grades(answers: Sequence[str]) -> np.ndarray:
    """Return the grade that each answer gives, INVALID for one that is no record: an array (answers,)."""
    return np.array([INVALID if (record := read(answer)) is None else record.grade for answer in answers])


def least(record: Record) -> int:
    """Return the lowest grade that a record's own findings allow, by the scale and the 4-2-1 rule.

    Source: Wilkinson et al., Ophthalmology 2003;110:1677-82; that scars of panretinal laser stay grade 4, and oedema and laser are
    never grade 0, is the convention of the reports' datasheet. A record whose grade is lower contradicts itself, and that can be
    seen without knowing the truth. (It may be higher: a treatment that a record does not name can raise it.)
    """
    size = {name: value for name, _, value in (finding.partition(" ") for finding in record.findings)}
    if {"NVD", "NVE", "VH", "PRP"} & size.keys():
        return 4
    if size.get("IRH") == "4+" or size.get("VB", "0") >= "2" or "IRMA" in size:
        return 3
    if {"IRH", "HE", "CWS", "VB"} & size.keys():
        return 2
    return int(bool({"MA", "DME", "GRID"} & size.keys()))


def counted(answers: Sequence[str], truth: Sequence[Record]) -> dict[str, np.ndarray]:
    """Compare answers with the true records; return arrays with an entry an answer.

    `valid`: it is a record. `right`, `refer`: so is its grade, its referral (an answer that is no record is wrong). `places`: it
    gives all findings that are there with their quadrants, and no other. `agrees`: its grade is no lower than its own findings allow.
    Then numbers of findings: `named` in the answer, `made_up` (named, and not there), `missed` (there, and not named), `there`.
    An answer that is no record names nothing.
    Raises ValueError for unequal lengths.
    """
    if len(answers) != len(truth):
        raise ValueError(f"There are {len(answers)} answers and {len(truth)} true records; each needs the other.")
    found: dict[str, list[Any]] = {name: [] for name in ("valid", "right", "refer", "places", "agrees", *COUNTED)}
    for name, value in (item for pair in zip(answers, truth, strict=True) for item in _compared(*pair)):
        found[name].append(value)
    return {name: np.array(values, dtype=int if name in COUNTED else bool) for name, values in found.items()}


def _compared(answer: str, truth: Record) -> Iterator[tuple[str, Any]]:
    said = read(answer)
    named = said.codes() if said else frozenset()
    yield "valid", said is not None
    yield "right", said is not None and said.grade == truth.grade
    yield "refer", said is not None and said.refer == truth.refer
    yield "places", said is not None and set(said.findings) == set(truth.findings)
    yield "agrees", said is not None and said.grade >= least(said)
    yield "named", len(named)
    yield "made_up", len(named - truth.codes())
    yield "missed", len(truth.codes() - named)
    yield "there", len(truth.findings)
