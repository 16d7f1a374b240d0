"""Keep the one results table, and the ledger of what the article says against what was measured.

What ships is one file for each notebook and each long run, in `data_samples/results/`. What a run of a notebook measures
goes to `build/results/<notebook>.json`, which is not kept in git, and is shown in place of what ships until that folder is
deleted; storing the notebook (see authoring/run.py) copies it to what ships, without seconds and megabytes, which differ
from run to run. The files of the long runs keep these in their rows.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from course_utils import paths

NUMBERS = {"value", "low", "high"}
COUNTS = {"k", "n", "seeds", "trainable", "saved_kb"}
WORDS = {"method", "task", "metric"}
BASE = "base"  # the base model, of a row whose method and task stand in the table for several
TIMES = {"seconds", "peak_mb"}
PARTS = ("rows", "ledger", "measured")  # what of a notebook's last run ships
EXTRA = {"saved_kb": "saved kB", "seconds": "seconds", "peak_mb": "peak MB"}  # columns, in their order
NEEDED = WORDS | NUMBERS | {"n", "seeds"}

Row = dict[str, Any]  # a row of the table: words, counts and numbers by their names


def record(notebook: str, rows: list[Row]) -> None:
    """Write down what a run of a notebook measured, in place of what its last run wrote: call it once a notebook.

    Takes the notebook's name, such as "01_set_the_bar", and the rows. A row has method, task, metric, value, low and
    high (its interval), n (reports), seeds (how many runs), and where they apply k (reports graded right), trainable
    (parameters), saved_kb (kilobytes of weights on disk), seconds and peak_mb.
    Raises ValueError for a field that is missing, unknown or not a number, and for two rows of the same thing.
    """
    clean = _clean(rows)
    times = {" | ".join(_key(row)): {name: row[name] for name in TIMES & set(row)} for row in clean}
    _update(notebook, rows=_without_times(clean), times=times)


def row(method: str, task: str, metric: str, interval: Any, n: int, seeds: int = 1, **more) -> Row:
    """Return a row for `record`, from a measured value with its interval, a `metrics.Interval`."""
    return {"method": method, "task": task, "metric": metric, "n": n, "seeds": seeds} | interval._asdict() | more


def ledger(notebook: str, id: str, said: str, measured: str, verdict: str) -> None:
    """Write down one line of the ledger: what the article says, what was measured, and the verdict, as sentences.

    A second call with the same notebook and id replaces the line.
    """
    lines = {line["id"]: line for line in _load(notebook).get("ledger", [])}
    lines[id] = {"id": id, "said": said, "measured": measured, "verdict": verdict}
    _update(notebook, ledger=sorted(lines.values(), key=lambda line: _natural(line["id"])))


def shipped(name: str) -> dict:
    """Return what a long run measured, as it ships: its "rows" of the results table, and what else it wrote down.

    Raises FileNotFoundError if nothing of that name ships.
    """
    if not _shipped(name).is_file():
        raise FileNotFoundError(
            f"There is no {_shipped(name)}. Get it back from the repository, or run `make results`."
        )
    return paths.read_json(_shipped(name))


def found(name: str) -> dict:
    """Return what a long run measured, as `shipped` does; if it was not made yet, say so in a sentence and return an empty dict."""
    try:
        return shipped(name)
    except FileNotFoundError:
        print(f"The long run {name} was not made yet, so nothing of it is shown. docs/results.md says how to make it.")
        return {}


def measured(notebook: str, name: str, make: Callable[[], dict] | None = None) -> dict:
    """Return what a part of a notebook measures: made now and written down, or, with nothing to make it with, as it ships.

    Takes the notebook's name, that of the part, and a function that returns numbers, texts, lists and dicts of these: what comes
    back is the same thing read from JSON, so that both ways give the same. Raises FileNotFoundError if nothing of it ships.
    """
    if make is None:
        parts = shipped(notebook).get("measured", {})
        if name not in parts:
            raise FileNotFoundError(
                f"Nothing ships of the part {name} of {notebook}. Store the notebook where it can be made."
            )
        return parts[name]
    made = json.loads(json.dumps(make()))
    _update(notebook, measured=paths.read_json(_live(notebook)).get("measured", {}) | {name: made})
    return paths.read_json(_live(notebook))["measured"][name]  # whose keys are in the file's order


def ship(name: str, rows: Sequence[Row] = (), **content) -> None:
    """Write a file that ships: the rows of a long run, times and all, and what else it measured.

    Raises ValueError as `record` does.
    """
    paths.write_json(_shipped(name), {"rows": _clean(rows)} | content)


def all_shipped() -> list[tuple[str, Row]]:
    """Return (file, row) for every row that ships, of notebooks and long runs; what a run on this machine measured is not in it."""
    files = sorted(paths.shipped_results().glob("*.json"))
    return [(file.stem, row) for file in files for row in paths.read_json(file).get("rows", [])]


def ship_last_run(notebook: str) -> None:
    """Put what the last run of a notebook measured into what ships; nothing, if it measured nothing."""
    live = paths.read_json(_live(notebook))
    if live:
        kept = paths.read_json(_shipped(notebook)) | {name: live[name] for name in PARTS if name in live}
        paths.write_json(_shipped(notebook), kept)


def table(metric: str = "macro F1", notebook: str | None = None) -> pd.DataFrame:
    """Return the rows of one metric, of all notebooks or one, ready to print. A column that no row fills is left out.

    Times are shown where the file holds them, as those of `make results` do.
    """
    rows = [(_cells(row, _digits(name)), row) for name, row in _rows(metric, notebook)]
    filled = [name for name in EXTRA if any(name in row for _, row in rows)]
    lines = [cells + [_number(row.get(name), ",.0f") for name in filled] for cells, row in rows]
    return pd.DataFrame(lines, columns=_head(metric) + [EXTRA[name] for name in filled])


def ledger_table() -> pd.DataFrame:
    """Return the ledger of all notebooks, ready to print, in the order of its ids."""
    lines = [line | {"notebook": name} for name, content in _all() for line in content.get("ledger", [])]
    lines.sort(key=lambda line: (_natural(line["id"]), line["notebook"]))
    return pd.DataFrame(lines, columns=["id", "said", "measured", "verdict", "notebook"])


def by_base(verdicts: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a long run says of pairs of methods as sentences: one for all bases where they agree, else one a base.

    Takes its "verdicts": dicts with base, first, second, verdict and difference, all as texts.
    """
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in verdicts:
        pairs.setdefault((line["first"], line["second"]), []).append(line)
    sentences = []
    for lines in pairs.values():
        if len(lines) > 1 and len({line["verdict"] for line in lines}) == 1:
            gaps = "; ".join(f"{line['base']} {line['difference']}" for line in lines)
            sentences.append(
                f"on {' and '.join(line['base'] for line in lines)}: {lines[0]['verdict']}; difference: {gaps}"
            )
        else:
            sentences += [f"on {line['base']}: {line['verdict']}; difference {line['difference']}" for line in lines]
    return sentences


