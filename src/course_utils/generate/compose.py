"""From an eye's facts to a report's words, keeping track of what each word says.

A report is a list of pieces: (words, meaning). `meaning` is None, or (side, finding, state, quadrants, heavy), with state one of
present, absent, uncertain, past, family; the quadrants of oedema (DME) are 1 off the centre and 2 at it.
The labelled file keeps the words alone; pre-training also learns the meanings.
"""

from . import language as words
from .cases import Eye, chance, grade_of, number, pick, plausible, shuffled

EARLY, GRAVE = ("MA", "IRH"), ("VB", "IRMA", "NVD", "NVE", "VH", "DME")  # what readers most often take care to rule out
TEST, DEV_UNSEEN = 1, 2  # which lists of a table hold the words kept for a split


class Voice:
    """How one report is worded: its site's style, and whether it may use words kept for a split.

    `kept` names the lists that kept words come from; `held_out` is the share of phrasings taken from them, `held_out_terms`
    the same for the names of findings. `mix` > 0 borrows words of the `sites` with that probability. `gloss` says the same in
    English. `unseen` counts the kept words that were used.
    """

    def __init__(
        self, rng, site, held_out=0.0, held_out_terms=0.0, kept=(TEST,), mix=0.0, sites=words.SITES, gloss=False
    ):
        self.rng, self.site, self.held_out, self.held_out_terms = rng, site, held_out, held_out_terms
        self.kept, self.mix, self.sites, self.tongue, self.unseen = kept, mix, sites, "gloss" if gloss else site, 0
        self.terms = {}
        self.names = self.eye_names()

    def say(self, table, *keys):
        """One wording out of a table of language.py."""
        entry = table[pick(self.rng, self.sites) if chance(self.rng, self.mix) else self.tongue]
        for key in keys:
            entry = entry[key]
        return pick(self.rng, entry[self.which(self.held_out_terms if table is words.TERMS else self.held_out)])

    def which(self, held_out):
        """The list to take a form from: 0, or with probability `held_out` one of the kept ones."""
        unseen = chance(self.rng, held_out)
        self.unseen += unseen
        return pick(self.rng, self.kept) if unseen else 0

    def term(self, finding):
        """A finding's name: one for the whole report, as a writer has one."""
        if finding not in self.terms:
            self.terms[finding] = self.say(words.TERMS, finding)
        return self.terms[finding]

    def eye_names(self):
        """The names of both eyes, {side: name}, from one scheme for the whole report."""
        table, which = words.EYES[self.tongue], self.which(self.held_out)
        i = pick(self.rng, range(len(table["right"][which])))
        return {side: table[side][which][i] for side in ("right", "left")}

    def place(self, quadrants):
        """Quadrants as digits, words, names, or 'all but one'."""
        rng, names = self.rng, words.QUADRANT_NAMES[self.tongue]
        comma, last = words.PLACES[self.tongue]
        if len(quadrants) == 4:
            return self.say(words.ALL_FOUR)
        if len(quadrants) == 3 and chance(rng, 0.25):
            left_out = next(q for q in words.QUADRANTS if q not in quadrants)
            return self.say(words.ALL_BUT).replace("{q}", names[left_out].removesuffix("ly"))
        if chance(rng, 0.5):
            n = len(quadrants)
            digits = {"d": str(n), "w": ("one", "two", "three")[n - 1], "c": "一两三"[n - 1]}
            text = self.say(words.NUMBERS).format(**digits)
            for one in ("1 quad", "one quad"):
                text = text.replace(f"{one}rants", f"{one}rant").replace(f"{one}s", one)
            return text
        listed = shuffled(rng, [names[q] for q in quadrants])
        return listed[0] if len(listed) == 1 else comma.join(listed[:-1]) + last + listed[-1]


def fill(template, pieces):
    """Put pieces where the template says {t}."""
    before, after = template.split("{t}")
    return [(before, None), *pieces, (after, None)]


def join(voice, pieces, kind="and"):
    """A, B and C (or: or; or with the mark between findings that have places of their own)."""
    comma, last, either = words.AND[voice.tongue]
    if kind == "parts":
        comma = last = words.PARTS[voice.tongue]
    out = []
    for i, piece in enumerate(pieces):
        if i:
            out.append(((either if kind == "or" else last) if i == len(pieces) - 1 else comma, None))
        out.append(piece)
    return out


