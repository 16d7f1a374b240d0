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
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils import metrics, paths

if TYPE_CHECKING:  # an optional library
    from spacy.language import Language
    from spacy.tokens import Doc

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
ENGINES = ("plain", "negspacy", "negspacy alone", "medspacy")

SPOKEN = ("before", "after", "close before", "close after")  # the roles of cues that give a mention its state
ROLES = (*SPOKEN, "pseudo", "end")
NEGEX_NAMES = {  # what negspacy calls a role
    "before": "preceding_negations",
    "after": "following_negations",
    "pseudo": "pseudo_negations",
    "end": "termination",
}

Span = tuple[int, int]  # the characters from start to end


class Mentions(NamedTuple):
    """Mentions with known states: what `states` takes, and what it should return."""

    texts: list[str]
    spans: list[list[Span]]
    states: list[list[str]]
    eyes: list[str]


class _Mention(NamedTuple):
    """A mention in its sentence: its text's and its own number, and the states that hold whatever the cues say.

    The sentence is masked: each mention in it is written as x, and `span` is this one's place.
    """

    text: int
    number: int
    sentence: str
    span: Span
    known: set[str]


class _NamedEye(NamedTuple):
    """Where a sentence names an eye, and which: "right", "left", "both", or "fellow" where that eye isn't known."""

    start: int
    end: int
    eye: str


