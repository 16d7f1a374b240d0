"""What is true of an eye, and the grade that follows: the International Clinical Diabetic Retinopathy scale.

Source of the rule: Wilkinson et al., Ophthalmology 2003;110:1677-82. Only definite, current findings of this eye count.
The scale has no place for disease that was treated. There the English screening programme is followed (NHS Diabetic Eye
Screening Programme, grading definitions for referable disease): proliferative disease that was treated and is quiet, its R3S,
stays proliferative.
"""

from dataclasses import dataclass, field

from .language import COUNTED, FINDINGS, PROLIFERATIVE, QUADRANTS

# Grade mix of the public APTOS 2019 training set (1805, 370, 999, 193 and 295 of 3,662 photographs).
GRADE_MIX = (1805, 370, 999, 193, 295)
# The shares below are assumptions: no source was found, and the datasheet says so.
APART = 0.05  # of patients: the second eye is drawn without looking at the first
QUIET = 0.45  # of proliferative eyes: treated, and no new vessels now
OEDEMA = (0.0, 0.04, 0.12, 0.3, 0.3)  # of eyes of each grade: a macula with oedema
CENTRE = 0.5  # of those: the centre is involved
TREATED = {
    "with oedema": 0.3,
    "without": 0.02,
    "active": 0.3,
}  # of eyes below grade 4 with and without oedema; of active grade 4
PLANNED = {"LASER": 0.3, "INJ": 0.4}  # of untreated eyes with new vessels, with oedema of the centre
GETS_WORSE = 0.25  # an eye's grade rises by one from a visit to the next; else it stays


@dataclass
class Eye:
    """One eye as the report's reader would grade it. `places` maps each finding that is present to its quadrants."""

    side: str
    places: dict = field(default_factory=dict)
    heavy: bool = False  # more than 20 haemorrhages in each of its quadrants
    uncertain: list = field(default_factory=list)
    past: list = field(default_factory=list)
    dme: str = "none"  # or "not central", "central"
    laser: str = ""  # scars: "LASER" (panretinal), "GRID" (macular) or none
    injected: int = 0  # how many injections
    planned: str = ""  # "LASER" or "INJ": to be done, not done

    @property
    def treated(self):
        """none, laser, injections or both."""
        return ("none", "laser", "injections", "both")[bool(self.laser) + 2 * bool(self.injected)]

    @property
    def quiet(self):
        """Proliferative disease that was treated: panretinal scars, or new vessels of the past."""
        return self.laser == "LASER" or any(f in PROLIFERATIVE for f in self.past)

    @property
    def lowest(self):
        """The lowest grade that oedema and treatment allow."""
        return 4 if self.quiet else int(self.dme != "none" or self.treated != "none")

    @property
    def present(self):
        """All that is there, by its name in language.TERMS: findings, then scars of laser."""
        return [*self.places, *filter(None, [self.laser])]

    @property
    def found(self):
        """The same, and oedema."""
        return [*self.present, *(["DME"] if self.dme != "none" else [])]


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


def number(rng, low, high):
    """A whole number from low to high."""
    return low + int(rng.random() * (high - low + 1))


def shuffled(rng, items):
    """The items in random order, as a new list."""
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def grade_of(eye):
    """The grade 0-4 of an Eye: ICDR with the 4-2-1 rule for severe, and no lower than oedema and treatment allow."""
    return max(eye.lowest, grade_of_lesions(eye.places, eye.heavy))


def grade_of_lesions(places, heavy):
    """The ICDR grade 0-4 of {finding: quadrants}, with the 4-2-1 rule for severe."""
    if any(finding in places for finding in PROLIFERATIVE):
        return 4
    if heavy and len(places.get("IRH", ())) == 4 or len(places.get("VB", ())) >= 2 or len(places.get("IRMA", ())) >= 1:
        return 3
    if any(finding in places for finding in ("IRH", "HE", "CWS", "VB")):
        return 2
    return 1 if "MA" in places else 0