def denied(voice, table, pieces):
    """A sentence that denies all the pieces: "No A or B.", "A and B: none."."""
    template = voice.say(table)
    return fill(template, join(voice, pieces, "and" if template.startswith("{t}") else "or"))


def present_piece(voice, eye, finding):
    """A finding with its place, such as 'venous beading in two quadrants'."""
    term, quadrants = voice.term(finding), eye.places.get(finding, ())
    heavy = eye.heavy and finding == "IRH"
    if finding not in words.COUNTED:
        return term, (eye.side, finding, "present", 1, False)
    meaning = (eye.side, finding, "present", len(quadrants), heavy)
    where = voice.place(quadrants)
    if finding == "IRH" and (heavy or len(quadrants) == 4 or chance(voice.rng, 0.4)):  # in four, the number decides
        template = voice.say((words.HEAVY if heavy else words.LIGHT)["one" if len(quadrants) == 1 else "several"])
    elif finding in ("MA", "HE", "CWS") and chance(voice.rng, 0.5):
        return term, meaning  # these are often named with no place
    else:
        template = words.PLACED[voice.tongue]
    return template.format(t=term, w=where), meaning


def plain_piece(voice, side, finding, state):
    """A finding without a place, in a state other than present."""
    return voice.term(finding), (side, finding, state, 0, False)


def clauses(voice, eye, retracted=(), extended=()):
    """The sentences about one eye, in random order. Findings in `extended` wait for the addendum."""
    rng, out, openings = voice.rng, [], set()
    shown = [f for f in shuffled(rng, eye.present) if f not in extended]
    while shown:
        group, shown = shown[: (n := pick(rng, (1, 2, 3), (4, 3, 2)))], shown[n:]
        pieces = [present_piece(voice, eye, f) for f in group]
        placed = any(said != voice.term(f) for f, (said, _) in zip(group, pieces, strict=True))
        out.append(fill(opening(voice, openings), join(voice, pieces, "parts" if placed else "and")))
    for finding in retracted:  # first said to be there, then taken back: the meaning is what holds in the end
        term, _ = present_piece(voice, Eye(eye.side, {finding: words.QUADRANTS[:2]}), finding)
        out.append(fill(opening(voice, openings), [(term, (eye.side, finding, "absent", 0, False))]))
    out += ruled_out(voice, eye, {*retracted, *extended})
    out += treatment(voice, eye) + not_now(voice, eye)
    if not out:
        out.append([(voice.say(words.NORMAL), None)])
    return [out[i] for i in shuffled(rng, range(len(out)))]


def opening(voice, used):
    """The form of a sentence on what is there: each form once for an eye, then the plain one."""
    template = voice.say(words.PRESENT)
    if template in used:
        return words.AGAIN[voice.tongue]
    used.add(template)
    return template


def ruled_out(voice, eye, taken):
    """Sentences on the macula and on what is not there: at grade 0 always, early signs first; else the grave ones most often."""
    rng, grade = voice.rng, grade_of(eye)
    said = {*eye.found, *eye.uncertain, *eye.past, *taken}
    if grade >= 1:
        said.add("MA")  # nobody says of a diseased eye that it has no microaneurysms
    out = macula(voice, eye) if "DME" not in taken else []
    said |= {"DME"} if out else set()
    if grade == 0 and not eye.uncertain and not taken and chance(rng, 0.35):
        return out + [[(voice.say(words.NORMAL), None)]]
    unsaid = shuffled(rng, [f for f in (*words.FINDINGS, "DME") if f not in said])
    n = pick(rng, (0, 2, 3, 4, 6), (1, 2, 3, 2, 1))
    first = EARLY if grade == 0 else words.PROLIFERATIVE if eye.quiet else GRAVE if chance(rng, 0.6) else ()
    if grade == 0 or eye.quiet:
        n = max(2, n)
    unsaid.sort(key=lambda f: f not in first)
    if n and unsaid:
        pieces = [plain_piece(voice, eye.side, f, "absent") for f in shuffled(rng, unsaid[:n])]
        out.append(denied(voice, words.ABSENT, pieces))
    return out


def macula(voice, eye):
    """What is said of oedema: where it is, or at times that there is none."""
    if eye.dme != "none":
        level = 1 + (eye.dme == "central")
        template = voice.say(words.CENTRAL if level == 2 else words.OFF_CENTRE)
        return [fill(template, [(voice.term("DME"), (eye.side, "DME", "present", level, False))])]
    if "DME" not in (*eye.uncertain, *eye.past) and chance(voice.rng, 0.15):
        return [[(voice.say(words.FLAT), (eye.side, "DME", "absent", 0, False))]]
    return []


