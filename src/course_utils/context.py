"""Read what a report says of a finding it mentions: is it there, is it absent, does it belong to someone else?

The mentions are given, each as the characters from start to end; an engine decides on the state of each. The engines of
negspacy and medSpaCy get the same clauses, headings, answers and eyes from the course (medSpaCy's own splitters are not
used), so that they differ in their cues and in how far a cue reaches. Clinical notes are often one line of bullets, gaps,
headings and forms ("Diabetes? No"), so these end a clause as a full stop does, unless a cue stands across the place.

The course's cues stand in `data_samples/context_cues.csv`, by state and role: `before` or `after` the mention, `close before`
or `close after` (with no comma between), `pseudo` (it holds a cue but is none), `end` (where the reach of a cue ends),
`heading`, and `eye`. Bars separate what may stand for a word, which may be nothing. A cue given to "affirmed" is taken out of
negspacy's own. A file of your own in this form can take its place. A cue inside a longer one doesn't count.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils import metrics, paths

if TYPE_CHECKING:  # an optional library
    from spacy.language import Language
    from spacy.tokens import Doc
    from spacy.tokens import Span as SpacySpan

STATES = ("affirmed", "negated", "uncertain", "historical", "family", "hypothetical", "other eye")
# Which state counts where several apply. Nothing said of the other eye grades this one. What is denied is nobody's, neither
# suspected nor past ("no history of"). Then: whose is it, is it spoken of for the case that it comes, is it there, when was it?
PRIORITY = ("other eye", "negated", "family", "hypothetical", "uncertain", "historical", "affirmed")
BY_CUE = ("negated", "uncertain", "historical", "family", "hypothetical")
MARKS = dict(zip(STATES[1:], ("absent", "possible", "past", "family", "if", "fellow"), strict=True))

ABBREVIATED = ("dr", "mr", "mrs", "vs", r"e\.g", r"i\.e", "vit", "ven", "microan", "ex")
WRAPPED = re.compile(r"(?:(?<=[^\n]{50})|(?<=,))[ \t]*\n[ \t]*(?=[a-z])")  # a long line that goes on in the next
BREAK = re.compile(  # where a clause may end
    r"(?P<line>\n\s*)|(?P<mark>[?:=])|(?P<gap>[^\S\n]{2,}|\t)"
    r"|(?P<stop>[;。；|→]\s*|[•●▪◦‣∙·]\s*|(?<=\s)\*\s+|(?<=\s)(?=(?:\(?(?:\d{1,2}|[a-h])\)|\#\d{1,2})\s+\S)"
    r"|(?<!\S)\d{1,2}\.(?=[A-Z]|xx)|(?:(?<=[.!])|(?<=\w\?))"
    + "".join(rf"(?<!\b(?i:{word})\.)" for word in ABBREVIATED)
    + r"\s+)"
    r"|(?P<dash>(?<=\s)-+(?:\s+|(?=[A-Z]|xx)))"
    r"|(?P<heading>(?<=\s)(?=(?P<title>[A-Z][\w/&'-]*(?:[ ](?:(?:of|and|the)[ ])?[A-Z&][\w/&'-]*){0,4}[ ]?):))"
    r"|(?P<item>(?<=\s)(?=x+\s?[:?]\s*(?i:yes|no|none|nil|y|n)\b))"
)
NEXT_ITEM = r"$|[.,;)\n•*]|-\s|(?<=\s)\s|(?:\w+[ /-]){0,4}\w+\s?[?:]"
ANSWER = re.compile(  # of a form: "Diabetes? No", "Rash - none", "Asthma: N"
    r"(?:\s*[?:=][ \t]*-?[ \t]*|\s*-\s*|[^\S\n]{2,}|\t)"
    r"(?:(?P<no>(?:no|none|nil|never)(?: known| reported| at all)?|not at all|denies|denied|negative|neg|absent|n)"
    rf"|(?:yes|y|positive|present|endorses|admits))\b(?=\s*(?:{NEXT_ITEM}))",
    re.IGNORECASE,
)
GAP = re.compile(r"(?<=[\w)])[^\S\n]{2,}")
FIRST = re.compile(r"\s*([a-z]\w*)")  # a masked mention is in lower case
TOKEN = re.compile(r"\w+|[^\w\s]")
LINKS = {  # words that ask for another
    ",",
    "/",
    ":",
    "and",
    "or",
    "nor",
    "of",
    "with",
    "in",
    "on",
    "the",
    "a",
    "an",
    "any",
    "to",
    "for",
    "by",
    "from",
    "is",
    "was",
    "are",
    "were",
    "has",
    "had",
    "acute",
    "active",
    "chronic",
    "definite",
    "focal",
    "gross",
    "known",
    "mild",
    "moderate",
    "new",
    "obvious",
    "other",
    "overt",
    "recent",
    "severe",
    "significant",
    "visible",
}
SAME = str.maketrans("’‐‑–—\u00a0", "'---- ")  # characters that mean the same to a cue
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
SIDES = ("right", "left", "both", "fellow")  # what an eye's cue stands for
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


class _Clause(NamedTuple):
    """Where a clause starts, where its words and where its answer end, and the answer's state: "negated" for a no."""

    start: int
    stop: int
    end: int
    state: str