def states(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    engine: str = "negspacy",
    eyes: Sequence[str] | None = None,
) -> list[list[str]]:
    """Return the state of each mention: for each text a list of words of STATES, one a span.

    Takes the texts; for each its mentions as (start, end), counted in characters; the engine: "plain" (the nearest cue
    before the mention decides), "negspacy" (with the course's cues), "negspacy alone" (with its own, for negation only) or
    "medspacy" (ConText with its default rules); and the eye that each text grades, "right", "left", or "" where it isn't
    known. An empty span is affirmed.
    Raises ValueError for an unknown engine or lists of unequal length, ImportError where the engine's library is missing.
    """
    eyes = [""] * len(texts) if eyes is None else eyes
    if engine not in ENGINES:
        raise ValueError(f"There is no engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    if not len(texts) == len(spans) == len(eyes):
        counts = f"{len(texts)} texts, {len(spans)} lists of spans and {len(eyes)} eyes"
        raise ValueError(f"There are {counts}; each text needs one of each.")
    if engine == "plain":
        return [
            [_plain(text, start, end, eye) for start, end in mentioned]
            for text, mentioned, eye in zip(texts, spans, eyes, strict=True)
        ]
    nlp, prefix = _medspacy() if engine == "medspacy" else _negspacy(added=engine == "negspacy")
    mentions: list[_Mention] = []
    for i, (text, mentioned, eye) in enumerate(zip(texts, spans, eyes, strict=True)):
        mentions += _in_sentences(i, text, mentioned, eye)
    states_of = [["affirmed"] * len(mentioned) for mentioned in spans]  # an empty span keeps this
    docs = nlp.pipe(_doc(nlp, mention) for mention in mentions)
    for mention, doc in zip(mentions, docs, strict=True):
        states_of[mention.text][mention.number] = _state(mention, doc, prefix)
    return states_of


def mark(text: str, spans: Sequence[Span], states: Sequence[str]) -> str:
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


def scores(truth: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Return the precision and recall of each state, with what they are counted from and their 95% Wilson intervals.

    Takes the true states and what `states` returned. Precision is tp / (tp + fp), recall tp / (tp + fn); each is
    (value, low, high), or None where there is nothing to take a share of.
    """
    pairs = [
        pair
        for true_states, predicted_states in zip(truth, found, strict=True)
        for pair in zip(true_states, predicted_states, strict=True)
    ]

    def share(k: int, n: int) -> tuple[float, float, float] | None:
        return (k / n, *metrics.wilson(k, n)) if n else None

    rows = []
    for state in STATES:
        tp = sum(true == predicted == state for true, predicted in pairs)
        fp = sum(predicted == state for _, predicted in pairs) - tp
        fn = sum(true == state for true, _ in pairs) - tp
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

    def nearest(cues_of: Mapping[str, str], before: str) -> str:
        """Return the name of the cue that ends last in a text, "" for no cue or an empty span."""
        ends = [
            (cue.end(), name)
            for name, words in cues_of.items()
            for cue in re.finditer(rf"(?<!\w)(?:{words})(?!\w)", before, re.IGNORECASE)
        ]
        return max(ends)[1] if ends and start < end else ""

    if eye and nearest(PLAIN_EYES, text[:start]) == OPPOSITE.get(eye):
        return "other eye"
    return nearest(PLAIN, re.split(r"[.;\n]", text[:start])[-1]) or "affirmed"


def _state(mention: _Mention, doc: "Doc", prefix: str) -> str:
    """Return the state of a mention, from what its place says and from the attributes that an engine has set."""
    (span,) = doc.spans["mention"]
    holding = mention.known | {"affirmed"} | {state for state in BY_CUE if span._.get(prefix + state)}
    if "family" in holding:  # a relative's eye is neither of the two
        holding.discard("other eye")
    return next(state for state in PRIORITY if state in holding)


def _in_sentences(number: int, text: str, spans: Sequence[Span], graded: str) -> Iterator[_Mention]:
    """Yield the mentions of a text, each with the sentence it starts in.

    Takes the text's number and the eye that it grades. Leaves out mentions with no letter in them.
    """
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)  # half a character, which no library reads
    waiting = deque(_inside(text, spans))
    masked = _masked(text, waiting)
    section = ""  # the state that a heading gives to the mentions below it
    side = ""  # the eye that the text speaks of
    last_stop = 0
    for begin, stop in _sentences(masked):
        sentence = masked[begin:stop]
        blank_line = masked[last_stop:begin].count("\n") > 1
        section = _section(sentence, "" if blank_line else section)
        eyes = _named_eyes(text[begin:stop], side or graded)
        while waiting and waiting[0][0] < stop:
            start, end, mention = waiting.popleft()
            span = (start - begin, min(end, stop) - begin)
            item = _item(sentence, span, eyes, graded)
            eye = graded if item else _side(sentence, span, eyes, side)
            known = {section} if section else set()
            if eye == "fellow" or graded and eye == OPPOSITE.get(graded):
                known.add("other eye")
            if item:
                yield _Mention(number, mention, item, (0, span[1] - span[0]), known)
            else:
                yield _Mention(number, mention, sentence, span, known)
        if eyes and _begins_with(eyes[0], sentence):
            side = eyes[0].eye  # the sentences that follow are about this eye, too
        last_stop = stop


def _inside(text: str, spans: Sequence[Span]) -> list[tuple[int, int, int]]:
    """Return (start, end, number) of each mention, cut to the text and in its order, without the blank ones."""
    cut = [(max(start, 0), min(end, len(text)), number) for number, (start, end) in enumerate(spans)]
    return sorted((start, end, number) for start, end, number in cut if text[start:end].strip())


def _masked(text: str, mentions: Iterable[tuple[int, int, int]]) -> str:
    """Return the text with each mention written as x, so that the words of a mention are no cues.

    "new vessels" is nothing new, and "vit. haem" is no two sentences.
    """
    letters = list(text)
    for start, end, _ in mentions:
        letters[start:end] = "x" * (end - start)
    return "".join(letters)


def _sentences(text: str) -> Iterator[Span]:
    """Yield where each sentence starts and ends."""
    start = 0
    for gap in (*SENTENCE_END.finditer(text), None):
        yield from (part.span() for part in LONGEST.finditer(text, start, gap.start() if gap else len(text)))
        start = gap.end() if gap else start


def _section(sentence: str, section: str) -> str:
    """Return the state that the heading of a sentence gives to its mentions, or the section's, until a sentence ends it."""
    heading = HEADING.match(sentence)
    name = heading[1].lower() if heading else ""
    known = [state for state in BY_CUE if name in cues(state, "heading")]
    if known or heading and heading[2]:
        return known[0] if known else ""
    ends = "|".join(map(re.escape, cues(section, "end")))
    return "" if section and re.search(rf"(?<!\w)(?:{ends})(?!\w)", sentence, re.IGNORECASE) else section


def _named_eyes(sentence: str, so_far: str) -> list[_NamedEye]:
    """Return the eyes that a sentence names. Its fellow eye is the other one than that of which was spoken so far."""
    eyes = []
    for cue in _eye_cues().finditer(sentence):
        eye = str(cue.lastgroup)
        eyes.append(_NamedEye(cue.start(), cue.end(), OPPOSITE.get(so_far, "fellow") if eye == "fellow" else eye))
    return eyes


def _begins_with(eye: _NamedEye, sentence: str) -> bool:
    """Say if nothing but "in the" and the like stands before an eye."""
    return re.fullmatch(r"\W*(?:the\s+|in\s+|on\s+)*", sentence[: eye.start], re.IGNORECASE) is not None


@cache
def _eye_cues() -> re.Pattern[str]:
    """One pattern for all eyes. A cue in capitals, such as RE, counts in capitals only."""

    def pattern(cue: str) -> str:
        return re.escape(cue) if cue.isupper() else f"(?i:{re.escape(cue)})"

    sides = (f"(?P<{side}>{'|'.join(map(pattern, cues(side, 'eye')))})" for side in ("right", "left", "both", "fellow"))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(sides)})(?![A-Za-z0-9])")