SHARES = {  # how often a finding is there, by grade; "quiet" is treated proliferative disease
    1: {"MA": 1},
    2: {"MA": 0.95, "IRH": 0.75, "HE": 0.4, "CWS": 0.25, "VB": 0.1},
    3: {"MA": 0.95, "IRH": 1, "HE": 0.4, "CWS": 0.35, "VB": 0.45, "IRMA": 0.4},
    4: {"MA": 0.95, "IRH": 1, "HE": 0.35, "CWS": 0.3, "VB": 0.3, "IRMA": 0.25, "NVD": 0.4, "NVE": 0.5, "VH": 0.3},
    "quiet": {"MA": 0.5, "IRH": 0.45, "HE": 0.25, "CWS": 0.1},
}


def draw_places(rng, grade):
    """Findings with quadrants that fit the grade, by drawing until they do: (places, heavy). "quiet": any but new vessels."""
    shares = SHARES.get(grade, {})
    while True:
        places = {}
        for finding in FINDINGS:
            if chance(rng, shares.get(finding, 0)):
                few = finding in ("HE", "CWS", "NVE")  # these are seldom everywhere
                size = pick(rng, (1, 2, 3, 4), (5, 3, 1, 0) if few else (3, 3, 2, 2)) if finding in COUNTED else 1
                if finding == "IRH" and chance(rng, 0.3 if grade in (3, 4) else 0.05):
                    size = 4
                places[finding] = in_order(shuffled(rng, QUADRANTS)[:size])
        heavy = "IRH" in places and grade != "quiet" and chance(rng, 0.6 if grade in (3, 4) else 0.2)
        if believable(places) and (grade == "quiet" or grade_of_lesions(places, heavy) == grade):
            return places, heavy


def in_order(quadrants):
    """Quadrants as a tuple, in the order of QUADRANTS."""
    return tuple(q for q in QUADRANTS if q in quadrants)


def believable(places):
    """Whether the findings occur together: beading and shunts with haemorrhages, more with more; exudates with a background."""
    size = {finding: len(quadrants) for finding, quadrants in places.items()}
    bleeds, veins = size.get("IRH", 0), max(size.get("VB", 0), size.get("IRMA", 0))
    if veins > 0 and bleeds < (3 if veins > 1 else 1) or size.get("CWS", 0) > 1 and not bleeds:
        return False
    return bool(bleeds or size.get("MA")) or not {"HE", "CWS"} & set(places)


def draw_eye(rng, side, grade):
    """An eye of the grade: its findings, oedema and treatment, and findings that do not count, uncertain ones and past ones."""
    quiet = grade == 4 and chance(rng, QUIET)
    eye = Eye(side, *draw_places(rng, "quiet" if quiet else grade))
    if chance(rng, OEDEMA[grade]):
        eye.dme = "central" if chance(rng, CENTRE) else "not central"
    treat(rng, eye, grade, quiet)
    doubt(rng, eye, grade)
    mild = [
        f for f in (("MA", "IRH") if grade == 0 else ("IRH", "HE", "CWS")) if f not in (*eye.places, *eye.uncertain)
    ]
    if mild and chance(rng, 0.12):
        eye.past.append(pick(rng, mild))
    return eye


def treat(rng, eye, grade, quiet):
    """Give the eye its treatment or its plan, and the disease that treatment has made quiet."""
    share = TREATED["active" if grade == 4 else "without" if eye.dme == "none" else "with oedema"]
    if quiet or (grade and chance(rng, share)):
        weights = (6, 1, 3) if quiet else (4, 3, 2) if grade == 4 else (1, 3, 1)
        kind = pick(rng, ("laser", "injections", "both"), weights)
        eye.laser = "" if kind == "injections" else "LASER" if grade == 4 else "GRID"
        eye.injected = 0 if kind == "laser" else number(rng, 2, 8)
    if quiet and (eye.laser != "LASER" or chance(rng, 0.6)):
        eye.past.append(pick(rng, PROLIFERATIVE))
    if eye.dme == "none" and (eye.laser == "GRID" or eye.injected and not quiet):
        eye.past.append("DME")  # what the laser or the injections were for
    plan(rng, eye)


