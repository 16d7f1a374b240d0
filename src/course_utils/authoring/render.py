"""Turn notebooks into web pages that need no network, and into the tables that list them."""

import ast
import base64
import os
import re
from html import escape

from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from course_utils import paths
from course_utils.authoring import doors, imports

SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)
LINK = re.compile(r'(?<=href=")(?![a-zA-Z]+:|#|/)([^"#]+)')
# the number of each part's last notebook, and its name
PARTS = {6: "1 Methods", 10: "2 Case study", 13: "3 Practice and shipping", 99: "4 Beyond"}
STYLE = """<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{padding:.4rem .6rem;border-bottom:1px solid #ccc;text-align:left}
td.n,th.n{text-align:right;white-space:nowrap}</style>"""


class MathML(IPythonRenderer):
    """Writes formulas as MathML, which browsers show by themselves; the usual way loads MathJax from the network."""

    def inline_math(self, body):
        return formula(body, "inline")

    def block_math(self, body):
        return formula(body, "block")


class Page(HTMLExporter):
    """Like nbconvert's HTML page, with formulas in MathML."""

    @pass_context
    def markdown2html(self, context, source):
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = MathML(
            escape=False, embed_images=self.embed_images, path=path, anchor_link_text=self.anchor_link_text
        )
        return MarkdownWithMath(renderer=renderer).render(source)


def formula(latex, display):
    """Return a LaTeX formula as MathML; one that can't be converted is shown as it was written."""
    try:
        return convert(latex, display=display)
    except Exception:  # the converter raises many kinds of error, and a page with one raw formula still serves
        return f"<code>{escape(latex)}</code>"


def page(notebook, path, out):
    """Return a notebook as one HTML page without scripts; `path` is where it came from, `out` where the page goes."""
    exporter = Page(embed_images=True)
    resources = {"metadata": {"name": title(notebook), "path": str(path.parent)}}
    html, _ = exporter.from_notebook_node(notebook, resources)
    html = LINK.sub(lambda link: move_link(link.group(1), path.parent, out), SCRIPT.sub("", html))
    top = f'<p style="margin:1rem"><a href="index.html">All notebooks</a></p>{doors.badges(path.stem, doors.home())}'
    return re.sub(r"<body\b[^>]*>", lambda body: body[0] + top, html, count=1)


def move_link(target, source, out):
    """Return a link of a notebook in `source` as the page in `out` needs it."""
    if re.fullmatch(r"\d\d_\w+\.ipynb", target):
        return target.removesuffix(".ipynb") + ".html"
    return os.path.relpath(source / target, out).replace(os.sep, "/")


def title(notebook):
    """Return the notebook's first heading, without marks."""
    headings = re.findall(r"^# +(.+)$", opening(notebook), re.MULTILINE)
    return plain(headings[0]) if headings else "Untitled"


def first_sentence(notebook):
    """Return the first sentence of text after the heading, or nothing."""
    body = [line for line in opening(notebook).splitlines() if line.strip() and not line.startswith(("#", "!", "<"))]
    return re.split(r"(?<=[.!?])\s", plain(body[0]))[0] if body else ""


def opening(notebook):
    """Return the text of the first three markdown cells."""
    return "\n\n".join([cell.source for cell in notebook.cells if cell.cell_type == "markdown"][:3])


def plain(markdown):
    """Return a line of markdown without links, emphasis and code marks."""
    return re.sub(
        r"(?<!\w)[*_`]{1,2}(?=\S)|(?<=\S)[*_`]{1,2}(?!\w)", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    ).strip()


def part(path):
    """Return the name of the part of the course that a notebook belongs to, by its number."""
    number = int(path.stem[:2])
    return next(name for last, name in PARTS.items() if number <= last)


def cost(timing):
    """Return a notebook's processor seconds, seconds and peak megabytes as text, a dash where nothing was measured."""
    return tuple(f"{timing[name]:.0f}" if timing else "–" for name in ("cpu_seconds", "seconds", "peak_mb"))


def index(pages, timings):
    """Return the page that maps the course, for (path, notebook) pairs and what timings.json holds."""
    rows, shown = [], ""
    for path, notebook in pages:
        if part(path) != shown:
            shown = part(path)
            rows.append(f'<tr><th colspan="5">{shown}</th></tr>')
        timing = timings.get(path.stem)
        numbers = "".join(f'<td class="n">{number}</td>' for number in cost(timing))
        failed = " <strong>failed</strong>" if timing and not timing["ok"] else ""
        rows.append(
            f'<tr><td>{path.stem[:2]}</td><td><a href="{path.stem}.html">{escape(title(notebook))}</a>{failed}<br>'
            f"{escape(first_sentence(notebook))}</td>{numbers}</tr>"
        )
    head = "".join(f'<th class="n">{name}</th>' for name in ("processor s", "clock s", "peak MB"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The course</title>{STYLE}</head>'
        f"<body><h1>The course</h1><table><tr><th></th><th>notebook</th>{head}</tr>{''.join(rows)}</table></body></html>\n"
    )


def picture(notebook, cell_id):
    """Return the PNG bytes that a cell stores. Raises ValueError if it stores none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if cell.get("id") == cell_id else []:
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise ValueError(f"No cell {cell_id} with a picture is stored: run the notebook with --store first.")


def notebook_table(notebooks, timings):
    """Return the README's table of notebooks in Markdown, for (path, notebook) pairs and what timings.json holds."""
    lines, shown = ["| notebook | processor s | clock s | peak MB |", "|---|---:|---:|---:|"], ""
    for path, notebook in notebooks:
        if part(path) != shown:
            shown = part(path)
            lines.append(f"| **{shown}** | | | |")
        numbers = " | ".join(cost(timings.get(path.stem)))
        lines.append(f"| [{path.stem[:2]} {title(notebook)}](notebooks/{path.name}) | {numbers} |")
    return "\n".join(lines)


def code_of(notebook):
    """Return the code of a notebook as one source, without the lines that only Jupyter reads."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return re.sub(r"^[%!].*", "", "\n".join(cells), flags=re.MULTILINE)


def modules(notebooks):
    """Return (name, what it is for, numbers of the notebooks that import it) for each flat module, from the code itself."""
    uses = [(path, imports.imported(ast.parse(code_of(notebook)))) for path, notebook in notebooks]
    rows = []
    for file in sorted((paths.ROOT / "src" / "course_utils").glob("[a-z]*.py")):
        purpose = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).split("\n\n")[0].split("\n")[0]
        users = [path.stem[:2] for path, used in uses if f"course_utils.{file.stem}" in used]
        rows.append((file.stem, purpose.rstrip("."), ["all"] if len(users) == len(notebooks) else users))
    return rows


def module_table(notebooks):
    """Return the README's table of the flat modules in Markdown."""
    lines = ["| module | what it does | notebooks |", "|---|---|---|"]
    for name, purpose, users in modules(notebooks):
        lines.append(f"| [`{name}`](src/course_utils/{name}.py) | {purpose} | {' '.join(users) or '–'} |")
    return "\n".join(lines)


def replace_between(text, name, content):
    """Return `text` with `content` between the marks `<!-- name:start -->` and `<!-- name:end -->`.

    Raises ValueError if the marks are not there once each.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"The text must hold {start} and {end} once each: put them around the place of the table.")
    before, rest = text.split(start)
    return f"{before}{start}\n{content.strip()}\n{end}{rest.split(end)[1]}"
