"""The course in another language, cell by cell beside the English. `python -m course_utils.authoring.translate` says what is to do.

`translations/zh/` holds one file for each notebook that has a Chinese text, and `glossary.md`; `README.zh.md` is the README's. A file
is plain Markdown. A line `<!-- key hash -->` begins the text of a cell (its id), a term (its name) or a part of the README (its
heading, `README` for what stands above the first); the hash is that of the English when it was translated. Code and outputs are
the notebook's own. Where the English has changed since, the English is shown, and a line says so.
"""

import argparse
import copy
import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from course_utils import paths
from course_utils.authoring import reference, render, workshop

MARK = re.compile(r"^<!-- ([^:\n]+?)(?: ([0-9a-f]{8}))? -->\n", re.MULTILINE)
GENERATED = re.compile(r"(<!-- (\w+):start -->\n).*?(<!-- \2:end -->)", re.DOTALL)
TOP, README, GLOSSARY = "README", "README.md", "glossary.md"
WIDE = "\u3001-\u303f\u4e00-\u9fff\uff00-\uffef“”"  # characters of Chinese, which has no spaces
RIGHT = {"zh": "对"}  # how the right choice of a self-test begins, where the English says "Right"
SAYS = {  # what stands above English text, for a reader of the language
    "zh": {
        "missing": "这一段还没有中文。",
        "stale": "这一段的英文改过了，中文还没有跟上，先看英文。",
        "none": "这个笔记本还没有中文，先看英文。",
    }
}


class Text(NamedTuple):
    """A translated text, and the hash of the English that it was made from, empty if none was written."""

    hash: str
    words: str


class Source(NamedTuple):
    """A file that holds, or could hold, a translation, and the English of its texts by their keys."""

    file: Path
    english: dict[str, str]


def digest(english: str) -> str:
    """Return the hash of an English text: of what people wrote in it, not of what a program refreshes."""
    lines = [line.rstrip() for line in workshop.without_minutes(GENERATED.sub(r"\1\3", english)).splitlines()]
    return hashlib.sha256("\n".join(lines).strip().encode()).hexdigest()[:8]


def read(file: Path) -> dict[str, Text]:
    """Return the texts of a file by their keys, none if there is no such file. Raises ValueError for a key that stands twice."""
    return parse(file.read_text(encoding="utf-8"), file.name) if file.exists() else {}


def parse(text: str, name: str = "the file") -> dict[str, Text]:
    """Return the texts of a file's content by their keys. Raises ValueError for a key that stands twice, or text above the first."""
    before, *cut = MARK.split(text)
    keys = cut[::3]
    if before.strip() or len(keys) != len(set(keys)):
        twice = sorted({key for key in keys if keys.count(key) > 1}) or "nothing"
        raise ValueError(
            f"{name}: {twice} stands twice, or there is text above the first mark: a mark begins each text."
        )
    return {key: Text(hash or "", words.strip()) for key, hash, words in zip(keys, cut[1::3], cut[2::3], strict=True)}


def cells(notebook: NotebookNode) -> dict[str, str]:
    """Return the Markdown cells of a notebook by their ids."""
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "markdown"}


def parts(readme: str) -> dict[str, str]:
    """Return the parts of a README by their headings."""
    return {
        re.match(r"## (.+)", part)[1] if part.startswith("## ") else TOP: part.strip()
        for part in re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    }


def state(english: str, said: Text | None) -> str:
    """Return "missing" where a text has no translation, "stale" where the English is another by now, and nothing else."""
    if not said or not said.words:
        return "missing"
    return "" if said.hash == digest(english) else "stale"


def notebook(content: NotebookNode, said: dict[str, Text], lang: str) -> NotebookNode:
    """Return a copy of a notebook with its Markdown cells as they are `said`; code and outputs stay.

    What stays English is marked as such in the cell's metadata. Each such text has a line above that says why; with nothing `said`
    only the first has one.
    """
    changed = copy.deepcopy(content)
    above = "none"
    for cell in changed.cells:
        if cell.cell_type == "markdown":
            text = said.get(cell.get("id", ""))
            wrong = state(cell.source, text)
            if not wrong:
                cell.source = joined(text.words)
                continue
            note = above if not said else wrong
            if note:
                cell.source = f'<small lang="{lang}">{SAYS[lang][note]}</small>\n\n{cell.source}'
            above = ""
        cell.metadata["lang"] = "en"
    return changed


