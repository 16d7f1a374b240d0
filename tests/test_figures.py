"""The figures draw the numbers they are given, the same bytes each time, with one style a method."""

import numpy as np
import pytest
from matplotlib.text import Text

from course_utils import figures

MATRIX = np.array([[90, 5, 3, 1, 1], [10, 20, 5, 3, 2], [5, 5, 60, 6, 4], [0, 1, 9, 20, 10], [0, 0, 0, 0, 0]])
ROWS = [("keyword rule", 0.45, 0.43, 0.47), ("LoRA, r=8", 0.78, 0.75, 0.80)]
LINES = {"human readers": 0.84, "majority class": 0.12}


def words(figure):
    """Return every text in the figure's first panel."""
    axes = figure.axes[0]
    return [text.get_text() for text in axes.texts] + [axes.get_title(loc="left"), axes.get_title()]


@pytest.fixture(autouse=True)
def style():
    figures.set_style()


def test_a_confusion_matrix_shows_counts_and_row_shares():
    shown = words(figures.confusion(MATRIX, "A finding"))
    assert "90\n90%" in shown and "20\n50%" in shown and "A finding" in shown
    assert shown.count("0\n0%") == np.sum(MATRIX == 0)  # an empty row divides by nothing


def test_a_matrix_of_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="5 labels"):
        figures.confusion(MATRIX[:3], "A finding")


def test_before_and_after_stand_side_by_side():
    figure = figures.before_after(MATRIX, MATRIX.T)
    before, after = ([text.get_text() for text in axes.texts] for axes in figure.axes)
    assert before[1].startswith("5\n") and after[1].startswith("10\n")


def test_intervals_are_drawn_where_the_numbers_are():
    axes = figures.intervals(ROWS, "A finding", "macro F1", LINES).axes[0]
    spans = [list(line.get_xdata()) for line in axes.lines]
    assert [0.43, 0.47] in spans and [0.75, 0.80] in spans and [0.84, 0.84] in spans
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row on top
    assert {"0.450", "0.780", "human readers"} <= set(words(axes.figure))
    assert {"0.45", "0.78"} <= set(words(figures.intervals(ROWS, "A finding", "macro F1", digits=2)))


def test_differences_stand_beside_the_line_at_0_in_a_panel_each():
    rows = {
        "one": [("LoRA", 0.02, -0.01, 0.05, "0.88")],
        "other": [("LoRA", -0.2, -0.3, -0.1, "0.4"), ("IA3", 0, 0, 0, "")],
    }
    figure = figures.differences(rows, "A finding", "difference", "full fine-tuning")
    one, other = figure.axes
    assert [list(line.get_xdata()) for line in one.lines[:2]] == [[-0.01, 0.05], [0.02]]
    assert {"0.88", "full fine-tuning"} <= set(words(figure)) and figure._suptitle.get_text() == "A finding"
    assert [label.get_text() for label in other.get_yticklabels()] == ["LoRA", "IA3"]
    assert one.get_xlim()[0] < 0 < one.get_xlim()[1] and other.get_xlim()[0] < -0.3 and other.get_xlim()[1] > 0
    with pytest.raises(ValueError, match="no panel"):
        figures.differences({}, "A finding", "difference", "full fine-tuning")


def test_a_learning_curve_draws_every_seed():
    points = [("full fine-tuning", n, n / 10_000 + seed / 100) for n in (500, 5000) for seed in range(3)]
    axes = figures.learning_curve(points, "A finding", lines=LINES).axes[0]
    sizes = [len(line.get_xdata()) for line in axes.lines]
    assert sizes[:2] == [2, 6]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.06, 0.51])  # the medians


def test_learning_curves_of_two_bases_stand_side_by_side_over_the_same_scores():
    two = ("full fine-tuning", "TF-IDF + logistic regression")
    panels = {
        base: [(method, n, n / 10_000 + place + seed / 100) for method in two for n in (500, 5000) for seed in range(3)]
        for place, base in enumerate(("one", "other"))
    }
    figure = figures.learning_curves(panels, "A finding")
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["one", "other"]
    assert list(first.lines[0].get_ydata()) == pytest.approx([0.06, 0.51])  # the medians
    assert list(second.lines[0].get_ydata()) == pytest.approx([1.06, 1.51])
    assert [len(line.get_xdata()) for line in second.lines] == [2, 6, 2, 6]
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 1.5
    assert first.get_xscale() == "log" and first.get_ylabel() == "macro F1"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == list(two)  # each method once
    with pytest.raises(ValueError, match="no learning curves"):
        figures.learning_curves({}, "A finding")