class _Phrases(NamedTuple):
    """The cues that hold a clause together, as tokens: all, those before a mention with the state that each gives, then
    those that stand before it alone, after it alone, and in both places.
    """

    spoken: set[tuple[str, ...]]
    asking: dict[tuple[str, ...], str]
    before: set[tuple[str, ...]]
    after: set[tuple[str, ...]]
    both: set[tuple[str, ...]]


class _Mention(NamedTuple):
    """A mention in its clause: its text's and its own number, and the states that hold whatever the cues say.

    The clause is masked: each mention in it is written as x, and `span` is this one's place.
    """

    text: int
    number: int
    clause: str
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
    cues: str | Path | None = None,
) -> list[list[str]]:
    """Return the state of each mention: for each text a list of words of STATES, one a span.

    Takes the texts; for each its mentions as (start, end), counted in characters; the engine: "plain" (the nearest cue
    before the mention decides), "negspacy" (with the course's cues), "negspacy alone" (with its own, for negation only) or
    "medspacy" (ConText with its default rules); the eye that each text grades, "right", "left", or "" where it isn't
    known; and a file of cues in place of the course's, in the form of `context_cues.csv`. An empty span is affirmed. The
    plain engine has a dozen lines of cues of its own.
    Raises ValueError for an unknown engine, lists of unequal length or a row of the file that can't be used,
    FileNotFoundError if there is no such file, ImportError where the engine's library is missing.
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
    file = _file(cues)
    reader, prefix = _medspacy() if engine == "medspacy" else _negspacy(engine == "negspacy", file)
    mentions: list[_Mention] = []
    for i, (text, mentioned, eye) in enumerate(zip(texts, spans, eyes, strict=True)):
        mentions += _in_clauses(i, text, mentioned, eye, file)
    states_of = [["affirmed"] * len(mentioned) for mentioned in spans]  # an empty span keeps this
    for _, together in groupby(mentions, key=lambda mention: (mention.text, mention.clause)):
        of_clause = list(together)
        for mention, span in zip(of_clause, _read(reader, of_clause), strict=True):
            states_of[mention.text][mention.number] = _state(mention, span, prefix)
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
    """Return the labelled mentions of a split of `clinical_mentions.csv`, one a text: "dev", or for the last word "test"
    (sentences) and "notes" (notes of one line).

    The eye is the one that a text names in its first words, "Graded eye: right."
    """
    with (paths.samples() / "clinical_mentions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if not rows:
        raise ValueError(f"clinical_mentions.csv has no split {split!r}; choose dev, test or notes.")
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


def cues(state: str, role: str, path: str | Path | None = None) -> tuple[str, ...]:
    """Return the cues of a state and a role, every way of writing them spelt out, from a file, by default the course's.

    Raises FileNotFoundError if there is no such file, ValueError for a row of it that can't be used.
    """
    return _book(_file(path)).get((state, role), ())


def _file(path: str | Path | None) -> paths.File:
    """Return a file of cues, the course's own if no path is given, as it is now."""
    return paths.file(path, "context_cues.csv", "file of cues")


