"""Installing: what `make lab` needs, other systems, a stick for a room without Wi-Fi, and other people's machines."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stored
from course_utils import paths

ROOT = paths.ROOT
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def tool(monkeypatch):
    """A function that imports a module of tools/."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module


# The core.


def closure(extras):
    """Return the names of all packages that some extras of the course install here."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    texts = [
        *project["dependencies"],
        *(text for one in extras.split(",") for text in project["optional-dependencies"][one]),
    ]
    waiting = [(canonicalize_name(need.name), frozenset(need.extras)) for need in map(Requirement, texts)]
    found = set()
    while waiting:
        name, asked = waiting.pop()
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add((name, asked))
        for need in map(Requirement, needs):
            named = (canonicalize_name(need.name), frozenset(need.extras))
            holds = not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in {"", *asked})
            waiting += [named] if holds and named not in found else []
    return {name for name, _ in found}


def imported(path):
    """Return the first names of all modules that a notebook's code imports."""
    source = "\n".join(re.sub(r"^[%!].*", "", cell.source, flags=re.M) for cell in stored.cells(path, "code"))
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_most_notebooks_import_nothing_but_what_make_lab_installs():
    core, packages = closure("course,lab"), metadata.packages_distributions()
    assert {"torch", "transformers", "jupyterlab", "captum"} <= core and not core & {"spacy", "onnx", "wandb", "pytest"}
    more, stands = {}, {path.stem[:2] for path in (ROOT / "notebooks").glob("*.ipynb")}
    for path in sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "coming").glob("*.ipynb")]):
        names = imported(path) - set(sys.stdlib_module_names) - {"course_utils"}
        free = {name for name in names if not {canonicalize_name(one) for one in packages.get(name, [])} & core}
        more |= {path.stem[:2]: free} if free else {}
    assert more == {
        "06": {"bitsandbytes", "trl"},  # for comparisons alone; it runs without
        "11": {"mlflow", "wandb"},
        "12": {"onnx"},
        "13": {"mlflow"},
        "14": {"optuna", "ray"},  # ray for one cell, which is left out unless it is asked for
    }
    told = stored.spans({"07", *more} & stands)  # 07 loads medspacy where it is there
    for name, times in (("Makefile", 2), ("docs/setup.md", 1)):
        assert (ROOT / name).read_text(encoding="utf-8").count(told) == times, name


@pytest.mark.parametrize(
    ("number", "extras"),
    [("07", "clinical"), ("11", "registry,tracking"), ("12", "onnx"), ("13", "registry,onnx"), ("14", "search")],
)
def test_a_notebook_that_needs_more_says_which_line_installs_it(number, extras):
    (path,) = [*(ROOT / "notebooks").glob(f"{number}_*.ipynb"), *(ROOT / "coming").glob(f"{number}_*.ipynb")]
    texts = [cell.source for cell in stored.cells(path, "markdown")[:3]]
    assert any(f"pip install -c constraints.txt -e '.[{extras}]'" in text for text in texts)


# Other systems.

SAID = """error: No solution found when resolving dependencies
  cause: Because torch==2.13.0 has no wheels with a
    matching platform tag (e.g., `macosx_13_0_x86_64`) and finetune-course depends on torch==2.13.0, we can conclude
"""


def test_what_stands_in_the_way_is_named(tool):
    platforms = tool("platforms")
    assert platforms.reason(SAID) == "no wheel of torch==2.13.0"
    assert platforms.reason("warning: slow\nerror: no network\n") == "error: no network"
    assert platforms.reason("") == "uv said nothing"


def test_a_package_outside_the_lock_is_named_however_it_is_spelled(tool):
    lock = "# a lock\nFoo_Bar==1.0\nbaz==2; python_full_version < '3.12'\n"
    assert tool("platforms").unlocked(["foo-bar==1.0", "baz==2", "new==3"], lock) == ["new"]


