"""Draw a fundus, the back of an eye as a camera sees it, from what is true of that eye: numpy alone, and nothing of ours.

Three steps, each without looking at the next: `take` draws what the camera and its user do, from a key and no eye; `scene`
turns an eye's facts into discs of colour; `photograph` lights, blurs and frames the picture. `draw` does them all.

Lengths are degrees of the visual field. The eye's own frame has the disc at (0, 0), x towards the temple and y up; the
quadrants meet at the disc. A left eye is drawn, and a right eye is its mirror.

The same key gives the same bytes on any processor with IEEE arithmetic: random numbers are the raw words of PCG64, whose stream
numpy promises to keep, and what is computed from them is computed one element at a time by +, -, *, /, square root, comparison
and rounding, each of which is exact to the last bit. There is no sum over an array, no matrix product, no sine and no logarithm.
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

QUADRANTS = {"ST": (1, 1), "SN": (-1, 1), "IT": (1, -1), "IN": (-1, -1)}  # signs of x and y
COUNTED = (
    "MA",
    "IRH",
    "HE",
    "CWS",
    "IRMA",
    "NVE",
)  # marks that stand in quadrants; beading is a shape of the veins there
WHOLE = ("NVD", "VH")  # marks that belong to no quadrant
DISC, FOVEA, CENTRE = (
    (3.1, 3.5),
    (15.5, -1.5),
    (5.5, 0.0),
)  # the disc's radii; the place of the fovea; the middle of the field
FIELD = 30.0  # from the middle of the field to its edge
HIGH, NASAL, TEMPORAL, WITHIN = 20.5, 16.5, 24.0, 24.5  # marks stand no further from the disc, and from the middle
MOST = 30  # marks of one kind in a quadrant
SOME = {
    "MA": (3, 7),
    "IRH": (4, 11),
    "HE": (9, 18),
    "CWS": (1, 3),
}  # how many; of haemorrhages "more than 20": 21 to MOST
SIGNS, THREE = np.array(list(QUADRANTS.values()), float), np.arange(3.0)[:, None]
ARTERY, VEIN, BLOOD, LIPID, WOOL, SCAR, PIGMENT = range(7)  # layers of discs, each with one colour
CAMERA_OF = {"north": "one", "harbour": "one", "delta": "two"}  # the second camera is the third site's alone
UNGRADABLE = 0.05  # of pictures, whatever the eye: an assumption
FAULTS = ("blurred", "dark", "hazed", "lid")  # what makes a picture ungradable


@dataclass
class Facts:
    """What a picture shows of an eye: all that `draw` reads of cases.Eye."""

    side: str
    places: dict = field(default_factory=dict)
    heavy: bool = False
    dme: str = "none"
    laser: str = ""


def told(eye):
    """What is drawn of an eye as a text, such as "MA 13;IRH 1234;NVD;heavy;central;GRID", or "-" if that is nothing.

    The digits are quadrants, in the order of QUADRANTS; blood in front of the retina and new vessels of the disc have none.
    """
    digit = {quadrant: str(i) for i, quadrant in enumerate(QUADRANTS, 1)}
    parts = [
        finding if finding in WHOLE else f"{finding} {''.join(digit[quadrant] for quadrant in quadrants)}"
        for finding, quadrants in eye.places.items()
    ]
    parts += ["heavy"] * eye.heavy + [eye.dme] * (eye.dme != "none") + [eye.laser] * bool(eye.laser)
    return ";".join(parts) or "-"


def read(text, side):
    """The Facts that `told` made a text of, for an eye of that side.

    Raises:
        ValueError: a part is none of those that `told` writes.
    """
    facts, names = Facts(side), tuple(QUADRANTS)
    for part in [] if text == "-" else text.split(";"):
        finding, _, digits = part.partition(" ")
        if part == "heavy":
            facts.heavy = True
        elif part in ("central", "not central"):
            facts.dme = part
        elif part in ("LASER", "GRID"):
            facts.laser = part
        elif part in WHOLE or (digits and set(digits) <= set("1234")):
            facts.places[finding] = tuple(names[int(digit) - 1] for digit in digits)
        else:
            raise ValueError(f"{part!r} in the facts {text!r} is no finding with its quadrants, such as 'MA 13'")
    return facts


@dataclass(frozen=True)
class Camera:
    """What all pictures of a camera share. Colours are factors of red, green and blue."""

    colour: tuple
    zoom: float  # pixels a degree, against the other camera
    edge: float  # how much darker the rim of the field is
    cut: float  # the field's height against its width
    notch: bool  # a mark at the rim, as makers use to tell up from down
    blur: float  # the least blur


CAMERAS = {
    "one": Camera((1.0, 1.0, 1.0), 1.0, 0.34, 1.0, False, 0.0),
    "two": Camera((0.95, 0.84, 1.18), 0.95, 0.5, 0.84, True, 0.25),
}


@dataclass(frozen=True)
class Shot:
    """What is no matter of the eye's disease: how one picture was taken, and how dark the patient's fundus is."""

    camera: str = "one"
    shift: tuple = (0.0, 0.0)  # degrees
    turn: float = 0.0  # sine of the angle
    zoom: float = 1.0
    light: float = 1.0
    slope: tuple = (0.0, 0.0)  # how much lighter the right and the upper rim are
    colour: tuple = (1.0, 1.0, 1.0)
    blur: float = 0.0
    glare: tuple = (0.0, 0.0, 1.0, 0.0)  # x and y against half the picture, radius, strength
    grain: float = 0.0
    tile: tuple = (0, 0)  # where the grain and the texture are taken from
    pigment: float = 0.5  # 0 fair, 1 dark
    ungradable: str = ""  # one of FAULTS


def uniforms(key, n):
    """n numbers in [0, 1) that belong to a text, as float64."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    return (np.random.PCG64(seed).random_raw(n) >> np.uint64(11)) * 2.0**-53


