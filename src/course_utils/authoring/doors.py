"""Open a notebook elsewhere than here: the links that its page carries, and its copy for Google Colab.

They need to know where the repository is published; a clone of GitHub knows it from git, and elsewhere there are no links.
"""

import copy
import re
import subprocess

import nbformat

from course_utils import paths

PAGES = "gh-pages"  # the branch that the rendered pages are published from, with the copies for Colab beside them
FIRST = """# On Colab, once a session: fetch the course, and install what it is tested with beside what Colab has (two or three minutes).
!test -d /content/course || git clone --quiet --depth 1 https://github.com/{home} /content/course
%run /content/course/tools/colab.py
%cd -q /content/course/notebooks"""


def home() -> str:
    """Return where git says that this repository came from, as `owner/name` on GitHub; nothing if it is not from there."""
    command = ["git", "config", "--get", "remote.origin.url"]
    try:
        said = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # no git
        return ""
    found = re.fullmatch(r"(?:https://|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", said)
    return found[1] if found else ""


def links(stem: str, home: str) -> dict[str, str]:
    """Return the addresses that open a notebook, by its file's name without the ending, of the repository `home`."""
    return {
        "Binder": f"https://mybinder.org/v2/gh/{home}/HEAD?urlpath=lab/tree/notebooks/{stem}.ipynb",
        "Colab": f"https://colab.research.google.com/github/{home}/blob/{PAGES}/colab/{stem}.ipynb",
        "Codespaces": f"https://codespaces.new/{home}?quickstart=1",
        "Dev container": f"https://vscode.dev/redirect?url=vscode://ms-vscode-remote.remote-containers/cloneInVolume"
        f"?url=https://github.com/{home}",
    }


def badges(stem: str, home: str) -> str:
    """Return a notebook's links as one line of HTML, without pictures, for a page needs no network; nothing without `home`."""
    if not home:
        return ""
    shown = "".join(f' <a href="{address}">{name}</a>' for name, address in links(stem, home).items())
    return f'<p class="places">Open in:{shown}</p>'


def for_colab(notebook: nbformat.NotebookNode, home: str) -> nbformat.NotebookNode:
    """Return a copy of a notebook that first fetches and installs the course, and holds no outputs."""
    changed = copy.deepcopy(notebook)
    for cell in changed.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    changed.cells.insert(1, nbformat.v4.new_code_cell(FIRST.format(home=home), id="colab"))
    return changed
