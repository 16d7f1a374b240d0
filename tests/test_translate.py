"""The course in another language: what is stale or missing is noticed, code stays, and what ships fits its English."""

import re
import subprocess
from types import SimpleNamespace

import nbformat
import pytest

import stored
from course_utils import paths
from course_utils.authoring import run, site, translate
from test_site import broken, index_of, outlines, text_of

BEGUN = [source for source in translate.sources("zh") if source.file.exists()]


def notebook(**texts):
    cells = [nbformat.v4.new_markdown_cell(text, id=key.replace("_", "-")) for key, text in texts.items()]
    shown = nbformat.v4.new_output("stream", name="stdout", text="1\n")
    cells.insert(1, nbformat.v4.new_code_cell("print(1)", id="one", outputs=[shown], execution_count=1))
    return nbformat.v4.new_notebook(cells=cells)


ENGLISH = {"title": "# One\n\nIt has 2 parts.", "more": "## More\n\nSee [two](02_two.ipynb) and `x`."}
CHINESE = {"title": "# 一\n\n共 2 部分。", "more": "## 更多\n\n见 `x` 和[二](02_two.ipynb)。"}


def written(**texts):
    """Return the content of a translation whose English is ENGLISH, but for what `texts` says otherwise."""
    said = CHINESE | texts
    return "\n\n".join(f"<!-- {key} {translate.digest(ENGLISH[key])} -->\n{said[key]}" for key in ENGLISH if said[key])


def test_a_notebook_in_another_language_has_the_same_code_and_outputs():
    english = notebook(**ENGLISH)
    before = nbformat.writes(english)
    said = translate.notebook(english, translate.parse(written()), "zh")
    assert [cell.source for cell in said.cells] == [CHINESE["title"], "print(1)", CHINESE["more"]]
    assert said.cells[1].outputs == english.cells[1].outputs and [cell.id for cell in said.cells] == [
        cell.id for cell in english.cells
    ]
    assert nbformat.writes(english) == before


@pytest.mark.parametrize(
    ("english", "text", "why"),
    [
        (ENGLISH | {"more": ENGLISH["more"] + " Now."}, written(), "stale"),
        (ENGLISH, written(more=""), "missing"),
    ],
)
def test_what_is_stale_or_missing_stays_english_and_says_so(tmp_path, english, text, why):
    said = translate.notebook(notebook(**english), translate.parse(text), "zh")
    first, _, last = said.cells
    assert first.source == CHINESE["title"] and "lang" not in first.metadata
    assert (
        last.source == f'<small lang="zh">{translate.SAYS["zh"][why]}</small>\n\n{english["more"]}'
        and last.metadata.lang == "en"
    )
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    source = translate.Source(tmp_path / "a.md", english)
    (line,) = translate.faults(source, "zh")
    assert line.startswith(f"`more` is {why}") and f"<!-- more {translate.digest(english['more'])} -->" in line
    assert translate.current(source) == {"title": CHINESE["title"]}


def test_a_notebook_without_a_translation_says_so_once():
    said = translate.notebook(notebook(**ENGLISH), {}, "zh")
    assert [cell.source.count("<small") for cell in said.cells] == [1, 0, 0]


def test_a_key_that_the_english_lacks_is_noticed(tmp_path):
    (tmp_path / "a.md").write_text(written() + "\n\n<!-- old 12345678 -->\n旧", encoding="utf-8")
    (line,) = translate.faults(translate.Source(tmp_path / "a.md", ENGLISH), "zh")
    assert line.startswith("`old` is unknown")


@pytest.mark.parametrize("text", ["<!-- a -->\n一\n\n<!-- a -->\n二", "一\n\n<!-- a -->\n二"])
def test_a_file_that_can_be_read_in_two_ways_is_refused(text):
    with pytest.raises(ValueError, match="above the first mark"):
        translate.parse(text)


@pytest.mark.parametrize(
    ("english", "chinese", "what"),
    [
        ("[a](b.md)", "[一](c.md)", "links"),
        ("Run `x`.", "运行 `y`。", "code"),
        ("```\nmake a\n```", "```\nmake b\n```", "code"),
        ("1,245 rows", "1,254 行", "numbers"),
        ("0.05 at most", "至多 0.5", "numbers"),
        ("$x^2$", "$x^3$", "formulas"),
        ("<details><summary>A</summary>No.</details>", "<details><summary>一</summary>不对。", "tags"),
        ("## A", "### 一", "headings"),
        ("| a | b |", "| 一 |", "tables"),
        (
            "<summary>A</summary>Right. So.\n<summary>B</summary>No.",
            "<summary>一</summary>不对。\n<summary>二</summary>对。",
            "the right choices",
        ),
    ],
)
def test_what_a_translation_must_keep_is_held(english, chinese, what):
    (said,) = translate.differences(english, chinese, "zh")
    assert said.startswith(what)
    assert not translate.differences(english, english.replace("Right", "对"), "zh")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**一。** 二", True),
        ("**一。**二", False),
        ("一**“二”**", False),
        ("**一**二", True),
        ("*一*（二）", True),
        ("**一**和**二。**", True),
        ("**用 `x`**二", False),
    ],
)
def test_stars_that_a_reader_would_see_are_noticed(text, shown):
    assert (not translate.unseen_bold(text)) == shown


