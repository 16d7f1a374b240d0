"""The text that the base models are pre-trained on: never a labelled report, never a grade.

Two sources: the generator's wider language (other seeds, sites mixed, all names of findings, other report types), and general
English (Python's language reference, see english.py).
"""

import csv
import random
from functools import cache

from course_utils import paths
from course_utils.data import general_english

from . import language as words
from .cases import chance, draw_eye, draw_pair, fellow_of, pick
from .compose import DEV_UNSEEN, TEST, Voice, asides, capitalised, compose, text_of

SIDES = ("right", "left", "family")
STATES = ("absent", "past", "uncertain", "family", "other eye")
FACTS = 14  # how many numbers `counts` gives for an eye
EYE_CLINIC = (  # other report types: they share the clinic's language, not its task
    "Cataract clinic. Nuclear opacity grade {k}, pupil dilates to {k} mm.",
    "Biometry: axial length 2{k}.{k} mm, lens power {y}.5.",
    "Glaucoma review. Pressure {y} mmHg, disc cupped, field stable.",
    "Visual field: mean deviation -{k}.{k} dB, reliable.",
    "Optical coherence tomography: central thickness 2{y} microns, no fluid.",
    "Intravitreal injection number {k} given without complication.",
    "The patient was asked to return in {k} weeks.",
    "Letter to the family doctor: spectacles updated, no change in treatment.",
    "The cornea is clear and the anterior chamber is quiet.",
    "Age-related macular degeneration, dry, followed with an Amsler grid.",
    "Drops are to be continued twice a day.",
    "The patient reports flashes; the periphery is flat, no tear found.",
)


@cache
def labelled_texts():
    """Every text of the labelled file, so that the stream can leave them out."""
    with (paths.samples() / "dr_reports.csv").open(encoding="utf-8", newline="") as file:
        return {row["text"] for row in csv.DictReader(file)}


def dr_reports(rng, leave_out, sites=words.SITES):
    """Endless (pieces, eyes) of unlabelled DR reports of some sites; eyes is {side: Eye}. The grade is never written in them."""
    while True:
        pair = draw_pair(rng)
        # half of the eyes are drawn evenly over severity, so that rare findings are seen often enough to be learned
        if chance(rng, 0.5):
            pair = {side: (draw_eye(rng, side, int(rng.random() * 5)), None) for side in pair}
        sides = ("right", "left") if chance(rng, 0.5) else (pick(rng, ("right", "left")),)
        eyes = {side: pair[side][0] for side in sides}
        fellow = fellow_of(pair, eyes)
        voice = Voice(rng, pick(rng, sites), 0.0, 0.25, (TEST, DEV_UNSEEN), mix=0.05, sites=sites)
        pieces = compose(voice, eyes, fellow=fellow)
        if text_of(pieces) not in leave_out:
            yield pieces, eyes


def clinic_notes(rng):
    """Endless notes of other kinds: cataract, glaucoma, letters."""
    while True:
        numbers = {"k": 2 + int(rng.random() * 7), "y": 10 + int(rng.random() * 30)}
        voice = Voice(rng, "north")
        sentences = [pick(rng, EYE_CLINIC).format(**numbers) for _ in range(1 + int(rng.random() * 4))]
        sentences += [text_of(capitalised(s)) for s in asides(voice, int(rng.random() * 3))]
        yield " ".join(sentences)


def tokenizer_corpus(n=20_000, seed=7):
    """Texts that the tokenizers are trained on."""
    rng = random.Random(seed)
    reports, notes = dr_reports(rng, labelled_texts()), clinic_notes(rng)
    return [text_of(next(reports)[0]) for _ in range(n)] + [next(notes) for _ in range(n // 20)] + general_english()


def state_class(meaning, side):
    """What a mention says about the eye asked for: 0-4 STATES, then 5-8 present in 1-4 quadrants, 9-12 the same, heavy."""
    of, _, state, quadrants, heavy = meaning
    if state == "family":
        return 3
    if of != side:
        return 4
    if state != "present":
        return STATES.index(state)
    return 4 + quadrants + 4 * heavy


def counts(eye):
    """FACTS numbers of 0-4: quadrants of each finding, and of haemorrhages over 20; then oedema (1 off the centre, 2 at it),
    laser scars (1 macular, 2 panretinal), injections, and new vessels of the past."""
    if eye is None:
        return [0] * FACTS
    found = [len(eye.places.get(f, ())) for f in words.FINDINGS]
    heavy = found[words.FINDINGS.index("IRH")] if eye.heavy else 0
    oedema, laser = ("none", "not central", "central").index(eye.dme), ("", "GRID", "LASER").index(eye.laser)
    return [*found, heavy, oedema, laser, int(eye.injected > 0), int(any(f in words.PROLIFERATIVE for f in eye.past))]
