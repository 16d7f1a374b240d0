"""Draw the course's figures from numbers, given as arrays and lists: nothing here knows files or models.

A method has one colour and one marker through the whole course (colours by Okabe and Ito, safe for colour-blind
readers). Each function returns a figure; `show(figure, text)` draws it and says in words what it shows.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import PIL.Image
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from course_utils.metrics import GRADE_NAMES as GRADES

DPI, SHARP = 80, 160  # pixels an inch of a figure; of a drawing, which is shown at half its size: sharp on paper, too

BLACK, GREY = "#000000", "#7F7F7F"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, RED, PINK = "#0072B2", "#D55E00", "#CC79A7"

METHOD_STYLE = {
    "majority class": (GREY, "x"),
    "keyword rule": (YELLOW, "^"),
    "TF-IDF + logistic regression": (ORANGE, "s"),
    "random weights": (GREY, "v"),
    "frozen base + linear probe": (SKY, "D"),
    "nearest centroid": (ORANGE, "D"),
    "full fine-tuning": (BLUE, "o"),
    "fastText": (PINK, "o"),
    "LightGBM on counts": (GREEN, "X"),
    "SetFit": (RED, "D"),
    "model2vec": (YELLOW, "v"),
    "last layers": (RED, "<"),
    "head alone": (PINK, "<"),
    "LoRA": (GREEN, "P"),
    "DoRA": (GREEN, "d"),
    "IA3": (YELLOW, "o"),
    "VeRA": (ORANGE, "v"),
    "text prompt": (GREY, "+"),
    "prompt tuning": (PINK, "X"),
    "prefix tuning": (RED, "^"),
    "P-tuning": (ORANGE, ">"),
    "untuned prompt": (GREY, "X"),
    "probe on the encoder's mean": (SKY, "s"),
    "probe on the state that answers": (SKY, "P"),
    "ten questions": (YELLOW, "s"),
    "four questions": (YELLOW, "D"),
    "stage 1": (SKY, "H"),
    "stage 1 alone": (BLUE, "H"),
    "two stages": (RED, "p"),
    "one stage on everything": (GREEN, "s"),
    "new site alone": (PINK, "v"),
    "int8": (PINK, "h"),
    "human readers": (BLACK, "*"),
    "grader": (RED, "o"),
    "refer everybody": (BLUE, "^"),
    "refer nobody": (GREY, "s"),
    "alone": (RED, "s"),
    "federated": (GREEN, "o"),
    "pooled": (BLUE, "D"),
}

RIGHT = "dev reports graded right"  # the panel of `loss_curves` that is no loss


def set_style() -> None:
    """Set the course's look: plain axes, readable type, a canvas that any machine can draw on."""
    matplotlib.rcParams.update(
        {
            "figure.dpi": DPI,
            "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "legend.frameon": False,
        }
    )


def method_style(method: str) -> dict[str, Any]:
    """Return the colour and marker of a method, as keywords for a matplotlib plot.

    A name may say more after a comma: "LoRA, r=8" is drawn as "LoRA". Raises ValueError for a method without a style.
    """
    name = method.split(",")[0]
    if name not in METHOD_STYLE:
        known = ", ".join(METHOD_STYLE)
        raise ValueError(f'"{method}" has no colour yet. Add it to METHOD_STYLE in figures.py, or use one of: {known}.')
    colour, marker = METHOD_STYLE[name]
    if marker in "x+":  # they have no edge of another colour
        return {"color": colour, "marker": marker, "markeredgewidth": 1.5}
    return {"color": colour, "marker": marker, "markeredgecolor": BLACK, "markeredgewidth": 0.6}


def drawable(names: Sequence[str]) -> list[str]:
    """Return the names as the figures' font can write them; one with letters that it lacks becomes "label 1" and so on."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return [name if all(ord(sign) in known for sign in name) else f"label {i}" for i, name in enumerate(names, start=1)]


def confusion(matrix: ArrayLike, title: str, labels: Sequence[str] = GRADES) -> Figure:
    """Draw a confusion matrix, true grades as rows: in each cell the count and the share of its row."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    _heat_map(figure.subplots(), matrix, title, labels)
    return figure