@cache
def _book(file: paths.File) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the cues of a file by state and role."""
    book: dict[tuple[str, str], dict[str, None]] = {}
    means: dict[str, str] = {}  # the state that a spoken cue stands for
    with file.path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"state", "role", "cue"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{file.path.name} needs the columns state, role and cue in its first line.")
        for row in rows:
            state, role, cue = (row[name] or "" for name in ("state", "role", "cue"))
            where = f"{file.path.name}, line {rows.line_num}"
            if state not in (SIDES if role == "eye" else STATES) or role not in (*ROLES, "heading", "eye"):
                raise ValueError(
                    f"{where}: {state!r}, {role!r} is no state and role. States are {', '.join(STATES[:-1])}, with the "
                    f"roles {', '.join(ROLES)}, heading; or {', '.join(SIDES)}, with the role eye."
                )
            if not cue.replace("|", "").strip():
                raise ValueError(f"{where}: there is no cue. Write one, or delete the line.")
            ways = [" ".join(filter(None, way)) for way in product(*(word.split("|") for word in cue.split()))]
            wrong = next((way for way in ways if role in SPOKEN and means.setdefault(way, state) != state), None)
            if wrong:
                raise ValueError(f"{where}: {wrong!r} stands for {means[wrong]!r} already. Keep it for one state.")
            book.setdefault((state, role), {}).update(dict.fromkeys(ways))
    return {key: tuple(some) for key, some in book.items()}


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


def _state(mention: _Mention, span: "SpacySpan", prefix: str) -> str:
    """Return the state of a mention, from what its place says and from the attributes that an engine has set."""
    holding = mention.known | {"affirmed"} | {state for state in BY_CUE if span._.get(prefix + state)}
    if "family" in holding:  # a relative's eye is neither of the two
        holding.discard("other eye")
    return next(state for state in PRIORITY if state in holding)


def _in_clauses(number: int, text: str, spans: Sequence[Span], graded: str, file: paths.File) -> Iterator[_Mention]:
    """Yield the mentions of a text, each with the clause it starts in.

    Takes the text's number, the eye that it grades, and the file of cues. Leaves out mentions with no letter in them.
    """
    text = re.sub("[\ud800-\udfff]", "\ufffd", text).translate(SAME)  # half a character, which no library reads
    waiting = deque(_inside(text, spans))
    masked = _masked(text, waiting)
    section = ""  # the state that a heading gives to the mentions below it
    side = ""  # the eye that the text speaks of
    last_stop = 0
    for begin, stop, end, answer in _clauses(masked, text, file):
        clause = masked[begin:stop]
        blank_line = masked[last_stop:begin].count("\n") > 1
        section = _section(masked[begin:end], "" if blank_line else section, file)
        eyes = _named_eyes(text[begin:stop], side or graded, file)
        while waiting and waiting[0][0] < end:
            start, last, mention = waiting.popleft()
            span = (start - begin, max(min(last, stop) - begin, start - begin))
            item = _item(clause, span, eyes, graded)
            eye = graded if item else _side(clause, span, eyes, side)
            asked = "" if "?" in clause[span[1] :] else answer  # "haemorrhages ?? NVD: nil"
            known = {state for state in (section, asked) if state}
            if eye == "fellow" or graded and eye == OPPOSITE.get(graded):
                known.add("other eye")
            if item:
                yield _Mention(number, mention, item, (0, span[1] - span[0]), known)
            else:
                yield _Mention(number, mention, clause, span, known)
        if eyes and _begins_with(eyes[0], clause):
            side = eyes[0].eye  # the clauses that follow are about this eye, too
        last_stop = end


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


def _clauses(masked: str, text: str, file: paths.File) -> Iterator[_Clause]:
    """Yield the clauses of a text, given with and without its mentions masked."""
    start, is_list = 0, _is_list(masked, text)
    for place in BREAK.finditer(masked):
        if place.start() < start:
            continue
        answer = _answer(masked, text, start, place, file)
        if answer:
            yield _Clause(start, place.start(), answer.end(), "negated" if answer["no"] else "")
            start = answer.end()
        elif _ends(masked, text, start, place, is_list, file):
            yield from _pieces(masked, start, place.start())
            start = place.end()
    yield from _pieces(masked, start, len(masked))


def _pieces(text: str, start: int, stop: int) -> Iterator[_Clause]:
    """Yield a clause, in pieces where it is too long to be read at once."""
    for piece in LONGEST.finditer(text, start, stop):
        yield _Clause(*piece.span(), piece.end(), "")


def _answer(masked: str, text: str, start: int, place: re.Match[str], file: paths.File) -> re.Match[str] | None:
    """Return the yes or no that stands at a place, if the clause before it is what was asked.

    "Right eye: none" is none, for the question stands before the eye.
    """
    if place.lastgroup in ("stop", "heading", "item"):
        return None
    answer = ANSWER.match(masked, place.start())
    asked = masked[max(start, place.start() - 40) : place.start()]
    if not answer or not asked.strip() or any(eye.end >= len(asked) for eye in _named_eyes(asked + ":", "", file)):
        return None
    goes_on = place.lastgroup == "gap" and _goes_on(masked, text, answer.end())  # "there is   no   fracture"
    return None if goes_on else answer


def _ends(masked: str, text: str, start: int, place: re.Match[str], is_list: bool, file: paths.File) -> bool:
    """Say if a clause ends at a place. A cue holds it together, and so does a word that asks for another."""
    kind = place.lastgroup
    if kind == "mark":
        return False
    if kind == "stop":
        return not _in_brackets(masked, start, place)
    if kind == "line" and "\n" in place["line"][1:]:  # a blank line
        return True
    opening = masked[start : min(place.start(), start + 60)]  # no heading is longer
    if kind in ("gap", "line", "dash") and start + 60 > place.start() and _heading_state(opening, file):
        return True
    before = TOKEN.findall(masked[max(start, place.start() - 60) : place.start()].lower())[-5:]
    across = TOKEN.findall(place.group())
    after = TOKEN.findall(masked[place.end() : place.end() + 60].lower())[:5]
    if _spoken_across(before, across, after, _phrases(file)) or _is_said(masked, before, place, _phrases(file)):
        return False
    if kind == "line":
        return not (WRAPPED.match(masked, place.start()) or LINKS & {*before[-1:]} - {",", ":"})
    if kind == "heading":
        listed = before[-1:] == [","] and ANSWER.match(masked, place.end("title"))  # "haemorrhages, IRMA, NVD: nil"
        asks = LINKS & {*before[-1:]} - {","}
        return not (listed or asks or _eye_cues(file).match(masked, place.start()))
    if kind == "item":
        return not LINKS & {*before[-1:]}
    if kind == "gap":
        judged = tuple(before[-1:]) in _phrases(file).after  # "PMH none   chest pain"
        goes_on = not is_list and _goes_on(masked, text, place.end())
        return judged or not (goes_on or LINKS & {*before[-1:], *after[:1]})
    return True


def _goes_on(masked: str, text: str, start: int) -> bool:
    """Say if what stands after a gap starts as no clause does: in lower case, or with a mention set in capitals.

    Many a gap is all that is left of the end of a line. A short word in capitals is an abbreviation.
    """
    first = FIRST.match(masked, start)
    if not first:
        return False
    said = text[slice(*first.span(1))]
    return said[0].islower() or len(said) > 5 and said.isupper() and not text[max(0, start - 200) : start].isupper()


def _is_list(masked: str, text: str) -> bool:
    """Say if the gaps of a text part the items of a list: after a quarter of them or more an item starts in capitals."""
    gaps = [gap.end() for gap in GAP.finditer(masked)]
    items = [end for end in gaps if text[end : end + 1].isupper() and not _goes_on(masked, text, end)]
    return 0 < len(gaps) <= 4 * len(items)


def _in_brackets(text: str, start: int, place: re.Match[str]) -> bool:
    """Say if a place is the number in "(grade 2) haemorrhages", and no item's."""
    around = text[max(start, place.start() - 40) : place.start()]
    return not place.group() and around.rfind("(") > around.rfind(")")


