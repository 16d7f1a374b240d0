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
        other_splits = ", ".join(sorted(set(rows["split"]) - {"train"}))
        raise ValueError(f"These rows hold the split {other_splits}. Augment the training rows alone, after the split.")
    copies = rows.assign(**{text: variants(list(rows[text]), seed, share)})
    changed = (copies[text] != rows[text]).to_numpy()
    originals, copies = rows[changed], copies[changed]
    said_before = facts(list(originals[text]), list(originals[eye]), engine)
    said_after = facts(list(copies[text]), list(copies[eye]), engine)
    kept = [i for i, (before, after) in enumerate(zip(said_before, said_after, strict=True)) if before == after]
    return Copies(
        copies.iloc[kept].reset_index(drop=True),
        originals.iloc[kept].reset_index(drop=True),
        int(changed.sum()) - len(kept),
    )


def replaced(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many terms are written otherwise in the second texts than in the first, pair by pair."""
    return sum(
        old.form != new.form
        for old_text, new_text in zip(before, after, strict=True)
        for old, new in zip(terms.mentions(old_text, KINDS), terms.mentions(new_text, KINDS), strict=True)
    )


def facts(texts: Sequence[str], eyes: Sequence[str], engine: str = "negspacy") -> list[list[tuple[str, str]]]:
    """Return what each text says, as (code, state) pairs in a fixed order: what a copy must not change.

    The state is that of `context.states` for the graded eye, so "other eye" is part of it. The engines read English, so
    Chinese cues are put into English first.
    """
    texts = [terms.normalise(text, ("cue", "eye")) for text in texts]
    mentions_of = [terms.mentions(text, KINDS) for text in texts]
    spans_of = [[(mention.start, mention.end) for mention in mentions] for mentions in mentions_of]
    states_of = context.states(texts, spans_of, engine, eyes)
    return [
        sorted((mention.code, state) for mention, state in zip(mentions, states, strict=True))
        for mentions, states in zip(mentions_of, states_of, strict=True)
    ]


def _variant(text: str, draw: random.Random, share: float) -> str:
    chinese = re.search(f"[{terms.HAN}]", text) is not None
    parts: list[str] = []
    written = 0  # letters of the text that are in `parts`
    for mention in terms.mentions(text, KINDS):
        replacements = _replacements(mention, chinese)
        if replacements and draw.random() < share:
            parts += [text[written : mention.start], draw.choice(replacements)]
            written = mention.end
    return "".join([*parts, text[written:]])


def _replacements(mention: terms.Mention, chinese: bool) -> list[str]:
    """Return what a mention may be replaced with. A Chinese text may hold English abbreviations, as it does in life."""
    return [
        row["form"]
        for row in terms.same_code(mention)
        if row["source"] != MISSPELT
        and (row["standard"] == mention.standard) == (mention.kind != "drug")
        and row["form"].lower() != mention.form.lower()
        and (row["language"] == "zh" or terms.is_abbreviation(row["form"]) if chinese else row["language"] == "en")
    ]