def joined(words: str) -> str:
    """Return a text whose sentences stand one a line with Chinese lines put together: a browser would set a space between them."""
    return re.sub(rf"^(?!#)(.*[{WIDE}])\n(?=[{WIDE}])", r"\1", words, flags=re.MULTILINE)


def current(source: Source) -> dict[str, str]:
    """Return the translated texts of a source that fit the English of today, by their keys."""
    said = read(source.file)
    return {
        key: joined(said[key].words) for key, english in source.english.items() if not state(english, said.get(key))
    }


def folder(lang: str, root: Path | None = None) -> Path:
    """Return the folder of a language. Raises ValueError if there is none, or if nothing here knows the language."""
    place = (root or paths.ROOT) / "translations" / lang
    if lang not in SAYS or not place.is_dir():
        raise ValueError(f"There is no translation into {lang!r}: known are {', '.join(sorted(SAYS))}.")
    return place


def of_notebook(path: Path, content: NotebookNode, lang: str, root: Path | None = None) -> NotebookNode:
    """Return a notebook of a path in a language, as far as it is translated."""
    return notebook(content, read(folder(lang, root) / f"{path.stem}.md"), lang)


def glossary(notebooks, lang: str, root: Path | None = None) -> Source:
    """Return the source of the glossary, for (path, notebook) pairs."""
    english = {term.name: term.sentence for term in reference.explained(notebooks)}
    return Source(folder(lang, root) / GLOSSARY, english)


def sources(lang: str, root: Path | None = None) -> list[Source]:
    """Return all that can be translated: the README, the glossary, and each notebook, those that wait among them."""
    root = root or paths.ROOT
    files = [*sorted((root / "notebooks").glob("[0-9]*.ipynb")), *sorted((root / "coming").glob("[0-9]*.ipynb"))]
    read_in = [(path, nbformat.read(path, as_version=4)) for path in files]
    readme = parts((root / README).read_text(encoding="utf-8"))
    found = [Source(root / f"README.{lang}.md", readme), glossary(read_in, lang, root)]
    return found + [Source(folder(lang, root) / f"{path.stem}.md", cells(content)) for path, content in read_in]


def faults(source: Source, lang: str) -> list[str]:
    """Return what is wrong with a translation that has been begun, in a line each with its mend."""
    said, lines = read(source.file), []
    for key in said:
        if key not in source.english:
            lines.append(f"`{key}` is unknown: the English has no such text; remove it, or give it its new key.")
    for key, english in source.english.items():
        wrong, now = state(english, said.get(key)), digest(english)
        if wrong == "missing":
            lines.append(f"`{key}` is missing: add the line <!-- {key} {now} --> and its text.")
        elif wrong == "stale":
            lines.append(f"`{key}` is stale: its English has changed; mend the text, then write <!-- {key} {now} -->.")
        elif flat := unseen_bold(said[key].words):
            lines.append(
                f"`{key}` has stars that many programs show as stars: a space is missing at {', '.join(flat)}."
            )
        elif other := differences(english, said[key].words, lang):
            lines.append(f"`{key}` differs from its English in {'; '.join(other)}.")
    return lines


def unseen_bold(words: str) -> list[str]:
    """Return what is meant to be bold or slanted and is not: a star between a sign and a letter neither opens nor closes."""
    shown = re.sub(r"`[^`\n]+`", "`", words)
    found = [
        (shown[max(one.start() - 1, 0) : one.start()], one[2], shown[one.end() : one.end() + 1], one[0])
        for one in re.finditer(r"(?<!\*)(\*{1,2})(?![\s*])([^*\n]+)\1(?!\*)", shown)
    ]
    sign, letter = re.compile(r"[^\w\s]"), re.compile(r"\w")
    return [
        whole
        for before, inside, after, whole in found
        if (letter.match(before) and sign.match(inside[0])) or (sign.match(inside[-1]) and letter.match(after))
    ]