def take(camera, picture, patient):
    """A Shot by the camera named, from the texts that name the picture and the patient. No eye is looked at.

    Raises:
        ValueError: there is no such camera.
    """
    if camera not in CAMERAS:
        raise ValueError(f"there is no camera {camera!r}: name one of {', '.join(CAMERAS)}")
    u = uniforms(f"shot {picture}", 24).tolist()
    pigment, red = uniforms(f"patient {patient}", 2).tolist()
    fault = FAULTS[int(u[1] * len(FAULTS))] if u[0] < UNGRADABLE else ""
    side = -1.0 if u[13] < 0.5 else 1.0
    strength = 0.25 + 0.3 * u[15] if u[12] < 0.3 else 0.0  # three in ten have glare, at the left or right rim
    return Shot(
        camera,
        (2.4 * u[2] - 1.2, 2.4 * u[3] - 1.2),
        0.16 * u[4] - 0.08,
        0.97 + 0.06 * u[5],
        0.34 + 0.12 * u[17] if fault == "dark" else 0.84 + 0.3 * u[6],
        (0.24 * u[7] - 0.12, 0.24 * u[8] - 0.12),
        (0.98 + 0.06 * red, 0.92 + 0.16 * u[9], 0.85 + 0.3 * u[10]),
        3.0 + u[17] if fault == "blurred" else 0.7 * u[11] * u[11],
        (0.7 * side, 1.2 * u[14] - 0.6, 1.5, 0.85)
        if fault == "hazed"
        else (0.85 * side, 1.2 * u[14] - 0.6, 0.5, strength),
        0.006 + 0.014 * u[16],
        (int(u[18] * 4096), int(u[19] * 4096)),
        pigment,
        fault,
    )


# The anatomy. Each main vessel is a cubic curve from the disc, given by its three further points, for an eye without jitter.
TEMPORAL_PATH, NASAL_PATH = ((0.6, 7.5), (10.0, 15.0), (25.0, 9.5)), ((-2.2, 4.5), (-8.0, 10.0), (-20.0, 15.0))
MAINS = np.array(
    [
        [((-0.7, 0.3 * sign), *((x * wide, y * sign * (1 + 0.06 * (sign < 0)) * high) for x, y in path))]
        for kind, (wide, high) in enumerate(((0.98, 0.9), (1.0, 1.06)))  # arteries run inside the veins
        for sign in (1, -1)
        for path in (TEMPORAL_PATH, NASAL_PATH)
    ]
).reshape(8, 4, 2)
KIND, WIDTHS = np.repeat((ARTERY, VEIN), 4), np.repeat((0.52, 0.76), 4)  # arteries are thinner
# Branches leave a main vessel at a third, a half and three quarters of it, and end so far from there (temporal, nasal).
LEAVES = (0.3, 0.5, 0.72)
ENDS = {True: ((7.0, -6.5), (6.0, 8.5), (4.0, -6.0)), False: ((-9.0, -3.5), (-1.0, 9.0), (-7.0, -2.5))}
BRANCHES = np.array(
    [[(x, y * sign) for x, y in ENDS[t]] for _ in (0, 1) for sign in (1, -1) for t in (True, False)]
)  # (8, 3, 2)
ANATOMY = 64 + 48 + 16  # how many random numbers the vessels take
# Points on a circle, rounded so that no library's sine decides.
CIRCLE = np.array([(1, 0), (0.866, 0.5), (0.5, 0.866), (0, 1), (-0.5, 0.866), (-0.866, 0.5)])
CIRCLE = np.concatenate([CIRCLE, -CIRCLE])
LOOP = np.stack([CIRCLE, (CIRCLE + np.roll(CIRCLE, -1, 0)) * 0.5177], 1).reshape(24, 2)  # and half-way between


