"""Draw the course's ideas, from base and head to federated rounds: one function a drawing, all of them in `ALL`.

Each function takes the numbers that its drawing shows and returns the drawing with the words that describe it:
`figures.show(*drawings.lora(192, 8))`. No colour says anything alone: what is frozen has a dashed edge, what trains a
thick one, and what is wasted is hatched. Each drawing has a white ground of its own, for a dark page. What can't be drawn
raises ValueError.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from numbers import Integral
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from course_utils.figures import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SHARP, drawable
from course_utils.metrics import GRADE_NAMES

WIDTH = 90  # of every drawing, in tenths of an inch, which all places and sizes here are in
SIZE = 11  # of the letters, in points
LETTER = 0.95  # how wide a letter is at most, nearly always


class Drawing(NamedTuple):
    """A drawing, and what it shows in words, for those who cannot see it."""

    figure: Figure
    text: str


def _tint(colour: str) -> tuple[float, ...]:
    """Return a light shade of a colour, on which black letters are read easily."""
    return tuple(0.7 + 0.3 * part for part in to_rgb(colour))


LETTERS: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SIZE, "color": BLACK}
PEN: dict[str, Any] = {"color": BLACK, "linewidth": 1.4}
HEAD: dict[str, Any] = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
# how a box looks: what trains has a thick edge and what is frozen a dashed one, in every drawing
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"facecolor": "white", "edgecolor": BLACK, "linewidth": 1},
    "marked": {"facecolor": _tint(BLUE), "edgecolor": BLUE, "linewidth": 1.2},
    "new": {"facecolor": _tint(ORANGE), "edgecolor": ORANGE, "linewidth": 1.2},
    "trains": {"facecolor": _tint(GREEN), "edgecolor": GREEN, "linewidth": 2.6},
    "frozen": {"facecolor": "#EEEEEE", "edgecolor": GREY, "linewidth": 1.2, "linestyle": "--"},
    "wasted": {"facecolor": "white", "edgecolor": RED, "linewidth": 1, "hatch": "////"},
}


# ---- what all drawings are made of


def _canvas(title: str, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the common width with its title, and axes whose y runs from 0 up to `height`."""
    figure = Figure(figsize=(WIDTH / 10, height / 10), dpi=SHARP, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    _note(axes, 2, height - 2.6, title, fontsize=SIZE + 2, fontweight="bold")
    return figure, axes


def _say(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Write text around a place."""
    axes.text(x, y, text, **(LETTERS | look))


def _note(axes: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Write text to the right of a place."""
    _say(axes, x, y, text, ha="left", **look)


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str = "", kind: str = "plain") -> None:
    """Draw a box of a kind whose lower left corner is (x, y), with text in its middle."""
    _shape(axes, [(x, y), (x + width, y), (x + width, y + height), (x, y + height)], kind)
    if text:
        _say(axes, x + width / 2, y + height / 2, text)


def _shape(axes: Axes, corners: Sequence[tuple[float, float]], kind: str) -> None:
    """Draw a closed shape of a kind."""
    axes.add_patch(Polygon(corners, closed=True, **KINDS[kind]))


def _line(axes: Axes, *places: tuple[float, float], **look: Any) -> None:
    """Draw a line through places."""
    axes.plot(*zip(*places, strict=True), **(PEN | look))


def _arrow(axes: Axes, *places: tuple[float, float]) -> None:
    """Draw a line through places, with an arrow's head at the last one."""
    _line(axes, *places[:-1])
    axes.annotate("", places[-1], places[-2], arrowprops=PEN | HEAD)


def _cells(axes: Axes, x: float, y: float, columns: int, rows: int, cell: tuple[float, float], kind: str) -> None:
    """Draw a grid of empty cells whose lower left corner is (x, y), with one edge around all of them."""
    right, top = x + columns * cell[0], y + rows * cell[1]
    _box(axes, x, y, right - x, top - y, kind=kind)
    thin = {"color": KINDS[kind]["edgecolor"], "linewidth": 0.5}
    for column in range(1, columns):
        _line(axes, (x + column * cell[0], y), (x + column * cell[0], top), **thin)
    for row in range(1, rows):
        _line(axes, (x, y + row * cell[1]), (right, y + row * cell[1]), **thin)


def _short(names: Sequence[str], width: float) -> list[str]:
    """Return names as the font can write them, cut to what fits a width."""
    most = int(width / LETTER)
    return [name if len(name) <= most else name[: most - 1] + "…" for name in drawable(list(names))]


def _whole(least: int, most: int, **numbers: int) -> None:
    """Raise ValueError unless each number is a whole one between two ends."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, Integral) or not least <= number <= most:
            raise ValueError(f"`{name}` is {number!r}; the drawing needs a whole number from {least:,} to {most:,}.")


def _some(least: int, most: int, what: str, things: Sequence | Mapping) -> None:
    """Raise ValueError unless there are so many things that a drawing holds them."""
    if not least <= len(things) <= most:
        raise ValueError(f"There are {len(things)} {what}; the drawing needs {least} to {most} of them.")


# ---- the drawings


COURSE = {  # the notebooks by their numbers, in the parts of the course
    "Methods: train every weight, then a few, then the input alone": {
        "00": "first model",
        "01": "set the bar",
        "02": "all weights",
        "03": "small parts",
        "04": "the input",
    },
    "Case study: one task, from raw reports to a verdict": {
        "07": "prepare",
        "08": "find leaks",
        "09": "two stages",
        "10": "judge",
    },
    "Practice and shipping: train for less, ship, keep versions": {
        "11": "train for less",
        "12": "ship",
        "13": "versions",
    },
}


def course(here: str = "00") -> Drawing:
    """Draw a map of the course: a row of notebooks for each part, with the one of the number `here` marked."""
    known = [number for notebooks in COURSE.values() for number in notebooks]
    if here not in known:
        raise ValueError(f"There is no notebook {here!r} on the map; there are {', '.join(known)}.")
    height = 8 + 13 * len(COURSE)
    figure, axes = _canvas("A map of the course", height)
    for row, (part, notebooks) in enumerate(COURSE.items()):
        top = height - 8 - 13 * row
        _note(axes, 2, top, part)
        for place, (number, words) in enumerate(notebooks.items()):
            left = 2 + 17.4 * place
            if place:
                _arrow(axes, (left - 3, top - 6), (left, top - 6))
            named, kind = (f"here: {number}", "marked") if number == here else (number, "plain")
            _box(axes, left, top - 9.5, 14.4, 7, f"{named}\n{words}", kind)
    rows = [
        f"{part} ({', '.join(f'{number} {words}' for number, words in notebooks.items())})"
        for part, notebooks in COURSE.items()
    ]
    return Drawing(
        figure,
        f"the notebooks in their order, a row for each part of the course. {'. '.join(rows)}. You are at notebook {here}.",
    )


def base_and_head(layers: int = 12, width: int = 96, labels: Sequence[str] = GRADE_NAMES) -> Drawing:
    """Draw a grader, the pre-trained base and the new head, from its layers, its vectors' width and two to six labels."""
    _whole(1, 1000, layers=layers)
    _whole(1, 100_000, width=width)
    _some(2, 6, "labels", labels)
    figure, axes = _canvas("A base reads, a head answers; fine-tuning trains both", 50)
    for place, token in enumerate(("[CLS]", "right", "[SEP]", "no", "IRMA", ".")):
        x = 3 + 10 * place
        _box(axes, x, 3, 8, 4, token)
        _arrow(axes, (x + 4, 7), (x + 4, 10.5))
        _arrow(axes, (x + 4, 17.5), (x + 4, 21))
        _cells(axes, x + 2.5, 21, 1, 4, (3, 2), "plain" if place else "marked")
    _box(axes, 3, 10.5, 58, 7, f"base: {layers:,} layers, pre-trained", "marked")
    _note(axes, 64, 5, "tokens")
    _note(axes, 64, 14, "has read much text,\nnever your labels")
    _note(axes, 64, 25, f"vectors: {width:,} numbers\nfor each token")
    _arrow(axes, (7, 29), (7, 32))
    new = f"{width:,} × {len(labels)} + {len(labels)} = {(width + 1) * len(labels):,} new numbers"
    _box(axes, 3, 32, 84, 5, f"head: {new}, random at first; reads the vector of [CLS] alone", "new")
    each = 85 / len(labels)
    for place, name in enumerate(_short(labels, each - 2)):
        left, middle = 3 + place * each, 2.5 + (place + 0.5) * each
        _arrow(axes, (middle, 37), (middle, 40))
        _box(axes, left, 40, each - 1, 4, name)
    return Drawing(
        figure,
        f"tokens go up through the base, {layers:,} pre-trained layers, which gives a vector of {width:,} numbers for each "
        f"token. The head, {new}, random at first, reads the vector of [CLS] alone and gives a score "
        f"to each of {len(labels)} labels: {', '.join(labels)}. Fine-tuning trains both.",
    )


def lora(d: int = 768, r: int = 8) -> Drawing:
    """Draw LoRA on a layer of width d: the frozen matrix W, and the detour of rank r that trains beside it."""
    _whole(1, 20_000, d=d)
    _whole(1, d, r=r)
    full, thin = d * d, 2 * d * r
    figure, axes = _canvas("LoRA: a thin detour beside a frozen matrix", 47)
    _box(axes, 3, 20, 9, 6, "input\nx")
    _arrow(axes, (12, 24), (17, 24), (17, 34), (28, 34))
    _box(axes, 28, 27, 30, 14, f"W, frozen\n{d:,} × {d:,}\n= {full:,} weights", "frozen")
    _arrow(axes, (58, 34), (73.5, 34), (73.5, 25.5))
    _arrow(axes, (12, 22), (17, 22), (17, 12), (22, 12))
    _shape(axes, [(22, 4), (22, 20), (40, 15), (40, 9)], "trains")
    _say(axes, 30.5, 12, f"A squeezes\nto {r:,}")
    _arrow(axes, (40, 12), (46, 12))
    _shape(axes, [(46, 9), (46, 15), (64, 20), (64, 4)], "trains")
    _say(axes, 55.5, 12, f"B spreads\nto {d:,}")
    _arrow(axes, (64, 12), (73.5, 12), (73.5, 20.5))
    _box(axes, 71, 20.5, 5, 5, "+")
    _arrow(axes, (76, 23), (80, 23))
    _box(axes, 80, 20, 8, 6, "output")
    _say(axes, 43, 22.5, f"2 × {d:,} × {r:,} = {thin:,} weights train: {thin / full:.1%} of W")
    _note(axes, 75, 16, "× alpha / r")
    _note(axes, 75, 7, "B starts at 0:\nno detour yet")
    return Drawing(
        figure,
        f"an input goes two ways, and the results are added. One way is the frozen matrix W, {d:,} x {d:,} = {full:,} "
        f"weights. The other is the detour: A squeezes the input to {r:,} numbers, B spreads them to {d:,}, times alpha / r. "
        f"Only A and B train, 2 x {d:,} x {r:,} = {thin:,} weights, {thin / full:.1%} of W. B starts at 0, so at first the "
        "detour adds nothing.",
    )


def block(layers: int = 12) -> Drawing:
    """Draw one of the base's blocks, and where LoRA's detours stand in it: beside query and value."""
    _whole(1, 1000, layers=layers)
    figure, axes = _canvas("One block of the base, and the two detours in it", 46)
    _box(axes, 2, 17, 9, 6, "vectors\nin")
    _arrow(axes, (11, 20), (20, 20))
    _arrow(axes, (11, 20), (15, 20), (15, 35.5), (20, 35.5))
    _arrow(axes, (15, 29.5), (20, 29.5))
    _arrow(axes, (11, 20), (15, 20), (15, 10.5), (20, 10.5))
    _arrow(axes, (15, 10.5), (15, 4.5), (20, 4.5))
    for middle, name in ((35.5, "query"), (20, "key"), (10.5, "value")):
        _box(axes, 20, middle - 2.5, 12, 5, name, "frozen")
    for middle in (29.5, 4.5):
        _box(axes, 20, middle - 2, 12, 4, "A, then B", "trains")
    _arrow(axes, (32, 35.5), (36, 35.5), (36, 23), (39, 23))
    _line(axes, (32, 29.5), (36, 29.5))
    _arrow(axes, (32, 20), (39, 20))
    _arrow(axes, (32, 10.5), (36, 10.5), (36, 17), (39, 17))
    _line(axes, (32, 4.5), (36, 4.5), (36, 10.5))
    _box(axes, 39, 14, 14, 12, "attention:\neach token\nlooks at all")
    _arrow(axes, (53, 20), (57, 20))
    _box(axes, 57, 17, 8, 6, "output", "frozen")
    _arrow(axes, (65, 20), (68, 20))
    _box(axes, 68, 16, 10, 8, "feed-\nforward", "frozen")
    _arrow(axes, (78, 20), (82, 20))
    _box(axes, 82, 17, 7, 6, "next\nblock")
    _note(axes, 39, 33, f"thick: LoRA trains, {2 * layers:,} detours in {layers:,} blocks")
    _note(axes, 39, 8, "dashed: frozen, the base's own matrices")
    return Drawing(
        figure,
        "vectors go into three frozen matrices, query, key and value. Beside query and beside value stands a detour, A, then "
        "B, which trains; its result is added. Attention has each token look at all tokens. Then come two more frozen parts, "
        f"output and feed-forward, and the next block. There are {layers:,} blocks, so {2 * layers:,} detours.",
    )


WORDS = ("grade", "right", ":", "no", "IRMA")


def soft_prompt(rows: int = 10, width: int = 128, words: Sequence[str] = WORDS) -> Drawing:
    """Draw a soft prompt of so many rows of numbers, in front of a frozen model's rows for one to six words."""
    _whole(1, 1000, rows=rows)
    _whole(1, 20_000, width=width)
    _some(1, 6, "words", words)
    own = [f"p{row}" for row in range(1, rows + 1)] if rows <= 4 else ["p1", "p2", "…", f"p{rows}"]
    height = 13 + 4 * (len(own) + len(words))
    figure, axes = _canvas("A soft prompt: rows of numbers before the words", height)
    top, split, bottom = height - 7, height - 8 - 4 * len(own), 4
    for start, names, kind in ((top, own, "trains"), (split - 1.5, _short(words, 10), "frozen")):
        for place, name in enumerate(names):
            _say(axes, 12, start - 4 * place - 1.5, name, ha="right")
            if name != "…":
                _cells(axes, 14, start - 4 * place - 3, 8, 1, (2.4, 3), kind)
    _note(axes, 35, (top + split) / 2, f"the prompt alone trains:\n{rows:,} × {width:,} = {rows * width:,}")
    _note(axes, 35, (split + bottom) / 2, "a row for each\ntoken, frozen")
    middle = (top + bottom) / 2
    _line(axes, (60, top), (61, top), (61, bottom), (60, bottom))
    _arrow(axes, (61, middle), (65, middle))
    _box(axes, 65, middle - 4, 11, 8, "model,\nfrozen", "frozen")
    _arrow(axes, (76, middle), (79, middle))
    _box(axes, 79, middle - 2.5, 9, 5, "answer")
    return Drawing(
        figure,
        f"{rows:,} rows of {width:,} numbers stand before the rows that the model has for the words {' '.join(words)}. Only the "
        f"prompt's {rows * width:,} numbers train; the words' rows and the model are frozen. All rows go into the model "
        "together, and it gives the answer.",
    )


def read_out(width: int = 128) -> Drawing:
    """Draw an encoder-decoder that answers in a word, and two places where a probe can read what it knows."""
    _whole(1, 100_000, width=width)
    figure, axes = _canvas("Where an answer is read, and where a probe reads", 46)
    for place, token in enumerate(("grade", "right", ":", "no", "IRMA")):
        x = 3 + 10 * place
        _box(axes, x, 3, 8, 4, token)
        _arrow(axes, (x + 4, 7), (x + 4, 10.5))
        _arrow(axes, (x + 4, 16.5), (x + 4, 20))
        _cells(axes, x + 2.5, 20, 1, 4, (3, 2), "plain")
    _box(axes, 3, 10.5, 48, 6, "encoder, frozen", "frozen")
    _arrow(axes, (49, 24), (58, 24))
    _box(axes, 58, 20, 14, 8, "decoder,\nfrozen", "frozen")
    _box(axes, 61, 10.5, 8, 4, "start")
    _arrow(axes, (65, 14.5), (65, 20))
    _arrow(axes, (65, 28), (65, 32))
    _cells(axes, 63.5, 32, 1, 3, (3, 2), "marked")
    _arrow(axes, (66.5, 35), (74, 35))
    _box(axes, 74, 32, 15, 6, "scores of\nits words")
    _arrow(axes, (63.5, 35), (53, 35))
    _box(axes, 36, 32, 17, 6, "probe on the\nstate", "trains")
    _line(axes, (5, 28.5), (5, 29.5), (49, 29.5), (49, 28.5))
    _arrow(axes, (17, 29.5), (17, 32))
    _box(axes, 7, 32, 20, 6, "probe on the\nmean", "trains")
    _note(axes, 74, 24, f"{width:,} numbers\nat each place")
    return Drawing(
        figure,
        f"tokens go up through a frozen encoder, which gives {width:,} numbers for each. A frozen decoder looks at these and "
        "makes one state, from which the scores of its words are read: the answer. Two probes train: one on the mean of the "
        "encoder's vectors, one on the state that answers.",
    )


READ = ("Right", "eye", ":", "no", "IRMA", "</s>")


def next_token(tokens: Sequence[str] = READ) -> Drawing:
    """Draw what a causal model has to say after each of two to six tokens, one place of padding after them."""
    _some(2, 6, "tokens", tokens)
    figure, axes = _canvas("Each token is the answer to those before it", 30)
    names = _short(tokens, 9)
    answers = [*names[1:], "-100", "-100"]
    _note(axes, 2, 20, "it reads")
    _note(axes, 2, 7, "it should say")
    for place, (name, answer) in enumerate(zip([*names, "pad"], answers, strict=True)):
        x, counts = 16 + 10.4 * place, answer != "-100" or place < len(names) - 1
        _box(axes, x, 18, 9.4, 4, name, "frozen" if place == len(names) else "plain")
        _arrow(axes, (x + 4.7, 18), (x + 4.7, 9))
        _box(axes, x, 5, 9.4, 4, answer, "marked" if counts else "frozen")
    _note(axes, 16, 2, "dashed: not in the loss")
    return Drawing(
        figure,
        f"two rows. Above, what the model reads: {', '.join(names)} and a place of padding. Below each, what it should say "
        f"there, the next token: {', '.join(names[1:])}. After the last token and after padding stands -100: not in the loss. "
        f"{names[0]} is the answer to nothing.",
    )


LENGTHS = (9, 3, 14, 5, 4, 12, 3, 8, 13, 4, 6, 11)


def padding(lengths: Sequence[int] = LENGTHS, batch: int = 4) -> Drawing:
    """Draw two to sixteen texts of given lengths in batches, each padded to its longest: as they come, and sorted."""
    _some(2, 16, "lengths", lengths)
    for length in lengths:
        _whole(1, 100_000, length=length)
    _whole(1, len(lengths), batch=batch)
    count = len(_batches(lengths, batch))
    height = 15.5 + 2.6 * len(lengths) + 2 * count
    figure, axes = _canvas("Padding: a batch is as wide as its longest text", height)
    _say(axes, WIDTH - 2, height - 2.6, "hatched: padding", ha="right")
    found = []
    for x, name, ordered in ((3, "as they come", lengths), (48, "sorted by length", sorted(lengths))):
        batches = _batches(ordered, batch)
        cells = sum(len(texts) * max(texts) for texts in batches)
        wasted = cells - sum(lengths)
        found.append(f"{wasted:,} of {cells:,} cells wasted ({wasted / cells:.0%})")
        _note(axes, x, height - 7.5, name)
        _draw_batches(axes, x, height - 10.5, batches)
        _note(axes, x, 3.5, found[-1])
    return Drawing(
        figure,
        f"{len(lengths)} texts in {count} batches of up to {batch}, a row for each text and a cell for each token. Each batch is "
        f"filled up to its longest text. As they come ({', '.join(map(str, lengths))} tokens), {found[0]}; sorted by length, "
        f"{found[1]}.",
    )


def _batches(lengths: Sequence[int], batch: int) -> list[Sequence[int]]:
    """Return lengths in batches."""
    return [lengths[start : start + batch] for start in range(0, len(lengths), batch)]


def _draw_batches(axes: Axes, x: float, top: float, batches: Sequence[Sequence[int]]) -> None:
    """Draw each text of each batch as a row: its length, its tokens, its padding."""
    longest = max(map(max, batches))
    cell = 33 / longest
    for texts in batches:
        for length in texts:
            top -= 2.6
            _say(axes, x + 4, top + 1.1, f"{length:,}", ha="right", fontsize=SIZE - 2)
            for start, end, kind in ((0, length, "marked"), (length, max(texts), "wasted")):
                if end > start:
                    columns = end - start if longest <= 40 else 1  # thinner cells would be a smear
                    _cells(axes, x + 5 + start * cell, top, columns, 1, ((end - start) * cell / columns, 2.2), kind)
        top -= 2


SITES = ("north", "harbour", "delta")


def two_stages(
    layers: int = 12, tuned: int = 2, labels: int = 5000, new_labels: int = 500, sites: Sequence[str] = SITES
) -> Drawing:
    """Draw two stages: every weight on the first sites' labels, then LoRA on the last layers (`tuned`) on the last site's."""
    _whole(2, 24, layers=layers)
    _whole(1, layers - 1, tuned=tuned)
    _whole(1, 10**9, labels=labels, new_labels=new_labels)
    _some(2, 5, "sites", sites)
    *first_sites, new_site = drawable(list(sites))
    frozen = layers - tuned
    span = f"layer {layers}" if tuned == 1 else f"layers {frozen + 1}-{layers}"
    below = "layer 1" if frozen == 1 else f"layers 1-{frozen}"
    named, last = _short([" + ".join(first_sites), new_site], 24)
    figure, axes = _canvas("Two stages: all weights, then a few at the new site", 53)
    each = 28 / layers
    for x, stage, under, kind in (
        (3, "base", "has read much text", "frozen"),
        (24, "stage 1", f"{labels:,} labels of\n{named}", "trains"),
        (53, "stage 2", f"{new_labels:,} labels of\n{last}", "frozen"),
    ):
        for place in range(layers):
            _box(axes, x, 11 + place * each, 13, each - 0.6, kind=kind)
        _say(axes, x + 6.5, 46.5, stage, fontweight="bold")
        _say(axes, x + 6.5, 6, under)
    for place in range(frozen, layers):
        _box(axes, 67, 11 + place * each, 4, each - 0.6, kind="trains")
    _arrow(axes, (17, 25), (23, 25))
    _box(axes, 24, 40, 13, 4, "new head", "trains")
    _note(axes, 38, 25, "every\nlayer\ntrains")
    _arrow(axes, (46, 25), (52, 25))
    _box(axes, 53, 40, 13, 4, "head", "trains")
    _note(axes, 67, 42, "trains")
    _note(axes, 73, 11 + each * (frozen + tuned / 2), f"{span}:\nLoRA trains")
    _note(axes, 73, 11 + each * frozen / 2, f"{below}:\nno LoRA")
    _note(axes, 73, 6, "dashed: frozen")
    return Drawing(
        figure,
        f"three models of {layers} layers, each made from the one before. The base has read much text. In stage 1 every layer "
        f"and a new head train, on {labels:,} labels of {' and '.join(sites[:-1])}. In stage 2 the head and LoRA beside {span} "
        f"train, on {new_labels:,} labels of {sites[-1]}; all layers are frozen, {below} without a detour.",
    )


VALUES = (-1.0, -0.374, 0.118, 0.52, 1.55)


def int8(values: Sequence[float] = VALUES) -> Drawing:
    """Draw how two to seven real numbers, not all 0, become 8-bit ones: a line of 255 steps, what is kept, what comes back."""
    _some(2, 7, "values", values)
    if not all(map(isfinite, values)) or not any(values):
        raise ValueError(f"The values are {list(values)}; the drawing needs finite numbers, and one that is not 0.")
    values = sorted(values)
    scale, zero, kept = to_steps(values)
    back = [f"{(whole - zero) * scale:.4g}" for whole in kept]
    figure, axes = _canvas("int8: a real number becomes a whole one, 0 to 255", 45)
    left, right, line = 18, 82, 32.5
    step = (right - left) / 255
    for tick in range(0, 256, 5):
        _line(axes, (left + tick * step, line), (left + tick * step, line + 0.7), color=GREY, linewidth=0.7)
    _line(axes, (left, line), (right, line))
    _line(axes, (left + zero * step, line), (left + zero * step, line + 2.4), linewidth=2)
    _say(axes, left + zero * step, line + 4.2, f"0 is step {zero}")
    _say(axes, left - 2, line, "0", ha="right")
    _note(axes, right + 2, line, "255")
    each = (right - left) / len(values)
    for place, (value, whole) in enumerate(zip(values, kept, strict=True)):
        x, at = left + (place + 0.5) * each, left + (value / scale + zero) * step
        _line(axes, (at, line), marker="o", markersize=7, color=BLUE, markeredgecolor=BLACK)
        _line(axes, (at, line - 0.8), (x, 26), color=BLUE, linewidth=1)
        _say(axes, x, 24, f"{value:.4g}")
        _box(axes, x - each / 2 + 0.7, 16.5, each - 1.4, 5, str(whole), "marked")
        _say(axes, x, 13, back[place])
    once = f"scale {scale:.4g}: what a step is worth       zero {zero}: the step of 0"
    _box(axes, left + 0.7, 5, right - left - 1.4, 5, once, "marked")
    rows = {line: "steps", 24: "number", 19: "kept, a\nbyte each", 13: "comes back", 7.5: "kept once"}
    for y, name in rows.items():
        _note(axes, 2, y, name)
    pairs = ", ".join(f"{value:.4g} as {whole}" for value, whole in zip(values, kept, strict=True))
    return Drawing(
        figure,
        f"a line cut into 255 steps of {scale:.4g}, the scale; step {zero}, the zero, stands for 0. Each number is kept as its "
        f"nearest step, in a byte: {pairs}. Off by at most a step, they come back as {', '.join(back)}.",
    )


def to_steps(values: Sequence[float]) -> tuple[float, int, list[int]]:
    """Return the scale, the zero and the whole numbers: the values' range, widened to hold 0, becomes 0 to 255."""
    low, high = min(*values, 0), max(*values, 0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    return scale, zero, [min(max(round(value / scale) + zero, 0), 255) for value in values]


PASSED, REFUSED, NOT_SHOWN = "passed", "refused", "not shown"  # the words of `gate`
EXAMPLE = {"all": (-0.01, 0.03), "north": (-0.02, 0.04), "harbour": (-0.03, 0.03), "delta": (-0.09, 0.01)}  # made up


def gate(
    intervals: Mapping[str, tuple[float, float]] = EXAMPLE, margin: float = 0.02, site_margin: float = 0.05
) -> Drawing:
    """Draw the gate from {group: (low, high)} of candidate minus champion, all reports first, then one to five sites."""
    _some(2, 6, "groups", intervals)
    for name, ends in intervals.items():
        if len(ends) != 2 or not -1 <= ends[0] <= ends[1] <= 1:
            raise ValueError(f'The interval of "{name}" is {ends}; it needs a low and a high end, between -1 and 1.')
    if not (0 <= margin < 1 and 0 <= site_margin < 1):
        raise ValueError(f"The margins are {margin} and {site_margin}; each must be at least 0 and below 1.")
    margins = [margin] + [site_margin] * (len(intervals) - 1)
    words = [word(*ends, allowed) for ends, allowed in zip(intervals.values(), margins, strict=True)]
    answer = next((one for one in (REFUSED, NOT_SHOWN) if one in words), PASSED)
    height = 33 + 5 * len(intervals)
    figure, axes = _canvas("The gate: worse by no more than a margin, at any site", height)
    middle, top, bottom = 53, height - 10.5, 22.5
    inch = 16 / (max(abs(end) for end in (*sum(intervals.values(), ()), *margins)) or 1)
    _note(axes, 15, top + 1, "candidate − champion")
    _note(axes, middle - 17, top + 1, "← worse")
    _say(axes, middle + 17, top + 1, "better →", ha="right")
    _line(axes, (middle, top + 1), (middle, bottom), linewidth=1)
    rows = zip(_short(list(intervals), 11), intervals.values(), margins, words, strict=True)
    for place, (name, (low, high), allowed, said) in enumerate(rows):
        y, edge = top - 3 - 5 * place, middle - allowed * inch
        _note(axes, 3, y, name)
        _note(axes, 15, y, f"[{low:+.3g}, {high:+.3g}]")
        _line(axes, (edge, y - 2), (edge, y + 2), color=RED, linewidth=2, linestyle=(0, (1.5, 1)))
        _line(axes, (middle + low * inch, y), (middle + high * inch, y), color=BLUE, linewidth=4, solid_capstyle="butt")
        _note(axes, 74, y, said, fontweight="normal" if said == PASSED else "bold")
    example = "made-up numbers" if intervals is EXAMPLE else ""
    _note(axes, 3, bottom - 3, example)
    _say(axes, middle, bottom - 3, f"dotted: the margin, {margin:g} for all, {site_margin:g} at a site")
    _note(axes, 3, 12.6, "the worst word decides:")
    ways = {PASSED: "candidate serves", NOT_SHOWN: "a person decides", REFUSED: "champion stays"}
    for x, (way, then) in zip((3, 32, 61), ways.items(), strict=True):
        _box(axes, x, 3, 26, 7, *((f"here: {way}\n{then}", "marked") if way == answer else (f"{way}\n{then}",)))
    listed = [
        f"{name} [{low:g}, {high:g}], {said}"
        for (name, (low, high)), said in zip(intervals.items(), words, strict=True)
    ]
    return Drawing(
        figure,
        f"candidate minus champion as an interval for each group, beside the margin, {margin:g} for all reports and "
        f"{site_margin:g} at a site{example and ', ' + example}: {'; '.join(listed)}. The worst word decides, here: {answer}. "
        "Passed: the candidate serves. Not shown: a person decides. Refused: the champion stays. (The gate asks a count of "
        "patients as well.)",
    )


def word(low: float, high: float, margin: float) -> str:
    """Return what an interval alone says: passed, refused or not shown. (`gate` asks a count of patients as well.)"""
    return REFUSED if high < -margin else PASSED if low > -margin else NOT_SHOWN


ROWS = ("visit 1\nright", "visit 1\nleft", "visit 2\nright", "visit 2\nleft")  # of each patient
PARTS = {"train": "plain", "dev": "marked", "test": "new"}  # the splits, and how each looks


def splits(patients: int = 5) -> Drawing:
    """Draw splits of three to eight patients, by patient and by rows, which tears a patient's eyes and visits apart."""
    _whole(3, 8, patients=patients)
    height = 22.5 + 5 * patients
    figure, axes = _canvas("Split by patient: two eyes and two visits stay together", height)
    torn = []
    for x, name, rule in ((2, "by patient", by_patient), (47, "by rows: wrong", by_row)):
        _note(axes, x, height - 7.5, name, fontweight="bold")
        torn.append(_draw_split(axes, x, height - 15, patients, rule))
        _note(axes, x, 3.5, f"patients in two splits or more: {torn[-1]} of {patients}")
    return Drawing(
        figure,
        f"{patients} patients with two eyes and two visits each, so four rows. Split by patient, all four rows fall in train, "
        f"dev or test, and {torn[0]} of {patients} patients are in several. Split by rows, the wrong way, {torn[1]} of "
        f"{patients} are: the model meets in training whom it is tested on.",
    )


def by_patient(patient: int, row: int, patients: int) -> str:
    """Return the split of a patient's row: the last patient is for test, the one before for dev."""
    return {patients - 1: "test", patients - 2: "dev"}.get(patient, "train")


def by_row(patient: int, row: int, patients: int) -> str:
    """Return the split of a row when rows are dealt out in turn, three for train, one for dev, one for test."""
    return ("train", "train", "train", "dev", "test")[(patient * len(ROWS) + row) % 5]


def _draw_split(axes: Axes, x: float, top: float, patients: int, rule: Callable[[int, int, int], str]) -> int:
    """Draw a table of patients and their rows, each with its split, and return how many patients are in several."""
    for row, name in enumerate(ROWS):
        _say(axes, x + 8 + 8.3 * row, top + 2.6, name, fontsize=SIZE - 2)
    torn = 0
    for patient in range(patients):
        y = top - 5 * (patient + 1)
        parts = [rule(patient, row, patients) for row in range(len(ROWS))]
        several = len(set(parts)) > 1
        torn += several
        _note(axes, x, y + 2.2, "ABCDEFGH"[patient])
        for row, part in enumerate(parts):
            _box(axes, x + 4.2 + 8.3 * row, y, 7.6, 4.4, part, PARTS[part])
        _say(axes, x + 39, y + 2.2, "✗" if several else "✓", fontsize=SIZE + 2)
    return torn


def training_step(batch: int = 16, labels: int = 5, weights: int = 1_220_165) -> Drawing:
    """Draw one turn of the training loop as a ring, from a batch's rows, the labels and the weights that train."""
    _whole(1, 1_000_000, batch=batch, labels=labels)
    _whole(1, 10**12, weights=weights)
    figure, axes = _canvas("One turn of the training loop", 47)
    _box(axes, 32, 34, 26, 7, f"batch\n{batch:,} texts, with labels")
    _arrow(axes, (58, 37.5), (74, 37.5), (74, 29))
    _note(axes, 75.5, 33.5, "through\nthe model")
    _box(axes, 61, 22, 26, 7, f"logits\n{batch:,} × {labels:,} scores")
    _arrow(axes, (74, 22), (70, 13))
    _box(axes, 50, 6, 26, 7, "loss\none number: how wrong?")
    _arrow(axes, (50, 9.5), (40, 9.5))
    _box(axes, 14, 6, 26, 7, f"gradients\n{weights:,} slopes")
    _arrow(axes, (20, 13), (16, 22))
    _box(axes, 3, 22, 26, 7, "step\neach weight moves a little", "trains")
    _arrow(axes, (16, 29), (16, 37.5), (32, 37.5))
    _say(axes, 45, 25.5, "the next batch,\nuntil all are seen")
    return Drawing(
        figure,
        f"a ring of five. A batch of {batch:,} texts with labels goes through the model, which gives logits, {batch:,} x "
        f"{labels:,} scores. The loss is one number, how wrong they are. It gives gradients, a slope for each of {weights:,} "
        "weights, and a step moves each weight a little. Then comes the next batch, until all are seen.",
    )


ILL = (0.16, 0.34, 0.52, 0.63, 0.74, 0.82, 0.9, 0.97)  # made-up chances
WELL = (0.02, 0.06, 0.1, 0.15, 0.21, 0.27, 0.36, 0.44, 0.58, 0.7)


def threshold(ill: Sequence[float] = ILL, well: Sequence[float] = WELL, cut: float = 0.5) -> Drawing:
    """Draw a threshold on a chance: of two to twelve ill and as many well, who is referred, and who is so by mistake."""
    for name, chances in (("ill", ill), ("well", well)):
        _some(2, 12, f"{name} cases", chances)
    if not all(0 <= chance <= 1 for chance in (*ill, *well, cut)):
        raise ValueError("Each chance, and the threshold, must lie between 0 and 1.")
    found, alarms = (sum(chance >= cut for chance in chances) for chances in (ill, well))
    figure, axes = _canvas("A threshold on a chance: whom does it refer?", 46)
    left, inch = 16, 66
    for name, chances, y in (("ill", ill, 25), ("well", well, 16)):
        _note(axes, 3, y + 1.7, name, fontweight="bold")
        for chance in chances:
            kind = "wasted" if (chance >= cut) != (name == "ill") else "marked" if name == "ill" else "plain"
            _box(axes, left + chance * inch - 0.9, y, 1.8, 3.4, kind=kind)
    at = left + cut * inch
    _line(axes, (at, 13), (at, 33), linestyle="--")
    _say(axes, min(max(at, 16), 76), 36, f"threshold {cut:.3g}")
    _say(axes, left, 10, "chance 0")
    _say(axes, left + inch, 10, "chance 1")
    _note(axes, 3, 3.5, f"sensitivity: {found} of {len(ill)} ill are referred")
    _note(axes, 47, 3.5, f"specificity: {len(well) - alarms} of {len(well)} well are not")
    return Drawing(
        figure,
        f"two rows of cases from chance 0 to chance 1, the ill above the well, and a threshold at {cut:.3g}: who lies right of it "
        f"is referred. {found} of {len(ill)} ill are (sensitivity), and {len(well) - alarms} of {len(well)} well are not "
        f"(specificity). Hatched are the mistakes: {len(ill) - found} ill on the left and {alarms} well on the right.",
    )


EYES = ("✓✓", "✓✗", "✓", "✗✗", "✓✓")  # made-up: for each patient, whether each eye is graded right


def bootstrap(eyes: Sequence[str] = EYES, draws: int = 1000, seed: int = 3) -> Drawing:
    """Draw the bootstrap of two to six patients: three of 100 to 10,000 draws with their scores, and how all scores spread.

    Takes for each patient a ✓ for each eye that is graded right and a ✗ for each that is not, one or two of them.
    """
    _some(2, 6, "patients", eyes)
    for signs in eyes:
        if not 1 <= len(signs) <= 2 or set(signs) - set("✓✗"):
            raise ValueError(f'A patient has the eyes "{signs}"; the drawing needs ✓ or ✗ for each of one or two.')
    _whole(100, 10_000, draws=draws)
    everybody = list(range(len(eyes)))
    drawn = resampled(len(eyes), draws, seed)
    scores = sorted(share_right(eyes, some) for some in drawn)
    cut = round(0.025 * draws)
    low, high = scores[cut], scores[-1 - cut]
    figure, axes = _canvas("The bootstrap: draw patients again, score each draw", 58)
    left, inch = 20, 58  # where the boxes and the scale of the scores begin, and how far they reach
    _note(axes, left, 50.5, "✓ an eye graded right, ✗ one graded wrong")
    _say(axes, 85, 50.5, "score")
    said = []
    for row, some in enumerate((everybody, *drawn[:3])):
        missing = ", ".join("ABCDEF"[patient] for patient in everybody if patient not in some)
        name = f"draw {row}" if row else f"{len(eyes)} patients"
        _draw_patients(axes, (left, 43 - 7 * row), inch, eyes, some)
        _note(axes, 3, 45.5 - 7 * row, f"{name}\nno {missing}" if missing else name)
        _say(axes, 85, 45.5 - 7 * row, f"{share_right(eyes, some):.2f}")
        if row:
            letters = " ".join("ABCDEF"[patient] for patient in some)
            said.append(f"{letters}, {share_right(eyes, some):.2f}")
    _note(axes, 3, 12, f"{draws:,} draws")
    _draw_scores(axes, (left, 7), inch, scores)
    ends = [left + end * inch for end in (low, high)]
    _line(axes, (ends[0], 5.6), (ends[0], 4.6), (ends[1], 4.6), (ends[1], 5.6))
    _say(axes, min(max(sum(ends) / 2, 36), 62), 2.4, f"the middle 95%: {low:.2f} to {high:.2f}")
    _say(axes, left - 2, 7.6, "0", ha="right")
    _note(axes, left + inch + 2, 7.6, "1")
    return Drawing(
        figure,
        f"{len(eyes)} patients in a row, each a box with one or two eyes that are graded right or wrong; the score, the share "
        f"that is right, is {share_right(eyes, everybody):.2f}. Below it are three draws of {len(eyes)} patients, some drawn "
        f"again and some left out, each patient with all their eyes: {'; '.join(said)}. Below these, bars show the scores of "
        f"{draws:,} draws, and a bracket their middle 95%, {low:.2f} to {high:.2f}.",
    )


def resampled(patients: int, draws: int, seed: int) -> list[list[int]]:
    """Return draws of as many patients as there are, by their numbers in order: some twice or more, some not at all."""
    luck = random.Random(seed)
    return [sorted(int(luck.random() * patients) for _ in range(patients)) for _ in range(draws)]


def share_right(eyes: Sequence[str], some: Sequence[int]) -> float:
    """Return the share of eyes that are graded right, of some patients; who is drawn twice counts twice."""
    signs = "".join(eyes[patient] for patient in some)
    return signs.count("✓") / len(signs)


def _draw_patients(
    axes: Axes, corner: tuple[float, float], width: float, eyes: Sequence[str], some: Sequence[int]
) -> None:
    """Draw a box for each of some patients, and an arrow to the score; who is there again looks so."""
    x, y = corner
    each = width / len(eyes)
    for place, patient in enumerate(some):
        kind = "marked" if some.count(patient) > 1 else "plain"
        _box(axes, x + place * each, y, each - 1, 5, f"{'ABCDEF'[patient]} {eyes[patient]}", kind)
    _arrow(axes, (x + width - 0.5, y + 2.5), (82, y + 2.5))


def _draw_scores(axes: Axes, corner: tuple[float, float], width: float, scores: Sequence[float]) -> None:
    """Draw how often scores from 0 to 1 came, as bars on a line."""
    x, y = corner
    counts = [0] * 21
    for score in scores:
        counts[round(20 * score)] += 1
    for place, count in enumerate(counts):
        if count:
            _box(axes, x + width * place / 20 - 1.1, y, 2.2, 9.5 * count / max(counts), kind="marked")
    _line(axes, (x - 1.5, y), (x + width + 1.5, y), linewidth=1)


REPORTS_OF = {"north": 320, "harbour": 192, "delta": 96}


def rounds(reports: Mapping[str, int] = REPORTS_OF, kilobytes: int = 149, steps: int = 6) -> Drawing:
    """Draw a round of federated averaging from the reports of two to four sites, the size of an adapter, and a site's steps."""
    _some(2, 4, "sites", reports)
    for number in reports.values():
        _whole(1, 10**9, reports=number)
    _whole(1, 10**9, kilobytes=kilobytes, steps=steps)
    figure, axes = _canvas("One round: weights travel, reports stay", 46)
    _box(axes, 24, 28, 42, 10, "server: the mean of what arrives,\neach with the weight of its reports", "marked")
    room = 86 / len(reports)
    for place, (name, number) in enumerate(zip(_short(list(reports), 16), reports.values(), strict=True)):
        left = 2 + place * room
        _box(axes, left, 3, room - 2, 11, f"{name}: {steps:,} steps on\n{number:,} reports", "trains")
        middle, top = left + room / 2 - 1, 26 + 38 * (place + 0.5) / len(reports)
        _arrow(axes, (top - 1, 28), (middle - 1, 14))
        _arrow(axes, (middle + 1.2, 14), (top + 1.2, 28))
    _note(axes, 3, 33, f"↓ ↑ {kilobytes:,} kB\neach way, a site")
    total = sum(reports.values())
    listed = ", ".join(f"{name} {number:,} ({number / total:.0%})" for name, number in reports.items())
    return Drawing(
        figure,
        f"a server above {len(reports)} sites. It sends each the same weights, {kilobytes:,} kB; each takes {steps:,} steps on "
        f"reports of its own and sends its weights back; the server takes their mean by the share of reports: {listed}. "
        "The reports stay where they are.",
    )


def all_reduce(rows: int = 32, processes: int = 2) -> Drawing:
    """Draw a step of two to four processes that are one, from the rows of a batch, which they divide evenly."""
    _whole(2, 4, processes=processes)
    _whole(processes, 10**6, rows=rows)
    if rows % processes:
        raise ValueError(f"{rows:,} rows can't be divided evenly among {processes} processes.")
    each, room = rows // processes, 86 / processes
    figure, axes = _canvas("One step of several processes that are one", 50)
    _box(axes, 24, 39, 42, 5, f"a batch of {rows:,} rows")
    _box(axes, 10, 14, 70, 6, f"all-reduce: the sum of all gradients, in every process, ÷ {processes}", "marked")
    for place in range(processes):
        left, middle = 2 + place * room, 2 + (place + 0.5) * room - 1
        _arrow(axes, (24 + 42 * (place + 0.5) / processes, 39), (middle, 33))
        _box(axes, left, 25, room - 2, 8, f"process {place}: {each:,} rows,\nits own gradient", "trains")
        _arrow(axes, (middle, 25), (middle, 20))
        _arrow(axes, (middle, 14), (middle, 9))
        _box(axes, left, 3, room - 2, 6, "the same step", "trains")
    return Drawing(
        figure,
        f"a batch of {rows:,} rows is divided among {processes} processes, {each:,} rows each. Each works out a gradient of its own. "
        f"The all-reduce gives every process the sum of all, which is divided by {processes}. So all take the same step, and their "
        "weights stay the same.",
    )


def two_towers(pairs: int = 4, width: int = 64) -> Drawing:
    """Draw two towers and the cosines of a batch of two to eight pairs, from their number and the length of the common vectors."""
    _whole(2, 8, pairs=pairs)
    _whole(1, 100_000, width=width)
    figure, axes = _canvas("Two towers: the own pairs stand on the diagonal", 42)
    for y, words, tower in ((27, "pictures", "image tower"), (9, "reports", "text tower")):
        _box(axes, 2, y, 13, 7, words)
        _box(axes, 20, y, 17, 7, tower, "frozen")
        _box(axes, 42, y, 15, 7, "projection", "trains")
        _arrow(axes, (15, y + 3.5), (20, y + 3.5))
        _arrow(axes, (37, y + 3.5), (42, y + 3.5))
    cell, left, low = 20 / pairs, 67, 11
    _cells(axes, left, low, pairs, pairs, (cell, cell), "plain")
    for i in range(pairs):
        _box(axes, left + i * cell, low + (pairs - 1 - i) * cell, cell, cell, kind="marked")
    _arrow(axes, (57, 30.5), (62, 30.5), (62, 24), (66.5, 24))
    _arrow(axes, (57, 12.5), (62, 12.5), (62, 18), (66.5, 18))
    _say(axes, left + 10, 34.5, f"{pairs} × {pairs} cosines")
    _note(axes, 42, 21.5, f"{width:,} numbers")
    return Drawing(
        figure,
        f"pictures go through the image tower and a projection, reports through the text tower and another projection. The towers are "
        f"frozen, the projections train. Both end as vectors of {width:,} numbers. Of {pairs} pairs there are {pairs} × {pairs} = "
        f"{pairs * pairs} cosines; the {pairs} own ones stand on the diagonal.",
    )


ALL = (
    course,
    base_and_head,
    lora,
    block,
    soft_prompt,
    read_out,
    next_token,
    padding,
    two_stages,
    int8,
    gate,
    splits,
    training_step,
    threshold,
    bootstrap,
    rounds,
    all_reduce,
    two_towers,
)