def treatment(voice, eye):
    """Sentences on injections, on no treatment, or on one that is planned; scars of laser stand among the findings."""
    rng, side = voice.rng, eye.side
    if eye.injected:
        template = voice.say(words.INJECTED).replace("{k}", str(eye.injected))
        return [fill(template, [(voice.term("INJ"), (side, "INJ", "present", 1, False))])]
    if eye.planned:
        what = voice.say(words.TO_DO, eye.planned), (side, eye.planned, "absent", 0, False)
        return [fill(voice.say(words.PLANNED), [what])]
    if not eye.laser and chance(rng, 0.06):
        names = zip(words.UNDONE[voice.tongue], ("LASER", "INJ"), strict=True)
        return [denied(voice, words.UNTREATED, [(name, (side, code, "absent", 0, False)) for name, code in names])]
    return []


def not_now(voice, eye, form=False):
    """Sentences on what is uncertain, and on what is past: gone by itself, or since treatment. A form has a mark for the uncertain."""
    uncertain = [f for f in eye.uncertain if f == "DME" or not form]
    out = [fill(voice.say(words.UNCERTAIN), [plain_piece(voice, eye.side, f, "uncertain")]) for f in uncertain]
    for f in eye.past:
        table = words.REGRESSED if f in ("NVD", "NVE", "DME") else words.PAST  # blood clears, vessels regress
        out.append(fill(voice.say(table), [plain_piece(voice, eye.side, f, "past")]))
    return out


def habits(rng):
    """What stays with a patient from visit to visit: years of diabetes, the disc's cup, a drug."""
    drug, drug_zh = pick(rng, words.DRUGS)
    return {"y": number(rng, 2, 35), "c": number(rng, 2, 6), "g": drug, "h": drug_zh}


def asides(voice, n, patient=None):
    """n different sentences that decide nothing: lens, pressure, drugs. patient: what `habits` gave."""
    rng = voice.rng
    numbers = {"m": number(rng, 42, 97), "p": f"{6 + 5 * rng.random():.1f}", "i": number(rng, 11, 20)}
    numbers |= {"d": number(rng, 62, 92), "j": numbers["i"] + number(rng, -3, 3)}
    numbers |= {"s": numbers["d"] + number(rng, 40, 66)} | (patient or habits(rng))
    numbers |= {key: pick(rng, words.SNELLEN) for key in "vw"} | {key: pick(rng, words.DECIMAL) for key in "xz"}
    table = words.ASIDES[voice.tongue]
    return [[(table[i].format(**numbers), None)] for i in shuffled(rng, range(len(table)))[:n]]


def addendum(voice, eye):
    """Maybe one correction of this eye: (retracted, extended, sentences). What was overlooked is small."""
    rng = voice.rng
    if not chance(rng, 0.04):
        return (), (), []
    said = (*eye.found, *eye.uncertain, *eye.past)
    free = [f for f in plausible(grade_of(eye)) if f not in said]
    small = [f for f in eye.places if f in ("MA", "HE", "CWS")]
    if small and chance(rng, 0.75):
        finding = pick(rng, small)
        return (), (finding,), [fill(voice.say(words.EXTEND), [present_piece(voice, eye, finding)])]
    if not free or chance(rng, 0.6):
        return (), (), []
    finding = pick(rng, free)
    return (finding,), (), [fill(voice.say(words.RETRACT), [plain_piece(voice, eye.side, finding, "absent")])]


def under(voice, side, sentence):
    """A sentence after the eye's name and a colon."""
    return [(voice.names[side] + words.COLON[voice.tongue], None), *sentence]


def one_eye(voice, eye):
    """The sentences about one eye, under its name, and those that come at the report's end."""
    retracted, extended, late = addendum(voice, eye)
    first, *rest = clauses(voice, eye, retracted, extended)
    return [under(voice, eye.side, first), *rest], [under(voice, eye.side, sentence) for sentence in late]