def test_factors_are_drawn_with_their_intervals_beside_one_another():
    shown = {
        "small": {"int8, ONNX": [(16, 3.9, 3.3, 4.6), (64, 3.1, 2.9, 3.3)], "plain": [(16, 2, 1, 3)]},
        "large": {"int8, ONNX": [(64, 6.7, 6.6, 6.8)]},
    }
    figure = figures.factors(shown, "A finding", "tokens", "times as fast", level=4)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_xticklabels()] == ["16", "64"]
    assert [label.get_text() for label in right.get_xticklabels()] == ["64"]
    spans = [[segment[:, 1].tolist() for segment in lines.get_segments()] for lines in left.collections]
    assert spans == [[[3.3, 4.6], [2.9, 3.3]], [[1, 3]]]
    int8, plain, level = left.lines
    assert list(int8.get_ydata()) == [3.9, 3.1] and int8.get_color() == figures.METHOD_STYLE["int8"][0]
    assert abs(int8.get_xdata()[0] - plain.get_xdata()[0]) > 0.05 and set(level.get_ydata()) == {4}
    assert figure.get_suptitle() == "A finding" and left.get_ylim()[0] == 0
    assert left.get_ylim()[1] == right.get_ylim()[1] > 6.8  # the higher panel's numbers are inside, too


def test_a_calibration_curve_stands_beside_the_diagonal_with_its_intervals():
    shown = {"as trained": [(0.1, 0.2, 0.15, 0.3), (0.8, 0.7, 0.6, 0.85)], "recalibrated": [(0.5, 0.5, 0.4, 0.6)]}
    axes = figures.calibration(shown, "A finding", "chance", "share").axes[0]
    diagonal, first, second = ([list(line.get_xdata()), list(line.get_ydata())] for line in axes.lines)
    assert diagonal == [[0, 1], [0, 1]] and first == [[0.1, 0.8], [0.2, 0.7]] and second == [[0.5], [0.5]]
    spans = [segment.tolist() for bars in axes.collections for segment in bars.get_segments()]
    assert spans == [[[0.1, 0.15], [0.1, 0.3]], [[0.8, 0.6], [0.8, 0.85]], [[0.5, 0.4], [0.5, 0.6]]]
    (line,) = (
        figures.calibration({"two stages": shown["recalibrated"]}, "A finding", "chance", "share").axes[0].lines[1:]
    )
    assert line.get_color() == figures.METHOD_STYLE["two stages"][0]


def test_strips_draw_every_seed_the_median_and_the_line():
    axes = figures.strips({"raw": [0.7, 0.9, 0.8], "all": [0.6]}, "A finding", "macro F1", line=("raw", 0.8)).axes[0]
    drawn = [list(line.get_xdata()) for line in axes.lines]
    assert drawn == [[0.7, 0.9, 0.8], [0.8, 0.8], [0.6], [0.6, 0.6], [0.8, 0.8]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["raw", "all"]
    assert "raw" in words(axes.figure) and axes.get_xlabel() == "macro F1"


def test_costs_by_size_draw_every_round_a_median_line_and_the_level():
    points = [("LoRA", size, cost) for size, costs in ((1, (1.2, 1.0, 1.1)), (100, (0.6, 0.5, 0.7))) for cost in costs]
    figure = figures.by_size({"step time": points, "peak memory": points[:3]}, "A finding", "million weights", level=1)
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == pytest.approx([1.1, 0.6])
    assert [len(line.get_xdata()) for line in left.lines[:2]] == [2, 6]
    assert list(left.lines[2].get_ydata()) == [1, 1]
    assert (left.get_xscale(), left.get_ylabel(), right.get_ylabel()) == ("log", "step time", "peak memory")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["LoRA"]


def test_a_sweep_draws_every_seed_in_the_order_of_the_values():
    points = [(value, score + seed / 100) for value, score in ((3e-5, 0.2), (1e-3, 0.8)) for seed in range(3)]
    axes = figures.sweep(points, "A finding", "learning rate", lines=LINES).axes[0]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.21, 0.81])  # the medians
    assert list(axes.lines[1].get_xdata()) == [0, 0, 0, 1, 1, 1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3e-05", "0.001"]


@pytest.mark.parametrize("letters", ["a finding of many words, ", "Wide WORDS of MANY, ", "0.05 [0.01, 0.09] "])
def test_a_title_that_is_longer_than_its_figure_is_broken_into_lines(letters):
    panels = {name: {"dev": ([1, 2], [0.5, 0.6])} for name in ("loss", "score")}
    figure = figures.panels(panels, {name: ("step", name) for name in panels}, (letters * 12).strip())
    figure.axes[1].set_title((letters * 5).strip())
    figures.png(figure)
    drawn = [text for text in figure.findobj(Text) if text.get_text().startswith(letters.strip())]
    assert len(drawn) == 2 and all("\n" in text.get_text() for text in drawn)
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in drawn)
    assert "".join(drawn[0].get_text().split()) in ("".join((letters * times).split()) for times in (5, 12))


