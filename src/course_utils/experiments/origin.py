"""What a kept run stands on: its settings, the libraries, the code that made it, and the data. A change of any makes it anew."""

import ast
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from course_utils import paths
from course_utils.authoring import imports

LIBRARIES = ("torch", "transformers", "peft", "scikit-learn", "numpy", "onnxruntime", "spacy", "negspacy")
LIBRARIES += ("openvino", "nncf", "ctranslate2", "torchao")


def of(name: str, settings: dict) -> dict:
    """Return the fingerprints of all that a run stands on: of the experiment with this NAME, with these settings."""
    return {"settings": paths.digest(settings), "libraries": versions(), "code": code(name), "data": shipped_data()}


def versions() -> dict:
    """Return the versions of the libraries that are installed."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue  # an extra that this experiment does not need, else it would not run
    return found


def shipped_data() -> str:
    """Return a fingerprint of the data and the base models."""
    manifest = (paths.samples() / "MANIFEST.sha256").read_text(encoding="utf-8")
    # how far the notebooks' numbers move is measured later, and no run reads it
    return paths.digest([line for line in manifest.splitlines() if " spread/" not in line])


@cache
def code(name: str) -> str:
    """Return a fingerprint of an experiment and of every module of ours that it imports, directly or through another.

    It is read once a process, for what is imported does not change later.
    """
    found, waiting = {}, [module_of(name)]
    while waiting:
        module = waiting.pop()
        if module not in found:
            tree = ast.parse(imports.file_of(module).read_text(encoding="utf-8"))
            waiting += [one for one in imports.imported(tree, module) if imports.file_of(one).is_file()]
            found[module] = paths.digest(bare(tree))
    return paths.digest(sorted(found.items()))


def module_of(name: str) -> str:
    """Return the experiment whose NAME this is. The sources say so; a module that is run calls itself "__main__".

    Raises ValueError unless there is just one.
    """
    files = (imports.SOURCES / "course_utils" / "experiments").glob("*.py")
    says = re.compile(rf'^NAME\b[\w, ]*= "{re.escape(name)}"', re.MULTILINE)
    found = [file.stem for file in files if says.search(file.read_text(encoding="utf-8"))]
    if len(found) != 1:
        raise ValueError(f'One experiment must have NAME = "{name}"; it is {", ".join(sorted(found)) or "none"}.')
    return f"course_utils.experiments.{found[0]}"


def bare(tree: ast.Module) -> str:
    """Return a tree as text without its docstrings; comments are not in it anyway."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
