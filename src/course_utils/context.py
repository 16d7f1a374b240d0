"""Read what a report says of a finding it mentions: is it there, is it absent, does it belong to someone else?

The mentions are given, each as the characters from start to end; an engine decides on the state of each. The engines of
negspacy and medSpaCy get the same sentences, headings and eyes from the course (medSpaCy's own splitters are not used), so
that they differ in their cues and in how far a cue reaches. A mention that ConText calls hypothetical is none of the states.

The course's cues stand in `data_samples/context_cues.csv`, by state and role: `before` or `after` the mention, `close before`
or `close after` (with no comma between), `pseudo` (it holds a cue but is none), `end` (where the reach of a cue ends),
`heading`, and `eye`. Bars separate what may stand for a word, which may be nothing. A cue given to "affirmed" is taken out of
negspacy's own.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import product
from typing import NamedTuple

from course_utils import metrics, paths

STATES = ("affirmed", "negated", "uncertain", "historical", "family", "other eye")
# Which state counts where several apply. Nothing said of the other eye grades this one. What is denied is nobody's, neither
# suspected nor past ("no history of"). Then: whose is it, is it there, when was it?
PRIORITY = ("other eye", "negated", "family", "uncertain", "historical", "affirmed")
BY_CUE = ("negated", "uncertain", "historical", "family")
MARKS = dict(zip(STATES[1:], ("absent", "possible", "past", "family", "fellow"), strict=True))

ABBREVIATED = ("dr", "mr", "mrs", "vs", r"e\.g", r"i\.e", "vit", "ven", "microan", "ex")
WRAPPED = r"(?:(?<=[^\n]{50})|(?<=,))[ \t]*\n[ \t]*(?=(?-i:[a-z]))"  # a long line that goes on in the next
SENTENCE_END = re.compile(
    rf"(?!{WRAPPED})\s*\n\s*|[;。；]\s*|(?:(?<=[.!])|(?<=\w\?))"
    + "".join(rf"(?<!\b{word}\.)" for word in ABBREVIATED)
    + r"\s+",
    re.IGNORECASE,
)
LONGEST = re.compile(r".{1,2000}(?=\s|$)|.{1,2000}", re.DOTALL)  # read as one sentence where no full stop comes
HEADING = re.compile(r"[\s*•>-]*([A-Za-z][\w /&'-]{0,40}?)\s*(:|$)")
OPPOSITE = {"right": "left", "left": "right"}
NEW_CLAUSE = re.compile(r"[,;]\s*(?:and|with)\b|\b(?:but|while|whereas|although|however)\b", re.IGNORECASE)
IN_EYE = re.compile(
    r"\b(?:in|of|on|to|from|at|for|affecting|involving)(?:\s+(?:the|his|her))?\s+$|^\s*\(?$", re.IGNORECASE
)
PLAIN = {
    "negated": "no|not|without|denies|denied|negative for|nil|never",
    "uncertain": r"possible|possibly|probable|likely|suspected|cannot exclude|rule out|r/o|\?",
    "historical": "history of|h/o|s/p|previous|past|prior",
    "family": "family|mother|father|brother|sister",
}
PLAIN_EYES = {"right": "right eye|RE|OD", "left": "left eye|LE|OS"}


class Mentions(NamedTuple):
    """Mentions with known states: what `states` takes, and what it should return."""

    texts: list[str]
    spans: list[list[tuple[int, int]]]
    states: list[list[str]]
    eyes: list[str]


class Asked(NamedTuple):
    """A mention in its sentence: which text and which of its mentions it is, and the states that hold whatever the cues."""

    text: int
    number: int
    words: str
    span: tuple[int, int]
    known: set[str]


def states(texts: Sequence[str], spans: Sequence, engine: str = "negspacy", eyes: Sequence[str] | None = None) -> list:
    """Return the state of each mention: for each text a list of words of STATES, one a span.

    Takes the texts; for each its mentions as (start, end), counted in characters; the engine: "plain" (the nearest cue
    before the mention decides), "negspacy" (with the course's cues), "negspacy alone" (with its own, for negation only) or
    "medspacy" (ConText with its default rules); and the eye that each text grades, "right", "left", or "" where it isn't
    known. An empty span is affirmed.
    Raises ValueError for an unknown engine or lists of unequal length, ImportError where the engine's library is missing.
    """
    alone = partial(_negspacy, added=False)
    engines = {"plain": None, "negspacy": _negspacy, "negspacy alone": alone, "medspacy": _medspacy}
    eyes = [""] * len(texts) if eyes is None else eyes
    if engine not in engines:
        raise ValueError(f"There is no engine {engine!r}; choose one of {', '.join(engines)}.")
    if not len(texts) == len(spans) == len(eyes):
        counts = f"{len(texts)} texts, {len(spans)} lists of spans and {len(eyes)} eyes"
        raise ValueError(f"There are {counts}; each text needs one of each.")
    whole = list(zip(texts, spans, eyes, strict=True))
    if engine == "plain":
        return [[_plain(text, *span, eye) for span in some] for text, some, eye in whole]
    nlp, prefix = engines[engine]()
    asked = [mention for i, one in enumerate(whole) for mention in _asked(i, *one)]
    found = [["affirmed"] * len(some) for some in spans]
    for mention, doc in zip(asked, nlp.pipe(_doc(nlp, mention) for mention in asked), strict=True):
        (span,) = doc.spans["mention"]
        hold = mention.known | {"affirmed"} | {state for state in BY_CUE if span._.get(prefix + state)}
        hold -= {"other eye"} if "family" in hold else set()  # a relative's eye is neither of the two
        found[mention.text][mention.number] = next(state for state in PRIORITY if state in hold)
    return found


def mark(text: str, spans: Sequence, states: Sequence[str]) -> str:
    """Return the text with a word of MARKS before each mention that is not affirmed: "no absent NVD".

    Takes the text, its mentions and what `states` returned for them. A mark is written once where two mentions start.
    """
    marks = {(start, MARKS[state]) for (start, _), state in zip(spans, states, strict=True) if state in MARKS}
    for start, word in sorted(marks, reverse=True):
        text = f"{text[:start]}{word} {text[start:]}"
    return text


def mentions(split: str) -> Mentions:
    """Return the labelled mentions of a split of `clinical_mentions.csv`, one a text: "dev", or "test" for the last word.

    The eye is the one that a text names in its first words, "Graded eye: right."
    """
    with (paths.samples() / "clinical_mentions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if not rows:
        raise ValueError(f"clinical_mentions.csv has no split {split!r}; choose dev or test.")
    texts, starts = [row["text"] for row in rows], [row["text"].index(row["mention"]) for row in rows]
    spans = [[(start, start + len(row["mention"]))] for start, row in zip(starts, rows, strict=True)]
    eyes = [eye[1] if (eye := re.match(r"Graded eye: (right|left)\b", text)) else "" for text in texts]
    return Mentions(texts, spans, [[row["state"]] for row in rows], eyes)


def scores(truth: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[dict]:
    """Return the precision and recall of each state, with what they are counted from and their 95% Wilson intervals.

    Takes the true states and what `states` returned. Precision is tp / (tp + fp), recall tp / (tp + fn); each is
    (value, low, high), or None where there is nothing to take a share of.
    """
    pairs = [pair for both in zip(truth, found, strict=True) for pair in zip(*both, strict=True)]

    def share(k, n):
        return (k / n, *metrics.wilson(k, n)) if n else None

    rows = []
    for state in STATES:
        tp = sum(a == b == state for a, b in pairs)
        fp, fn = sum(b == state for _, b in pairs) - tp, sum(a == state for a, _ in pairs) - tp
        counts = {"state": state, "tp": tp, "fp": fp, "fn": fn, "n": len(pairs)}
        rows.append(counts | {"precision": share(tp, tp + fp), "recall": share(tp, tp + fn)})
    return rows


@cache
def cues(state: str, role: str) -> tuple[str, ...]:
    """Return the cues of a state and a role from the file, every way of writing them spelt out."""
    with (paths.samples() / "context_cues.csv").open(encoding="utf-8", newline="") as file:
        lines = [row["cue"] for row in csv.DictReader(file) if (row["state"], row["role"]) == (state, role)]
    ways = (way for line in lines for way in product(*(word.split("|") for word in line.split())))
    return tuple(dict.fromkeys(" ".join(filter(None, way)) for way in ways))


def _plain(text: str, start: int, end: int, eye: str) -> str:
    """The baseline: the nearest cue before the mention, in its sentence, decides; for the eye, the nearest in the text."""

    def nearest(tables, before):
        hits = [
            (hit.end(), name)
            for name, words in tables.items()
            for hit in re.finditer(rf"(?<!\w)(?:{words})(?!\w)", before, re.IGNORECASE)
        ]
        return max(hits)[1] if hits and start < end else ""

    if eye and nearest(PLAIN_EYES, text[:start]) == OPPOSITE.get(eye):
        return "other eye"
    return nearest(PLAIN, re.split(r"[.;\n]", text[:start])[-1]) or "affirmed"


def _asked(i: int, text: str, spans: Sequence, graded: str) -> Iterator[Asked]:
    """Yield the mentions of a text, each with the sentence it starts in."""
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)  # half a character, which no library reads
    masked, waiting = list(text), []
    for number, (start, end) in enumerate(spans):
        start, end = max(start, 0), min(end, len(text))
        if text[start:end].strip():
            # "new vessels" is nothing new, "vit. haem" no two sentences: the words of a mention are no cues
            masked[start:end] = "x" * (end - start)
            waiting.append((start, end, number))
    masked, waiting = "".join(masked), sorted(waiting, reverse=True)
    section, side, last = "", "", 0
    for begin, stop in _sentences(masked):
        words = masked[begin:stop]
        section = _section(words, "" if masked[last:begin].count("\n") > 1 else section)  # a blank line ends a section
        named = {"fellow": OPPOSITE.get(side or graded, "fellow")}  # the fellow eye is the other one than so far
        hits = _eye_cues().finditer(text[begin:stop])
        eyes = [(hit.start(), hit.end(), named.get(hit.lastgroup, hit.lastgroup)) for hit in hits]
        while waiting and waiting[-1][0] < stop:
            start, end, number = waiting.pop()
            span = (start - begin, min(end, stop) - begin)
            item = _item(words, span, eyes, graded)
            its = graded if item else _side(words, span, eyes, side)
            other = its == "fellow" or graded and its == OPPOSITE.get(graded)
            known = {section, "other eye" if other else ""} - {""}
            yield Asked(i, number, item or words, (0, span[1] - span[0]) if item else span, known)
        if eyes and re.fullmatch(r"\W*(?:the\s+|in\s+|on\s+)*", words[: eyes[0][0]], re.IGNORECASE):
            side = eyes[0][2]  # the eye that a sentence begins with, its followers are about
        last = stop


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each sentence starts and ends."""
    start = 0
    for gap in (*SENTENCE_END.finditer(text), None):
        yield from (part.span() for part in LONGEST.finditer(text, start, gap.start() if gap else len(text)))
        start = gap.end() if gap else start


def _section(words: str, section: str) -> str:
    """Return the state that the heading of a sentence gives to its mentions, or the section's, until a sentence ends it."""
    heading = HEADING.match(words)
    name = heading[1].lower() if heading else ""
    known = [state for state in BY_CUE if name in cues(state, "heading")]
    if known or heading and heading[2]:
        return known[0] if known else ""
    ends = "|".join(map(re.escape, cues(section, "end")))
    return "" if section and re.search(rf"(?<!\w)(?:{ends})(?!\w)", words, re.IGNORECASE) else section


@cache
def _eye_cues() -> re.Pattern:
    """One pattern for all eyes. A cue in capitals, such as RE, counts in capitals only."""

    def pattern(cue):
        return re.escape(cue) if cue.isupper() else f"(?i:{re.escape(cue)})"

    sides = (f"(?P<{side}>{'|'.join(map(pattern, cues(side, 'eye')))})" for side in ("right", "left", "both", "fellow"))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(sides)})(?![A-Za-z0-9])")


