"""The notebooks as they are stored, each read once for all tests, which leave them as they are."""

from functools import cache

import nbformat


@cache
def read(path):
    """Return the notebook of a file."""
    return nbformat.read(path, as_version=4)


def cells(path, kind):
    """Return its cells of a kind, "code" or "markdown"."""
    return [cell for cell in read(path).cells if cell.cell_type == kind]
