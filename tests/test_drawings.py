"""The drawings of ideas: nothing is cut off or lies on something else, and they show the numbers they are given."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from course_utils import drawings, figures
from course_utils import gate as rules
from course_utils.authoring import render, run

LONG = ["none at all, not even a trace", "轻度", "proliferative retinopathy"]
NARROW = {"north east of the river": (-0.0312, 0.0401), "a": (-0.4, -0.3), "b": (0.01, 0.02)}
WIDE = {str(site): (-1, 1) for site in range(6)}
OTHERS = [  # the ends of what may be given
    *((drawings.course, {"here": number}) for part in drawings.COURSE.values() for number in part),
    (drawings.base_and_head, {"layers": 1000, "width": 100_000, "labels": LONG * 2}),
    (drawings.base_and_head, {"layers": 1, "width": 1, "labels": LONG[:2]}),
    (drawings.lora, {"d": 20_000, "r": 20_000}),
    (drawings.lora, {"d": 1, "r": 1}),
    (drawings.block, {"layers": 1000}),
    (drawings.block, {"layers": 1}),
    (drawings.read_out, {"width": 100_000}),
    (drawings.next_token, {"tokens": LONG * 2}),
    (drawings.next_token, {"tokens": ["no", "-100"]}),
    (drawings.soft_prompt, {"rows": 1000, "width": 20_000, "words": LONG * 2}),
    (drawings.soft_prompt, {"rows": 1, "width": 1, "words": ["no"]}),
    (drawings.padding, {"lengths": [100_000, 1] * 8, "batch": 1}),
    (drawings.padding, {"lengths": np.array([40, 39]), "batch": 2}),
    (drawings.two_stages, {"layers": 24, "tuned": 1, "labels": 10**9, "new_labels": 10**9, "sites": LONG}),
    (drawings.two_stages, {"layers": 24, "tuned": 23}),
    (drawings.two_stages, {"layers": 2, "tuned": 1, "sites": ["a", "b"]}),
    (drawings.int8, {"values": [-123.456, -0.0001, 0, 0, 0.0001, 0.00012345, 1.5e-7]}),
    (drawings.int8, {"values": [0.5, 1e9]}),
    (drawings.int8, {"values": [-2, -1]}),
    (drawings.gate, {"intervals": NARROW, "margin": 0, "site_margin": 0.999}),
    (drawings.gate, {"intervals": WIDE}),
    (drawings.splits, {"patients": 3}),
    (drawings.splits, {"patients": 8}),
    (drawings.training_step, {"batch": 1_000_000, "labels": 1_000_000, "weights": 10**12}),
    (drawings.threshold, {"ill": [0, 1] * 6, "well": [0, 1] * 6, "cut": 0}),
    (drawings.threshold, {"ill": [0, 1], "well": [0, 1], "cut": 1}),
    (drawings.bootstrap, {"eyes": ["✓", "✗"], "draws": 100, "seed": 0}),
    (drawings.bootstrap, {"eyes": ["✓✓"] * 6, "draws": 10_000, "seed": 7}),
    (drawings.bootstrap, {"eyes": ["✗✗"] * 6, "seed": 12}),
    (drawings.rounds, {"reports": {"a": 1, "b": 10**6}, "kilobytes": 10**6, "steps": 10_000}),
    (drawings.rounds, {"reports": dict.fromkeys(["north", "harbour", "delta", "a far site"], 1_000)}),
    (drawings.all_reduce, {"rows": 10**6, "processes": 4}),
    (drawings.two_towers, {"pairs": 8, "width": 100_000}),
    (drawings.two_towers, {"pairs": 2, "width": 1}),
]
CASES = [(draw, {}) for draw in drawings.ALL] + OTHERS
case = pytest.mark.parametrize(
    ("draw", "given"), CASES, ids=[f"{draw.__name__}-{n}" for n, (draw, _) in enumerate(CASES)]
)


def words(drawing):
    """Return all that is written in a drawing."""
    return " ".join(text.get_text() for text in drawing.figure.axes[0].texts).replace("\n", " ")


def faults(figure):
    """Return what is wrong with where a figure's words stand: cut off, on other words, or across an edge or a line."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    texts = [(one.get_text(), one.get_window_extent(renderer)) for one in axes.texts if one.get_text()]
    boxes = [patch.get_window_extent(renderer) for patch in axes.patches]
    page = figure.bbox.padded(-6)
    found = [f"{text!r} is cut off" for text, box in texts if not inside(box, page)]
    for (one, first), (two, second) in itertools.combinations(texts, 2):
        if Bbox.intersection(first, second):
            found.append(f"{one!r} lies on {two!r}")
    for (text, place), box in itertools.product(texts, boxes):
        if Bbox.intersection(place, box) and not inside(place, box):
            found.append(f"{text!r} crosses the edge of a box")
    lines = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    found += [
        f"{text!r} lies on a line"
        for (text, place), line in itertools.product(texts, lines)
        if line.intersects_bbox(place, filled=False)
    ]
    return found


