"""Which of our modules does a source import? Asked of notebooks, of experiments, and by the test of the layout."""

import ast
from pathlib import Path

from course_utils import paths

SOURCES = paths.ROOT / "src"


def file_of(module: str) -> Path:
    """Return where a module would stand, were it one of ours."""
    return SOURCES.joinpath(*module.split(".")).with_suffix(".py")


def imported(tree: ast.Module, module: str = "") -> list[str]:
    """Return the full names of our modules that a source imports, those inside its functions too.

    Takes its syntax tree, and its own name where it may import by dots.
    """
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            place = ".".join([*above, *filter(None, [node.module])])
            names += [place, *(f"{place}.{alias.name}" for alias in node.names)]
    return [
        name for name in names if file_of(name).is_file() or (file_of(name).with_suffix("") / "__init__.py").is_file()
    ]
