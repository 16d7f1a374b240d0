"""The page on the article is in step with the notebooks' ledgers, and its links, cells and quoted errors are there."""

import re

import nbformat
import pytest

import stored
from course_utils import paths
from course_utils.authoring import article, compare, run

DOCS = paths.ROOT / "docs"
CLAIMS = 14  # that were found in the article when the course was planned
REFRESH = "run `python -m course_utils.authoring.run --readme`"


def page():
    return (DOCS / "article.md").read_text(encoding="utf-8")


def section(title):
    """Return what stands under a heading of the page's second level."""
    return re.split(r"^## ", page().split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def rows(text):
    """Return the cells of the rows of a table in Markdown, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if set(line) - set("|- ")][
        1:
    ]


def notebooks():
    return [(path, stored.read(path)) for path in run.chapters()]


def test_the_ledger_on_the_page_is_the_one_that_ships():
    shown = page().split("<!-- ledger:start -->\n")[1].split("\n<!-- ledger:end -->")[0]
    assert shown == article.table(notebooks()), f"docs/article.md is out of step: {REFRESH}"


def written(files):
    """Return (number, notebook) of the ledger's lines that the code of notebooks writes.

    A line is written where its number opens an entry, or is given to `results.ledger` or to 03's `claim`, which calls it.
    """
    code = {path.stem[:2]: "\n".join(cell.source for cell in stored.cells(path, "code")) for path in files}
    return {
        (number, notebook)
        for notebook, source in code.items()
        for number in re.findall(r'"(C\d+|[23]\d)"(?:: \(|\] = |,\s+(?:said=|"\d\d_))', source)
        + re.findall(r'(?:results\.ledger\(\s*"\w+",\s*|\bclaim\()"(C?\d+)"', source)
    }


def test_the_page_and_the_notebooks_have_the_same_lines():
    shown = {(row[0], row[-1][1:3]) for row in rows(section("The ledger"))}
    assert shown and written(run.chapters()) == shown
    waiting = written(run.chapters(paths.ROOT / "coming"))
    assert {number for number, _ in shown | waiting} == set(article.PLACES)


def test_each_claim_is_tested_or_has_a_reason_why_not():
    tested, untested = (
        {row[0] for row in rows(section(title)) if row[0].startswith("C")} for title in ("The ledger", "Not tested")
    )
    assert not tested & untested
    assert tested | untested == {f"C{number}" for number in range(1, CLAIMS + 1)}
    assert all(row[-1] for row in rows(section("Not tested")))


def test_the_figures_of_the_claims_stand_in_the_summary():
    said = " ".join(row[1] for row in rows(section("The ledger")) if row[0].startswith("C"))
    number = r"\d[\d.,]*(?<=\d)"
    assert set(re.findall(number, said)) <= set(re.findall(number, section("What it says")))


def test_the_sections_that_the_tables_name_are_those_of_the_summary():
    headings = set(re.findall(r"^#+ (\d(?:\.\d)?)", section("What it says"), re.MULTILINE))
    named = [row[2] for title in ("The ledger", "Not tested") for row in rows(section(title))]
    named += [row[0] for row in rows(section("Errors that need no measurement"))]
    assert {number for where in named for number in re.findall(r"\d(?:\.\d)?", where)} <= headings


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)\s]+)\)", page())
    assert links and not [link for link in links if not (DOCS / link).exists()]


@pytest.mark.parametrize("row", rows(section("Errors that need no measurement")), ids=lambda row: row[-1][-20:])
def test_each_error_is_met_in_the_cell_that_it_names(row):
    notebook, cell_id = re.fullmatch(r"\[\d\d\]\((.+)\), cell `(.+)`", row[-1]).groups()
    (cell,) = [cell for cell in stored.read((DOCS / notebook).resolve()).cells if cell.id == cell_id]
    assert set(re.findall(r"\w+Error", row[1])) <= set(re.findall(r"\w+Error", compare.text_of(cell.outputs)))


def shipping(monkeypatch, folder, number, source):
    """Return the one notebook of a course that ships one line of the ledger."""
    monkeypatch.setenv("COURSE_DATA", str(folder))
    line = {"id": number, "said": "a|b", "measured": "much", "verdict": "no"}
    (folder / "results").mkdir()
    paths.write_json(folder / "results/03_one.json", {"ledger": [line]})
    cells = [nbformat.v4.new_markdown_cell("# Title\n\n## End"), nbformat.v4.new_code_cell(source, id="last")]
    return [(folder / "03_one.ipynb", nbformat.v4.new_notebook(cells=cells))]


def test_a_line_names_its_notebook_heading_and_cell(monkeypatch, tmp_path):
    made = article.table(shipping(monkeypatch, tmp_path, "C4", 'results.ledger("03_one", "C4")'))
    last = made.splitlines()[-1]
    assert last == r"| C4 | a\|b | 2.2 | much | no | [03](../notebooks/03_one.ipynb), *End*, cell `last` |"


@pytest.mark.parametrize(("number", "said"), [("C99", "add it to PLACES"), ("C5", "No cell of 03_one.ipynb")])
def test_a_line_without_a_place_or_a_cell_is_refused(monkeypatch, tmp_path, number, said):
    with pytest.raises(ValueError, match=said):
        article.table(shipping(monkeypatch, tmp_path, number, 'LINES["C4"], LINES["C99"] = 1, 2'))
