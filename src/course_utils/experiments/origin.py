"""What a kept run stands on: its settings, the libraries, the code that made it, and the data. A change of any makes it anew.

Of the code, only the functions and constants count that the run can reach: a report that is written otherwise, or a table
of what is compared, leaves the runs as they are. So do comments and docstrings.
"""

import ast
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from course_utils import paths
from course_utils.authoring import imports

LIBRARIES = {  # the name of an import: that of its package
    "torch": "torch",
    "transformers": "transformers",
    "peft": "peft",
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "spacy": "spacy",
    "negspacy": "negspacy",
    "openvino": "openvino",
    "nncf": "nncf",
    "ctranslate2": "ctranslate2",
    "torchao": "torchao",
}
NOT_READ = ("spread/", "results/", "runs/", "dr_pictures")  # what is measured, and the drawn eyes: no run reads them


class Module(NamedTuple):
    """A source as it is read: what each name of it is defined by, our names that it imports, and others' libraries.

    The statements that define nothing stand under the name "".
    """

    defined: dict[str, list[ast.stmt]]
    ours: dict[str, tuple[str, str]]  # a name here: the module, and the name there ("" for the module itself)
    theirs: dict[str, str]


class Reached(NamedTuple):
    """The fingerprint of all code that a function can reach, and the libraries that it uses."""

    code: str
    libraries: tuple[str, ...]


def of(make: Callable | str, settings: dict) -> dict:
    """Return the fingerprints of all that a run stands on: of the function that makes it, with these settings.

    In place of the function it takes the name of a module, all of which then counts.
    """
    reached = code(make, "") if isinstance(make, str) else code(make.__module__, make.__qualname__)
    return {
        "settings": paths.digest(sorted(settings.items())),
        "libraries": versions(reached.libraries),
        "code": reached.code,
        "data": shipped_data(settings.get("base")),
    }


@cache
def versions(libraries: tuple[str, ...]) -> dict:
    """Return the versions of these libraries, of those that are installed."""
    found = {}
    for library in libraries:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # an extra that this experiment does not need, else it would not run
    return found


def shipped_data(base: str | None = None) -> str:
    """Return a fingerprint of the data and the base models, or of the data and one of these."""
    manifest = (paths.samples() / "MANIFEST.sha256").read_text(encoding="utf-8")
    lines = [line.split(maxsplit=1) for line in manifest.splitlines()]

    def counts(name: str) -> bool:
        own = not base or not name.startswith("bases/") or name.startswith(f"bases/{base}/")
        return own and not name.startswith(NOT_READ) and not name.endswith(".md")

    return paths.digest([line for line in lines if counts(line[1])])


@cache
def code(module: str, name: str) -> Reached:
    """Return what a function of a module can reach, or all names of the module if "" is given.

    It is read once a process, for what is imported does not change later.
    """
    found: dict[tuple[str, str], str] = {}
    libraries: set[str] = set()
    waiting = [(module, one) for one in ([name] if name else read(module).defined)]
    while waiting:
        place = waiting.pop()
        if place in found or not imports.file_of(place[0]).is_file():
            continue
        source = read(place[0])
        nodes = source.defined.get(place[1], [])
        found[place] = paths.digest([bare(node) for node in nodes])
        waiting.append((place[0], ""))
        for node in nodes:
            waiting += _ours(node, place[0], source)
            libraries |= {source.theirs[one] for one in _names(node) & set(source.theirs)}
    return Reached(paths.digest(sorted([*place, text] for place, text in found.items())), tuple(sorted(libraries)))


def of_source(text: str) -> Reached:
    """Return what a source that is no module of ours can reach, a notebook's cells say: ours, its own lines not counted."""
    tree = ast.parse(text)
    source = Module({}, {}, {})
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _note_import(node, "", source)
    parts = [code(*place) for place in sorted(set(_ours(tree, "", source))) if place[1]]
    libraries = {library for part in parts for library in part.libraries}
    return Reached(paths.digest([part.code for part in parts]), tuple(sorted(libraries)))


@cache
def read(module: str) -> Module:
    """Read a module of ours."""
    tree = ast.parse(imports.file_of(module).read_text(encoding="utf-8"))
    source = Module({"": []}, {}, {})
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _note_import(node, module, source)
    for number, node in enumerate(tree.body):
        for one in _defines(node, first=number == 0):
            source.defined.setdefault(one, []).append(node)
    return source


def _defines(node: ast.stmt, first: bool) -> set[str]:
    """Return the names that a statement of a module defines; "" if it does something else that counts."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    is_main = isinstance(node, ast.If) and "__main__" in ast.dump(node.test)
    docstring = first and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return set() if is_main or docstring or isinstance(node, ast.Import | ast.ImportFrom) else {""}


def _note_import(node: ast.Import | ast.ImportFrom, module: str, source: Module) -> None:
    """Note where the names of an import come from."""
    level = node.level if isinstance(node, ast.ImportFrom) else 0
    above = module.split(".")[:-level] if level else []
    place = ".".join([*above, *filter(None, [getattr(node, "module", None)])])
    for alias in node.names:
        name = alias.asname or alias.name.split(".")[0]
        whole = ".".join(filter(None, [place, alias.name]))
        if imports.file_of(whole).is_file():
            source.ours[name] = (whole, "")
        elif imports.file_of(place).is_file() and place:
            source.ours[name] = (place, alias.name)
        elif (library := whole.split(".")[0]) in LIBRARIES:
            source.theirs[name] = LIBRARIES[library]


def _ours(node: ast.AST, module: str, source: Module) -> list[tuple[str, str]]:
    """Return the places of our names that a statement uses."""
    names = _names(node)
    places = [(module, name) for name in names & set(source.defined)]
    places += [source.ours[name] for name in names & set(source.ours)]
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in source.ours:
            owner, inner = source.ours[one.value.id]
            places.append((owner, inner or one.attr))
    return places


def _names(node: ast.AST) -> set[str]:
    """Return the names that stand in a statement, those that are imported in it among them."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    inner = [one for one in ast.walk(node) if isinstance(one, ast.Import | ast.ImportFrom)]
    return found | {alias.asname or alias.name.split(".")[0] for one in inner for alias in one.names}


def bare(node: ast.AST) -> str:
    """Return a statement as text without docstrings; comments are not in it anyway."""
    for one in ast.walk(node):
        is_block = isinstance(one, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_block and ast.get_docstring(one):
            one.body = one.body[1:]
    return ast.dump(node)