def test_sweeps_stand_side_by_side():
    figure = figures.Figure()
    left, right = figure.subplots(1, 2)
    for axes, what in ((left, "r"), (right, "alpha")):
        assert figures.sweep([(1, 0.5), (2, 0.6)], what, what, axes=axes) is figure
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["r", "alpha"]


def test_sweeps_of_several_settings_share_a_scale_and_name_it_once_a_row():
    points = {what: [(1, 0.5), (2, low)] for what, low in (("r", 0.6), ("alpha", 0.1), ("rate", 0.7))}
    figure = figures.sweeps(points, "A finding", columns=2, metric="macro F1", lines=LINES)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == list(points)
    assert [axes.get_ylabel() for axes in shown] == ["macro F1", "", "macro F1"]
    assert len({axes.get_ylim() for axes in shown}) == 1 and figure.get_suptitle() == "A finding"


def test_curves_give_a_method_its_colour():
    axes = figures.curves({"LoRA": [3, 2, 1], "other": [3, 3, 3]}, "A finding", "step", "loss").axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert axes.lines[0].get_color() == figures.method_style("LoRA")["color"] != axes.lines[1].get_color()


def test_a_curve_that_jumps_leaves_the_picture_and_does_not_press_the_others_flat():
    jumping = {"calm": [1.5, 1, 0.5], "jumps": [1.5, 40, 2]}
    assert figures.curves(jumping, "A finding", "step", "loss").axes[0].get_ylim()[1] > 40
    cut = figures.curves(jumping, "A finding", "step", "loss", top=3).axes[0]
    assert cut.get_ylim()[1] == 3 and list(cut.lines[1].get_ydata()) == [1.5, 40, 2]
    calm = {"calm": jumping["calm"]}
    low, high = (figures.curves(calm, "A finding", "step", "loss", top).axes[0].get_ylim() for top in (None, 3))
    assert low == high and high[1] < 3


def test_bars_carry_their_numbers():
    shown = words(figures.bars({"train": {"0": 10, "1": 4}, "test": {"0": 3, "1": 1}}, "A finding", "grade", "reports"))
    assert {"10", "4", "3", "1"} <= set(shown)


def test_each_method_has_its_own_style():
    assert len(set(figures.METHOD_STYLE.values())) == len(figures.METHOD_STYLE)
    assert figures.method_style("LoRA, r=8") == figures.method_style("LoRA")


def test_a_method_without_a_style_is_named():
    with pytest.raises(ValueError, match="guessing.*LoRA"):
        figures.method_style("guessing")


def test_the_same_figure_gives_the_same_bytes_and_names_no_software():
    one, two = (figures.png(figures.intervals(ROWS, "A finding", "macro F1", LINES)) for _ in range(2))
    assert one == two
    assert b"Software" not in one and len(one) < 60_000