def finding_by_finding(voice, eyes):
    """Both eyes on one line a finding, as on a grading form: 'VB: OD 2Q; OS nil.'"""
    rng, out = voice.rng, []
    sides = shuffled(rng, ("left", "right"))
    scars = [code for code in ("LASER", "GRID") if any(eye.laser == code for eye in eyes.values())]
    for finding in shuffled(rng, [*words.FINDINGS, *scars]):
        told = finding in EARLY or any(finding in (*eye.present, *eye.uncertain) for eye in eyes.values())
        if not told and chance(rng, 0.5):
            continue
        line = [(voice.term(finding) + words.COLON[voice.tongue], None)]
        for i, side in enumerate(sides):
            name, mark = voice.names[side].removeprefix("The "), words.STOP if i else words.PARTS
            line += [(name + " ", None), form_cell(voice, eyes[side], finding), (mark[voice.tongue], None)]
        out.append(line)
    for side in sides:
        eye = eyes[side]
        for sentence in macula(voice, eye) + treatment(voice, eye) + not_now(voice, eye, form=True):
            out.append(under(voice, side, sentence))
    return out


def form_cell(voice, eye, finding):
    """What the form says of a finding in one eye: its quadrants, a plus, a doubt, or the word for none."""
    there, heavy = finding in eye.present, eye.heavy and finding == "IRH"
    if finding in eye.uncertain:
        return words.QUERY[voice.tongue], (eye.side, finding, "uncertain", 0, False)
    if not there:
        return words.NIL[voice.tongue], (eye.side, finding, "absent", 0, False)
    quadrants = eye.places.get(finding, ())
    what = voice.place(quadrants) if finding in words.COUNTED else "+"
    if finding == "IRH":
        count, several = ">20" if heavy else "<20", len(quadrants) > 1
        if voice.tongue == "delta":
            what += f"({'每象限' if several else ''}{count}个)"
        else:
            what += f" ({count}{' each' if several else ''})"
    return what, (eye.side, finding, "present", max(1, len(quadrants)), heavy)


def compose(voice, eyes, stated=None, fellow=None, patient=None):
    """A whole report.

    Args:
        voice: the wording.
        eyes: {side: Eye}, one or both; the report describes all of them.
        stated: {side: grade} to be written out in the text (the leak), or None.
        fellow: the Eye that a report on one eye leaves out, and may mention in passing.
        patient: what `habits` gave for the patient, or None to draw it.
    Returns: list of (words, meaning) pieces; joined, they are the text.
    """
    rng, late = voice.rng, []
    if len(eyes) == 2 and chance(rng, {"north": 0.1, "harbour": 0.35, "delta": 0.2}[voice.site]):
        sentences = finding_by_finding(voice, eyes)
    else:
        sections = [one_eye(voice, eyes[side]) for side in shuffled(rng, eyes)]
        sentences = [s for section, _ in sections for s in section]
        late = [s for _, addenda in sections for s in addenda]
    before = asides(voice, pick(rng, (0, 1, 2), (3, 4, 2)), patient)
    if len(eyes) == 1 and fellow:
        sentences += in_passing(voice, fellow)
    if chance(rng, 0.04):
        finding = pick(rng, ("VH", "DME"))
        had = words.FAMILY_HAD[voice.tongue][finding], ("family", finding, "family", 0, False)
        before.append(fill(voice.say(words.FAMILY), [had]))
    for side, grade in (stated or {}).items():
        sentences.append(under(voice, side, [(words.STATED[voice.tongue][grade], None)]))
    sentences = before + sentences + late
    if voice.tongue in ("north", "gloss"):
        sentences = [capitalised(s) for s in sentences]
    return [piece for i, s in enumerate(sentences) for piece in ([(" ", None)] if i else []) + s]


def in_passing(voice, fellow):
    """Maybe a sentence on the eye that is not reported: something grave in it, or that it is well."""
    grave = [f for f in fellow.found if f in (*GRAVE, "LASER")]
    if not grade_of(fellow) and chance(voice.rng, 0.1):
        return [[(voice.say(words.FELLOW_WELL), None)]]
    if not grave or not chance(voice.rng, 0.5):
        return []
    finding, side = pick(voice.rng, grave), fellow.side
    template = voice.say(words.FELLOW).replace("{o}", side).replace("{O}", voice.names[side])
    return [fill(template, [(voice.term(finding), (side, finding, "present", 1, False))])]


def capitalised(sentence):
    """The sentence with a capital first letter; empty pieces are dropped."""
    (first, meaning), *rest = [piece for piece in sentence if piece[0]]
    return [(first[0].upper() + first[1:], meaning), *rest]


def text_of(pieces):
    """The words of a report."""
    return "".join(text for text, _ in pieces)