def _spoken_across(before: list[str], across: list[str], after: list[str], phrases: _Phrases) -> bool:
    """Say if a cue stands across a place, or ends before it and asks for a mention, or starts after it and has had one."""
    said = any(
        (*before[i:], *across, *after[:j]) in phrases.spoken
        for i in range(len(before))
        for j in range(1, len(after) + 1)
    )
    asking = any(
        tuple(before[i:]) in phrases.before and before[i - 1 : i] not in ([":"], ["?"]) for i in range(len(before))
    )
    saying = any(
        part[:j] in phrases.after for part in ((*across, *after), tuple(after)) for j in range(1, len(part) + 1)
    )
    return said or asking or saying


def _is_said(text: str, before: list[str], place: re.Match[str], phrases: _Phrases) -> bool:
    """Say if what follows a place is a verdict on what stands before it and nothing else: "MI - resolved"."""
    verdict = re.match(r"\W*([\w ]{1,40}?)\s*(?:[.,;)\n]|$|\s-\s|\s\s)", text[place.start() : place.end() + 60])
    return bool(before and verdict and tuple(TOKEN.findall(verdict[1].lower())) in phrases.both)


@cache
def _phrases(file: paths.File) -> _Phrases:
    """Return the cues of a file as tokens."""

    def tokens(*roles: str) -> dict[tuple[str, ...], str]:
        some = [(cue, state) for (state, role), cues_of in _book(file).items() if role in roles for cue in cues_of]
        return {tuple(TOKEN.findall(cue.lower())): state for cue, state in some if state in BY_CUE}

    asking, saying = tokens("before", "close before"), {*tokens("after", "close after")}
    both = saying & asking.keys()
    return _Phrases({*tokens(*SPOKEN, "pseudo")}, asking, {*asking} - both, saying - both, both)


