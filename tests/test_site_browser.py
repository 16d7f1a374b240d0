"""The site in a real browser, from disk: axe-core finds nothing wrong, and search, sorting, filtering and dark work.

Needs Chromium, and axe-core, which `make check-site` fetches by npm.
"""

import html
import json
import re
import shutil
import subprocess

import pytest

from course_utils import paths
from course_utils.authoring import run, site

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
AXE = paths.BUILD / "axe" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="no Chromium is installed here"),
    pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: `make check-site` fetches it"),
]
FLAGS = [
    "--headless",
    "--disable-gpu",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CHECK = f"""
const found = await axe.run({{ runOnly: {{ type: "tag", values: {json.dumps(RULES)} }} }});
return {{ passes: found.passes.length, wrong: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))]),
  wide: document.documentElement.scrollWidth > innerWidth }};
"""
SEARCH = """
const box = document.getElementById("search");
box.focus();
await until(() => window.searchIndex);
const links = (typed) => {
  box.value = typed;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  return [...document.querySelectorAll("#found-list a")].map((link) => link.getAttribute("href"));
};
const pages = [...new Set(window.searchIndex.map((row) => row[0]))];
const title = (page) => window.searchIndex.find((row) => row[0] === page)[1];
return { lora: links("lora rank"), none: links("qqqqzzzz"), chinese: links("出血"),
  lost: pages.filter((page) => !found(title(page)).some((one) => one.page === page)) };
"""
TABLE = """
const table = document.getElementById("results");
const filters = document.querySelector(".filters");
const column = (name) => [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === name);
const values = (name) => [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[column(name)].dataset.number);
const first = values("score [95%]").length;
table.tHead.rows[0].cells[column("score [95%]")].querySelector("button").click();
const down = values("score [95%]").map(Number);
table.tHead.rows[0].cells[column("seconds")].querySelector("button").click();
const seconds = values("seconds");
filters.querySelector("input").value = "lora new site";
filters.dispatchEvent(new Event("input", { bubbles: true }));
const said = filters.querySelector("output").textContent;
return { first, down, seconds, said, shown: values("seeds").length, rows: table.tBodies[0].rows.length };
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    chapters = [site.Chapter(path, notebook, None, False) for path, notebook in run.read_all(run.chapters())]
    site.write(paths.ROOT, out, chapters, sorted((paths.ROOT / "docs").glob("*.md")))
    shutil.copy(AXE, out / "axe.js")
    return out


def told(out, name, program, width=1280, theme="light"):
    """Open a page from disk, run the body of an async function in it, and return what that returns."""
    runs = f"""<script src="axe.js"></script><script>
const until = async (ready) => {{ while (!ready()) await new Promise((go) => setTimeout(go, 20)); }};
addEventListener("load", async () => {{
  const said = document.createElement("pre");
  said.id = "said";
  const asked = (async () => {{ {program} }})();
  said.textContent = JSON.stringify(await asked.catch(String));
  document.documentElement.append(said);
}});</script></body>"""
    page = (
        (out / name)
        .read_text(encoding="utf-8")
        .replace("</body>", runs)
        .replace("<html ", f'<html data-theme="{theme}" ')
    )
    (out / "tried.html").write_text(page, encoding="utf-8")
    profile = out.parent / "profile"
    command = [
        BROWSER,
        *FLAGS,
        f"--user-data-dir={profile}",
        f"--window-size={width},900",
        "--virtual-time-budget=60000",
        "--dump-dom",
    ]
    dom = subprocess.run(
        [*command, (out / "tried.html").as_uri()], capture_output=True, text=True, timeout=600, check=True
    ).stdout
    (out / "tried.html").unlink()
    said = re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL)
    assert said, f"{name} said nothing"
    return json.loads(html.unescape(said[1]))


KINDS = [
    "index",
    "00_start_here",
    "results_table",
    "lessons",
    "glossary",
    "abbreviations",
    "article",
    "spread",
    "solution_00_start_here",
]


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (820, "light"), (500, "light")])
@pytest.mark.parametrize("name", [*KINDS, "src_course_utils_training.py"])
def test_axe_finds_nothing_wrong(out, name, width, theme):
    found = told(out, f"{name}.html", CHECK, width, theme)
    assert not found["wrong"] and found["passes"] > 20
    assert not found["wide"], "the page scrolls sideways"


def test_axe_notices_a_picture_without_words_and_grey_on_grey(out):
    dim = '<img src="a.png"><p style="color:#999;background:#aaa">dim</p>'
    plant = f"document.querySelector('main').insertAdjacentHTML('beforeend', `{dim}`);"
    assert {"image-alt", "color-contrast"} <= {name for name, _ in told(out, "index.html", plant + CHECK)["wrong"]}


def test_search_finds_every_page_by_its_title_and_says_when_it_finds_none(out):
    found = told(out, "index.html", SEARCH)
    assert found["lost"] == [] and found["none"] == [] and found["chinese"]
    assert any(link.startswith("03_adapt_with_lora.html") for link in found["lora"])


def test_the_table_sorts_and_filters(out):
    found = told(out, "results_table.html", TABLE)
    assert 1 < found["first"] <= found["rows"]
    assert found["down"] == sorted(found["down"], reverse=True)
    known = [float(value) for value in found["seconds"] if value is not None]
    assert known == sorted(known, reverse=True) and found["seconds"][len(known) :] == [None] * (
        len(found["seconds"]) - len(known)
    )
    assert 0 < found["shown"] < found["first"] and found["said"] == f"{found['shown']} of {found['rows']} rows"
