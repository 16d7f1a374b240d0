"""The links that open a notebook elsewhere, and its copy for Google Colab."""

import subprocess

import nbformat
import pytest

from course_utils import paths
from course_utils.authoring import doors, run, site


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A function that makes a git repository with a remote, and lets the course stand in it."""

    def make(remote):
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=tmp_path, check=True)
        monkeypatch.setattr(paths, "ROOT", tmp_path)
        return doors.home()

    return make


@pytest.mark.parametrize(
    ("remote", "home"),
    [
        ("https://github.com/some-one/the.course.git", "some-one/the.course"),
        ("https://github.com/some-one/course", "some-one/course"),
        ("git@github.com:some-one/course.git", "some-one/course"),
        ("ssh://git@github.com/some-one/course.git", "some-one/course"),
        ("https://example.org/some-one/course.git", ""),
        ("https://github.com.example.org/some-one/course", ""),
        ("../course", ""),
    ],
)
def test_a_clone_of_github_knows_where_it_came_from(clone, remote, home):
    assert clone(remote) == home


def test_a_folder_without_git_has_no_home(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert doors.home() == ""


@pytest.fixture
def notebook():
    code = nbformat.v4.new_code_cell("1 + 1", id="sum", execution_count=1)
    code.outputs = [nbformat.v4.new_output("stream", text="2")]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title", id="title"), code])


@pytest.fixture
def site_in(notebook, tmp_path, monkeypatch):
    """A function that writes the site of that notebook, from a place, and returns its folder."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(run, "ROOT", tmp_path)
    path = tmp_path / "notebooks" / "00_start_here.ipynb"

    def write(home):
        monkeypatch.setattr(doors, "home", lambda: home)
        run.write_site(tmp_path / "site", [site.Chapter(path, notebook, None, fresh=False)])
        return tmp_path / "site"

    return write


def test_a_page_carries_a_link_for_each_place_and_no_picture(site_in):
    page = (site_in("some-one/course") / "00_start_here.html").read_text(encoding="utf-8")
    assert all(f'href="{address}"' in page for address in doors.links("00_start_here", "some-one/course").values())
    assert "some-one/course/blob/gh-pages/colab/00_start_here.ipynb" in page
    assert "<img" not in page


def test_the_copy_for_colab_fetches_the_course_first_and_the_notebook_stays_as_it_is(notebook, site_in):
    copy = nbformat.read(site_in("some-one/course") / "colab" / "00_start_here.ipynb", as_version=4)
    nbformat.validate(copy)
    title, first, code = copy.cells
    assert title.source == "# A title" and code.source == "1 + 1" and not code.outputs
    assert "https://github.com/some-one/course /content/course" in first.source
    ran = first.source.split("%run /content/course/")[1].split()[0]
    assert (paths.ROOT / ran).is_file()
    assert len(notebook.cells) == 2 and notebook.cells[1].outputs


def test_without_a_home_there_is_neither(site_in):
    folder = site_in("")
    assert not (folder / "colab").exists()
    assert "Open in:" not in (folder / "00_start_here.html").read_text(encoding="utf-8")


def test_the_workflow_publishes_the_branch_that_colab_reads():
    workflow = (paths.ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    assert f"git init -q -b {doors.PAGES}" in workflow and "--site" in workflow