def _side(words: str, span: tuple[int, int], eyes: list, side: str) -> str:
    """Return a mention's eye: the one it is in ("NVD in the left eye"), or the last one named, or the section's."""
    sides = [side] + [eye for start, _, eye in eyes if start < span[1]]
    after = next(((words[span[1] : start], eye) for start, _, eye in eyes if start >= span[1]), None)
    if after and not NEW_CLAUSE.search(after[0]):
        near = IN_EYE.search(after[0]) or len(sides) == 1 and "," not in after[0]
        sides += [after[1]] if near else []
    return sides[-1]


def _item(words: str, span: tuple[int, int], eyes: list, graded: str) -> str:
    """Return "NVD: none" for the left eye's part of "NVD: right eye 2Q, left eye none", "" where it isn't such a line."""
    after = [eye for eye in eyes if eye[0] >= span[1]]
    ends = [start for start, _, _ in after[1:]] + [len(words)]
    parts = [words[end:stop] for (_, end, eye), stop in zip(after, ends, strict=False) if eye == graded]
    return f"{words[slice(*span)]}:{parts[0]}" if parts and re.match(r"\s*:", words[span[1] :]) else ""


def _doc(nlp, mention: Asked):
    """Return the sentence as a spaCy Doc that holds the mention."""
    # spaCy takes "NVD(-)" for one word; a cue such as "neg." asks for the sentence's end
    doc = nlp.make_doc(mention.words.replace("xx(", "x (") + " .")
    for token in doc:
        token.is_sent_start = token.i == 0
    start, end = mention.span
    doc.spans["mention"] = [doc.char_span(start, max(start + 1, end - 1), alignment_mode="expand")]
    return doc


