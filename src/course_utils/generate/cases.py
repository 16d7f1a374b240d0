"""What is true of an eye, and the grade that follows: the International Clinical Diabetic Retinopathy scale.

Source of the rule: Wilkinson et al., Ophthalmology 2003;110:1677-82. Only definite, current findings of this eye count.
"""

from dataclasses import dataclass, field

from .language import COUNTED, FINDINGS, QUADRANTS

# Grade mix of the public APTOS 2019 training set (1805, 370, 999, 193 and 295 of 3,662 photographs).
GRADE_MIX = (1805, 370, 999, 193, 295)
SAME_GRADE_IN_BOTH_EYES = 0.6  # assumption: no source found; the fellow eye is drawn anew otherwise


@dataclass
class Eye:
    """One eye as the report's reader would grade it. `places` maps each finding that is present to its quadrants."""

    side: str
    places: dict = field(default_factory=dict)
    heavy: bool = False  # more than 20 haemorrhages in each of its quadrants
    uncertain: list = field(default_factory=list)
    past: list = field(default_factory=list)


def pick(rng, options, weights=None):
    """One of `options`. Uses rng.random() alone, the only method whose sequence Python promises to keep."""
    if weights is None:
        return options[int(rng.random() * len(options))]
    point = rng.random() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        point -= weight
        if point < 0:
            return option
    return options[-1]


def chance(rng, share):
    """True with probability `share`."""
    return rng.random() < share


def shuffled(rng, items):
    """The items in random order, as a new list."""
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def grade_of(places, heavy):
    """The ICDR grade 0-4 of {finding: quadrants}, with the 4-2-1 rule for severe."""
    if any(finding in places for finding in ("NVD", "NVE", "VH")):
        return 4
    if heavy and len(places.get("IRH", ())) == 4 or len(places.get("VB", ())) >= 2 or len(places.get("IRMA", ())) >= 1:
        return 3
    if any(finding in places for finding in ("IRH", "HE", "CWS", "VB")):
        return 2
    return 1 if "MA" in places else 0


def draw_places(rng, grade):
    """Findings with quadrants that fit the grade, by drawing until they do: (places, heavy)."""
    shares = {
        1: {"MA": 1},
        2: {"MA": 0.8, "IRH": 0.75, "HE": 0.4, "CWS": 0.25, "VB": 0.1},
        3: {"MA": 0.6, "IRH": 0.9, "HE": 0.4, "CWS": 0.35, "VB": 0.45, "IRMA": 0.4},
        4: {"MA": 0.5, "IRH": 0.7, "HE": 0.35, "CWS": 0.3, "VB": 0.3, "IRMA": 0.25, "NVD": 0.4, "NVE": 0.5, "VH": 0.3},
    }.get(grade, {})
    while True:
        places = {}
        for finding in FINDINGS:
            if chance(rng, shares.get(finding, 0)):
                size = pick(rng, (1, 2, 3, 4), (3, 3, 2, 2)) if finding in COUNTED else 1
                if finding == "IRH" and chance(rng, 0.3):
                    size = 4
                places[finding] = tuple(sorted(shuffled(rng, QUADRANTS)[:size], key=QUADRANTS.index))
        heavy = "IRH" in places and chance(rng, 0.6 if grade >= 3 else 0.2)
        if grade_of(places, heavy) == grade:
            return places, heavy


def draw_eye(rng, side, grade):
    """An eye of the grade, with findings that do not count: uncertain ones and ones of the past."""
    places, heavy = draw_places(rng, grade)
    eye = Eye(side, places, heavy)
    missing = shuffled(rng, [f for f in FINDINGS if f not in places])
    if missing and chance(rng, 0.12):
        eye.uncertain = [missing.pop()]
    serious = [f for f in missing if f in ("NVD", "NVE", "VH", "IRMA")]
    if serious and chance(rng, 0.12):
        eye.past = serious[:1]
    return eye


def draw_pair(rng):
    """The two eyes of a patient, whose grades tend to agree: {"right": (Eye, grade), "left": (Eye, grade)}."""
    first = pick(rng, range(5), GRADE_MIX)
    second = first if chance(rng, SAME_GRADE_IN_BOTH_EYES) else pick(rng, range(5), GRADE_MIX)
    return {side: (draw_eye(rng, side, grade), grade) for side, grade in (("right", first), ("left", second))}