def inside(box, other):
    """Return whether a box is within another one."""
    return other.x0 <= box.x0 and other.y0 <= box.y0 and box.x1 <= other.x1 and box.y1 <= other.y1


@case
def test_nothing_is_cut_off_or_lies_on_something_else(draw, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter that the font lacks, too
        drawing = draw(**given)
        assert not faults(drawing.figure)


@pytest.mark.parametrize(
    ("x", "y", "text", "fault"),
    [
        (85, 10, "a long sentence", "cut off"),
        (45, 10.5, "again", "'once' lies on 'again'"),
        (45, 20, "too long a word", "edge"),
        (12, 15, "struck through", "line"),
    ],
)
def test_a_bad_drawing_is_noticed(x, y, text, fault):
    figure, axes = drawings._canvas("An idea", 30)
    drawings._say(axes, 45, 10, "once")
    drawings._box(axes, 42, 18, 6, 4)
    drawings._line(axes, (12, 12), (12, 18))
    assert not faults(figure)
    drawings._say(axes, x, y, text)
    assert [one for one in faults(figure) if fault in one]


@pytest.mark.parametrize("draw", drawings.ALL)
def test_a_drawing_is_small_sharp_and_the_same_each_time(draw, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    figures.show(*draw())
    assert capsys.readouterr().out.startswith("Figure: ") and len(shown[0].data) < 60_000
    assert shown[0].width == 10 * drawings.WIDTH * figures.DPI // 100 and shown[0].alt == draw().text
    assert figures.png(draw().figure) == shown[0].data


@pytest.mark.parametrize(
    ("drawing", "drawn", "said"),
    [
        (
            drawings.course("03"),
            ["here: 03 small parts", "04 the input", "Case study: one task"],
            "13 versions). you are at notebook 03.",
        ),
        (
            drawings.base_and_head(6, 50, ["well", "ill"]),
            ["6 layers", "50 × 2 + 2 = 102 new numbers"],
            "labels: well, ill",
        ),
        (
            drawings.lora(100, 4),
            ["100 × 100 = 10,000 weights", "2 × 100 × 4 = 800 weights", "8.0%"],
            "only a and b train",
        ),
        (drawings.block(3), ["6 detours in 3 blocks", "query key value"], "3 blocks, so 6 detours"),
        (drawings.soft_prompt(3, 7, ["eye"]), ["p1 p2 p3 eye", "3 × 7 = 21"], "only the prompt's 21 numbers train"),
        (drawings.read_out(5), ["5 numbers at each place", "probe on the state"], "gives 5 numbers for each"),
        (drawings.next_token(["no", "IRMA"]), ["no  IRMA IRMA  -100 pad  -100"], "no is the answer to nothing"),
        (
            drawings.padding([1, 3, 1, 3], 2),
            ["4 of 12 cells wasted (33%)", "0 of 8 cells wasted (0%)"],
            "1, 3, 1, 3 tokens",
        ),
        (
            drawings.two_stages(6, 2, 70, 8),
            ["70 labels of north + harbour", "8 labels of delta"],
            "lora beside layers 5-6",
        ),
        (
            drawings.int8([-1, 0.013, 1.55]),
            ["scale 0.01:", "0 is step 100", "0.013 101 0.01 1.55 255 1.55"],
            "0.013 as 101",
        ),
        (drawings.gate({"all": (-0.01, 0.1), "x": (-0.3, -0.2)}), ["[-0.3, -0.2] refused", "here: refused"], "refused"),
        (drawings.splits(4), ["0 of 4", "4 of 4"], "4 of 4 are: the model meets in training"),
        (drawings.training_step(8, 3, 99), ["8 texts", "8 × 3 scores", "99 slopes"], "a slope for each of 99 weights"),
        (
            drawings.threshold([0.2, 0.4, 0.9], [0.1, 0.4], 0.4),
            ["threshold 0.4", "2 of 3 ill are referred", "1 of 2 well are not"],
            "1 ill on the left and 1 well on the right",
        ),
        (
            drawings.bootstrap(["✓", "✗✗", "✓✓"], 200, 1),
            ["A ✓ B ✗✗ C ✓✓", "3 patients 0.60", "200 draws"],
            "the share that is right, is 0.60",
        ),
        (
            drawings.rounds({"a": 30, "b": 10}, 26, 7),
            ["7 steps on 30 reports", "7 steps on 10 reports", "26 kB each way"],
            "a 30 (75%), b 10 (25%)",
        ),
        (
            drawings.all_reduce(12, 3),
            ["a batch of 12 rows", "process 2: 4 rows", "÷ 3"],
            "divided among 3 processes, 4 rows each",
        ),
        (drawings.two_towers(3, 48), ["3 × 3 cosines", "48 numbers"], "3 × 3 = 9 cosines; the 3 own ones"),
    ],
    ids=[draw.__name__ for draw in drawings.ALL],
)
def test_a_drawing_shows_its_numbers_and_its_words_say_them(drawing, drawn, said):
    assert not [one for one in drawn if one not in words(drawing)]
    assert said in drawing.text.lower() and "  " not in drawing.text


@pytest.mark.parametrize(
    ("draw", "given", "sentence"),
    [
        (drawings.course, {"here": "99"}, "There is no notebook '99' on the map; there are 00, 01"),
        (drawings.base_and_head, {"labels": ["one"]}, "There are 1 labels; the drawing needs 2 to 6"),
        (drawings.base_and_head, {"layers": 0}, "`layers` is 0; the drawing needs a whole number from 1 to 1,000"),
        (drawings.lora, {"d": 8, "r": 9}, "`r` is 9; the drawing needs a whole number from 1 to 8"),
        (drawings.lora, {"d": 8.0}, "`d` is 8.0; the drawing needs a whole number"),
        (drawings.block, {"layers": 0}, "`layers` is 0"),
        (drawings.read_out, {"width": 0}, "`width` is 0"),
        (drawings.next_token, {"tokens": ["one"]}, "There are 1 tokens"),
        (drawings.soft_prompt, {"words": []}, "There are 0 words"),
        (drawings.padding, {"lengths": [3, 0]}, "`length` is 0"),
        (
            drawings.padding,
            {"lengths": [3, 4], "batch": 3},
            "`batch` is 3; the drawing needs a whole number from 1 to 2",
        ),
        (drawings.two_stages, {"layers": 4, "tuned": 4}, "`tuned` is 4; the drawing needs a whole number from 1 to 3"),
        (drawings.two_stages, {"sites": ["a"]}, "There are 1 sites"),
        (drawings.int8, {"values": [0, 0.0]}, "finite numbers, and one that is not 0"),
        (drawings.int8, {"values": [1, float("nan")]}, "finite numbers"),
        (drawings.gate, {"intervals": {"all": (0, 0.1)}}, "There are 1 groups"),
        (drawings.gate, {"intervals": {"all": (0, 0.1), "a": (0.2, 0.1)}}, 'The interval of "a" is'),
        (drawings.gate, {"margin": -0.1}, "The margins are -0.1 and 0.05"),
        (drawings.splits, {"patients": 2}, "`patients` is 2"),
        (drawings.training_step, {"batch": True}, "`batch` is True"),
        (drawings.threshold, {"ill": [0.5]}, "There are 1 ill cases"),
        (drawings.threshold, {"cut": 1.1}, "must lie between 0 and 1"),
        (drawings.bootstrap, {"eyes": ["✓"]}, "There are 1 patients"),
        (drawings.bootstrap, {"eyes": ["✓", "✓✗✓"]}, 'A patient has the eyes "✓✗✓"'),
        (drawings.bootstrap, {"eyes": ["✓", ""]}, 'A patient has the eyes ""'),
        (drawings.bootstrap, {"draws": 99}, "`draws` is 99"),
        (drawings.two_towers, {"pairs": 9}, "`pairs` is 9"),
        (drawings.rounds, {"reports": {"a": 1}}, "There are 1 sites"),
        (drawings.all_reduce, {"processes": 5}, "`processes` is 5"),
        (drawings.all_reduce, {"rows": 33}, "33 rows can't be divided evenly"),
        (drawings.rounds, {"reports": {"a": 1, "b": 0}}, "`reports` is 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(draw, given, sentence):
    with pytest.raises(ValueError, match="^[^^]*") as refused:
        draw(**given)
    assert sentence in str(refused.value)


def test_the_map_has_each_notebook_that_stands_in_its_part_of_the_course():
    shown = {number: part.partition(":")[0] for part, row in drawings.COURSE.items() for number in row}
    assert shown == {path.stem[:2]: render.part(path).partition(" ")[2] for path in run.chapters()}
    assert "here: 00" in words(drawings.course()) and words(drawings.course("07")).count("here:") == 1


def test_8_bit_numbers_hold_0_and_come_back_within_a_step():
    values = np.random.default_rng(0).normal(size=(200, 5)) * 3 + 1
    for row in values:
        scale, zero, kept = drawings.to_steps(row)
        assert {zero, *kept} <= set(range(256)) and scale * 255 == pytest.approx(max(*row, 0) - min(*row, 0))
        assert np.abs((np.array(kept) - zero) * scale - row).max() <= 0.5 * scale * (1 + 1e-9)


def test_the_drawn_gate_speaks_as_the_gate_does():
    assert (drawings.PASSED, drawings.REFUSED, drawings.NOT_SHOWN) == (rules.PASSED, rules.REFUSED, rules.NOT_SHOWN)
    said = [drawings.word(*ends, 0.05) for ends in ((-0.04, 0.1), (-0.2, -0.06), (-0.06, 0.1), (-0.06, -0.05))]
    assert said == [rules.PASSED, rules.REFUSED, rules.NOT_SHOWN, rules.NOT_SHOWN]
    assert "here: not shown" in words(drawings.gate()) and "made-up numbers" in words(drawings.gate())
    assert "made-up numbers" not in words(drawings.gate(NARROW))


def test_a_patient_s_rows_stay_together_by_patient_alone():
    together = [{drawings.by_patient(patient, row, 5) for row in range(4)} for patient in range(5)]
    assert together == [{"train"}, {"train"}, {"train"}, {"dev"}, {"test"}]
    assert all(len({drawings.by_row(patient, row, 5) for row in range(4)}) > 1 for patient in range(8))


def test_the_drawn_bootstrap_draws_patients_with_all_their_eyes_and_shows_some_twice_and_some_not():
    eyes, found = drawings.EYES, drawings.resampled(5, 400, 0)
    assert all(len(some) == 5 and set(some) <= set(range(5)) for some in found)
    assert {patient for some in found for patient in some} == set(range(5)) and found != drawings.resampled(5, 400, 1)
    assert drawings.share_right(eyes, [1, 1, 3]) == pytest.approx(2 / 6)
    shown = drawings.resampled(5, 3, 3)
    assert all(1 < len(set(some)) < 5 for some in shown)
    drawn = words(drawings.bootstrap())
    scores = [f"{drawings.share_right(eyes, some):.2f}" for some in shown]
    assert [one for one in drawn.split() if one in scores] == scores


def test_the_bracket_of_the_drawn_bootstrap_holds_the_middle_95_percent():
    low, high = (float(end) for end in words(drawings.bootstrap(draws=1000)).split("middle 95%: ")[1].split(" ")[:3:2])
    scores = np.array([drawings.share_right(drawings.EYES, some) for some in drawings.resampled(5, 1000, 3)])
    assert (low, high) == pytest.approx(tuple(np.quantile(scores, (0.025, 0.975))), abs=0.03)