def test_lines_of_chinese_are_put_together_for_a_page():
    assert translate.joined("一。\n二：\n`x` 三。\n- 四。\n- 五。\n\n六") == "一。二：\n`x` 三。\n- 四。\n- 五。\n\n六"
    assert (
        translate.joined("## 一\n二") == "## 一\n二"
        and translate.joined("一。\n二。\n三。\n四。") == "一。二。三。四。"
    )


def test_what_a_program_refreshes_makes_nothing_stale():
    text = "## A\n\nB\n- **In a workshop**: read {} min.\n\n<!-- table:start -->\n{}\n<!-- table:end -->"
    assert translate.digest(text.format(1, "| 1 |")) == translate.digest(text.format(2, "| 2 |\n| 3 |"))
    assert translate.digest("a") != translate.digest("b")


def test_a_mark_is_written_for_who_has_read_both(tmp_path):
    file = tmp_path / "a.md"
    file.write_text(re.sub(" [0-9a-f]{8} -->", " -->", written()), encoding="utf-8")
    source = translate.Source(file, ENGLISH)
    assert len(translate.faults(source, "zh")) == 2
    translate.mark(source)
    assert not translate.faults(source, "zh") and file.read_text(encoding="utf-8") == written()


def test_an_unknown_language_is_an_error():
    with pytest.raises(ValueError, match="known are zh"):
        translate.folder("xx")


@pytest.mark.parametrize("source", BEGUN, ids=lambda source: source.file.stem)
def test_what_ships_fits_its_english(source):
    wrong = translate.faults(source, "zh")
    assert not wrong, f"{source.file.relative_to(paths.ROOT)}:\n" + "\n".join(wrong)


def test_what_has_been_begun():
    begun = {source.file.relative_to(paths.ROOT).as_posix() for source in BEGUN}
    assert begun >= {
        "README.zh.md",
        *(f"translations/zh/{name}.md" for name in ("glossary", "00_start_here", "01_set_the_bar")),
    }
    known = {source.file for source in translate.sources("zh")}
    assert set((paths.ROOT / "translations" / "zh").iterdir()) <= known, "a file that belongs to no notebook"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The site in Chinese, of the translated notebooks and the first that is not."""
    out, pairs = tmp_path_factory.mktemp("site"), run.read_all(run.chapters()[:3])
    chapters = [run.spoken(site.Chapter(path, content, None, False), "zh") for path, content in pairs]
    terms = translate.current(translate.glossary(pairs, "zh"))
    site.write(paths.ROOT, out, chapters, [], terms, "zh")
    return SimpleNamespace(out=out, pages=outlines(out), terms=terms)


def test_the_pages_say_their_language_and_no_link_is_broken(made):
    languages = {name: page.all("html")[0]["lang"] for name, page in made.pages.items()}
    translated = {"00_start_here.html", "01_set_the_bar.html"}
    assert {name for name, lang in languages.items() if lang == "zh"} == translated
    assert not broken(made.out, made.pages)
    for name in translated:
        page = made.pages[name]
        assert {one.get("lang") for one in page.all("nav") + page.all("header") + page.all("footer")} == {"en"}
        code = [one for one in page.all("div") if one.get("class") == "cell" and one.get("lang") == "en"]
        assert len(code) == len(stored.cells(paths.NOTEBOOKS / name.replace(".html", ".ipynb"), "code"))
    assert translate.SAYS["zh"]["none"] in text_of(made.pages["02_fine_tune_every_weight.html"])


def test_titles_terms_and_search_are_chinese_where_there_is_a_text(made):
    title = translate.titles(run.read_all(run.chapters()[:1]), "zh")["00_start_here"]
    assert re.search("[一-鿿]", title) and title in text_of(made.pages["index.html"])
    assert any(row[:2] == ["00_start_here.html", title] for row in index_of(made.out))
    words = text_of(made.pages["glossary.html"])
    assert made.terms and all(re.search(r"\*\*(.+?)\*\*", text)[1] in words for text in made.terms.values())


@pytest.mark.parametrize(("given", "speaks"), [(["LANG=zh"], True), ([], False)])
def test_only_a_language_that_make_is_given_counts(given, speaks):
    command = ["make", "-n", "site", *given]
    said = subprocess.run(
        command, cwd=paths.ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "LANG": "zh"}
    )
    assert ("--lang zh" in said.stdout) == speaks and "--site" in said.stdout