def _section(clause: str, section: str, file: paths.File) -> str:
    """Return the state that the heading of a clause gives to its mentions, or the section's, until a clause ends it."""
    heading = HEADING.match(clause)
    state = _heading_state(clause, file) or _list_state(clause, file)
    if state or heading and heading[2]:
        return state
    ends = "|".join(map(re.escape, _book(file).get((section, "end"), ()))) if section else ""
    return "" if ends and re.search(rf"(?<!\w)(?:{ends})(?!\w)", clause, re.IGNORECASE) else section


def _heading_state(clause: str, file: paths.File) -> str:
    """Return the state that a clause's heading stands for, "" if it has none that is known."""
    heading = HEADING.match(clause.rstrip())
    name = " ".join(heading[1].lower().split()) if heading else ""
    return next((state for state in BY_CUE if name in _book(file).get((state, "heading"), ())), "")


def _list_state(clause: str, file: paths.File) -> str:
    """Return the state of the list that a clause opens, "" if it opens none: "Patient denies:"."""
    opened = re.search(r"([\w' /]{1,60}):\s*$", clause)
    words = TOKEN.findall(opened[1].lower())[-5:] if opened else []
    asking = _phrases(file).asking
    return next((asking[cue] for i in range(len(words)) if (cue := tuple(words[i:])) in asking), "")


def _named_eyes(sentence: str, so_far: str, file: paths.File) -> list[_NamedEye]:
    """Return the eyes that a sentence names. Its fellow eye is the other one than that of which was spoken so far."""
    eyes = []
    for cue in _eye_cues(file).finditer(sentence):
        eye = str(cue.lastgroup)
        eyes.append(_NamedEye(cue.start(), cue.end(), OPPOSITE.get(so_far, "fellow") if eye == "fellow" else eye))
    return eyes


def _begins_with(eye: _NamedEye, sentence: str) -> bool:
    """Say if nothing but "in the" and the like stands before an eye."""
    return re.fullmatch(r"\W*(?:the\s+|in\s+|on\s+)*", sentence[: eye.start], re.IGNORECASE) is not None


@cache
def _eye_cues(file: paths.File) -> re.Pattern[str]:
    """One pattern for all eyes. A cue in capitals, such as RE, counts in capitals only."""

    def pattern(cue: str) -> str:
        return re.escape(cue) if cue.isupper() else f"(?i:{re.escape(cue)})"

    named = {side: _book(file).get((side, "eye"), ()) for side in SIDES}
    sides = [f"(?P<{side}>{'|'.join(map(pattern, some))})" for side, some in named.items() if some] or ["(?!)"]
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


def _read(reader: Callable[["Doc"], "Doc"], mentions: Sequence[_Mention]) -> list["SpacySpan"]:
    """Return the mentions of one clause as an engine has read them."""
    text, places = _single_spaced(mentions[0].clause)
    # spaCy takes "NVD(-)" for one word; a cue such as "neg." asks for the clause's end
    doc = _tokenizer()(text.replace("xx(", "x (") + " .")
    for token in doc:
        token.is_sent_start = token.i == 0
    spans = []
    for mention in mentions:
        start, end = (places[place] for place in mention.span)
        span = doc.char_span(start, max(start + 1, end - 1), alignment_mode="expand")
        assert span is not None  # "expand" always finds a token
        spans.append(span)
    doc.spans["mention"] = spans
    read: list[SpacySpan] = list(reader(doc).spans["mention"])
    return read


