"""Turn a notebook, a Markdown file or a source file into the body of a web page, with no script and nothing from elsewhere."""

import base64
import re
from html import escape, unescape

from latex2mathml.converter import convert
from nbconvert.filters import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

PYTHON = PythonLexer()
FIGURE = "Figure: "  # how `figures.describe` begins the line under a figure


class Words(IPythonRenderer):
    """Markdown as HTML: formulas as MathML, which browsers show by themselves; wide tables in a box that scrolls.

    `link` takes a link as it is written and returns it as the page needs it, or None where it leads nowhere: the words stay.
    `anchor` turns the text of a heading into its id.
    """

    def __init__(self, link, anchor):
        super().__init__(escape=False, exclude_anchor_links=True)
        self.moved, self.anchor, self.ids = link, anchor, set()

    def link(self, text, url, title=None):
        target = self.moved(url)
        return super().link(text, target, title) if target else text

    def image(self, text, url, title=None):
        return super().image(text, self.moved(url) or url, title)

    def heading(self, text, level, **attributes):
        name = wanted = self.anchor(words_of(text))
        number = 1
        while name in self.ids:  # the same heading once more
            number += 1
            name = f"{wanted}-{number}"
        self.ids.add(name)
        return f'<h{level} id="{escape(name)}">{text}</h{level}>\n'

    def block_code(self, code, info=None):
        return super().block_code(code, info).replace('<div class="highlight">', '<div class="highlight code">')

    def inline_math(self, body):
        return formula(body, "inline")

    def block_math(self, body):
        return formula(body, "block")


def formula(latex, display):
    """Return a LaTeX formula as MathML; one that can't be converted is shown as it was written."""
    try:
        return convert(latex, display=display)
    except Exception:  # the converter raises many kinds of error, and a page with one raw formula still serves
        return f"<code>{escape(latex)}</code>"


def of_jupyter(heading):
    """Return the id that Jupyter gives a heading."""
    return heading.replace(" ", "-")


def of_github(heading):
    """Return the id that a repository's web page gives a heading of a Markdown file."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def words_of(html):
    """Return the text of a piece of HTML, without its tags, in one line."""
    html = re.sub(
        r"<(?!/?(?:span|code|em|strong|a|b|i|m\w+)\b)[^>]+>", " ", html
    )  # what is not inside a line parts two words
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def markdown(source, words):
    """Return Markdown as HTML, by a Words."""
    html = MarkdownWithMath(renderer=words).render(source)
    # what stands before the first column's head is empty in some tables, and a cell without words is no head
    html = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)
    return html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def document(source, link):
    """Return a Markdown file as HTML, without its comments and the settings above its text; `link` is as Words has it."""
    source = re.sub(r"\A---\n.*?\n---\n|<!--.*?-->\n?", "", source, flags=re.DOTALL)
    return markdown(source, Words(link, of_github))


def inline(source, link):
    """Return Markdown of one paragraph as HTML that can stand within another; `link` is as Words has it."""
    return re.sub(r"^<p>|</p>\s*$", "", document(source, link).strip())


def listing(source):
    """Return a source file as HTML, as it is written."""
    return f'<div class="code"><pre>{escape(source)}</pre></div>\n'


def code(source):
    """Return Python as HTML, in colours."""
    return highlight(source, PYTHON, HtmlFormatter(cssclass="highlight code"))


def notebook(content, link, picture):
    """Return a notebook as HTML, for `link` as Words has it, and `picture`, which takes PNG bytes and returns a file's name.

    What is written to stderr, such as a progress bar, is left out. A cell whose metadata names its language says so in the page.
    """
    words, parts = Words(link, of_jupyter), []
    for cell in content.cells:
        if cell.cell_type == "markdown":
            inside = markdown(cell.source, words)
        elif cell.cell_type == "code":
            inside = code(cell.source) + outputs(cell.outputs, picture)
        else:
            continue
        lang = f' lang="{escape(cell.metadata["lang"])}"' if "lang" in cell.get("metadata", {}) else ""
        parts.append(f'<div class="cell" id="cell-{escape(cell.get("id", ""))}"{lang}>\n{inside}</div>\n')
    return "".join(parts)


def outputs(found, picture):
    """Return the outputs of a cell as HTML. The line that says what a figure shows is the figure's caption."""
    html, drawn = [], None  # the picture that waits for its caption: its file, and its alternative text
    for output in found:
        if output.output_type == "stream":
            text = strip_ansi(output.text) if output.name == "stdout" else ""
            if drawn:
                caption, text = caption_of(text)
                html.append(figure(*drawn, caption=caption))
                drawn = None
            html.append(printed(text))
            continue
        if drawn:
            html.append(figure(*drawn))
        drawn = None
        if output.output_type == "error":
            html.append(printed(strip_ansi("\n".join(output.traceback))))
        elif "image/png" in output.data:
            about = output.get("metadata", {}).get("image/png", {})
            drawn = picture(base64.b64decode(output.data["image/png"])), about.get("alt", ""), about.get("width")
        else:
            html.append(printed(strip_ansi(output.data.get("text/plain", ""))))
    if drawn:
        html.append(figure(*drawn))
    return "".join(html)


def caption_of(text):
    """Return what an output says of the figure before it, and the rest of the output."""
    if not text.startswith(FIGURE):
        return "", text
    caption, _, rest = text.removeprefix(FIGURE).partition("\n")
    return caption, rest


def printed(text):
    """Return what a cell printed as HTML; nothing for no text."""
    return f'<pre class="printed">{escape(text.rstrip())}</pre>\n' if text.strip() else ""


def figure(file, alt, width=None, caption=""):
    """Return a picture as HTML. A caption that says the same as the alternative text is for the eye alone: it is heard once."""
    sized = f' width="{width}"' if width else ""
    hidden = ' aria-hidden="true"' if caption and alt == caption else ""
    said = f"<figcaption{hidden}>{escape(caption[0].upper() + caption[1:])}</figcaption>" if caption else ""
    alt = alt or caption or "A figure without a description"
    return f'<figure><img src="{escape(file)}" alt="{escape(alt)}"{sized} loading="lazy">{said}</figure>\n'
