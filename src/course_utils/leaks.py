"""Find leaks: a label that stands in the text, a patient in two splits, a text that is nearly in two splits.

A stated grade is a leak only if the report would not hold it where the model is used: a model that is to grade from findings
must not read the grade that a doctor wrote. Where the model is to read finished reports, the statement is honest evidence.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from course_utils import terms, twins

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd

MASK = "[grade]"
_DISEASE = (
    r"(?:NPDR|(?:background |non[- ]?proliferative )?(?:diabetic )?(?<!proliferative )retinopathy|DR|BDR"
    r"|非增[殖生][性期]糖尿病性?视网膜病变|糖尿病性?视网膜病变)"
)
_PROLIFERATIVE = (
    r"(?:PDR|(?<!non )(?<!non-)proliferative (?:diabetic retinopathy|retinopathy|DR)|增[殖生][性期]糖尿病性?视网膜病变)"
)
_SEVERITY = {"3": r"(?:very )?severe|重度", "2": r"moderate|中度", "1": r"mild|minimal|轻度"}
_NONE = r"(?:no (?:apparent |evidence of |signs? of )?|without |nil |无明显|无|未见明显|未见)"
_NUMBER = r"(?:(?:grade|level|stage|class|分级|级)\s*[:=]?\s*)"
# the words of the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003;110:1677-82)
STATEMENTS = [
    (rf"{_NONE}(?:NPDR|diabetic retinopathy|retinopathy|DR|糖尿病性?视网膜病变)", 0),
    (rf"(?:DR|ICDR|ICDRS|retinopathy|NPDR|视网膜病变)\s*,?\s*{_NUMBER}(?P<a>[0-4])", None),
    (r"(?:ICDR|ICDRS)\s*[:=]?\s*(?P<b>[0-4])", None),
    *(
        (
            rf"(?:(?:mild|moderate)(?: to |-))?(?:{words})\s*{_DISEASE}|{_DISEASE}\s*[,:]?\s*\(?(?:{words})\)?",
            int(grade),
        )
        for grade, words in _SEVERITY.items()
    ),
    (rf"(?:(?:{'|'.join(_SEVERITY.values())}|active|high[- ]risk|early)\s*)?{_PROLIFERATIVE}", 4),
]
_EDGE = r"[A-Za-z0-9]"
_PATTERNS = [(re.compile(rf"(?<!{_EDGE})(?:{words})(?!{_EDGE})", re.IGNORECASE), grade) for words, grade in STATEMENTS]
# said before a statement, in its clause, these make it a statement about something else than this eye today
_DOUBT = re.compile(
    r"\b(?:no|not|without|nil|denies|previous|history|h/o|father|mother|brother|sister|family|FHx|possible|poss|rule out|r/o)\b"
    r"|\?|无|未见|既往|曾|父亲|母亲|家族|可疑",
    re.IGNORECASE,
)


Place = tuple[str, int]  # a split and the number of a row in it


class Statement(NamedTuple):
    """A grade that a text states: its place, the grade, and the eye ("right", "left" or "" if it names none)."""

    start: int
    end: int
    grade: int
    eye: str


def stated(text: str) -> list[Statement]:
    """Return the grades that a text states, in its order: "No DR", "severe NPDR", "NPDR, severe", "DR grade 3", 重度NPDR.

    A denied, past, possible or a relative's grade ("no PDR", "father had PDR") is none.
    """
    grades = _grades(text)
    eyes = terms.mentions(text, ("eye",)) if grades else []
    return sorted(Statement(start, end, grade, _eye_before(start, eyes)) for (start, end), grade in grades.items())


def stated_grade(text: str, eye: str = "") -> int | None:
    """Return the grade that the text states for an eye, the last one if it states several; None if it states none."""
    grades = [statement.grade for statement in stated(text) if eye in ("", statement.eye) or not statement.eye]
    return grades[-1] if grades else None


def mask(text: str) -> str:
    """Return the text with each stated grade replaced by MASK."""
    for statement in reversed(stated(text)):
        text = text[: statement.start] + MASK + text[statement.end :]
    return text


def shared_patients(frames: Mapping[str, "pd.DataFrame"], group: str = "patient_id") -> dict[str, list[str]]:
    """Return the patients with rows in several splits, each with the names of those splits."""
    homes: dict[str, list[str]] = {}
    for name, rows in frames.items():
        for patient in rows[group].unique():
            homes.setdefault(patient, []).append(name)
    return {patient: names for patient, names in homes.items() if len(names) > 1}


def near_duplicates(
    frames: Mapping[str, "pd.DataFrame"], alike: float = 0.9, text: str = "text"
) -> list[tuple[Place, Place]]:
    """Return pairs ((split, row), (split, row)) of texts of different splits that are near-identical.

    Takes how much of their three-word phrases two texts must share. It is exact: `twins.near_twins` does the work.
    """
    places = [(name, i) for name, rows in frames.items() for i in range(len(rows))]
    reports = [report for rows in frames.values() for report in rows[text]]
    pairs = twins.near_twins(reports, [name for name, _ in places], alike)
    return [(places[early], places[late]) for late, early in pairs.items()]


def _grades(text: str) -> dict[tuple[int, int], int]:
    """Return each stated grade by its place, (start, end). Of two that overlap, the one of the earlier pattern counts."""
    grades: dict[tuple[int, int], int] = {}
    for pattern, grade in _PATTERNS:
        for match in pattern.finditer(text):
            overlaps = any(match.start() < end and start < match.end() for start, end in grades)
            if not overlaps and not _DOUBT.search(_clause_before(text, match.start())):
                grades[match.span()] = _number(match) if grade is None else grade
    return grades


def _clause_before(text: str, place: int) -> str:
    """Return what stands between the last end of a clause and a place."""
    return re.split(r"[.,;，。；\n]|\?(?=\s)", text[:place])[-1]


def _number(match: re.Match[str]) -> int:
    """Return the digit that a pattern with no grade of its own has caught."""
    return int(next(digit for digit in match.groupdict().values() if digit))


def _eye_before(place: int, eyes: Sequence[terms.Mention]) -> str:
    """Return the eye that is named last before a place: "right", "left", or "" for both eyes or none."""
    named = [mention.code.lower() for mention in eyes if mention.start < place]
    return named[-1] if named and named[-1] in ("right", "left") else ""