def plan(rng, eye, surely=False):
    """Plan what an untreated eye needs: perhaps, or surely where it was needed at the last visit already."""
    needed = {"LASER": any(f in PROLIFERATIVE for f in eye.places), "INJ": eye.dme == "central"}
    for code, needs in needed.items():
        if needs and eye.treated == "none" and not eye.planned and chance(rng, 1 if surely else PLANNED[code]):
            eye.planned = code


def doubt(rng, eye, grade):
    """Perhaps leave one finding uncertain."""
    known = {*eye.found, *eye.past}
    bleeds = "IRH" in eye.places
    free = [f for f in plausible(grade) if f not in known and (bleeds or f not in ("VB", "IRMA"))]
    if free and chance(rng, 0.12):
        eye.uncertain = [pick(rng, free)]


def later_eye(rng, before, grade):
    """The same eye at a later visit, at the same grade or a higher one: lesions and treatment stay, and what was planned is done."""
    eye = Eye(before.side, dict(before.places), before.heavy, dme=before.dme, laser=before.laser)
    eye.injected = before.injected + 2 * bool(before.injected)
    eye.past = [f for f in before.past if f in (*PROLIFERATIVE, "DME")]
    if before.planned == "LASER":
        eye.laser = "LASER"
        eye.past += [f for f in PROLIFERATIVE if eye.places.pop(f, None)]
    elif before.planned == "INJ":
        eye.injected, eye.dme = 3, "none"
        eye.past.append("DME")
    while not eye.quiet and grade_of_lesions(eye.places, eye.heavy) != grade:
        more, heavy = draw_places(rng, grade)
        both = {f: in_order((*before.places.get(f, ()), *more.get(f, ()))) for f in FINDINGS}
        eye.places, eye.heavy = {f: q for f, q in both.items() if q}, before.heavy or heavy
    plan(rng, eye, surely=any(f in PROLIFERATIVE for f in before.places) or before.dme == "central")
    doubt(rng, eye, grade)
    return eye


def plausible(grade):
    """What a reader may wonder about, or see and take back, in an eye of this grade."""
    return ("MA", "IRH", "HE", "CWS") if grade == 0 else (*FINDINGS[: 6 if grade == 1 else 8], "DME")


def neighbour(rng, grade):
    """A grade at most one away, by the rule of Metropolis et al. (J Chem Phys 1953;21:1087-92), which leaves GRADE_MIX as it is."""
    other = grade + pick(rng, (-1, 1))
    accepted = 0 <= other <= 4 and chance(rng, min(1.0, GRADE_MIX[other] / GRADE_MIX[grade]))
    return other if accepted else grade


def draw_pair(rng):
    """The two eyes of a patient, whose grades tend to agree: {"right": (Eye, grade), "left": (Eye, grade)}."""
    first = pick(rng, range(5), GRADE_MIX)
    second = pick(rng, range(5), GRADE_MIX) if chance(rng, APART) else neighbour(rng, neighbour(rng, first))
    return {side: (draw_eye(rng, side, grade), grade) for side, grade in (("right", first), ("left", second))}


def later_pair(rng, before):
    """The same patient's eyes at a later visit."""
    grades = {side: min(4, grade + chance(rng, GETS_WORSE)) for side, (_, grade) in before.items()}
    return {side: (later_eye(rng, eye, grades[side]), grades[side]) for side, (eye, _) in before.items()}


def fellow_of(pair, sides):
    """The Eye of a pair that is on none of the sides, or None."""
    return next((eye for side, (eye, _) in pair.items() if side not in sides), None)
