"""Write the course as a site: a folder of pages that link to one another, and need no network, no server and nothing else.

It holds the notebooks, their solutions, the documents of `docs/`, the pages of `reference`, and every file of the repository
that one of these links to. `render.PARTS` is the one table of the course's parts and their order.
"""

import hashlib
import json
import os
import re
import shutil
from html import escape, unescape
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from course_utils.authoring import doors, pages, reference, render, workshop

COURSE = "Fine-tune language models"
LOOK_UP, MORE = "Look up", "More"  # the groups of the side bar, after the parts
FIRST_DOCS = ("your_gpu", "article")  # the documents that come first
PICTURES = "pictures"  # the folder of the figures
SOURCES = {".py", ".toml", ".txt", ".csv", ".cff", ".yml", ".sh", ""}  # what is shown as a listing
MOST_BYTES, BEGINNING = 200_000, 1_000  # of such a file at most; of its page, what is searched
UNITS = {"read": "to read", "run": "to run", "exercises": "for the exercises"}


class Page(NamedTuple):
    """A page: its file's name, title and body; its group in the side bar, or none; its short title; its notebook's number.

    `about` is the line above the text, and `places` the links that open it elsewhere, as HTML; of the body, `searched` characters are
    searched, all if None. `lang` is the language of the title and the body.
    """

    name: str
    title: str
    body: str
    group: str = ""
    short: str = ""
    number: str = ""
    about: str = ""
    searched: int | None = None
    places: str = ""
    lang: str = "en"


class Chapter(NamedTuple):
    """A notebook to show: its path, its content, what timings.json holds of it or None, and whether it was run here.

    `said` is the same in the language `lang`, which is shown instead; its cost is reckoned from the English.
    """

    path: Path
    notebook: NotebookNode
    timing: dict | None
    fresh: bool
    said: NotebookNode | None = None
    lang: str = "en"

    @property
    def shown(self):
        return self.said or self.notebook


class Maker:
    """Makes the pages of files of the repository, and remembers which others they link to.

    `root` is the repository's folder, `out` that of the site.
    """

    def __init__(self, root, out):
        self.root, self.out, self.linked = root, out, {}
        self.home = doors.home()  # asks git, once for all pages

    def name(self, path):
        """Return the name of the page of a file, which is the same on systems that ignore case."""
        place = path.relative_to(self.root)
        if path.suffix == ".ipynb":
            return f"solution_{path.stem}.html" if path.parent.name == "solutions" else f"{path.stem}.html"
        if path.name == reference.ABBREVIATIONS:
            return "abbreviations.html"
        if place.parts[0] == "docs" and path.suffix == ".md":
            return f"{path.stem}.html"
        return f"{'_'.join(place.parts).removesuffix('.md')}.html"

    def link(self, source):
        """Return the function that moves a link of a file `source` to the site: None where it leads to nothing in it."""

        def moved(url):
            if re.match(r"[a-zA-Z]+:|#", url):
                return url
            file, _, anchor = url.partition("#")
            path = Path(os.path.normpath(source.parent / file))
            path = path / "README.md" if path.is_dir() else path
            if not path.is_file() or not path.is_relative_to(self.root):
                return None
            if path.suffix in (".png", ".jpg", ".svg"):
                return self.picture(path.read_bytes(), path.suffix)
            if path.suffix in (".ipynb", ".md") or (path.suffix in SOURCES and path.stat().st_size <= MOST_BYTES):
                self.linked.setdefault(path, None)
                return self.name(path) + (f"#{anchor}" if anchor else "")
            return None

        return moved

    def picture(self, content, suffix=".png"):
        """Write a picture under a name that is its own, and return its place in the site."""
        file = self.out / PICTURES / f"{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return f"{PICTURES}/{file.name}"

    def page(self, path, group=""):
        """Return the page of a file that is no chapter."""
        place = path.relative_to(self.root).as_posix()
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            body = pages.notebook(notebook, self.link(path), self.picture)
            return Page(self.name(path), render.title(notebook), body, group, about=place)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            body = pages.document(text, self.link(path))
            if "<h1" not in body:
                body = f"<h1>{escape(path.stem)}</h1>\n{body}"
            title = pages.words_of(re.search(r"<h1[^>]*>(.*?)</h1>", body, re.DOTALL)[1])
            lang = re.search(r"\.([a-z]{2})\.md$", path.name)
            short = re.split("[:：]", title)[0]
            return Page(
                self.name(path), title, body, group, short, about="" if group else place, lang=lang[1] if lang else "en"
            )
        return Page(
            self.name(path), place, f"<h1>{escape(place)}</h1>\n{pages.listing(text)}", group, searched=BEGINNING
        )

    def chapter(self, chapter):
        """Return the page of a notebook of the course."""
        path, title = chapter.path, render.title(chapter.shown)
        body = pages.notebook(chapter.shown, self.link(path), self.picture)
        where = (
            "What it printed was run on this machine."
            if chapter.fresh
            else "What it printed is as the course ships it."
        )
        about = f"Notebook {path.stem[:2]} of part {render.part(path)}. {cost(chapter)} {where}"
        places = doors.badges(path.stem, self.home)
        short = re.split("[:：]", title)[0]
        part, number = render.part(path), path.stem[:2]
        return Page(self.name(path), title, body, part, short, number, about, places=places, lang=chapter.lang)


def minutes(chapter):
    """Return the minutes that a notebook takes, by what they are for: to run it here or, if it was not, when it was stored.

    Running is left out where it was not measured.
    """
    seconds = chapter.timing["seconds"] if chapter.timing else workshop.stored_seconds(chapter.notebook)
    found = workshop.minutes(chapter.notebook, seconds)
    return {name: found[name] for name in UNITS if found[name]}