def differences(english: str, words: str, lang: str) -> list[str]:
    """Return in what a translation differs that must be the same in all languages: links, code, numbers, headings, tables, choices."""
    ours, theirs = (
        {**skeleton(text), "the right choices": choices(text, right)}
        for text, right in ((english, "Right"), (words, RIGHT[lang]))
    )
    return [f"{what}: {ours[what]} in English, {theirs[what]} here" for what in ours if ours[what] != theirs[what]]


def skeleton(text: str) -> dict[str, list]:
    """Return what a text and its translation have in common, by what it is. Links, code and numbers may stand in another order."""
    text = workshop.without_minutes(GENERATED.sub("", text))
    blocks = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans, rest = re.findall(r"`[^`\n]+`", rest), re.sub(r"`[^`\n]+`", "", rest)
    formulas, rest = re.findall(r"\$[^$\n]+\$", rest), re.sub(r"\$[^$\n]+\$", "", rest)
    links, rest = re.findall(r"\]\(([^)\s]+)\)", rest), re.sub(r"\]\([^)\s]+\)", "]", rest)
    return {
        "links": sorted(links),
        "code": blocks + sorted(spans),
        "numbers": sorted(re.findall(r"(?<![A-Za-z0-9_.-])\d+(?:[.,]\d+)*", rest)),
        "formulas": sorted(formulas),
        "tags": re.findall(r"</?[a-z]+\b[^>]*>", rest),
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", rest, re.MULTILINE)],
        "tables": [line.count("|") for line in rest.splitlines() if line.startswith("|")],
    }


def choices(text: str, right: str) -> list[bool]:
    """Return for each choice of a self-test whether it is a right one."""
    return [said.startswith(right) for said in re.findall(r"</summary>(.*)", text)]


def titles(notebooks, lang: str) -> dict[str, str]:
    """Return the titles of notebooks in a language by their files' stems, for (path, notebook) pairs."""
    return {path.stem: render.title(of_notebook(path, content, lang)) for path, content in notebooks}


def mark(source: Source) -> None:
    """Write the hash of today's English into each mark of a translation: who does so has read the two side by side."""

    def marked(found):
        english = source.english.get(found[1])
        return found[0] if english is None else f"<!-- {found[1]} {digest(english)} -->\n"

    text = MARK.sub(marked, source.file.read_text(encoding="utf-8"))
    source.file.write_text(text, encoding="utf-8", newline="\n")


def report(lang: str, root: Path | None = None) -> list[str]:
    """Return in lines what a language's translation lacks, file by file."""
    root, lines = root or paths.ROOT, []
    for source in sources(lang, root):
        place = source.file.relative_to(root).as_posix()
        if not source.file.exists():
            lines.append(f"{place}: not begun, {len(source.english)} texts.")
            continue
        wrong = faults(source, lang)
        done = len(current(source))
        lines.append(f"{place}: {done} of {len(source.english)} texts are as the English.")
        lines += [f"  {line}" for line in wrong]
    return lines


def main(arguments=None) -> int:
    """Do what the command line asks; return the exit status, 1 if a translation that has been begun has faults."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.authoring.translate", description=__doc__)
    parser.add_argument("lang", nargs="?", default="zh", choices=sorted(SAYS))
    parser.add_argument(
        "--mark",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="write the hash of today's English into all marks of these translations, once you have read both side by side",
    )
    options = parser.parse_args(arguments)
    marked = {file.resolve() for file in options.mark}
    found = sources(options.lang)
    if unknown := marked - {source.file for source in found}:
        parser.error(f"no translation of anything here: {', '.join(str(file) for file in sorted(unknown))}")
    for source in found:
        if source.file in marked:
            mark(source)
    print("\n".join(report(options.lang)))
    return int(any(faults(source, options.lang) for source in found if source.file.exists()))


if __name__ == "__main__":
    sys.exit(main())