@cache
def _negspacy(added: bool = True):
    """Return a spaCy pipeline, and how the attributes start that it sets. It has two Negex components a state.

    Negex knows negation only, so each state has its own cues. The second component is for the close cues. `added` says
    whether the course's cues are added to negspacy's own.
    """
    try:
        import negspacy.negation  # noqa: F401  registers the component
        import spacy
        from negspacy.termsets import termset
    except ImportError as error:
        raise ImportError("Negation and context need spaCy and negspacy: install the extra `clinical`.") from error
    nlp, theirs = spacy.blank("en"), termset("en_clinical").get_patterns()
    roles = ("before", "after", "close before", "close after", "pseudo", "end")
    listed = cues if added else lambda state, role: ()
    terms = {state: {role: [*listed(state, role)] for role in roles} for state in BY_CUE}
    # negspacy's own cues for negation, but for those that the course gives to another state ("rule out")
    taken = {cue for state in STATES if state != "negated" for role in roles[:5] for cue in listed(state, role)}
    names = {
        "before": "preceding_negations",
        "after": "following_negations",
        "pseudo": "pseudo_negations",
        "end": "termination",
    }
    for role, name in names.items():
        terms["negated"][role] += [cue for cue in theirs[name] if cue not in taken]
    spoken = {state: {cue for role in roles[:4] for cue in terms[state][role]} for state in BY_CUE}
    for state, some in terms.items():
        # a longer cue of another state beats the one that it holds: "cannot be excluded" is no "excluded"
        longer = {cue for other in BY_CUE if other != state for cue in spoken[other] if _holds(cue, spoken[state])}
        far = some | {"pseudo": [*some["pseudo"], *longer]}
        close = {"before": some["close before"], "after": some["close after"], "end": [*some["end"], ",", "("]}
        for reach, patterns in (("far", far), ("close", far | close)):
            termset_of = {name: sorted({*patterns[role]}) for role, name in names.items()}
            settings = {"neg_termset": termset_of, "extension_name": f"negex_{state}", "span_keys": ["mention"]}
            nlp.add_pipe("negex", name=f"{state} {reach}", config=settings)
    return nlp, "negex_"


def _holds(cue: str, shorter: set[str]) -> bool:
    """Return whether a cue holds a shorter one."""
    words = cue.split()
    parts = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return not (parts - {cue}).isdisjoint(shorter)


@cache
def _medspacy():
    """Return a spaCy pipeline with medSpaCy's ConText and its default rules, and how the attributes start that it sets."""
    try:
        import medspacy.context  # noqa: F401  registers the component
        import spacy
        from loguru import logger
    except ImportError as error:
        raise ImportError("The engine medspacy needs medSpaCy, an optional install: `make medspacy`.") from error
    logger.disable("PyRuSH")
    nlp = spacy.blank("en")
    nlp.add_pipe("medspacy_context", config={"input_span_type": "group", "span_group_name": "mention"})
    return nlp, "is_"