def cost(chapter):
    """Return a sentence on the minutes and the memory of a notebook."""
    parts = minutes(chapter)
    said = ", ".join(f"{number} {UNITS[name]}" for name, number in parts.items())
    memory = f" At most {chapter.timing['peak_mb']:.0f} MB." if chapter.timing else ""
    return f"{sum(parts.values())} minutes: {said}.{memory}"


def write(root, out, chapters, documents=(), terms=None, lang="en"):
    """Write the site of a repository `root` into a folder, for Chapters and paths of Markdown documents.

    `terms` holds the glossary's sentences in the language `lang`, as far as there are any, by the terms' names.
    Only what the site wrote before is replaced: other files in the folder stay.
    """
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / PICTURES, ignore_errors=True)
    for old in [*out.glob("*.html"), out / "search.js"]:
        old.unlink(missing_ok=True)
    for file in ("site.css", "site.js"):
        shutil.copyfile(reference.STATIC / file, out / file)
    made = all_pages(Maker(root, out), chapters, documents, terms or {}, lang)
    groups = {}
    for page in made:
        if page.group:
            groups.setdefault(page.group, []).append(page)
    inside = [front(chapters, groups), *made]
    order = [page for listed in groups.values() for page in listed]
    for page in inside:
        at = order.index(page) if page in order else None
        before = order[at - 1] if at else None
        after = order[at + 1] if at is not None and at + 1 < len(order) else None
        after = order[0] if page.name == "index.html" and order else after
        html = reference.TEMPLATES.get_template("page.html").render(
            page=page, course=COURSE, groups=groups, headings=headings(page.body), before=before, after=after
        )
        (out / page.name).write_text(html, encoding="utf-8", newline="\n")
    (out / "search.js").write_text(search_index(inside), encoding="utf-8", newline="\n")


def all_pages(maker, chapters, documents, terms, lang):
    """Return all pages but the first, those of the side bar in its order, then what they link to."""
    made = [maker.chapter(chapter) for chapter in chapters]
    notebooks = [(chapter.path, chapter.notebook) for chapter in chapters]
    of = {path.stem: maker.name(path) for path, _ in notebooks}

    def words(source, path):
        return pages.inline(source, maker.link(path))

    looked_up = {
        "results_table.html": ("All results", reference.all_results(of, maker.picture)),
        "lessons.html": ("What carries over", reference.carries_over(of)),
        "glossary.html": ("Glossary", reference.glossary(notebooks, of, words, terms, lang)),
        "abbreviations.html": ("Abbreviations", reference.abbreviations()),
    }
    made += [Page(name, title, body, LOOK_UP, title) for name, (title, body) in looked_up.items()]
    firsts = [path for stem in FIRST_DOCS for path in documents if path.stem == stem]
    made += [maker.page(path, MORE) for path in [*firsts, *[path for path in documents if path not in firsts]]]
    names = {page.name for page in made}
    while waiting := [path for path in maker.linked if maker.name(path) not in names]:
        for path in waiting:
            made.append(maker.page(path))
            names.add(made[-1].name)
    return made


def front(chapters, groups):
    """Return the first page: the map of the course."""
    parts = []
    for chapter in chapters:
        name = render.part(chapter.path)
        if not parts or parts[-1]["name"] != name:
            parts.append({"name": name, "notebooks": [], "minutes": 0})
        parts[-1]["minutes"] += sum(minutes(chapter).values())
        parts[-1]["notebooks"].append(
            {
                "number": chapter.path.stem[:2],
                "name": f"{chapter.path.stem}.html",
                "title": render.title(chapter.shown),
                "says": render.first_sentence(chapter.shown),
                "lang": chapter.lang,
                "cost": cost(chapter),
                "failed": bool(chapter.timing) and not chapter.timing["ok"],
            }
        )
    others = {group: listed for group, listed in groups.items() if group in (LOOK_UP, MORE)}
    measured = "here" if any(chapter.timing for chapter in chapters) else ""
    measured = measured or ("stored" if any("run" in minutes(chapter) for chapter in chapters) else "")
    body = reference.TEMPLATES.get_template("map.html").render(
        course=COURSE, parts=parts, others=others, measured=measured
    )
    return Page("index.html", COURSE, body)


def headings(body):
    """Return (id, words) for each heading of the second level in a page's body."""
    found = re.findall(r"<h2 id=[\"']([^\"']*)[\"']>(.*?)</h2>", body, re.DOTALL)
    return [(unescape(name), pages.words_of(words)) for name, words in found]


def sections(body):
    """Return (id, heading, text) for each section of a page's body, cut at its headings, that holds anything."""
    cut = re.split(r"<h[1-4](?: id=[\"']([^\"']*)[\"'])?>(.*?)</h[1-4]>", body, flags=re.DOTALL)
    found = [("", "", cut[0]), *zip(cut[1::3], cut[2::3], cut[3::3], strict=True)]
    plain = [(unescape(name or ""), pages.words_of(heading), pages.words_of(text)) for name, heading, text in found]
    return [one for one in plain if one[1] or one[2]]


def search_index(made):
    """Return the script that holds the text of all pages, in sections: (file, title, id, heading, text).

    Of a source file it holds how it begins.
    """
    rows = [[page.name, page.title, *section] for page in made for section in sections(page.body[: page.searched])]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"window.searchIndex = [\n{lines}\n];\n"