def _single_spaced(clause: str) -> tuple[str, list[int]]:
    """Return a clause with one space for each piece of white space, and the new place of each character and of the end."""
    kept, places = "", []
    for letter in clause:
        places.append(len(kept))
        if not (letter.isspace() and kept[-1:] == " "):
            kept += " " if letter.isspace() else letter
    return kept, [*places, len(kept)]


@cache
def _tokenizer() -> "Language":
    """Return spaCy's English tokenizer."""
    import spacy

    return spacy.blank("en")


@cache
def _negspacy(added: bool, file: paths.File) -> tuple[Callable[["Doc"], "Doc"], str]:
    """Return what reads a Doc, and how the attributes start that it sets: two of negspacy's components a state.

    Negex knows negation only, so each state has its own cues. The second component is for the close cues. `added` says
    whether the course's cues are added to negspacy's own.
    """
    try:
        from negspacy.negation import Negex
        from negspacy.termsets import termset
    except ImportError as error:
        raise ImportError("Negation and context need spaCy and negspacy: install the extra `clinical`.") from error

    cues_of = _with_negspacys(termset("en_clinical").get_patterns(), added, file)
    components = []
    for state in BY_CUE:
        far = cues_of[state] | {"pseudo": cues_of[state]["pseudo"] | _longer_of_others(state, cues_of)}
        close = far | {"before": far["close before"], "after": far["close after"], "end": far["end"] | {",", "("}}
        for reach, patterns in (("far", far), ("close", close)):
            named = {name: sorted(patterns[role]) for role, name in NEGEX_NAMES.items()}
            component = Negex(
                _tokenizer(), f"{state} {reach}", named, extension_name=f"negex_{state}", span_keys=["mention"]
            )
            component.matcher = _Longest(component.matcher)  # type: ignore[assignment]  # all it does is to be called
            components.append(component)

    def read(doc: "Doc") -> "Doc":
        for component in components:
            doc = component(doc)
        return doc

    return read, "negex_"


class _Longest:
    """A matcher in which a cue inside a longer one is none: "not consistent with" holds no "consistent with".

    A cue before a mention stays: "FINDINGS: no" ends with a cue after a mention, ": no", and with one before the next.
    """

    def __init__(self, matcher: Callable[["Doc"], list[tuple[int, int, int]]]):
        self.matcher = matcher

    def __call__(self, doc: "Doc") -> list[tuple[int, int, int]]:
        """Return (id, start, end) of each cue, in tokens."""
        found = self.matcher(doc)
        before, outer, reached = doc.vocab.strings["Preceding"], set(), 0
        for start, end in sorted({(start, end) for _, start, end in found}, key=lambda span: (span[0], -span[1])):
            if end > reached:
                outer.add((start, end))
                reached = end
        return [match for match in found if match[0] == before or match[1:] in outer]


def _with_negspacys(
    theirs: Mapping[str, Sequence[str]], added: bool, file: paths.File
) -> dict[str, dict[str, set[str]]]:
    """Return the cues of each state and role: negspacy's own for negation, and the course's, if they are `added`.

    Of negspacy's are left out those that the course gives to another state ("rule out").
    """

    def listed(state: str, role: str) -> set[str]:
        return set(_book(file).get((state, role), ())) if added else set()

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
def _medspacy() -> tuple[Callable[["Doc"], "Doc"], str]:
    """Return what reads a Doc, medSpaCy's ConText with its default rules, and how the attributes start that it sets."""
    try:
        import medspacy.context  # noqa: F401  registers the component
        import spacy
        from loguru import logger
    except ImportError as error:
        raise ImportError("The engine medspacy needs medSpaCy, an optional install: `make medspacy`.") from error
    logger.disable("PyRuSH")
    nlp = spacy.blank("en")
    read = nlp.add_pipe("medspacy_context", config={"input_span_type": "group", "span_group_name": "mention"})
    return read, "is_"