def discs(layer, x, y, r, edge=0.0):
    """Discs as an array (5, n): layer, place, radius, width of the edge. x and y are arrays of one shape, the rest may be numbers."""
    out = np.empty((5, *x.shape))
    out[0], out[1], out[2], out[3], out[4] = layer, x, y, r, edge
    return out.reshape(5, -1)


def steps(n):
    """n numbers from 0 to 1, closer at the end, where the curves of the vessels run faster."""
    t = np.arange(n) / (n - 1.0)
    return t * (1.35 - 0.35 * t)


@lru_cache
def curve(n, degree):
    """The weights of a Bezier curve's points at n places, (n, degree + 1)."""
    t = steps(n)
    s = 1.0 - t
    weights = {2: (s * s, 2 * s * t, t * t), 3: (s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t)}[degree]
    return np.stack(weights, 1)


def along(points, n):
    """n points of each Bezier curve, (curves, n, 2), from its own points (curves, 3 or 4, 2)."""
    weights = curve(n, points.shape[1] - 1)
    out = points[:, None, 0] * weights[None, :, 0, None]
    for i in range(1, points.shape[1]):
        out += points[:, None, i] * weights[None, :, i, None]
    return out


def wave(t):
    """A triangle wave of period 1 between -1 and 1."""
    return 4.0 * np.abs(t - np.floor(t) - 0.5) - 1.0