def before_after(
    before: ArrayLike, after: ArrayLike, titles: Sequence[str] = ("Before", "After"), labels: Sequence[str] = GRADES
) -> Figure:
    """Draw two confusion matrices of the same reports side by side."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _heat_map(left, before, titles[0], labels)
    _heat_map(right, after, titles[1], labels)
    right.set_ylabel("")
    return figure


def _heat_map(axes: Axes, matrix: ArrayLike, title: str, labels: Sequence[str]) -> None:
    counts = np.asarray(matrix)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"The matrix has shape {counts.shape}; {len(labels)} labels need as many rows and columns.")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        ink = "white" if share > 0.55 else BLACK
        axes.text(column, row, f"{count:,}\n{share:.0%}", ha="center", va="center", color=ink, fontsize=9)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, labels)
    axes.set(title=title, xlabel="predicted grade", ylabel="true grade")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def intervals(
    rows: Sequence[tuple[str, float, float, float]],
    title: str,
    metric: str,
    lines: Mapping[str, float] | None = None,
    method: str | None = None,
    digits: int = 3,
) -> Figure:
    """Draw one dot and its 95% interval for each row, from top to bottom, and a dashed upright for each line.

    Takes rows of (method, value, low, high), the name of the metric with its unit or range, and lines such as
    {"human readers": 0.84, "majority class": 0.12}. Where the rows are no methods but, say, the sites on which one method
    was measured, `method` names it. Each value stands beside its dot with so many digits: of a single training two mean
    something.
    """
    lines = lines or {}
    figure = Figure(figsize=(7.2, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (name, value, low, high) in enumerate(rows):
        style = method_style(method or name)
        axes.plot([low, high], [place, place], color=style["color"], linewidth=3, solid_capstyle="butt")
        axes.plot([value], [place], linestyle="none", markersize=9, **style)
        axes.text(1.02, place, f"{value:.{digits}f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    for name, value in lines.items():
        axes.axvline(value, color=method_style(name)["color"], linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(name, (value, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), **_ABOVE)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{metric}, with 95% interval")
    axes.set_title(title, pad=20 if lines else 8)
    return figure


def differences(
    panels: Mapping[str, Sequence[tuple[str, float, float, float, str]]], title: str, xlabel: str, level: str
) -> Figure:
    """Draw how far each method lies from a reference, which is 0, with a 95% interval: panels side by side.

    Takes {panel's title: rows of (method, difference, low, high, what stands to the right of it)}, and what the dashed line
    at 0 is. Each panel has an axis of its own, as wide as its intervals need; 0 is always on it. Raises ValueError for no
    panel.
    """
    if not panels:
        raise ValueError("There is no panel to draw.")
    rows_at_most = max(len(rows) for rows in panels.values())
    figure = Figure(figsize=(5.2 * len(panels), 1.7 + 0.42 * rows_at_most), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for place, (method, value, low, high, right) in enumerate(rows):
            style = method_style(method)
            axes.plot([low, high], [place, place], color=style["color"], linewidth=3, solid_capstyle="butt")
            axes.plot([value], [place], linestyle="none", markersize=9, **style)
            axes.text(1.02, place, right, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(level, (0, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), **_ABOVE)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.08)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(xlabel)
        axes.set_title(name, pad=20)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


_ABOVE: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 9}


def learning_curve(
    points: Sequence[tuple[str, int, float]],
    title: str,
    metric: str = "macro F1",
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a score against the number of labels, a mark for every seed and a line through each method's medians.

    Takes points of (method, labels, score), one for each seed; lines as `intervals` does, drawn level.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    _scores_by_labels(axes, points)
    for name, value in (lines or {}).items():
        axes.axhline(value, color=method_style(name)["color"], linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2), **(_ABOVE | {"ha": "right"}))
    axes.set(title=title, xlabel="labelled reports for training (log scale)", ylabel=metric)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def learning_curves(
    panels: Mapping[str, Sequence[tuple[str, int, float]]], title: str, metric: str = "macro F1"
) -> Figure:
    """Draw several learning curves side by side over the same scores, such as one for each base model.

    Takes {panel: points}, the points as `learning_curve` does. Returns the figure. Raises ValueError for a method without a
    style, and for no panels.
    """
    if not panels:
        raise ValueError("There are no learning curves to draw.")
    figure = Figure(figsize=(4.8 * len(panels), 4.6), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, points) in zip(all_axes, panels.items(), strict=True):
        _scores_by_labels(axes, points)
        axes.tick_params(axis="x", labelrotation=45)
        axes.set(title=name, xlabel="labelled reports (log scale)")
    all_axes[0].set_ylabel(metric)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    handles = {name: drawn for axes in all_axes for drawn, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


def _scores_by_labels(axes: Axes, points: Sequence[tuple[str, int, float]]) -> None:
    """Draw scores against the number of labels on a log scale: a mark for every seed, a line through the medians."""
    for method in dict.fromkeys(point[0] for point in points):
        style = method_style(method)
        marks = [(labels, score) for name, labels, score in points if name == method]
        sizes = sorted({labels for labels, _ in marks})
        medians = [np.median([score for labels, score in marks if labels == size]) for size in sizes]
        axes.plot(sizes, medians, color=style["color"], linewidth=1.8, zorder=1)
        axes.plot(*zip(*marks, strict=True), linestyle="none", markersize=7, label=method, alpha=0.85, **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({point[1] for point in points})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y")


def costs(
    panels: Mapping[str, Sequence[tuple[str, float, Sequence[float]]]], title: str, metric: str = "macro F1"
) -> Figure:
    """Draw a score against several costs side by side, each with axes of its own, the costs on a log scale that has a 0.

    Takes {cost: points}, each point (method, its cost, (score, low, high)): a mark with its interval. Returns the figure.
    Raises ValueError for a method without a style, and for no panels.
    """
    if not panels:
        raise ValueError("There are no scores to draw.")
    figure = Figure(figsize=(3.9 * len(panels), 4.8), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, points) in zip(all_axes, panels.items(), strict=True):
        for method in dict.fromkeys(point[0] for point in points):
            style = method_style(method)
            x, scores = zip(*[(cost, score) for drawn, cost, score in points if drawn == method], strict=True)
            value, low, high = np.transpose(scores)
            axes.errorbar(x, value, [value - low, high - value], fmt="none", ecolor=style["color"], alpha=0.6)
            axes.plot(x, value, linestyle="none", markersize=7, alpha=0.85, label=method, **style)
        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="y")
        axes.set_xlabel(f"{name} (log scale)")
    all_axes[0].set_ylabel(metric)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    handles = {name: drawn for axes in all_axes for drawn, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


def sweep(
    points: Sequence[tuple[object, float]],
    title: str,
    xlabel: str,
    metric: str = "macro F1",
    method: str = "LoRA",
    lines: Mapping[str, float] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw a score against the values of one setting, evenly spaced: a mark for every seed, a line through the medians.

    Takes points of (setting's value, score), one for each seed, in the order of the values; lines as `intervals` does,
    drawn level; and axes of an existing figure, for several sweeps side by side.
    """
    figure = _figure_of(axes) if axes else Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = axes or figure.subplots()
    style, values = method_style(method), list(dict.fromkeys(value for value, _ in points))
    medians = [np.median([score for x, score in points if x == value]) for value in values]
    axes.plot(range(len(values)), medians, color=style["color"], linewidth=1.8, zorder=1)
    places = [values.index(value) for value, _ in points]
    axes.plot(places, [score for _, score in points], linestyle="none", markersize=7, alpha=0.85, **style)
    for name, value in (lines or {}).items():
        axes.axhline(value, color=method_style(name)["color"], linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 2), **(_ABOVE | {"ha": "right"}))
    axes.set_xticks(range(len(values)), [f"{value:g}" if isinstance(value, float) else str(value) for value in values])
    axes.grid(axis="y")
    axes.set(title=title, xlabel=xlabel, ylabel=metric)
    return figure


