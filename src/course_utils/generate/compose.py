"""From an eye's facts to a report's words, keeping track of what each word says.

A report is a list of pieces: (words, meaning). `meaning` is None, or (side, finding, state, quadrants, heavy), with state one of
present, absent, uncertain, past, family. The labelled file keeps the words alone; pre-training also learns the meanings.
"""

from . import language as words
from .cases import Eye, chance, pick, shuffled

GRAVE = ("VB", "IRMA", "NVD", "NVE", "VH")  # what readers most often take care to rule out


class Voice:
    """How one report is worded: its site's style, and whether it may use the words kept for the test split.

    `held_out` is the share of phrasings taken from those kept back, `held_out_terms` the same for the names of findings;
    `mix` > 0 borrows words of the `sites` with that probability.
    """

    def __init__(self, rng, site, held_out=0.0, held_out_terms=0.0, mix=0.0, sites=words.SITES):
        self.rng, self.site, self.held_out, self.held_out_terms = rng, site, held_out, held_out_terms
        self.mix, self.sites = mix, sites

    def say(self, table, *keys):
        """One wording out of a table of language.py."""
        held_out = self.held_out_terms if table is words.TERMS else self.held_out
        site = pick(self.rng, self.sites) if chance(self.rng, self.mix) else self.site
        entry = table[site]
        for key in keys:
            entry = entry[key]
        common, kept_back = entry
        return pick(self.rng, kept_back if chance(self.rng, held_out) else common)

    def place(self, quadrants):
        """Quadrants as digits, words, names, or 'all but one'."""
        rng, names = self.rng, words.QUADRANT_NAMES[self.site]
        comma, last, _ = words.AND[self.site]
        if len(quadrants) == 4:
            return self.say(words.ALL_FOUR)
        if len(quadrants) == 3 and chance(rng, 0.25):
            left_out = next(q for q in words.QUADRANTS if q not in quadrants)
            return self.say(words.ALL_BUT).replace(
                "{q}", names[left_out].replace("ly", "") if self.site == "north" else names[left_out]
            )
        if chance(rng, 0.5):
            n = len(quadrants)
            digits = {"d": str(n), "w": ("one", "two", "three")[n - 1], "c": "一两三"[n - 1]}
            text = self.say(words.NUMBERS).format(**digits)
            return text.replace("1 quadrants", "1 quadrant").replace("one quadrants", "one quadrant")
        listed = shuffled(rng, [names[q] for q in quadrants])
        return listed[0] if len(listed) == 1 else comma.join(listed[:-1]) + last + listed[-1]


def fill(template, pieces):
    """Put pieces where the template says {t}."""
    before, after = template.split("{t}")
    return [(before, None), *pieces, (after, None)]


def join(voice, pieces, kind="and"):
    """A, B and C (or: or)."""
    comma, last, either = words.AND[voice.site]
    out = []
    for i, piece in enumerate(pieces):
        if i:
            out.append(((either if kind == "or" else last) if i == len(pieces) - 1 else comma, None))
        out.append(piece)
    return out


def present_piece(voice, eye, finding, quadrants):
    """A finding with its place, such as 'venous beading in two quadrants'."""
    term = voice.say(words.TERMS, finding)
    heavy = eye.heavy and finding == "IRH"
    meaning = (eye.side, finding, "present", len(quadrants), heavy)
    if finding not in words.COUNTED:
        return term, meaning
    where = voice.place(quadrants)
    if heavy or (finding == "IRH" and chance(voice.rng, 0.4)):
        template = voice.say(words.HEAVY if heavy else words.LIGHT)
    elif finding in ("MA", "HE", "CWS") and chance(voice.rng, 0.5):
        return term, meaning  # these are often named with no place
    else:
        template = words.PLACED[voice.site]
    return template.format(t=term, w=where), meaning


def plain_piece(voice, side, finding, state):
    """A finding without a place, in a state other than present."""
    return voice.say(words.TERMS, finding), (side, finding, state, 0, False)


def clauses(voice, eye, retracted=(), extended=()):
    """The sentences about one eye, in random order. Findings in `extended` wait for the addendum."""
    rng, out = voice.rng, []
    shown = [f for f in shuffled(rng, eye.places) if f not in extended]
    while shown:
        group, shown = shown[: (n := pick(rng, (1, 2, 3), (4, 3, 2)))], shown[n:]
        pieces = [present_piece(voice, eye, f, eye.places[f]) for f in group]
        out.append(fill(voice.say(words.PRESENT), join(voice, pieces)))
    for (
        finding
    ) in retracted:  # first said to be there, taken back in the addendum: the meaning is what holds in the end
        term, _ = present_piece(voice, Eye(eye.side), finding, words.QUADRANTS[:2])
        out.append(fill(voice.say(words.PRESENT), [(term, (eye.side, finding, "absent", 0, False))]))
    said = {*eye.places, *eye.uncertain, *eye.past, *retracted, *extended}
    unsaid = shuffled(rng, [f for f in words.FINDINGS if f not in said])
    ruled_out = sorted(unsaid, key=lambda f: f not in GRAVE)[: pick(rng, (0, 2, 3, 4, 6), (1, 2, 3, 2, 1))]
    if ruled_out:
        ruled_out = shuffled(rng, ruled_out)
        pieces = [plain_piece(voice, eye.side, f, "absent") for f in ruled_out]
        out.append(fill(voice.say(words.ABSENT), join(voice, pieces, "or")))
    for state, table, findings in (("uncertain", words.UNCERTAIN, eye.uncertain), ("past", words.PAST, eye.past)):
        out += [fill(voice.say(table), [plain_piece(voice, eye.side, f, state)]) for f in findings]
    if not out:
        out.append([(voice.say(words.NORMAL), None)])
    return shuffled_pieces(rng, out)


