"""Write changed copies of training reports: a synonym for a term, a drug for another of its class, the label untouched.

Augment the training rows alone, and only after the split: a changed copy of a test report in the training set is a leak.
"""

import random
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from course_utils import context, terms

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd

KINDS = ("finding", "disease", "drug")
MISSPELT = "common misspelling"  # the lexicon's source for what is to be read, not written


class Copies(NamedTuple):
    """Changed copies of training rows: the copies, the rows they were made from, and how many more were dropped."""

    rows: "pd.DataFrame"
    of: "pd.DataFrame"
    dropped: int


def variants(texts: Sequence[str], seed: int = 0, share: float = 0.5) -> list[str]:
    """Return a changed copy of each text.

    Each mention is replaced with the chance `share`: a finding or a disease by another form of the same standard term, a
    drug by another drug of its class. A text keeps its language.
    """
    draw = random.Random(seed)
    return [_variant(text, draw, share) for text in texts]


def augmented(
    rows: "pd.DataFrame",
    seed: int = 0,
    share: float = 0.5,
    engine: str = "negspacy",
    text: str = "text",
    eye: str = "eye",
) -> Copies:
    """Return one changed copy of each training row, for those in which a term can be replaced.

    A copy that says something else than its row by `facts` is dropped: its label might not hold any more.
    Takes training rows only; the caller splits first. Raises ValueError if the rows have a column "split" with another part.
    """
    if "split" in rows and set(rows["split"]) - {"train"}:
        found = ", ".join(sorted(set(rows["split"]) - {"train"}))
        raise ValueError(f"These rows hold the split {found}. Augment the training rows alone, after the split.")
    copies = rows.assign(**{text: variants(list(rows[text]), seed, share)})
    changed = (copies[text] != rows[text]).to_numpy()
    before, copies = rows[changed], copies[changed]
    said = [facts(list(some[text]), list(some[eye]), engine) for some in (before, copies)]
    kept = [i for i, (one, other) in enumerate(zip(*said, strict=True)) if one == other]
    copies, before = (some.iloc[kept].reset_index(drop=True) for some in (copies, before))
    return Copies(copies, before, int(changed.sum()) - len(kept))


def replaced(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many terms are written otherwise in the second texts than in the first, pair by pair."""
    return sum(
        one.form != other.form
        for pair in zip(before, after, strict=True)
        for one, other in zip(*(terms.mentions(text, KINDS) for text in pair), strict=True)
    )


def facts(texts: Sequence[str], eyes: Sequence[str], engine: str = "negspacy") -> list[list[tuple[str, str]]]:
    """Return what each text says, as (code, state) pairs in a fixed order: what a copy must not change.

    The state is that of `context.states` for the graded eye, so "other eye" is part of it. The engines read English, so
    Chinese cues are put into English first.
    """
    texts = [terms.normalise(text, ("cue", "eye")) for text in texts]
    found = [terms.mentions(text, KINDS) for text in texts]
    spans = [[(one.start, one.end) for one in some] for some in found]
    states = context.states(texts, spans, engine, eyes)
    return [
        sorted((one.code, state) for one, state in zip(some, own, strict=True))
        for some, own in zip(found, states, strict=True)
    ]


def _variant(text: str, draw: random.Random, share: float) -> str:
    chinese = re.search(f"[{terms.HAN}]", text) is not None
    parts, at = [], 0
    for one in terms.mentions(text, KINDS):
        others = _others(one, chinese)
        if others and draw.random() < share:
            parts += [text[at : one.start], draw.choice(others)]
            at = one.end
    return "".join([*parts, text[at:]])


def _others(one: terms.Mention, chinese: bool) -> list[str]:
    """Return what a mention may be replaced with. A Chinese text may hold English abbreviations, as it does in life."""
    return [
        row["form"]
        for row in terms.same_code(one)
        if row["source"] != MISSPELT
        and (row["standard"] == one.standard) == (one.kind != "drug")
        and row["form"].lower() != one.form.lower()
        and (row["language"] == "zh" or terms.is_abbreviation(row["form"]) if chinese else row["language"] == "en")
    ]