def test_show_gives_the_image_its_text_and_prints_it(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    figures.show(figures.confusion(MATRIX, "A finding"), "most counts lie on the diagonal.")
    assert capsys.readouterr().out == "Figure: most counts lie on the diagonal.\n"
    assert shown[0].alt == "most counts lie on the diagonal."


def test_tokens_stand_in_filled_and_hollow_boxes_and_wrap():
    texts = [[("</s>", False), ("Right", True), (" eye", True)], [("OS", True), ("<pad>", False)]]
    axes = figures.tokens(texts, "A finding", "in", "out", width=12).axes[0]
    assert [text.get_text() for text in axes.texts] == ["</s>", "Right", " eye", "OS", "<pad>"]
    filled = [text.get_bbox_patch().get_facecolor()[:3] != (1, 1, 1) for text in axes.texts]
    assert filled == [False, True, True, True, False]
    rows = [text.get_position()[1] for text in axes.texts]
    assert rows[0] == rows[1] < rows[2] < rows[3] == rows[4]  # " eye" wraps, the second text has its own line
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["in", "out"]


def test_tokens_have_a_colour_for_each_role():
    texts = [[("</s>", False), ("Right", False), ("two", True), ("</s>", True)]]
    roles = [["mark", "asked", "said", "mark"]]
    axes = figures.tokens(texts, "A finding", "in", "out", roles=roles).axes[0]
    edges = [text.get_bbox_patch().get_edgecolor() for text in axes.texts]
    assert edges[0] == edges[3] and len(set(edges)) == 3
    assert axes.texts[3].get_bbox_patch().get_facecolor() == edges[3]
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["mark", "asked", "said", "in", "out"]


def test_intervals_of_one_method_s_subgroups_share_its_style():
    axes = figures.intervals(
        [("site a", 0.5, 0.4, 0.6), ("site b", 0.7, 0.6, 0.8)], "A finding", "F1", method="LoRA"
    ).axes[0]
    marks = [line for line in axes.lines if line.get_marker() == figures.METHOD_STYLE["LoRA"][1]]
    assert len(marks) == 2 and [text.get_text() for text in axes.get_yticklabels()] == ["site a", "site b"]


def test_panels_draw_their_lines_and_a_diagonal_where_it_is_asked_for():
    shown = {
        "ROC": {"LoRA": ([0, 0.5, 1], [0, 0.9, 1]), "chosen": ([0.5], [0.9])},
        "risk": {"LoRA": ([0, 1], [0, 0.2])},
    }
    axes = {"ROC": ("1 - specificity", "sensitivity"), "risk": ("answered", "wrong")}
    left, right = figures.panels(shown, axes, "A finding", diagonal=["ROC"]).axes
    assert [list(line.get_ydata()) for line in left.lines] == [[0, 0.9, 1], [0.9], [0, 1]]
    assert len(right.lines) == 1 and right.get_xlabel() == "answered"
    assert left.lines[0].get_color() == figures.METHOD_STYLE["LoRA"][0]


def test_a_loss_curve_has_the_steps_and_the_dev_loss_at_the_end_of_each_epoch():
    logs = {"one": {"losses": [4, 3, 2, 1], "dev_losses": [3.5, 1.5]}, "two": {"losses": [2, 1]}}
    one, two = figures.loss_curves(logs, "Losses").axes
    drawn = [[list(line.get_xdata()), list(line.get_ydata())] for line in one.lines]
    assert drawn == [[[1, 2, 3, 4], [4, 3, 2, 1]], [[2, 4], [3.5, 1.5]]]
    assert len(two.lines) == 1 and two.get_title("left") == "two"


def test_the_share_graded_right_has_a_panel_of_its_own_beside_the_losses():
    logs = {"one": {"losses": [4, 3, 2, 1], "dev_losses": [3.5, 1.5], "right": [0.5, 0.8]}, "two": {"losses": [2, 1]}}
    one, two, right = figures.loss_curves(logs, "Losses").axes
    assert [len(axes.lines) for axes in (one, two, right)] == [2, 1, 1]
    assert (right.get_title("left"), right.get_ylabel()) == (figures.RIGHT, "share")
    (line,) = right.lines
    assert (line.get_label(), list(line.get_xdata()), list(line.get_ydata())) == ("one", [2, 4], [0.5, 0.8])


def test_words_are_shaded_by_their_weight_and_those_against_are_underlined():
    shown = {"right": [("no", -0.4), ("vessels", 0.8), ("seen", 0.01)], "wrong": [("old", 2.0)]}
    axes = figures.word_weights(shown, "A finding").axes[0]
    boxes = {text.get_text(): text.get_bbox_patch() for text in axes.texts if text.get_bbox_patch()}
    assert (
        boxes["vessels"].get_alpha() == boxes["old"].get_alpha() > boxes["no"].get_alpha() > boxes["seen"].get_alpha()
    )
    colours = {word: figures.matplotlib.colors.to_hex(box.get_facecolor()).upper() for word, box in boxes.items()}
    assert (colours["vessels"], colours["no"]) == (figures.BLUE, figures.RED)
    assert len(axes.lines) == 1 and {"right", "wrong"} <= {text.get_text() for text in axes.texts}