def sweeps(
    points: Mapping[str, Sequence[tuple[object, float]]],
    title: str = "",
    columns: int = 5,
    metric: str = "macro F1 on dev",
    method: str = "LoRA",
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Draw a sweep for each setting, side by side on one scale; takes {setting: its points}, and all else as `sweep` does."""
    rows = -(-len(points) // columns)
    figure = Figure(figsize=(min(12.5, 4.8 * columns), 3.2 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    for place, (setting, own) in enumerate(points.items()):
        sweep(own, setting, "", "" if place % columns else metric, method, lines, next(all_axes))
    for axes in all_axes:
        axes.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def by_size(
    panels: Mapping[str, Sequence[tuple[str, float, float]]], title: str, xlabel: str, level: float = 1
) -> Figure:
    """Draw panels side by side of a cost against a model's size (log scale), with a dashed line at `level`.

    Takes panels of {y axis: points}, each point (method, size, cost), one for each time it was measured: each is a mark,
    and a line goes through each method's medians.
    """
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    for axes, (ylabel, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for method in dict.fromkeys(point[0] for point in points):
            style, marks = method_style(method), [(size, cost) for name, size, cost in points if name == method]
            sizes = sorted({size for size, _ in marks})
            medians = [np.median([cost for x, cost in marks if x == size]) for size in sizes]
            axes.plot(sizes, medians, color=style["color"], linewidth=1.8, zorder=1)
            axes.plot(*zip(*marks, strict=True), linestyle="none", markersize=7, alpha=0.85, label=method, **style)
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted({point[1] for point in points})))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def curves(
    lines: Mapping[str, Sequence[float]], title: str, xlabel: str, ylabel: str, top: float | None = None
) -> Figure:
    """Draw one line for each name, its values at steps 1, 2, 3, ...; a name that is a method has the method's colour.

    What is higher than `top` leaves the picture, so that one line that jumps does not press the others flat.
    """
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    spare = iter((BLUE, RED, GREEN, ORANGE, PINK, BLACK))
    for name, values in lines.items():
        colour = METHOD_STYLE[name][0] if name in METHOD_STYLE else next(spare)
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.8, label=name)
    if top is not None and axes.get_ylim()[1] > top:
        axes.set_ylim(top=top)
    axes.grid(axis="y")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return figure


def gallery(pixels: ArrayLike, titles: Sequence[str]) -> Figure:
    """Draw pictures, numbers from 0 to 255 (n, height, width, 3), in a row, each under its title."""
    figure = Figure(figsize=(1.9 * len(titles), 2.2), layout="constrained")
    for axes, picture, title in zip(
        figure.subplots(1, len(titles), squeeze=False)[0], np.asarray(pixels), titles, strict=True
    ):
        axes.imshow(picture)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure


def panels(
    shown: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    axes: Mapping[str, tuple[str, str]],
    title: str,
    diagonal: Sequence[str] = (),
) -> Figure:
    """Draw panels side by side, each with lines of its own.

    Takes {panel: {line: (x values, y values)}}, {panel: (x axis, y axis)}, and the panels that get a dashed diagonal. A
    line of one point is drawn as a marker; a line that is a method has the method's colour.
    """
    figure = Figure(figsize=(4.8 * len(shown), 4.2), layout="constrained")
    all_axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for drawn_on, (panel, lines) in zip(all_axes, shown.items(), strict=True):
        spare = iter((BLUE, RED, GREEN, ORANGE, PINK, SKY))
        for name, (x, y) in lines.items():
            is_method = name.split(",")[0] in METHOD_STYLE
            style = method_style(name) if is_method else {"color": next(spare), "marker": "o"}
            if len(x) > 1:
                style = {"color": style["color"], "marker": "o" if len(x) <= 20 else None, "markersize": 4}
            drawn_on.plot(x, y, linewidth=1.8, label=name, **style)
        if panel in diagonal:
            drawn_on.plot([0, 1], [0, 1], linestyle="--", color=GREY, linewidth=1.2, zorder=0)
        drawn_on.grid()
        drawn_on.set(title=panel, xlabel=axes[panel][0], ylabel=axes[panel][1])
        drawn_on.legend(fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def loss_curves(logs: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Draw a panel for each training: the loss of each step and, where the log has them, that of dev after each epoch.

    Takes {name: log}, each log with the "losses" and "dev_losses" that `training.fit_grader` returns. A log may also have
    "right", the share of dev reports that were graded right after each epoch: the last panel has a line for each of these.
    """
    shown: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    right: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for name, log in logs.items():
        losses, dev, shares = list(log["losses"]), list(log.get("dev_losses", ())), list(log.get("right", ()))
        shown[name] = {"training": (range(1, len(losses) + 1), losses)}
        if dev:
            shown[name]["dev, after each epoch"] = (_ends(len(losses), len(dev)), dev)
        if shares:
            right[name] = (_ends(len(losses), len(shares)), shares)
    axes = dict.fromkeys(shown, ("step", "loss"))
    if right:
        shown[RIGHT], axes[RIGHT] = right, ("step", "share")
    return panels(shown, axes, title)


def _ends(steps: int, epochs: int) -> list[float]:
    """Return the step at which each epoch ends."""
    return [steps * (i + 1) / epochs for i in range(epochs)]


def factors(
    shown: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, float]]]],
    title: str,
    xlabel: str,
    ylabel: str,
    level: float = 1,
) -> Figure:
    """Draw panels side by side of how many times as fast, or as large, something is: lines with upright intervals.

    Takes {panel: {line: [(x, value, low, high), ...]}}, the x in their order, drawn evenly spaced; and the level of the
    dashed line. All panels have one y axis. A line that is a method has the method's colour. Returns the figure.
    """
    figure = Figure(figsize=(4.8 * len(shown), 4.0), layout="constrained")
    all_axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (panel, lines) in zip(all_axes, shown.items(), strict=True):
        spare = iter(zip((BLUE, GREEN, ORANGE, RED), "osvD", strict=True))
        xs = sorted({point[0] for points in lines.values() for point in points})
        for place, (name, points) in enumerate(lines.items()):
            is_method = name.split(",")[0] in METHOD_STYLE
            style = method_style(name) if is_method else dict(zip(("color", "marker"), next(spare), strict=True))
            x, value, low, high = np.array(points, dtype=float).T
            at = np.searchsorted(xs, x) + 0.06 * (place - (len(lines) - 1) / 2)  # beside one another, not on top
            axes.vlines(at, low, high, color=style["color"], linewidth=2.5, alpha=0.6)
            axes.plot(at, value, linewidth=1.4, markersize=7, label=name, **style)
        axes.axhline(level, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
        axes.grid(axis="y")
        axes.set(title=panel, xlabel=xlabel)
    all_axes[0].set_ylim(bottom=0)  # once all is drawn: a limit that is set no longer follows the numbers
    all_axes[0].set_ylabel(ylabel)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def calibration(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Draw what happened against the chance that it would, with a dashed diagonal where the two are the same.

    Takes for each name its bins as (mean chance, share in which it happened, low, high): a dot, and its interval upright. A
    name that is a method has the method's colour.
    """
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color=GREY, linewidth=1.2, zorder=0)
    spare = iter((BLUE, RED, GREEN, ORANGE, PINK, SKY))
    for name, bins in curves.items():
        colour = METHOD_STYLE[name][0] if name in METHOD_STYLE else next(spare)
        chance, share, low, high = np.array(bins, dtype=float).T
        axes.vlines(chance, low, high, color=colour, linewidth=2.5, alpha=0.6)
        axes.plot(chance, share, color=colour, linewidth=1.2, marker="o", markersize=5, label=name)
    axes.grid()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize=9)
    return figure


def word_weights(texts: Mapping[str, Sequence[tuple[str, float]]], title: str, width: int = 96) -> Figure:
    """Draw texts word by word, shaded by each word's weight: blue speaks for, red and underlined against.

    Takes {heading: [(word, weight), ...]}; the shade is relative to the text's largest weight.
    """
    # letters from the left, line, word, weight: None for a heading
    placed: list[tuple[float, float, str, float | None]] = []
    line: float = 0
    for heading, words in texts.items():
        placed.append((0, line, heading, None))
        largest = max((abs(weight) for _, weight in words), default=0) or 1
        places, line = _wrapped([word for word, _ in words], width, line + 1)
        placed += [(*place, word, weight / largest) for place, (word, weight) in zip(places, words, strict=True)]
        line += 1.5
    figure = Figure(figsize=(10, 0.7 + 0.32 * line), layout="constrained")
    axes = figure.subplots()
    for at, row, word, weight in placed:
        if weight is None:
            axes.text(at - 0.5, row, word, fontsize=9.5, va="center", fontweight="bold")
            continue
        box = {"boxstyle": "square,pad=0.15", "facecolor": (BLUE if weight > 0 else RED), "alpha": abs(weight) * 0.75}
        font: dict[str, Any] = {"family": "DejaVu Sans Mono", "fontsize": 9.5, "va": "center"}
        axes.text(at, row, word, color=(0, 0, 0, 0), bbox=box | {"edgecolor": "none"}, **font)
        axes.text(at, row, word, color=BLACK, **font)
        if weight < -0.15:
            axes.plot([at, at + 0.95 * len(word)], [row + 0.45] * 2, color=RED, linewidth=1.2)
    axes.set(xlim=(-1, width + 12), ylim=(line - 0.4, -0.8), title=title)
    axes.set_axis_off()
    return figure


def bars(counts: Mapping[str, Mapping[str, float]], title: str, xlabel: str, ylabel: str) -> Figure:
    """Draw grouped bars, each with its number: `counts` maps a group's name to {bar's name: height}."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    names = list(next(iter(counts.values())))
    width = 0.8 / len(counts)
    for place, ((group, heights), colour) in enumerate(zip(counts.items(), (BLUE, ORANGE, GREEN, PINK), strict=False)):
        left = np.arange(len(names)) + (place - (len(counts) - 1) / 2) * width
        drawn = axes.bar(left, [heights[name] for name in names], width, color=colour, label=group)
        axes.bar_label(drawn, fmt="{:,g}", fontsize=8, padding=2)
    axes.set_xticks(range(len(names)), names)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if len(counts) > 1:
        axes.legend()
    return figure


def tokens(
    texts: Sequence[Sequence[tuple[str, bool]]],
    title: str,
    inside: str,
    outside: str,
    width: int = 96,
    roles: Sequence[Sequence[str]] = (),
) -> Figure:
    """Draw texts token by token, in boxes: filled ones for what is inside (the loss, say), hollow ones for the rest.

    Takes for each text its tokens, each with whether it is inside, and what the two kinds of box mean. A text wraps
    after `width` letters. With `roles`, a word for each token of each text, the boxes have a colour for each of up to three.
    """
    placed: list[tuple[float, float, str, bool]] = []  # letters from the left, line, token, inside
    line: float = 0
    for text in texts:
        places, line = _wrapped([token for token, _ in text], width, line)
        placed += [(*place, *token) for place, token in zip(places, text, strict=True)]
        line += 1.5
    each = [role for text in roles for role in text] or [""] * len(placed)
    colours = dict(zip(dict.fromkeys(filter(None, each)), (BLUE, RED, GREEN), strict=False))
    figure = Figure(figsize=(10, 0.9 + 0.34 * line), layout="constrained")
    axes = figure.subplots()
    for (at, row, token, filled), role in zip(placed, each, strict=True):
        edge = colours.get(role, BLUE if filled else GREY)
        fill, ink = (edge, "white") if filled else ("white", BLACK if role else GREY)
        box = {"boxstyle": "square,pad=0.15", "facecolor": fill, "edgecolor": edge, "linewidth": 0.8}
        axes.text(at, row, token, family="DejaVu Sans Mono", fontsize=9.5, color=ink, va="center", bbox=box)
    axes.set(xlim=(-1, width + 12), ylim=(line - 0.4, -0.8), title=title)
    axes.set_axis_off()
    key = GREY if colours else BLUE
    handles = [Patch(facecolor=colour, edgecolor=colour, label=role) for role, colour in colours.items()]
    handles += [
        Patch(facecolor=key, edgecolor=key, label=inside),
        Patch(facecolor="white", edgecolor=GREY, label=outside),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def strips(
    rows: Mapping[str, Sequence[float]],
    title: str,
    metric: str,
    method: str = "full fine-tuning",
    line: tuple[str, float] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw a row for each name with a mark for every seed and an upright stroke at their median.

    Takes {name: scores}, the metric, the method whose colour they get, a named dashed line to compare them with, and axes
    of an existing figure, for several side by side.
    """
    figure = _figure_of(axes) if axes else Figure(figsize=(7.2, 1.5 + 0.36 * len(rows)), layout="constrained")
    axes, style = axes or figure.subplots(), method_style(method)
    for place, scores in enumerate(rows.values()):
        axes.plot(scores, [place] * len(scores), linestyle="none", markersize=7, alpha=0.85, **style)
        axes.plot([np.median(scores)] * 2, [place - 0.3, place + 0.3], color=BLACK, linewidth=1.8)
    if line:
        axes.axvline(line[1], color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        axes.annotate(line[0], (line[1], 1), xycoords=("data", "axes fraction"), xytext=(0, 3), **_ABOVE)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(metric)
    axes.set_title(title, pad=20 if line else 8)
    return figure


def _figure_of(axes: Axes) -> Figure:
    """Return the whole figure that axes are part of."""
    return axes.figure.figure


def _wrapped(words: Sequence[str], width: int, line: float) -> tuple[list[tuple[float, float]], float]:
    """Return where each word stands, as (letters from the left, line), if text wraps after `width`; and the last line."""
    places: list[tuple[float, float]] = []
    at: float = 0
    for word in words:
        if at and at + len(word) > width:
            line, at = line + 1, 0
        places.append((at, line))
        at += len(word) + 1.2
    return places, line


def png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes, the same for the same figure: no date and no version in them.

    It has a palette of 256 colours, which look the same and take a third of the bytes. A figure has 80 pixels an inch,
    whatever a front end sets; a drawing keeps its 160, and has few colours.
    """
    dpi, colours = (SHARP, 32) if figure.dpi == SHARP else (DPI, 256)
    _break_titles(figure)
    drawn, file = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    PIL.Image.open(drawn).convert("RGB").quantize(colours).save(file, format="png", optimize=True)
    return file.getvalue()


def _break_titles(figure: Figure) -> None:
    """Break each title that runs over the figure's right edge into lines: a finding may be longer than the figure is wide."""
    whole = {
        text: text.get_text()
        for text in figure.findobj(Text)
        if text.get_horizontalalignment() == "left" and text.get_visible()
    }
    width = dict.fromkeys(whole, 200)  # letters a line
    for _ in range(20):  # a broken title moves the axes, so it is looked at again
        figure.draw_without_rendering()
        places = {text: text.get_window_extent() for text in whole}
        over = [text for text, box in places.items() if box.x0 < figure.bbox.x1 < box.x1 and width[text] > 20]
        if not over:
            break
        for text in over:
            width[text] = int(0.9 * min(width[text], max(map(len, text.get_text().splitlines()))))
            text.set_text(textwrap.fill(whole[text], width[text]))


def show(figure: Figure, text: str) -> None:
    """Display the figure with `text` as its alternative text, and print the text under it."""
    display(Image(png(figure), alt=text, retina=figure.dpi == SHARP))
    describe(text)


def describe(text: str) -> None:
    """Print what a figure shows, for those who cannot see it."""
    print(f"Figure: {text}")
