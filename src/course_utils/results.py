"""The one results table, and the ledger of what the article says against what was measured.

Each notebook keeps one file, `data_samples/results/<notebook>.json`. It holds only what a second run gives again, so
running a notebook twice leaves it as it is. Seconds and megabytes differ from run to run: they go to
`build/measured/<notebook>.json`, which is not kept in git. The files that `make results` writes keep them in the rows.
"""

import json
import math
import os
import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "data_samples" / "results"
MEASURED = ROOT / "build" / "measured"

NUMBERS = {"value", "low", "high"}
COUNTS = {"k", "n", "seeds", "trainable", "saved_kb"}
WORDS = {"method", "task", "metric"}
TIMES = {"seconds", "peak_mb"}
EXTRA = {"saved_kb": "saved kB", "seconds": "seconds", "peak_mb": "peak MB"}  # columns, in their order
NEEDED = WORDS | NUMBERS | {"n", "seeds"}


def record(notebook: str, rows: list[dict], keep_times: bool = False) -> None:
    """Write down what a notebook measured, in place of what it wrote before: call it once a notebook.

    Takes the notebook's name, such as "01_set_the_bar", and the rows. A row has method, task, metric, value, low and
    high (its interval), n (reports), seeds (how many runs), and where they apply k (reports graded right), trainable
    (parameters), saved_kb (kilobytes of weights on disk), seconds and peak_mb. `keep_times` leaves the last two in
    the row, for a file that is measured once and shipped.
    Raises ValueError for a field that is missing, unknown or not a number, and for two rows of the same thing.
    """
    clean = [_row(row) for row in rows]
    if len({_key(row) for row in clean}) < len(clean):
        raise ValueError("Two rows have the same task, method and metric.")
    if keep_times:
        _update(RESULTS, notebook, rows=clean)
        return
    _update(RESULTS, notebook, rows=[{k: v for k, v in row.items() if k not in TIMES} for row in clean])
    times = {" | ".join(_key(row)): {k: v for k, v in row.items() if k in TIMES} for row in clean}
    _update(MEASURED, notebook, times=times)


def ledger(notebook: str, id: str, said: str, measured: str, verdict: str) -> None:
    """Write down one line of the ledger: what the article says, what was measured, and the verdict, as sentences.

    A second call with the same notebook and id replaces the line.
    """
    lines = {line["id"]: line for line in _load(RESULTS, notebook).get("ledger", [])}
    lines[id] = {"id": id, "said": said, "measured": measured, "verdict": verdict}
    _update(RESULTS, notebook, ledger=sorted(lines.values(), key=lambda line: _natural(line["id"])))


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
    lines = [line | {"notebook": name} for name, content in _all(RESULTS) for line in content.get("ledger", [])]
    lines.sort(key=lambda line: (_natural(line["id"]), line["notebook"]))
    return pd.DataFrame(lines, columns=["id", "said", "measured", "verdict", "notebook"])


def markdown(metric: str = "macro F1", long_runs: bool = False) -> str:
    """Return the table in Markdown, with seconds and peak MB where they are known.

    `long_runs` leaves out the rows of single notebooks: what stays is what `make results` measured.
    """
    head = _head(metric) + list(EXTRA.values())
    times = {name: content.get("times", {}) for name, content in _all(MEASURED)}
    lines = [head, ["---"] * len(head)]
    for name, row in _rows(metric):
        if long_runs and name[0].isdigit():
            continue
        known = times.get(name, {}).get(" | ".join(_key(row)), {}) | row
        lines.append(_cells(row, _digits(name)) + [_number(known.get(field), ",.0f") for field in EXTRA])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _head(metric: str) -> list[str]:
    return ["method", "task", f"{metric} [95%]", "k/n right", "seeds", "trainable"]


def _row(row: dict) -> dict:
    """Return a row in the form that is stored, or say what is wrong with it."""
    row = {name: value for name, value in row.items() if value is not None}
    unknown, missing = set(row) - WORDS - NUMBERS - COUNTS - TIMES, NEEDED - set(row)
    if unknown or missing:
        wrong = [f"has no {name}" for name in sorted(missing)] + [f"has an unknown {name}" for name in sorted(unknown)]
        raise ValueError(f"The row of {row.get('method', 'no method')} {', '.join(wrong)}.")
    clean = {}
    for name, value in row.items():
        if name in WORDS:
            clean[name] = str(value)
        elif not math.isfinite(value):
            raise ValueError(f"The row of {row['method']} has {name} = {value}; it must be a number.")
        else:
            clean[name] = int(value) if name in COUNTS else round(float(value), 4)
    if clean.get("k", 0) > clean["n"]:
        raise ValueError(f"The row of {row['method']} has {clean['k']} of {clean['n']} reports right.")
    if clean["low"] > clean["high"]:
        raise ValueError(f"The row of {row['method']} has its interval the wrong way round: {_cells(clean, 3)[2]}.")
    return clean


def _key(row: dict) -> tuple[str, str, str]:
    return row["task"], row["method"], row["metric"]


def _digits(notebook: str) -> int:
    """Return the decimals that mean something: two for the single runs of a notebook, three for long runs over seeds."""
    return 2 if notebook[0].isdigit() else 3


def _cells(row: dict, digits: int) -> list[str]:
    """Return a row's cells as they are printed."""
    value, low, high = (f"{row[part]:.{digits}f}" for part in ("value", "low", "high"))
    value = f"{value} [{low}, {high}]"
    right = f"{row['k']:,}/{row['n']:,}" if "k" in row else "–"
    return [row["method"], row["task"], value, right, str(row["seeds"]), _number(row.get("trainable"), ",")]


def _number(value, form: str) -> str:
    return "–" if value is None else format(value, form)


def _natural(id: str) -> list:
    """Sort key in which C9 comes before C10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", id)]


def _rows(metric: str, notebook: str | None = None) -> list[tuple[str, dict]]:
    """Return (notebook, row) pairs, notebooks in their order and rows in the order they were recorded."""
    chosen = [(name, content) for name, content in _all(RESULTS) if notebook in (None, name)]
    return [(name, row) for name, content in chosen for row in content.get("rows", []) if row["metric"] == metric]


def _all(folder: Path) -> list[tuple[str, dict]]:
    return [(path.stem, _load(folder, path.stem)) for path in sorted(folder.glob("*.json"))]


def _load(folder: Path, notebook: str) -> dict:
    path = folder / f"{notebook}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _update(folder: Path, notebook: str, **parts) -> None:
    """Put parts into a notebook's file. It is written beside the old one and then takes its place, so it is whole."""
    text = json.dumps(_load(folder, notebook) | parts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{notebook}.json"
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8", newline="\n")
    os.replace(beside, path)