def told(line: Mapping[str, Any]) -> str:
    """Return what a line of a long run's "verdicts" says of its first method: "better", "worse" or "not told apart"."""
    return next((word for word in ("better", "worse") if f" is {word} than " in line["verdict"]), "not told apart")


def compared(verdicts: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return for each pair of methods that a long run compared what it tells of the first, as `told` does.

    Takes its "verdicts"; the names lose the number of labels that they end in. Raises ValueError for a pair that stands twice,
    as one that is compared on two bases does.
    """
    found: dict[tuple[str, str], str] = {}
    for line in verdicts:
        first, second = (re.sub(r", [\d,]+ labels$", "", line[side]) for side in ("first", "second"))
        if (first, second) in found:
            raise ValueError(f"{first} and {second} are compared twice: give the lines of one base.")
        found[first, second] = told(line)
    return found


def better_from(verdicts: pd.DataFrame) -> str:
    """Return in words from how many labels on a method is better than each rival that was run there.

    Takes a row for each rival and number of labels: the columns "labels", and "won", whether it is better beyond chance.
    """
    won = verdicts.groupby("labels")["won"].all()
    since = [labels for labels in won.index if won.loc[labels:].all()]
    if since:
        return f"from {since[0]:,} labels on"
    return f"at {won.sum()} of {len(won)} sizes (not the largest)" if won.any() else f"at none of {len(won)} sizes"


def lessons(notebook: str) -> list[str]:
    """Return the lessons of a notebook, by its number, as lines: on how many bases each holds, then each base with its interval."""
    lines = []
    for lesson in shipped("lessons")["lessons"]:
        if lesson["notebook"] == notebook:
            lines.append(f"{lesson['lesson']}: holds on {lesson['holds']} of {lesson['of']} bases")
            for base in lesson["bases"]:
                value, low, high = base["difference"]
                lines.append(f"   {base['base']:14s} difference {value:.3f} [{low:.3f}, {high:.3f}]: {base['verdict']}")
    return lines


def held_to(said: float, values: Sequence[float]) -> str:
    """Return how numbers, each measured by itself, stand to one that is said: all more, all less, or else about that."""
    return "more than that" if min(values) > said else "less than that" if max(values) < said else "about that"


def side_by_side(
    rows: pd.DataFrame, by: str, ways: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]
) -> pd.DataFrame:
    """Return rows that stand below one another side by side: a row for each value of `by`, a column for each way and number.

    Takes {way: the values by which its rows are known} and {what a number is called: its column in `rows`}; a column is named
    by both. The values of `by` keep their order; one that a way lacks is left empty there. Raises ValueError if a way has one twice.
    """
    found: dict[str, pd.Series] = {}
    for way, known in ways.items():
        own = rows[rows[list(known)].eq(pd.Series(known)).all(axis=1)].set_index(by, verify_integrity=True)
        found |= {f"{way} {name}": own[column] for name, column in columns.items()}
    return pd.DataFrame(found, index=rows[by].unique())


def ratios(rows: pd.DataFrame, to: Mapping[str, Any], of: Sequence[str], within: Sequence[str]) -> pd.DataFrame:
    """Return rows with each column of `of` as a ratio too, as `<column>_ratio`: over that of the row of their group that is as `to`.

    Takes the rows, the values by which the other row is known, and the columns that make a group. A row whose group has no
    such row is left out. Raises ValueError if a group has two.
    """
    wanted = rows[list(to)].eq(pd.Series(to)).all(axis=1)
    found = rows.merge(
        rows.loc[wanted, [*within, *of]], on=list(within), suffixes=("", "_other"), validate="many_to_one"
    )
    over = {f"{name}_ratio": found[name] / found[f"{name}_other"] for name in of}
    return found.assign(**over).drop(columns=[f"{name}_other" for name in of])


def at_an_end(recipes: Sequence[dict[str, Any]], methods: Sequence[str]) -> str:
    """Return in words which of these methods were set to an end of what was tried, so that a better setting may lie beyond it.

    Takes the "recipes" of a long run: dicts with base, method and "at_an_end", the settings for which that is so.
    """
    found = [one for one in recipes if one["at_an_end"] and one["method"] in methods]
    return "; ".join(f"{one['method']} on {one['base']} ({', '.join(one['at_an_end'])})" for one in found) or "none"


def markdown(metric: str = "macro F1", long_runs: bool = False) -> str:
    """Return the table in Markdown, with seconds and peak MB where they are known.

    `long_runs` leaves out the rows of single notebooks: what stays is what `make results` measured.
    """
    head = _head(metric) + list(EXTRA.values())
    times = {name: content.get("times", {}) for name, content in _all()}
    lines = [head, ["---"] * len(head)]
    for name, row in _rows(metric):
        if long_runs and name[0].isdigit():
            continue
        known = times.get(name, {}).get(" | ".join(_key(row)), {}) | row
        lines.append(_cells(row, _digits(name)) + [_number(known.get(field), ",.0f") for field in EXTRA])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _clean(rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the form that is stored, or say what is wrong with one."""
    clean = [_row(row) for row in rows]
    if len({_key(row) for row in clean}) < len(clean):
        raise ValueError("Two rows have the same task, method and metric.")
    return clean


def _without_times(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def _head(metric: str) -> list[str]:
    return ["method", "task", f"{metric} [95%]", "k/n right", "seeds", "trainable"]


def _row(row: Row) -> Row:
    """Return a row in the form that is stored, or say what is wrong with it."""
    row = {name: value for name, value in row.items() if value is not None}
    unknown, missing = set(row) - WORDS - {BASE} - NUMBERS - COUNTS - TIMES, NEEDED - set(row)
    if unknown or missing:
        wrong = [f"has no {name}" for name in sorted(missing)] + [f"has an unknown {name}" for name in sorted(unknown)]
        raise ValueError(f"The row of {row.get('method', 'no method')} {', '.join(wrong)}.")
    clean: Row = {}
    for name, value in row.items():
        if name in WORDS | {BASE}:
            clean[name] = str(value)
        elif not math.isfinite(value):
            raise ValueError(f"The row of {row['method']} has {name} = {value}; it must be a number.")
        else:
            clean[name] = int(value) if name in COUNTS else float(value)  # rounded once, where it is printed
    if clean.get("k", 0) > clean["n"]:
        raise ValueError(f"The row of {row['method']} has {clean['k']} of {clean['n']} reports right.")
    if clean["low"] > clean["high"]:
        raise ValueError(f"The row of {row['method']} has its interval the wrong way round: {_cells(clean, 3)[2]}.")
    return clean


def _key(row: Row) -> tuple[str, str, str]:
    return _task(row), row["method"], row["metric"]


def _task(row: Row) -> str:
    """Return a row's task, and its base model if it names one."""
    return ", ".join(filter(None, [row["task"], row.get(BASE)]))


def _digits(notebook: str) -> int:
    """Return the decimals that mean something: two for the single runs of a notebook, three for long runs over seeds."""
    return 2 if notebook[0].isdigit() else 3


def _cells(row: Row, digits: int) -> list[str]:
    """Return a row's cells as they are printed."""
    value, low, high = (f"{row[part]:.{digits}f}" for part in ("value", "low", "high"))
    with_interval = f"{value} [{low}, {high}]"
    right = f"{row['k']:,}/{row['n']:,}" if "k" in row else "–"
    return [row["method"], _task(row), with_interval, right, str(row["seeds"]), _number(row.get("trainable"), ",")]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _natural(id: str) -> list[tuple[int, int, str]]:
    """Sort key in which C9 comes before C10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", id)]


def _rows(metric: str, notebook: str | None = None) -> list[tuple[str, Row]]:
    """Return (notebook, row) pairs, notebooks in their order and rows in the order they were recorded."""
    chosen = [(name, content) for name, content in _all() if notebook in (None, name)]
    return [(name, row) for name, content in chosen for row in content.get("rows", []) if row["metric"] == metric]


def _all() -> list[tuple[str, dict]]:
    """Return (name, content) of all results, live ones in place of what ships."""
    files = [*paths.shipped_results().glob("*.json"), *paths.live_results().glob("*.json")]
    return [(name, _load(name)) for name in sorted({file.stem for file in files})]


def _load(name: str) -> dict:
    return paths.read_json(_shipped(name)) | paths.read_json(_live(name))


def _update(notebook: str, **parts) -> None:
    paths.write_json(_live(notebook), paths.read_json(_live(notebook)) | parts)


def _shipped(name: str) -> Path:
    return paths.shipped_results() / f"{name}.json"


def _live(notebook: str) -> Path:
    return paths.live_results() / f"{notebook}.json"