def _side(sentence: str, span: Span, eyes: Sequence[_NamedEye], side: str) -> str:
    """Return a mention's eye: the one it is in ("NVD in the left eye"), or the last one named, or the section's."""
    before = [eye for eye in eyes if eye.start < span[1]]
    after = next((eye for eye in eyes if eye.start >= span[1]), None)
    if after:
        between = sentence[span[1] : after.start]
        near = IN_EYE.search(between) or not before and "," not in between
        if near and not NEW_CLAUSE.search(between):
            return after.eye
    return before[-1].eye if before else side


def _item(sentence: str, span: Span, eyes: Sequence[_NamedEye], graded: str) -> str:
    """Return "NVD: none" for the left eye's part of "NVD: right eye 2Q, left eye none", "" where it isn't such a line."""
    if not re.match(r"\s*:", sentence[span[1] :]):
        return ""
    after = [eye for eye in eyes if eye.start >= span[1]]
    stops = [eye.start for eye in after[1:]] + [len(sentence)]  # where the part of each eye ends
    parts = [sentence[eye.end : stop] for eye, stop in zip(after, stops, strict=False) if eye.eye == graded]
    return f"{sentence[slice(*span)]}:{parts[0]}" if parts else ""


def _doc(nlp: "Language", mention: _Mention) -> "Doc":
    """Return the sentence as a spaCy Doc that holds the mention."""
    # spaCy takes "NVD(-)" for one word; a cue such as "neg." asks for the sentence's end
    doc = nlp.make_doc(mention.sentence.replace("xx(", "x (") + " .")
    for token in doc:
        token.is_sent_start = token.i == 0
    start, end = mention.span
    span = doc.char_span(start, max(start + 1, end - 1), alignment_mode="expand")
    assert span is not None  # "expand" always finds a token
    doc.spans["mention"] = [span]
    return doc


@cache
def _negspacy(added: bool = True) -> tuple["Language", str]:
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
    nlp = spacy.blank("en")
    cues_of = _with_negspacys(termset("en_clinical").get_patterns(), added)
    for state in BY_CUE:
        far = cues_of[state] | {"pseudo": cues_of[state]["pseudo"] | _longer_of_others(state, cues_of)}
        close = far | {"before": far["close before"], "after": far["close after"], "end": far["end"] | {",", "("}}
        for reach, patterns in (("far", far), ("close", close)):
            named = {name: sorted(patterns[role]) for role, name in NEGEX_NAMES.items()}
            settings = {"neg_termset": named, "extension_name": f"negex_{state}", "span_keys": ["mention"]}
            nlp.add_pipe("negex", name=f"{state} {reach}", config=settings)
    return nlp, "negex_"


def _with_negspacys(theirs: Mapping[str, Sequence[str]], added: bool) -> dict[str, dict[str, set[str]]]:
    """Return the cues of each state and role: negspacy's own for negation, and the course's, if they are `added`.

    Of negspacy's are left out those that the course gives to another state ("rule out").
    """

    def listed(state: str, role: str) -> set[str]:
        return set(cues(state, role)) if added else set()

    cues_of = {state: {role: listed(state, role) for role in ROLES} for state in BY_CUE}
    other_states = [state for state in STATES if state != "negated"]
    taken = {cue for state in other_states for role in (*SPOKEN, "pseudo") for cue in listed(state, role)}
    for role, name in NEGEX_NAMES.items():
        cues_of["negated"][role] |= set(theirs[name]) - taken
    return cues_of


def _longer_of_others(state: str, cues_of: Mapping[str, Mapping[str, set[str]]]) -> set[str]:
    """Return the cues of other states that hold one of this state's, for the longer cue is the one that counts.

    "cannot be excluded" is no "excluded".
    """
    spoken = {name: {cue for role in SPOKEN for cue in cues_of[name][role]} for name in BY_CUE}
    return {cue for other in BY_CUE if other != state for cue in spoken[other] if _holds(cue, spoken[state])}


def _holds(cue: str, shorter: set[str]) -> bool:
    """Return whether a cue holds a shorter one."""
    words = cue.split()
    parts = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    return not (parts - {cue}).isdisjoint(shorter)


@cache
def _medspacy() -> tuple["Language", str]:
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
