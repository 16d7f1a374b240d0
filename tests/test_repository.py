"""The repository agrees with itself: versions, links, checksums, and nothing of the machine it was made on."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course_utils
import stored

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data_samples"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKED = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
LOCK = {  # what holds for this Python
    canonicalize_name(need.name): str(need.specifier).removeprefix("==")
    for need in LOCKED
    if not need.marker or need.marker.evaluate()
}
ALL = "course,lab,clinical,onnx,http,bulk,registry,search,tracking,test"

# Paths of a machine, and hosts of package indexes; written apart so that this file does not hold them.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.-])/(?:home|Users|root|work|opt)" + r"/\w",
            "pypi" + r"\.org",
            "pythonhos" + "ted",
            "download" + r"\.pytorch",
        ]
    )
)
PLANTS_SUCH_STRINGS = {"tests/test_notebook_style.py", "tests/test_compare.py"}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def requirements():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    needs = [Requirement(text) for group in groups for text in group]
    return [need for need in needs if need.name != PROJECT["name"]]  # an extra may hold another one


@pytest.mark.parametrize("need", requirements(), ids=lambda need: need.name)
def test_every_range_is_bounded_and_holds_the_locked_version(need):
    assert canonicalize_name(need.name) in LOCK
    assert LOCK[canonicalize_name(need.name)] in need.specifier
    assert any(part.operator in ("<", "==") for part in need.specifier), f"{need} has no upper bound"


def test_the_lock_names_one_version_for_each_python():
    assert all(re.fullmatch(r"==[\w.]+", str(need.specifier)) for need in LOCKED)
    names = [canonicalize_name(need.name) for need in LOCKED]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {canonicalize_name(need.name) for need in LOCKED if need.marker} == {"soupsieve"}


@pytest.mark.skipif(os.environ.get("COURSE_VERSIONS") == "newest", reason="`make test-newest` tests other versions")
def test_what_is_installed_is_what_is_locked():
    installed = {canonicalize_name(one.name): one.version.split("+")[0] for one in metadata.distributions()}
    strays = {name: (installed[name], LOCK[name]) for name in LOCK if installed.get(name, LOCK[name]) != LOCK[name]}
    assert not strays, f"installed and locked versions differ: {strays}; run `make course` again"


def test_conda_and_make_install_the_same_lock():
    conda = yaml.safe_load(read("environment.yml"))["dependencies"]
    *packages, pip = conda
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{ALL}]"]}
    assert f"\nALL := {ALL}\n" in read("Makefile")
    assert f'".[{ALL}]"' in read("docs/setup.md")
    versions = dict(re.fullmatch(r"([\w.-]+)=?([\d.]*)", package).groups() for package in packages)
    assert versions.pop("python") in Requirement("python" + PROJECT["requires-python"]).specifier
    assert versions.pop("pip") == ""
    assert {canonicalize_name(name): version for name, version in versions.items()}.items() <= LOCK.items()


def test_a_server_can_install_what_it_needs_without_torch():
    core, serving = (
        {Requirement(text).name for text in texts}
        for texts in (PROJECT["dependencies"], PROJECT["optional-dependencies"]["serve"])
    )
    assert core == {"numpy"} and serving == {"charset-normalizer", "onnxruntime", "tokenizers"}


def test_the_package_itself_imports_no_other_library():
    program = "import sys, course_utils; print({name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {canonicalize_name(name) for name in LOCK} & set(re.findall(r"'(\w+)'", loaded)) - {"coverage"}


def test_one_version_everywhere():
    cited = yaml.safe_load(read("CITATION.cff"))["version"]
    assert PROJECT["version"] == course_utils.__version__ == cited


def test_ci_runs_make_test_and_the_token_of_jupyterlab_stays():
    *_, whole, trained = read(".ci/run").splitlines()
    assert whole == "make test" and trained.startswith('make test SETTING=all-avx2 TESTS="notebooks/')
    chosen = {path.name[:2] for part in trained.split('"')[1].split() for path in ROOT.glob(part)}
    assert chosen == {"00", "02", "03", "11"}  # notebooks that train, with another processor's arithmetic as well
    assert "token" not in read("Makefile")
    assert "--ip=127.0.0.1" in read("Makefile")


def manifest():
    """Return the (sha256, relative path) pairs of the manifest; fail if there is none."""
    return [line.split(maxsplit=1) for line in (SAMPLES / "MANIFEST.sha256").read_text(encoding="utf-8").splitlines()]


def test_every_file_in_the_manifest_matches():
    assert manifest(), "the manifest is empty"
    wrong = [
        name
        for digest, name in manifest()
        if hashlib.sha256((SAMPLES / name.lstrip("*")).read_bytes()).hexdigest() != digest
    ]
    assert not wrong


def test_every_data_file_is_in_the_manifest():
    listed = {name.lstrip("*") for _, name in manifest()}
    shipped = {
        path.relative_to(SAMPLES).as_posix()
        for path in SAMPLES.rglob("*")
        if path.suffix in {".csv", ".safetensors", ".json", ".txt", ".model"}
    }
    assert {name for name in shipped if not name.startswith(("results/", "runs/", "spread/"))} - listed == set()


FOLDERS = ("", "docs/", "teach/", "findings/", "launch/", "federation/*/")
PAGES = sorted(file.relative_to(ROOT).as_posix() for folder in FOLDERS for file in ROOT.glob(f"{folder}*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_links_and_named_notebooks_are_there(name):
    text, folder = read(name), (ROOT / name).parent
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)}
    notebooks = set(re.findall(r"\b(?<!solutions/)\d\d_\w+\.ipynb", text))
    missing = {link for link in links if link and not (folder / link).exists()}
    waiting = {file.name for file in ROOT.glob("coming/*.ipynb")}
    assert not missing | {name for name in notebooks - waiting if not (ROOT / "notebooks" / name).exists()}


def test_the_notebooks_that_wait_are_named():
    waiting = {file.name[:2] for file in ROOT.glob("coming/*.ipynb")}
    for name in ("README.md", "docs/results.md"):
        said = re.findall(r"^(\d\d\b.*) wait in \[coming/\]", read(name), re.MULTILINE)
        assert said == ([stored.spans(waiting)] if waiting else []), name


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ("05 06 14 15 16 17", "05, 06 and 14 to 17"),
        ("05 06", "05 and 06"),
        ("14 15 16", "14 to 16"),
        ("07", "07"),
        ("", ""),
    ],
)
def test_numbers_of_notebooks_are_written_as_one_says_them(numbers, said):
    assert stored.spans(numbers.split()) == said


def test_the_cells_that_the_findings_name_are_there():
    named = re.findall(r"notebook (\d\d), cells? `([\w-]+)`(?: to `([\w-]+)`)?", read("findings/README.md"))
    assert len(named) >= 5
    for number, *cells in named:
        (path,) = ROOT.glob(f"*/{number}_*.ipynb")
        assert {cell for cell in cells if cell} <= {cell.id for cell in stored.read(path).cells}, number


def test_each_folder_is_named_where_one_looks_for_it():
    folders = {name.partition("/")[0] for name in own_files() if "/" in name and not name.startswith(".")}
    table = read("CONTRIBUTING.md").partition("## What is where")[2].partition("The modules that notebooks import:")[0]
    assert folders == set(re.findall(r"^\| `(\w+)/[\w/]*` \|", table, re.MULTILINE))


def own_files():
    """Return the repository's files as git would see them, new ones included, without what it ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:  # a copy without git
        skipped = {".venv", "build", ".git"}
        names = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return [name.as_posix() for name in names if name.parts[0] not in skipped]
    return [name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def forbidden_in(text):
    return [text.count("\n", 0, found.start()) + 1 for found in FORBIDDEN.finditer(text)]


def test_no_file_holds_a_machine_path_or_an_index_host():
    found = {}
    for name in own_files():
        try:
            text = read(name)
        except UnicodeDecodeError:
            continue  # no text file
        if name not in PLANTS_SUCH_STRINGS and forbidden_in(text):
            found[name] = forbidden_in(text)
    assert not found, f"lines with a machine path or an index host: {found}"


@pytest.mark.parametrize("text", ["a\n/ho" + "me/me/x", "see pypi" + ".org", "'/wo" + "rk/main'"])
def test_a_forbidden_string_is_noticed(text):
    assert forbidden_in(text)


def test_an_ordinary_path_is_fine():
    assert not forbidden_in("data_samples/root/x ../work/y https://example.com/home/z")


# What is said before the installation.


def preflight():
    spec = importlib.util.spec_from_file_location("preflight", ROOT / "tools" / "preflight.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_preflight_says_what_to_do():
    check = preflight()
    assert "PYTHON=python3.11" in check.check_python((3, 10, 1))
    assert "python3-venv" in check.check_venv(lambda name: name != "ensurepip")
    assert "free some space" in check.check_disk(3.9e9, "here")


def test_preflight_is_silent_when_all_is_well():
    check = preflight()
    assert check.check_python(sys.version_info) is None
    assert check.check_venv(check.can_import) is None
    assert check.check_disk(4.1e9, "here") is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell script")
@pytest.mark.parametrize(("status", "said"), [(1, "no route to host"), (0, None)])
def test_preflight_asks_pip_for_a_package(tmp_path, status, said):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho no route to host\nexit {status}\n")
    python.chmod(0o755)
    answer = preflight().check_index(str(python))
    assert answer is None if said is None else said in answer and "PIP_INDEX_URL" in answer
