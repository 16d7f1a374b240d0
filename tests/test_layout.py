"""Who may import whom, and that the maps of the package name each module with the notebooks that use it."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import course_utils
import stored
from course_utils import paths
from course_utils.authoring import imports, render, run

PACKAGE = Path(course_utils.__file__).parent
FOLDERS = {"authoring", "generate", "experiments"}
GROUPS = {  # of flat modules, and which groups each may import
    "places": ({"paths"}, set()),
    "numbers": ({"metrics", "calibration", "figures", "drawings", "fundus"}, {"numbers"}),
    "data and text": (
        {"tables", "columns", "data", "validate", "twins", "terms", "context", "augment", "leaks", "records"},
        {"places", "numbers", "data and text"},
    ),
    "models": (
        {"models", "adapt", "training", "trainer", "causal", "chat", "decoders", "federated", "scale"},
        {"places", "numbers", "models"},
    ),
    "machine": (
        {"machine", "session", "costs"},
        {"places", "numbers", "data and text", "models", "machine", "progress"},
    ),
    "progress": ({"progress"}, {"places"}),
    "class": ({"preflight", "board"}, {"places", "numbers", "machine", "progress"}),
    "yours": (
        {"suitability", "fit", "page", "search", "train_many", "pictures"},
        {"places", "numbers", "data and text", "models", "machine", "yours"},
    ),
    "results": ({"results"}, {"places"}),
    "shipping": (
        {"export", "graphs", "engines", "serve", "service", "bulk", "registry", "gate", "logbook", "tracking"},
        {"places", "numbers", "models", "shipping"},
    ),
}
MAY_BESIDES = dict.fromkeys(("serve", "export", "bulk"), {"tables"})  # the one reader, and how names are compared
MAY_BESIDES |= {
    "progress": {"logbook", "page"},
    "preflight": {"page"},
    "board": {"page"},
}  # a log that two notebooks add to
GROUP_OF = {module: group for group, (modules, _) in GROUPS.items() for module in modules}


def imported(source, package=""):
    """Return the modules of ours that a source imports, as "data" or "generate.cases", those inside functions too."""
    found = imports.imported(ast.parse(source), ".".join(["course_utils", *filter(None, [package]), "itself"]))
    return {name.removeprefix("course_utils").lstrip(".") for name in found} - {"", *FOLDERS}


def modules():
    return {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): file.read_text(encoding="utf-8")
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py"
    }


def forbidden(name, source):
    """Return what a module imports and may not."""
    folder, _, _ = name.rpartition(".")
    uses = imported(source, folder)
    if folder == "experiments":
        return set()
    if folder:
        allowed = {
            "generate": {"data", "paths", "fundus"},
            "authoring": {"exercises", "figures", "paths", "progress", "results"},
            "exercises": {"metrics", "progress"},
        }[folder]
        return {one for one in uses if one.split(".")[0] != folder and one not in allowed}
    may = set().union(*(GROUPS[group][0] for group in GROUPS[GROUP_OF[name]][1])) | MAY_BESIDES.get(name, set())
    return uses - may


def test_each_flat_module_has_its_group():
    assert set(GROUP_OF) == {name for name in modules() if "." not in name}


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_what_it_may(name):
    assert not forbidden(name, modules()[name])


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("metrics", "from course_utils import data"),
        ("data", "def load():\n    from course_utils.training import predict"),
        ("training", "import course_utils.terms"),
        ("session", "from course_utils.authoring import run"),
        ("generate.cases", "from course_utils import models"),
        ("authoring.run", "from course_utils.experiments import spread"),
        ("exercises.nb01", "from ..generate.cases import grade_of"),
    ],
)
def test_a_forbidden_import_is_noticed(name, source):
    assert forbidden(name, source)


@pytest.mark.parametrize("path", [*run.chapters(), *run.chapters(paths.NOTEBOOKS / "solutions")], ids=lambda p: p.stem)
def test_a_notebook_imports_flat_modules_and_checkers_alone(path):
    uses = imported("\n".join(re.sub(r"^[%!].*", "", cell.source, flags=re.M) for cell in stored.cells(path, "code")))
    assert not {one for one in uses if one.split(".")[0] in FOLDERS}
    assert uses <= set(GROUP_OF) | {"exercises"}


def taken(source):
    """Return (module, name) for each attribute of a flat module that a notebook's code uses."""
    tree = ast.parse(source)
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    ours = imported(source) - assigned
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {(node.value.id, node.attr) for node in uses if node.value.id in ours}


@pytest.mark.parametrize("path", [*run.chapters(), *run.chapters(paths.NOTEBOOKS / "solutions")], ids=lambda p: p.stem)
def test_what_a_notebook_takes_of_a_module_is_there(path):
    source = "\n".join(cell.source for cell in stored.cells(path, "code"))
    uses = taken(source)
    assert uses and not {use for use in uses if not hasattr(import_module(f"course_utils.{use[0]}"), use[1])}


def test_only_paths_works_out_a_folder_from_its_own_place():
    assert [name for name, source in modules().items() if re.search(r"__file__|COURSE_DATA", source)] == ["paths"]


def test_the_maps_name_each_module_and_its_notebooks():
    known = render.modules(run.read_all(run.chapters()))
    listed = re.findall(r"^\S* +(\w+) +\S.* \[([\w ]*)\]$", course_utils.__doc__, re.MULTILINE)
    assert sorted((name, users.split()) for name, users in listed) == [(name, users) for name, _, users in known]
    table = render.module_table(run.read_all(run.chapters()))
    assert table in (paths.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