def vessels(u, beaded, size):
    """The discs of arteries and veins. u: ANATOMY uniforms; beaded: the quadrants in which the veins are beaded."""
    n, m = size * 9 // 16, size // 5
    jitter = (u[:64].reshape(8, 4, 2) - 0.5) * (3.2, 2.6)
    jitter[:, 0] *= 0.35
    main = along(MAINS + jitter, n)
    bend = u[112:128].reshape(8, 2)
    t, s = steps(n), steps(m)
    main[..., 1] += 0.35 * t * wave(bend[:, :1] + (1.5 + 2 * bend[:, 1:]) * t)
    at = np.array([int(part * n) for part in LEAVES])
    start, ahead = main[:, at], (main[:, at + 1] - main[:, at - 1]) * (n / 12.0)
    ends = start + BRANCHES * (0.75 + 0.5 * u[64:112].reshape(8, 3, 2))
    side = along(np.stack([start, start + ahead, ends], 2).reshape(24, 3, 2), m)
    wide = WIDTHS[:, None] * (1.0 - 0.55 * t), np.repeat(WIDTHS, 3)[:, None] * (0.55 - 0.3 * s)
    if beaded:
        for r, places, beads in ((wide[0], main, 5.6 * t), (wide[1], side, 2.4 * s)):
            there = (np.repeat(KIND, len(r) // 8) == VEIN)[:, None] & inside(places[..., 0], places[..., 1], beaded)
            r[there] *= np.broadcast_to(1.35 + 0.8 * wave(beads), r.shape)[there]
    return [
        discs(KIND[:, None], main[..., 0], main[..., 1], wide[0]),
        discs(np.repeat(KIND, 3)[:, None], side[..., 0], side[..., 1], wide[1]),
    ]


def inside(x, y, quadrants, margin=2.2):
    """Which points stand in one of the quadrants, and at least `margin` from its borders."""
    there = np.zeros(x.shape, bool)
    for sx, sy in (QUADRANTS[quadrant] for quadrant in quadrants):
        there |= (x * sx > margin) & (y * sy > margin)
    return there


def spots(signs, a, b, margin, fovea):
    """Places in quadrants (x, y), from uniforms a and b: off the disc, and `fovea` degrees off the fovea.

    signs: those of x and of y, each of a shape that goes with a and b; margin: how far from the borders between quadrants.
    """
    sx, sy = signs
    x = sx * (margin + a * ((TEMPORAL + NASAL) / 2 - margin + (TEMPORAL - NASAL) / 2 * sx))
    high = np.minimum(HIGH, np.sqrt(WITHIN * WITHIN - (x - CENTRE[0]) * (x - CENTRE[0])))
    y = sy * (margin + b * (high - margin))
    x, y = pushed(x, y, (0.0, 0.0), 5.4)
    return pushed(x, y, FOVEA, fovea)


def pushed(x, y, place, keep):
    """Points that stood nearer to a place than `keep`, moved straight away from it until they don't."""
    dx, dy = x - place[0], y - place[1]
    far = np.sqrt(dx * dx + dy * dy) + 1e-6
    by = np.maximum(1.0, keep / far)
    return place[0] + dx * by, place[1] + dy * by


def in_quadrants(finding, quadrants, heavy, u):
    """The discs of a finding in its quadrants. u: uniforms (4, MOST + 1, 4), those of each quadrant always the same."""
    rows = [i for i, quadrant in enumerate(QUADRANTS) if quadrant in quadrants]
    u, signs = u[rows], SIGNS[rows]
    if finding in ("MA", "IRH", "CWS"):
        low, high = (21, MOST) if heavy and finding == "IRH" else SOME[finding]
        count = low + np.floor(u[:, MOST, 0] * (high - low + 1)).astype(int)
        shown = np.flatnonzero(np.arange(MOST) < count[:, None])
        each = u[:, :MOST].reshape(-1, 4)[shown].T
        return {"MA": dots, "IRH": bleeds, "CWS": wool}[finding](signs[shown // MOST].T, *each)
    if finding == "HE":
        return lipids(signs, u)
    return shunts(signs, u) if finding == "IRMA" else tufts(signs, u)


def dots(signs, a, b, c, d):
    """Microaneurysms: the smallest red dots, round and single."""
    x, y = spots(signs, a, b, 1.6, 1.6)
    return discs(BLOOD, x, y, 0.36 + 0.16 * c)


def bleeds(signs, a, b, c, d):
    """Haemorrhages: dots and blots, and flames that follow the nerve fibres away from the disc; three discs each."""
    x, y = spots(signs, a, b, 3.4, 3.4)
    flame = d < 0.3
    r = np.where(flame, 0.5 + 0.25 * c, 0.7 + 0.65 * c * c)
    far = np.sqrt(x * x + y * y)
    dx = np.where(flame, 1.3 * x / far, 1.3 * (b * 7 - np.floor(b * 7) - 0.5)) * r
    dy = np.where(flame, 1.3 * y / far, 1.3 * (a * 7 - np.floor(a * 7) - 0.5)) * r
    k = THREE
    return discs(BLOOD, x + k * dx, y + k * dy, r * (1 - 0.14 * k))


def wool(signs, a, b, c, d):
    """Cotton wool spots: white, of three soft lobes."""
    x, y = spots(signs, 0.1 + 0.6 * a, 0.25 + 0.5 * b, 3.4, 7.0)
    r, k = 1.1 + 0.5 * c, THREE - 1
    return discs(WOOL, x + 0.8 * k * r, y + 0.45 * k * r * np.where(d < 0.5, -1.0, 1.0), r * (1 - 0.28 * k * k), 1.7)


def lipids(signs, u):
    """Hard exudates: small crisp yellow dots in a broken ring, as lipid leaves a leaking spot."""
    low, high = SOME["HE"]
    count = low + np.floor(u[:, MOST:, 0] * (high - low + 1))
    x, y = spots(signs[:, :, None].transpose(1, 0, 2), 0.2 + 0.55 * u[:, :1, 0], 0.15 + 0.45 * u[:, :1, 1], 5.2, 8.2)
    ring = (1.7 + 1.3 * u[:, :1, 2]) * (0.75 + 0.5 * u[:, :MOST, 2])
    turn = np.floor(u[:, :1, 3] * 24) + np.floor(u[:, :MOST, 3] * 18)
    at = LOOP[turn.astype(int) % 24] * ring[..., None] + 0.6 * (u[:, :MOST, :2] - 0.5)
    shown = np.arange(MOST) < count
    return discs(LIPID, (x + at[..., 0])[shown], (y + at[..., 1])[shown], (0.38 + 0.3 * u[:, :MOST, 1])[shown])


def shunts(signs, u):
    """IRMA: a few fine, kinked vessels inside the retina, beside one another."""
    x, y = spots(
        signs[:, :, None, None].transpose(1, 0, 2, 3), 0.3 + 0.4 * u[:, :1, :1], 0.3 + 0.35 * u[:, :1, 1:2], 5.4, 8.0
    )
    t = np.arange(12) / 11.0 - 0.5
    v = u[:, 1:5, :, None] - 0.5  # four vessels (quadrants, 4, 4, 1)
    dx, dy = v[:, :, 0], v[:, :, 1]
    far = np.sqrt(dx * dx + dy * dy) + 0.05
    dx, dy, kink = dx / far, dy / far, 0.75 * wave(v[:, :, 2] + 2.2 * t)
    return discs(
        VEIN, x + 2.6 * v[:, :, 2] + 4.4 * t * dx - kink * dy, y + 2.6 * v[:, :, 3] + 4.4 * t * dy + kink * dx, 0.27
    )


def tufts(signs, u):
    """New vessels elsewhere: one lace of loops in each quadrant."""
    x, y = spots(signs[:, :, None].transpose(1, 0, 2), 0.25 + 0.4 * u[:, :1, 0], 0.4 + 0.3 * u[:, :1, 1], 5.0, 8.0)
    return loops(x, y, u[:, 1:8], 2.2)


def loops(x, y, u, spread):
    """New vessels: a lace of small loops about the places (n, 1), as many as u (n, loops, 4) has."""
    cx, cy = x + spread * 1.5 * (u[..., 0] - 0.5), y + spread * 1.5 * (u[..., 1] - 0.5)
    r = spread * (0.3 + 0.3 * u[..., 2])[..., None]
    return discs(VEIN, cx[..., None] + r * LOOP[:, 0], cy[..., None] + r * LOOP[:, 1], 0.25)


def new_disc(u):
    """New vessels of the disc: loops on it and across its rim. u: uniforms (12, 4)."""
    at = np.zeros((1, 1))
    return loops(at, at, u[None], 4.2)


@lru_cache
def lattice(step, near, far, centre):
    """Places of a hexagonal lattice between two distances of a centre, (n, 2)."""
    i, j = (v.ravel() for v in np.mgrid[-30:31, -30:31])
    x, y = step * (i + 0.5 * (j % 2)), step * 0.866 * j
    d = x * x + y * y
    keep = (d >= near * near) & (d <= far * far)
    return np.stack([x[keep] + centre[0], y[keep] + centre[1]], 1)


@lru_cache
def scatter():
    """Places of panretinal laser: outside the arcades, off the disc, inside the field."""
    at = lattice(3.9, 0.0, 27.0, CENTRE)
    x, y = (at[:, 0] - 9.0) / 18.0, at[:, 1] / 13.5
    return at[(x * x + y * y > 1.0) & (at[:, 0] * at[:, 0] + at[:, 1] * at[:, 1] > 49.0)]


def burns(laser, u):
    """Scars of laser: panretinal ("LASER") or a grid at the macula ("GRID"). u: uniforms (128, 4)."""
    wide = laser == "LASER"
    at = scatter() if wide else lattice(1.95, 2.2, 5.6, FOVEA)
    u = u[: len(at)]
    shown = u[:, 0] < 0.85
    jitter = (u[:, 1:3] - 0.5) * (1.6 if wide else 0.7)
    (x, y), size = (at + jitter)[shown].T, u[shown, 3]
    r = (0.95 + 0.4 * size) if wide else (0.5 + 0.15 * size)
    dark = (u[shown, 0] < 0.55) & wide
    core = discs(PIGMENT, x[dark] + 0.15, y[dark], 0.5 * r[dark], 0.4)
    return np.concatenate([discs(SCAR, x, y, r, 0.5), core], 1)


MARKS = len(COUNTED) * 4 * (MOST + 1) * 4  # random numbers for what stands in quadrants
LOOSE = 128 * 4 + 12 * 4 + 16  # for laser, new vessels of the disc, oedema and blood in front of the retina


def scene(eye, key, size):
    """All discs of an eye (6, n), and 16 uniforms for its oedema and the blood in front of it.

    eye: has `places` {finding: quadrants}, `heavy`, `dme`, `laser`; key: the text that names the eye. A mark's place does not
    depend on what else is there, and is the same at each visit.
    """
    u = uniforms(f"eye {key}", ANATOMY + MARKS + LOOSE)
    marks = u[ANATOMY : ANATOMY + MARKS].reshape(len(COUNTED), 4, MOST + 1, 4)
    loose = u[ANATOMY + MARKS :]
    parts = vessels(u[:ANATOMY], eye.places.get("VB", ()), size)
    for finding, some in zip(COUNTED, marks, strict=True):
        if finding in eye.places:
            parts.append(in_quadrants(finding, eye.places[finding], eye.heavy, some))
    if eye.laser:
        parts.append(burns(eye.laser, loose[:512].reshape(128, 4)))
    if "NVD" in eye.places:
        parts.append(new_disc(loose[512:560].reshape(12, 4)))
    return np.concatenate(parts, 1), loose[560:]


class Canvas:
    """The picture in work, as planes of red, green and blue (3, size, size), and where the eye's places fall on it."""

    def __init__(self, size, shot):
        self.size, self.shot, self.zoom = size, shot, CAMERAS[shot.camera].zoom * shot.zoom * (size / 2 / (FIELD + 1.0))
        self.cos = math.sqrt(1.0 - shot.turn * shot.turn)
        self.grid = np.arange(size, dtype=np.float32)

    def at(self, x, y):
        """The column and the row of a place of the eye."""
        x, y = x - CENTRE[0], y - CENTRE[1]
        column = self.cos * x - self.shot.turn * y + self.shot.shift[0]
        row = self.shot.turn * x + self.cos * y + self.shot.shift[1]
        return (self.size - 1) / 2 + self.zoom * column, (self.size - 1) / 2 - self.zoom * row

    def near(self, image, place, wide, high):
        """The part of the image within so many degrees of a place, as a view, and each pixel's squared distance against them."""
        x, y = self.at(*place)
        dx, dy = (self.grid - x) / (self.zoom * wide), (self.grid - y) / (self.zoom * high)
        columns, rows = (slice(*np.searchsorted(d, (-1.0, 1.0))) for d in (dx, dy))
        dx, dy = dx[columns], dy[rows]
        return image[:, rows, columns], np.add.outer(dy * dy, dx * dx)

    def stamped(self, points):
        """How much of each pixel the discs of a layer cover, from 0 to 1, (size, size): {layer: cover}, without empty layers."""
        size, pad = self.size, self.size // 8 + 8
        width = size + 2 * pad
        x, y = self.at(points[1], points[2])
        edge = np.maximum(1.0, points[4] * self.zoom)
        radius = points[3] * self.zoom + 0.5 * edge  # where the disc's edge ends
        left, top = np.rint(x), np.rint(y)
        seen = (left > -pad / 2) & (left < size + pad / 2) & (top > -pad / 2) & (top < size + pad / 2)
        half = np.ceil(radius + 0.5) * seen
        corner = ((points[0] * width + top + pad) * width + left + pad).astype(np.intp)
        x, y, steep, radius = ((v).astype(np.float32) for v in (left - x, top - y, 1 / edge, radius / edge))
        kinds = set(points[0].astype(int).tolist())
        layers = np.zeros((max(kinds) + 1) * width * width, np.float32)
        for low, high in pairwise((0, 2, 3, 4, 6, 9, 14, 20)):
            some = np.flatnonzero((half > low) & (half <= high))
            if len(some):
                offsets, index = patch(high, width)
                dx, dy = (v[some, None] + offsets for v in (x, y))
                far = np.sqrt((dx * dx)[:, None, :] + (dy * dy)[:, :, None]).reshape(len(some), -1)
                far *= -steep[some, None]
                far += radius[some, None]
                np.minimum(far, 1, out=far)  # below 0 it never wins
                np.maximum.at(layers, (corner[some, None] + index).ravel(), far.ravel())
        layers = layers.reshape(-1, width, width)[:, pad:-pad, pad:-pad]
        return {layer: np.ascontiguousarray(layers[layer]) for layer in kinds}


@lru_cache
def patch(half, width):
    """The steps of a square of pixels about its middle, and how far each lies from it in rows of `width`."""
    steps = np.arange(-half, half + 1)
    return steps.astype(np.float32), (steps[:, None] * width + steps[None, :]).ravel()


@lru_cache
def noise(size, smooth):
    """A tile of noise (2 size, 2 size) between -1 and 1, smoothed over `smooth` pixels; whole numbers until the end."""
    n = 2 * size
    tile = (uniforms(f"noise {smooth}", n * n) * 65536).astype(np.int64).reshape(n, n)
    for _ in range(2 if smooth else 0):
        for axis in (0, 1):
            tile = sum(np.roll(tile, k, axis) for k in range(-smooth, smooth + 1)) // (2 * smooth + 1)
    low, high = int(tile.min()), int(tile.max())
    return ((2 * (tile - low) - (high - low)) / (high - low)).astype(np.float32)


def piece(size, smooth, tile):
    """A size by size piece of a tile of noise."""
    row, column = (place % size for place in tile)
    return noise(size, smooth)[row : row + size, column : column + size]


def colour(*values):
    """A colour as (3, 1, 1)."""
    return np.array(values, np.float32).reshape(3, 1, 1)


PALE, CUP, YELLOW, WHITE = (
    colour(0.97, 0.74, 0.46),
    colour(1.0, 0.9, 0.7),
    colour(1.0, 0.88, 0.34),
    colour(0.97, 0.93, 0.8),
)
SCARRED, SWOLLEN, POOL, VEIL = (
    colour(0.9, 0.77, 0.52),
    colour(0.86, 0.62, 0.38),
    colour(0.4, 0.05, 0.04),
    colour(0.36, 0.07, 0.04),
)
RED, DARK_RED, CLOT, SOOT = (
    colour(0.86, 0.5, 0.42),
    colour(0.62, 0.24, 0.24),
    colour(0.52, 0.12, 0.12),
    colour(0.22, 0.13, 0.1),
)
MACULA, PIT = colour(0.72, 0.62, 0.6), colour(0.75, 0.7, 0.7)


def over(image, cover, paint):
    """Lay a colour over the picture, in place."""
    change = paint - image
    change *= cover
    image += change


def through(image, cover, tint):
    """Let the picture show through something that lets `tint` of each colour pass, in place."""
    passed = cover * (tint - 1)
    passed += 1
    image *= passed


def hill(d2):
    """1 at the middle, and 0 with no step where the squared distance reaches 1."""
    fall = np.maximum(0, 1 - d2)
    return fall * fall


def clipped(values, high=1):
    """The values, no lower than 0 and no higher than `high`."""
    return np.minimum(np.maximum(values, 0), high)


def paint(eye, key, shot, size):
    """The retina with all that is on it, (3, size, size), before the camera: values from 0 to 1."""
    canvas = Canvas(size, shot)
    points, loose = scene(eye, key, size)
    layers = canvas.stamped(points)
    dark = shot.pigment
    texture = 1 + np.float32(0.1) * piece(size, max(1, size // 24), shot.tile)
    image = colour(0.84 - 0.22 * dark, 0.44 - 0.17 * dark, 0.2 - 0.09 * dark) * texture
    for radius, tint in ((8.0, MACULA), (2.5, PIT)):
        part, d2 = canvas.near(image, FOVEA, radius, radius)
        through(part, hill(d2), tint)
    if eye.dme != "none":
        swell(canvas, image, eye.dme == "central", loose)
    for layer, lay, tint in ((SCAR, over, SCARRED), (PIGMENT, through, SOOT), (LIPID, over, YELLOW)):
        if layer in layers:
            lay(image, layers[layer], tint)
    nerve_head(canvas, image)
    for layer, lay, tint in (
        (ARTERY, through, RED),
        (VEIN, through, DARK_RED),
        (WOOL, over, WHITE),
        (BLOOD, through, CLOT),
    ):
        if layer in layers:
            lay(image, layers[layer], tint)
    if "VH" in eye.places:
        bleed_in_front(canvas, image, loose[8:])
    return image


def nerve_head(canvas, image):
    """The optic disc, pale, with a paler cup, in place."""
    part, d2 = canvas.near(image, (0.0, 0.0), 1.2 * DISC[0], 1.2 * DISC[1])
    soft = np.float32(canvas.zoom * 3.3)
    over(part, clipped((1 - 1.2 * np.sqrt(d2)) * (soft * 0.7) + 0.5), PALE)
    part, d2 = canvas.near(image, (0.5, 0.0), 2.8, 3.2)
    over(part, clipped((1 - 2 * np.sqrt(d2)) * (soft * 0.4) + 0.5, 0.8), CUP)


def swell(canvas, image, central, u):
    """Oedema: a raised, paler patch lit from above, at the fovea ("central") or beside it, in place."""
    x, y = (0.0, 0.0) if central else 5.6 * CIRCLE[int(u[0] * 12)]
    r = 6.2 + 0.8 * u[1] if central else 3.9 + 0.5 * u[1]
    part, d2 = canvas.near(image, (FOVEA[0] + x, FOVEA[1] + y), r, r)
    top = hill(d2)
    over(part, np.minimum(0.62, 1.1 * top), SWOLLEN)
    lit = np.linspace(0.16, -0.16, len(top), dtype=np.float32)[:, None]
    part *= 1 + np.minimum(0.5, top) * lit


def bleed_in_front(canvas, image, u):
    """Blood in front of the retina: a boat with a level top, a cloud in the vitreous, or both, in place."""
    if u[0] > 0.35:
        place = CENTRE[0] + 14.0 * (u[5] - 0.5), -8.0 + 12.0 * (u[6] - 0.5)
        wisps = piece(canvas.size, max(2, canvas.size // 16), (int(u[7] * 64), int(u[1] * 64)))
        part, d2 = canvas.near(image, place, 21.0, 14.0)
        cloud = hill(d2) * (1.1 + np.float32(1.1) * wisps[: d2.shape[0], : d2.shape[1]])
        over(part, clipped(cloud, 0.85), VEIL)
        over(image, np.float32(0.08), VEIL)
    if u[0] < 0.65:
        place = 6.0 + 10.0 * (u[1] - 0.5), -6.5 - 3.0 * u[2]
        wide, high = 6.5 + 2.5 * u[3], 5.5 + 2.5 * u[4]
        part, d2 = canvas.near(image, place, 1.2 * wide, 1.2 * high)
        bowl = clipped((1 - 1.2 * np.sqrt(d2)) * np.float32(canvas.zoom * high) + 0.5)
        level = (np.arange(len(d2)) - 0.5 * len(d2) + 1).reshape(-1, 1).astype(np.float32)
        over(part, bowl * clipped(level, 0.95), POOL)


def blurred(image, amount, step):
    """A picture (3, size, size) out of focus by an amount from 0: filters (1, 2, 1), `step` pixels apart, the last in part."""
    while amount > 0:
        share, soft = np.float32(0.25 * min(1.0, amount)), image
        for axis in (1, 2):
            soft = np.moveaxis(soft, axis, 1)
            wide = np.concatenate([soft[:, :1]] * step + [soft] + [soft[:, -1:]] * step, 1)
            beside = wide[:, : -2 * step] + wide[:, 2 * step :]
            beside *= share
            soft = np.moveaxis(beside + (1 - 2 * share) * soft, 1, axis)
        image = soft
        amount -= 1
    return image


@lru_cache
def frame(size, camera):
    """What the camera's field lets through (size, size): 1 inside, 0 outside, darker towards the rim."""
    made = CAMERAS[camera]
    v = (np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)) / np.float32(size / 2)
    d = np.sqrt((v * v)[None, :] + (v * v)[:, None])
    edge = np.float32(size / 2)
    inside = np.clip((np.float32(0.985) - d) * edge, 0, 1)
    inside = inside * np.clip((np.float32(made.cut) - np.abs(v)[:, None]) * edge + np.float32(0.5), 0, 1)
    if made.notch:
        dx, dy = v - np.float32(0.69), v + np.float32(0.69)
        spot = np.sqrt((dx * dx)[None, :] + (dy * dy)[:, None])
        inside = np.maximum(inside, np.clip((np.float32(0.09) - spot) * edge, 0, 1))
    return inside * (1 - np.float32(made.edge) * d * d)


def photograph(image, shot):
    """The picture that a camera takes of a painted retina (3, size, size): uint8 (size, size, 3)."""
    size, camera, seen = image.shape[1], CAMERAS[shot.camera], frame(image.shape[1], shot.camera)
    image = blurred(image, camera.blur + shot.blur, max(1, size // 64))
    v = (np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)) / np.float32(size / 2)
    light = seen * np.add.outer(np.float32(shot.light) - np.float32(shot.slope[1]) * v, np.float32(shot.slope[0]) * v)
    if shot.ungradable == "lid":
        light *= np.maximum(0.06, clipped(np.add.outer(v + np.float32(0.05), np.float32(-0.3) * v * v) * 6))
    if shot.grain:
        light *= 1 + np.float32(3 * shot.grain) * piece(size, 0, shot.tile)
    gains = [255 * a * b for a, b in zip(camera.colour, shot.colour, strict=True)]
    image = image * light
    image *= colour(*gains)
    if shot.glare[3]:
        x, y, r, strength = shot.glare
        dx, dy = (v - np.float32(x)) / np.float32(r), (v + np.float32(y)) / np.float32(r)
        spot = hill(np.add.outer(dy * dy, dx * dx)) * (np.float32(strength) * clipped(4 * seen))
        over(image, spot, colour(242, 242, 230))
    image += 0.5
    return np.ascontiguousarray(clipped(image, 255).astype(np.uint8).transpose(1, 2, 0))


def draw(eye, key, shot=None, size=64):
    """A picture of an eye.

    Args:
        eye: has `side` ("right" or "left"), `places` {finding: quadrants}, `heavy`, `dme`, `laser`, as cases.Eye.
        key: the text that names the eye: the same eye at a later visit has the same one.
        shot: a Shot, as `take` gives; the plain one of camera one if there is none.
        size: pixels a side, a multiple of 32 from 32 to 256.
    Returns: uint8 (size, size, 3), red, green and blue.
    Raises:
        ValueError: a side, a finding, a quadrant or a size that there is not.
    """
    check(eye, size)
    shot = shot or Shot()
    image = paint(eye, key, shot, size)
    return photograph(image[:, :, ::-1] if eye.side == "right" else image, shot)


def shot_of(row):
    """The Shot of a row of dr_reports.csv: by its site's camera, its own at each visit."""
    return take(CAMERA_OF[row["site"]], f"{row['report_id']} {row['eye']}", row["patient_id"])


def picture(row, size=64):
    """The picture of a row of dr_reports.csv with its facts, a text as `told` gives it or an eye, uint8 (size, size, 3)."""
    eye = read(row["facts"], row["eye"]) if isinstance(row["facts"], str) else row["facts"]
    return draw(eye, f"{row['patient_id']} {row['eye']}", shot_of(row), size)


def check(eye, size):
    """Raise ValueError if an eye or a size can't be drawn, saying why."""
    if eye.side not in ("right", "left"):
        raise ValueError(f"an eye is right or left, not {eye.side!r}")
    known = (*COUNTED, "VB", *WHOLE)
    for finding, quadrants in eye.places.items():
        if finding not in known:
            raise ValueError(f"no drawing is known for {finding!r}: findings are {', '.join(known)}")
        strange = [quadrant for quadrant in quadrants if quadrant not in QUADRANTS]
        if strange:
            raise ValueError(f"{finding} stands in {strange[0]!r}: quadrants are {', '.join(QUADRANTS)}")
    if eye.dme not in ("none", "not central", "central"):
        raise ValueError(f"oedema is none, not central or central, not {eye.dme!r}")
    if eye.laser not in ("", "LASER", "GRID"):
        raise ValueError(f"scars of laser are LASER, GRID or none, not {eye.laser!r}")
    if size not in range(32, 257, 32):
        raise ValueError(f"a picture is 32 to 256 pixels wide, in steps of 32, not {size}")
