"""The notebooks as they are stored, each read once for all tests, which leave them as they are."""

import contextlib
import io
from functools import cache

import nbformat

from course_utils import paths


@cache
def read(path):
    """Return the notebook of a file."""
    return nbformat.read(path, as_version=4)


def cells(path, kind):
    """Return its cells of a kind, "code" or "markdown"."""
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def place(name):
    """Return the path of a notebook; one whose long runs are not made yet waits in another folder."""
    files = [folder / f"{name}.ipynb" for folder in (paths.NOTEBOOKS, paths.ROOT / "coming")]
    return next(file for file in files if file.exists())


def spans(numbers):
    """Write the numbers of notebooks as one says them: "05, 06 and 14 to 17"."""
    runs = []
    for number in sorted(numbers):
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [part for run in runs for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else run)]
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def printed_by(name, *wanted, **given):
    """Run the code cells of a notebook, or these of them, with what is given; return what each prints."""
    names, texts = dict(given), {}
    for cell in cells(place(name), "code"):
        if not wanted or cell.id in wanted:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(cell.source, cell.id, "exec"), names)
            texts[cell.id] = out.getvalue()
    assert set(wanted) <= set(texts)
    return texts


def without_results(monkeypatch, folder):
    """Let the course have its data and no results, and write what it makes and measures into this folder."""
    data = folder / "data"
    data.mkdir()
    for part in (paths.ROOT / "data_samples").iterdir():
        if part.name not in ("results", "runs"):
            (data / part.name).symlink_to(part)
    for name, value in {"DATA": data, "REAL": folder / "real", "THREADS": 1}.items():
        monkeypatch.setenv(f"COURSE_{name}", str(value))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.setattr(paths, "BUILD", folder / "build")
