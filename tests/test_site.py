"""The site is whole by itself: every link leads to a page in it, nothing comes from elsewhere, and search finds every page."""

import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pytest

from course_utils import paths
from course_utils.authoring import pages, reference, render, run, site

MOST_MB = 25
DOCS = sorted((paths.ROOT / "docs").glob("*.md"))


class Outline(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.text.append(text)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def outlines(folder):
    return {file.name: Outline(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.html"))}


def index_of(folder):
    """Return the rows of the search's index: (file, title, id, heading, text)."""
    script = (folder / "search.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("window.searchIndex = ").rstrip().removesuffix(";"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The site of the notebooks as they are stored."""
    out = tmp_path_factory.mktemp("site")
    chapters = [site.Chapter(path, notebook, None, False) for path, notebook in run.read_all(run.chapters())]
    site.write(paths.ROOT, out, chapters, DOCS)
    return SimpleNamespace(out=out, pages=outlines(out))


def broken(out, found):
    """Return the links and pictures of pages that lead to no file, or to no place in it."""
    ids = {name: {one["id"] for _, one in page.tags if "id" in one} for name, page in found.items()}
    wrong = []
    for name, page in found.items():
        for target in [one.get("href") or one.get("src") for _, one in page.tags if one.get("href") or one.get("src")]:
            file, _, anchor = target.partition("#")
            if re.match("https?:|mailto:", target):
                continue
            there = (out / file).is_file() if file else True
            if not there or (anchor and unquote(anchor) not in ids[file or name]):
                wrong.append((name, target))
    return wrong


def test_every_link_leads_to_a_place_in_the_site(made):
    assert not broken(made.out, made.pages)
    links = [one.get("href", "") for page in made.pages.values() for one in page.all("a")]
    assert not [link for link in links if link.startswith("/") or link.startswith("file:") or ".." in link]


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="up">A</h1><a href="#up">1</a><a href="#down">2</a><a href="b.html">3</a><img src="c.png">'
    )
    assert [target for _, target in broken(tmp_path, outlines(tmp_path))] == ["#down", "b.html", "c.png"]


def elsewhere(found):
    """Return what pages load: scripts, styles, pictures, frames, fonts, that do not lie beside them."""
    loaded = [
        one.get("src") or one.get("href") or one.get("data") or "a script inside the page"
        for page in found.values()
        for tag, one in page.tags
        if tag in ("script", "link", "img", "iframe", "source", "video", "audio", "object", "embed")
    ]
    return [
        target for target in loaded if not re.fullmatch(r"[\w.-]+\.(css|js|html)|pictures/\w+\.(png|jpg|svg)", target)
    ]


def test_nothing_is_loaded_from_elsewhere(made):
    assert not elsewhere(made.pages)
    style, script = ((reference.STATIC / name).read_text(encoding="utf-8") for name in ("site.css", "site.js"))
    assert not re.findall(r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket|sendBeacon|import\(", style + script)


@pytest.mark.parametrize(
    "planted", ['<script src="https://a.org/b.js"></script>', "<script>1</script>", '<img src="//a.org/b.png">']
)
def test_what_is_loaded_from_elsewhere_is_noticed(planted):
    assert elsewhere({"a.html": Outline(planted)})


def lacks(page):
    """Return what a page lacks of what every page must have."""
    first = next((one for one in page.all("a")), {})
    heads = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    ids = [one["id"] for _, one in page.tags if "id" in one]
    needs = {
        "a language": page.all("html") and page.all("html")[0].get("lang") == "en",
        "a title": page.all("title"),
        "a header, a main part, a footer": all(len(page.all(name)) == 1 for name in ("header", "main", "footer")),
        "navigation with a name": page.all("nav") and all(one.get("aria-label") for one in page.all("nav")),
        "a skip link": first.get("class") == "skip" and first.get("href") == "#content",
        "one heading of the first level": heads.count(1) == 1 and heads[0] == 1,
        "pictures with words": all(one.get("alt") for one in page.all("img")),
        "ids that are its own": len(ids) == len(set(ids)),
    }
    return [what for what, there in needs.items() if not there]


def test_every_page_has_what_a_reader_without_eyes_or_mouse_needs(made):
    assert not {name: lacks(page) for name, page in made.pages.items() if lacks(page)}


def test_what_a_page_lacks_is_noticed():
    assert len(lacks(Outline('<h2 id="a">A</h2><img src="b"><p id="a">'))) == 8


def test_the_side_bar_holds_the_parts_in_order_and_previous_and_next_lead_through_them(made):
    chapters = [f"{path.stem}.html" for path in run.chapters()]
    way, name = [], "index.html"
    while name:
        way.append(name)
        name = next((one["href"] for one in made.pages[name].all("link") if one["rel"] == "next"), None)
    assert way[1 : len(chapters) + 1] == chapters
    assert set(way) >= {
        "results_table.html",
        "lessons.html",
        "glossary.html",
        "abbreviations.html",
        *(f"{path.stem}.html" for path in DOCS),
    }
    for before, after in zip(way[1:], way[2:], strict=False):
        assert [one["href"] for one in made.pages[after].all("link") if one["rel"] == "prev"] == [before]
    words = " ".join(made.pages["glossary.html"].text)
    places = [words.index(part) for part in dict.fromkeys(render.part(path) for path in run.chapters())]
    assert places == sorted(places)


def test_names_are_the_same_where_case_does_not_count(made):
    names = [file.name.lower() for file in made.out.rglob("*")]
    assert len(names) == len(set(names))


def test_search_finds_a_word_of_every_page(made):
    rows = index_of(made.out)
    assert {row[0] for row in rows} == set(made.pages)
    for name, page in made.pages.items():
        title = page.text[page.text.index(next(text for text in page.text if text.strip()))].split(" – ")[0].strip()
        assert any(row[0] == name and row[1] == title and (row[3] or row[4]) for row in rows), name
    ids = {name: {one["id"] for _, one in page.tags if "id" in one} for name, page in made.pages.items()}
    assert not [row[:3] for row in rows if row[2] and row[2] not in ids[row[0]]]


def test_the_site_fits_on_any_stick(made):
    megabytes = sum(file.stat().st_size for file in made.out.rglob("*")) / 1e6
    assert megabytes < MOST_MB
    assert max(file.stat().st_size for file in made.out.glob("*.html")) < 1e6  # so that it opens at once


def test_writing_it_again_changes_nothing(made, tmp_path):
    chapters = [site.Chapter(path, notebook, None, False) for path, notebook in run.read_all(run.chapters()[:1])]
    for _ in range(2):
        site.write(paths.ROOT, tmp_path, chapters, [])
        files = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert files[next(name for name in files if name.name == "00_start_here.html")]
    again = tmp_path / "again"
    site.write(paths.ROOT, again, chapters, [])
    assert {file.relative_to(again): file.read_bytes() for file in again.rglob("*") if file.is_file()} == files


def cell(kind, source, **more):
    return getattr(nbformat.v4, f"new_{kind}_cell")(source, **more)


def shown(*cells, link=lambda url: url):
    return pages.notebook(nbformat.v4.new_notebook(cells=list(cells)), link, lambda content: f"{len(content)}.png")


def test_a_figure_is_heard_once_and_what_else_is_printed_stays():
    drawn = nbformat.v4.new_output(
        "display_data", {"image/png": "AAAA"}, metadata={"image/png": {"alt": "it falls", "width": 7}}
    )
    said = nbformat.v4.new_output("stream", name="stdout", text="Figure: it falls\nand <more>\n")
    bar = nbformat.v4.new_output("stream", name="stderr", text="50%")
    html = shown(cell("code", "draw()", outputs=[drawn, said, bar]))
    assert (
        '<img src="3.png" alt="it falls" width="7" loading="lazy"><figcaption aria-hidden="true">It falls</figcaption>'
        in html
    )
    assert '<pre class="printed">and &lt;more&gt;</pre>' in html and "50%" not in html


def test_an_error_and_a_value_are_shown_without_colour_codes():
    value = nbformat.v4.new_output(
        "execute_result", {"text/plain": "[1]", "text/html": "<script>1</script>"}, execution_count=1
    )
    error = nbformat.v4.new_output("error", ename="E", evalue="no", traceback=["\x1b[31mE\x1b[0m: no"])
    html = shown(cell("code", "x", outputs=[value, error]))
    assert "[1]" in html and "E: no" in html and "\x1b" not in html and "script" not in html


def test_a_link_that_leads_nowhere_leaves_its_words():
    html = shown(
        cell("markdown", "See [here](a.md) and [there](b.md)."), link=lambda url: None if url == "a.md" else "b.html"
    )
    assert html.count("<a ") == 1 and "See here and" in html and 'href="b.html"' in html


def test_a_heading_that_stands_twice_has_two_places():
    assert re.findall('id="([^c][^"]*)"', shown(cell("markdown", "## Same `one`\n\n## Same `one`"))) == [
        "Same-one",
        "Same-one-2",
    ]


@pytest.mark.parametrize(("heading", "name"), [("Set it up", "set-it-up"), ("1. Why fine-tune", "1-why-fine-tune")])
def test_a_document_has_the_places_of_a_repository(heading, name):
    assert f'id="{name}"' in pages.document(f"# {heading}", lambda url: url)


def test_a_formula_that_cannot_be_converted_is_shown_as_written():
    assert pages.formula("a_b_c", "inline") == "<code>a_b_c</code>"
    assert "<math" in shown(cell("markdown", "$$x^2$$"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository of two notebooks, a document and data of its own."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "how.md").write_text(
        "# How\n\nSee [one](../notebooks/00_one.ipynb) and [the key](../../key.txt)."
    )
    (tmp_path.parent / "key.txt").write_text("secret")
    for name, text in (
        ("00_one", "# One\n\nAn **epoch** is a pass. [How](../docs/how.md)"),
        ("14_two", "# Two\n\nAn **epoch** again."),
    ):
        notebook = nbformat.v4.new_notebook(
            cells=[cell("markdown", text, id="title"), cell("code", "exercises.check(1)", id="c")]
        )
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    return tmp_path


def build(place, timing=None, fresh=False):
    chapters = [
        site.Chapter(path, notebook, timing, fresh)
        for path, notebook in run.read_all(run.chapters(place / "notebooks"))
    ]
    site.write(place, place / "out", chapters, sorted((place / "docs").glob("*.md")))
    return outlines(place / "out")


def text_of(page):
    return " ".join(" ".join(page.text).split())


def test_more_notebooks_find_their_part_without_a_change_of_code(place):
    found = build(place)
    assert re.search("1 Methods .*One.* 4 Beyond .*Two.* Look up", text_of(found["14_two.html"]))
    assert not broken(place / "out", found) and not {name: lacks(page) for name, page in found.items() if lacks(page)}


def test_nothing_outside_of_the_repository_gets_in(place):
    build(place)
    assert "secret" not in "".join(
        file.read_text(encoding="utf-8") for file in (place / "out").rglob("*") if file.suffix
    )
    assert "the key" in text_of(outlines(place / "out")["how.html"])


def test_minutes_count_what_was_measured(place):
    found = build(place)
    assert "7 minutes: 1 to read, 6 for the exercises." in text_of(
        found["00_one.html"]
    ) and "as the course ships it" in text_of(found["00_one.html"])
    assert "was not measured for these" in text_of(found["index.html"])
    found = build(place, {"seconds": 61, "cpu_seconds": 60, "peak_mb": 99, "ok": False}, True)
    assert "9 minutes: 1 to read, 2 to run, 6 for the exercises. At most 99 MB." in text_of(found["00_one.html"])
    assert "was run on this machine" in text_of(found["00_one.html"]) and "failed" in text_of(found["index.html"])


def test_minutes_to_run_are_those_of_the_stored_run_where_there_was_none_here(place):
    path, notebook = run.read_all(run.chapters(place / "notebooks"))[0]
    said = "Time: 61.0 s of processor time, of 120 s; 70.0 s by the clock; peak memory: 99 MB of 2000 MB"
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=said)]
    nbformat.write(notebook, path)
    found = build(place)
    assert "9 minutes: 1 to read, 2 to run, 6 for the exercises." in text_of(found["00_one.html"])
    assert "was measured when the notebooks were stored" in text_of(found["index.html"])


def test_what_is_not_there_is_said(place):
    found = build(place)
    assert "Not measured yet" in text_of(found["lessons.html"]) and "make results-lessons" in text_of(
        found["lessons.html"]
    )
    assert "Not measured yet" in text_of(found["results_table.html"]) and "table" not in [
        tag for tag, _ in found["lessons.html"].tags
    ]


def test_the_lessons_are_shown_when_they_are_there(place):
    one = {"base": "tiny", "difference": [0.03, 0.01, 0.05], "verdict": "holds"}
    other = {"base": "plain", "difference": [-0.03, -0.05, -0.01], "verdict": "does not hold"}
    lesson = {
        "lesson": "A <beats> B",
        "notebook": "14",
        "claim": "is better",
        "bases": [one, other],
        "holds": 1,
        "of": 2,
        "turns_round": True,
    }
    paths.write_json(paths.shipped_results() / "lessons.json", {"rows": [], "lessons": [lesson], "margin": 0.02})
    page = build(place)["lessons.html"]
    assert "1 lessons: 0 hold wherever they were asked; 1 hold on one base and fail on another." in text_of(page)
    assert (
        "A <beats> B 14 is better 1 of 2 holds (+0.030 [+0.010, +0.050]) does not hold (-0.030 [-0.050, -0.010])"
        in text_of(page)
    )
    assert "14_two.html" in [link["href"] for link in page.all("a")]


ROW = {
    "method": "LoRA",
    "task": "DR grade, test, 1,000 labels",
    "metric": "macro F1",
    "low": 0.7,
    "high": 0.9,
    "k": 5,
    "n": 10,
    "seeds": 3,
}


def test_results_and_their_figure_come_from_the_files(place):
    rows = [
        ROW | {"value": 0.8, "trainable": 100, "base": "tiny", "seconds": 3.0},
        ROW | {"value": 0.75, "task": "DR grade, test, 50 labels", "base": "tiny"},
    ]
    paths.write_json(paths.shipped_results() / "some_runs.json", {"rows": rows})
    paths.write_json(paths.shipped_results() / "14_two.json", {"rows": [ROW | {"value": 0.712, "seeds": 1}]})
    page = build(place)["results_table.html"]
    said = text_of(page)
    assert (
        "LoRA DR grade, test, 1,000 labels tiny macro F1 0.800 [0.700, 0.900] 5/10 3 1,000 100 – 3 – some_runs" in said
    )
    assert "– macro F1 0.71 [0.70, 0.90] 5/10 1 1,000 – – – – 14" in said
    alt = next(one["alt"] for one in page.all("img"))
    assert "against labels: 2 rows, from 0.750 (LoRA, 50 labels) to 0.800 (LoRA, 1,000 labels)" in alt
    assert "against trained weights, 1,000 labels: 1 rows, from 0.800" in alt
    assert {one.get("data-number") for one in page.all("td")} >= {"0.8", "0.75", "100", "3.0", "1000"}


def test_a_term_is_explained_where_it_first_stands_in_bold(place):
    page = build(place)["glossary.html"]
    assert "epoch An epoch is a pass." in text_of(page) and "again" not in text_of(page)
    assert "00_one.html#cell-title" in [link["href"] for link in page.all("a")]


def test_each_term_of_the_glossary_stands_in_bold_in_a_notebook():
    terms = reference.terms()
    assert sorted(terms, key=str.lower) == terms and len(set(terms)) == len(terms)
    newest = reference.explained(run.read_all([*run.chapters(), *run.chapters(paths.ROOT / "coming")]))
    assert [term for term in terms if term not in {one.name for one in newest}] == []
    assert all(len(one.sentence.split()) > 3 for one in newest)


def test_the_abbreviations_are_those_of_the_data(made):
    assert "microaneurysm" in text_of(made.pages["abbreviations.html"])


def test_a_run_of_the_same_code_is_shown_and_one_of_other_code_is_not(place, monkeypatch):
    monkeypatch.setattr(run, "OUT", place / "build" / "course")
    path, notebook = run.read_all(run.chapters(place / "notebooks"))[0]
    assert not run.chapter(path, notebook).fresh
    run.executed().mkdir(parents=True)
    shutil.copy(path, run.executed())
    assert run.chapter(path, notebook).fresh
    notebook.cells[1].source = "other"
    assert not run.chapter(path, notebook).fresh