@POSIX
@pytest.mark.parametrize(("status", "cell"), [(0, "2 packages"), (1, "no wheel of torch==2.13.0")])
def test_the_lock_is_resolved_for_the_system_that_is_asked_for(tool, tmp_path, monkeypatch, capsys, status, cell):
    platforms = tool("platforms")
    script = tmp_path / "uv"
    (tmp_path / "said").write_text(SAID)
    script.write_text(
        f"#!/bin/sh\necho \"$@\" $MACOSX_DEPLOYMENT_TARGET > {tmp_path}/asked\nprintf 'numpy==2.4.6\\nnew==1\\n'\n"
        f"cat {tmp_path}/said >&2\nexit {status}\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(platforms, "uv", lambda: str(script))
    assert platforms.look("macos-arm64", "3.12") == cell
    asked = (tmp_path / "asked").read_text()
    assert "--python-platform aarch64-apple-darwin --python-version 3.12" in asked and "14.0" in asked
    assert all(f"--extra {extra} " in asked for extra in platforms.EXTRAS) and "--only-binary :all:" in asked
    assert status or "not in the lock: new" in capsys.readouterr().out


def test_the_table_has_a_cell_for_each_system_and_python(tool):
    platforms = tool("platforms")
    rows = platforms.table({"linux-x86_64": ["a", "b", "c"]}).splitlines()
    assert (
        rows[0] == "| system | Python 3.11 | Python 3.12 | Python 3.13 |" and rows[2] == "| linux-x86_64 | a | b | c |"
    )
    written = read("docs/anywhere.md").split(platforms.START)[1].split(platforms.END)[0]
    assert re.findall(r"^\| ([\w-]+) \|", written, re.M)[1:] == list(platforms.SYSTEMS)


def test_an_unknown_system_is_refused_by_both_tools(tool, capsys):
    assert tool("platforms").main(["amiga"]) == 2 and tool("stick").main(["--system", "amiga"]) == 2
    assert capsys.readouterr().err.count("There is no system amiga here: name") == 2


# The stick.


@pytest.fixture
def stick(tool, tmp_path, monkeypatch):
    """The tool, for a repository of one file; what is fetched is an empty file for each line."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "stick_install.py").write_text("install")
    own = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*own, "add", "tools"], cwd=tmp_path, check=True)
    subprocess.run([*own, "commit", "-qm", "one"], cwd=tmp_path, check=True)
    (tmp_path / "build" / "site").mkdir(parents=True)
    (tmp_path / "build" / "site" / "index.html").write_text("pages")
    stick = tool("stick")
    monkeypatch.setattr(stick, "ROOT", tmp_path)
    lines = ["torch==2.13.0", "numpy==2.4.6", "nvidia-nccl-cu13==2", "triton==3"]
    monkeypatch.setattr(stick.platforms, "pins", lambda system, python: lines)
    return stick


@pytest.mark.parametrize(("system", "build", "cuda"), [("linux-x86_64", "+cpu", 0), ("linux-x86_64", "", 2)])
def test_a_stick_holds_wheels_repository_pages_and_a_script(stick, tmp_path, monkeypatch, capsys, system, build, cuda):
    def fetch(lines, into, *rest):
        into.mkdir(exist_ok=True)
        for line in lines:
            (into / f"{line.replace('==', '-')}{build if line.startswith('torch') else ''}-cp311.whl").touch()

    monkeypatch.setattr(stick, "fetch", fetch)
    assert stick.main(["--system", system, "--python", "3.11"]) == 0
    out = tmp_path / "build" / f"stick-{system}-3.11"
    names = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    wheels = {name for name in names if name.startswith("wheels/")}
    assert {"install.py", "READ ME FIRST.txt", "course/tools/stick_install.py", "course/build/course/index.html"} == (
        names - wheels
    )
    assert sum("nvidia" in name or "triton" in name for name in wheels) == cuda
    assert any("numpy" in name for name in wheels) and any("setuptools" in name for name in wheels)
    said = capsys.readouterr().out
    assert ("TORCH_INDEX" in said) == bool(cuda) and "MB. Copy it to a stick" in said


def test_no_stick_is_said_with_the_reason(stick, monkeypatch, capsys):
    def refuse(*asked):
        raise ValueError("no wheel of torch==2.13.0")

    monkeypatch.setattr(stick.platforms, "pins", refuse)
    assert stick.main(["--system", "macos-x86_64", "--python", "3.12"]) == 1
    assert capsys.readouterr().err == "No stick for macos-x86_64 with Python 3.12: no wheel of torch==2.13.0\n"


def test_no_stick_is_made_of_what_is_no_clone(stick, tmp_path, capsys):
    (tmp_path / ".git").rename(tmp_path / "other")
    assert stick.main(["--system", "linux-x86_64", "--python", "3.12"]) == 1
    assert "this is no clone" in capsys.readouterr().err
    assert not (tmp_path / "build" / "stick-linux-x86_64-3.12").exists()


@pytest.fixture
def installer(tool, tmp_path, monkeypatch):
    """The script of a stick, with the one wheel that it looks at, and the commands that it would run."""
    script = tool("stick_install")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "torch-2.13.0-cp{}{}-none-any.whl".format(*sys.version_info)).touch()
    (tmp_path / "course").mkdir()
    ran = []
    monkeypatch.setattr(script, "WHEELS", str(tmp_path / "wheels"))
    monkeypatch.setattr(script, "COURSE", str(tmp_path / "course"))
    monkeypatch.setattr(
        script.subprocess, "check_call", lambda command: (Path(command[-1]).mkdir(), ran.append(command))
    )
    monkeypatch.setattr(script.subprocess, "call", lambda command, cwd: ran.append(command) or 0)
    monkeypatch.setattr(script.shutil, "disk_usage", lambda place: SimpleNamespace(free=9e9))
    return script, ran


def test_a_stick_installs_from_itself_alone_and_make_finds_all_done(installer, tmp_path, monkeypatch, capsys):
    script, ran = installer
    monkeypatch.setattr(script.shutil, "disk_usage", lambda place: SimpleNamespace(free=9e9 * Path(place).exists()))
    assert script.main([str(tmp_path / "some" / "other" / "here")]) == 0
    assert script.main([str(tmp_path / "here")]) == 0
    install = " ".join(ran[1])
    assert "--no-index --find-links" in install and "-c constraints.txt -e .[course,lab" in install
    assert {file.name for file in (tmp_path / "here" / ".venv").iterdir()} == {".core", ".installed"}
    assert "jupyterlab notebooks/00_start_here.ipynb" in capsys.readouterr().out
    assert script.main([str(tmp_path / "here")]) == 1
    assert "There is something in" in capsys.readouterr().err


def test_a_stick_for_another_python_says_which(installer, tmp_path, capsys):
    script, ran = installer
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.rename(tmp_path / "wheels" / "torch-2.13.0-cp39-none-any.whl")
    assert script.main([str(tmp_path / "here")]) == 1 and not ran
    assert "the wheels here are for cp39" in capsys.readouterr().err


# Other people's machines.


def test_the_lists_of_extras_agree(tool):
    (everything,) = re.findall(r"^ALL := (.+)$", read("Makefile"), re.M)
    assert everything == ",".join(tool("platforms").EXTRAS) == tool("stick_install").EXTRAS
    (binder,) = re.findall(r"'\.\[(.+)\]'", read(".binder/postBuild"))
    assert binder == tool("colab").EXTRAS and set(binder.split(",")) < set(everything.split(","))


def test_uv_is_the_one_that_is_locked():
    (locked,) = re.findall(r"^uv==.+$", read("constraints.txt"), re.M)
    assert locked in read(".binder/requirements.txt").splitlines()
    assert "grep '^uv==' constraints.txt" in read("Dockerfile")


def test_the_container_is_reached_from_this_machine_alone_and_runs_as_nobody_special():
    text = read("Dockerfile")
    assert "-p 127.0.0.1:8888:8888" in text and "token=" not in text.lower()
    assert text.index("\nUSER learner") < text.index("\nCOPY")
    container = json.loads(re.sub(r"^\s*//.*", "", read(".devcontainer/devcontainer.json"), flags=re.M))
    assert (ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert f"useradd --create-home --uid 1000 {container['remoteUser']}" in text


def test_what_is_made_on_this_machine_stays_out_of_an_image():
    assert {".git", ".venv", "build"} <= set(read(".dockerignore").split())


def test_colab_installs_the_lock_beside_its_own(tool):
    colab = tool("colab")
    asked = [" ".join(command) for command in colab.commands("python3")]
    assert re.search(r"pip install --quiet uv==[\d.]+$", asked[0])
    assert asked[1].startswith("python3 -m uv venv") and asked[1].endswith("beside")
    assert f"--constraints {ROOT / 'constraints.txt'}" in asked[2] and "--torch-backend cpu" in asked[2]


def test_what_lies_beside_comes_first_and_what_is_in_memory_is_said(tool, tmp_path, monkeypatch):
    colab = tool("colab")
    for name, version in (("yaml", "9.9"), ("some-new-one", "1.0")):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "only_beside.py").write_text("VALUE = 1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "theirs")
    for _ in range(2):
        colab.go_first(tmp_path)
    assert importlib.import_module("only_beside").VALUE == 1 and sys.path[0] == str(tmp_path)
    started = [sys.executable, "-c", "import only_beside, course_utils; print(only_beside.VALUE)"]
    assert subprocess.run(started, capture_output=True, text=True, cwd=tmp_path.parent).stdout == "1\n"
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), str(ROOT / "src"), "theirs"]
    assert colab.in_memory(tmp_path) == [f"yaml {yaml.__version__} was in memory already; the lock has 9.9."]