def shuffled_pieces(rng, groups):
    """Sentences in random order."""
    order = shuffled(rng, range(len(groups)))
    return [groups[i] for i in order]


def asides(voice, n):
    """n different sentences that decide nothing: lens, pressure, recall."""
    rng = voice.rng
    numbers = {"p": f"{6 + 6 * rng.random():.1f}", "y": 10 + int(rng.random() * 50), "k": 2 + int(rng.random() * 7)}
    return [[(text.format(**numbers), None)] for text in shuffled(rng, words.ASIDES[voice.site])[:n]]


def addendum(voice, eye):
    """Maybe one correction of this eye: (retracted, extended, sentences)."""
    rng = voice.rng
    if not chance(rng, 0.06):
        return (), (), []
    free = [f for f in words.FINDINGS if f not in eye.places and f not in eye.uncertain and f not in eye.past]
    owned = list(eye.places)
    if owned and chance(rng, 0.5):
        finding = pick(rng, owned)
        piece = present_piece(voice, eye, finding, eye.places[finding])
        return (), (finding,), [fill(voice.say(words.EXTEND), [piece])]
    if not free:
        return (), (), []
    finding = pick(rng, free)
    return (finding,), (), [fill(voice.say(words.RETRACT), [plain_piece(voice, eye.side, finding, "absent")])]


def one_eye(voice, eye, headed=True):
    """The sentences about one eye, under its name."""
    retracted, extended, late = addendum(voice, eye)
    body = clauses(voice, eye, retracted, extended)
    if headed:
        body[0] = [(voice.say(words.EYES, eye.side) + ": ", None), *body[0]]
    return body + late


def finding_by_finding(voice, eyes):
    """Both eyes on one line a finding, as on a grading form: 'VB: OD 2Q, OS nil.'"""
    rng, out = voice.rng, []
    sides = shuffled(rng, ("left", "right"))
    names = {side: voice.say(words.EYES, side) for side in sides}
    nil = {"north": "none", "harbour": "nil", "delta": "无"}[voice.site]
    for finding in shuffled(rng, words.FINDINGS):
        if not any(finding in e.places for e in eyes.values()) and chance(rng, 0.5):
            continue
        line = [(voice.say(words.TERMS, finding) + ": ", None)]
        for i, side in enumerate(sides):
            eye = eyes[side]
            there = finding in eye.places
            what = nil
            if there:
                what = voice.place(eye.places[finding]) if finding in words.COUNTED else "+"
                if finding == "IRH":
                    what = (">20 " if eye.heavy else "<20 ") + what
            meaning = (
                side,
                finding,
                "present" if there else "absent",
                len(eye.places.get(finding, ())),
                there and eye.heavy and finding == "IRH",
            )
            line += [(names[side] + " ", None), (what, meaning), (", " if i == 0 else ".", None)]
        out.append(line)
    for side in sides:
        eye = eyes[side]
        for state, table, findings in (("uncertain", words.UNCERTAIN, eye.uncertain), ("past", words.PAST, eye.past)):
            for f in findings:
                out.append([(names[side] + ": ", None), *fill(voice.say(table), [plain_piece(voice, side, f, state)])])
    return out or [[(voice.say(words.NORMAL), None)]]


def compose(voice, eyes, stated=None):
    """A whole report.

    Args:
        voice: the wording.
        eyes: {side: Eye}, one or both; the report describes all of them.
        stated: {side: grade} to be written out in the text (the leak), or None.
    Returns: list of (words, meaning) pieces; joined, they are the text.
    """
    rng = voice.rng
    if len(eyes) == 2 and chance(rng, {"north": 0.1, "harbour": 0.35, "delta": 0.2}[voice.site]):
        sentences = finding_by_finding(voice, eyes)
    else:
        order = shuffled(rng, eyes)
        sentences = [s for side in order for s in one_eye(voice, eyes[side], headed=len(eyes) == 2 or chance(rng, 0.6))]
    if len(eyes) == 1:
        (side,) = eyes
        other = "left" if side == "right" else "right"
        if chance(rng, 0.1):
            finding = pick(rng, GRAVE)
            template = voice.say(words.FELLOW).replace("{o}", other).replace("{O}", voice.say(words.EYES, other))
            sentences.append(fill(template, [(voice.say(words.TERMS, finding), (other, finding, "present", 1, False))]))
    if chance(rng, 0.08):
        sentences.append(fill(voice.say(words.FAMILY), [plain_piece(voice, "family", pick(rng, GRAVE), "family")]))
    for sentence in asides(voice, pick(rng, (0, 1, 2), (3, 4, 2))):
        sentences.insert(0 if chance(rng, 0.5) else len(sentences), sentence)
    for side, grade in (stated or {}).items():
        sentences.append([(f"{voice.say(words.EYES, side)}: {words.STATED[voice.site][grade]}", None)])
    if voice.site == "north":
        sentences = [capitalised(s) for s in sentences]
    return [piece for i, s in enumerate(sentences) for piece in ([(" ", None)] if i else []) + s]


def capitalised(sentence):
    """The sentence with a capital first letter; empty pieces are dropped."""
    (first, meaning), *rest = [piece for piece in sentence if piece[0]]
    return [(first[0].upper() + first[1:], meaning), *rest]


def text_of(pieces):
    """The words of a report."""
    return "".join(text for text, _ in pieces)
