"""Slides of a notebook, as one HTML file that needs no network: pictures large, the notebook's own words as speaker's notes.

Right and left arrows turn the slides, N shows the notes below a slide, S opens them in a window of their own, which follows;
printing gives every slide with its notes.
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from course_utils import progress
from course_utils.authoring import outline, pages, render

LINES, CODE_LINES = 4, 16  # of a text and of code that fit on a slide
NOT_SHOWN = ("At a glance", "References", "Next")
STYLE = """
*{box-sizing:border-box}body{margin:0;font:3.4vh/1.45 system-ui,sans-serif;background:#fff;color:#111}
section{display:none;min-height:100vh;padding:4vh 5vw;flex-direction:column;justify-content:center}section.on{display:flex}
h1{font-size:7vh;line-height:1.15}h2{font-size:4.4vh;margin:0 0 2vh;color:#0072B2}h2 small{font-weight:400;color:#666}
img{max-width:90vw;max-height:78vh;min-height:50vh;object-fit:contain;align-self:center}
pre{font-size:2.1vh;line-height:1.35;background:#f4f4f4;padding:1.2vh;overflow:auto;margin:.6vh 0}
details{margin:1.2vh 0;padding:1vh 1.5vw;border:1px solid #bbb}summary{cursor:pointer}
aside{display:none;font-size:2.2vh;border-top:2px solid #E69F00;margin-top:2vh;padding-top:1vh}
aside img{min-height:0;max-height:30vh}.notes aside{display:block}
.speaker section.on{justify-content:flex-start;min-height:0}.speaker section.on>:not(h1,h2,aside){display:none}
.speaker aside{display:block;font-size:3vh}nav{position:fixed;right:1vw;bottom:1vh;color:#888;font-size:1.8vh}
@media print{section{display:block!important;min-height:0;page-break-after:always}aside{display:block}nav{display:none}
img{min-height:0;max-height:60vh}}
"""
SCRIPT = """
const slides=[...document.querySelectorAll('section')],speaker=location.hash==='#speaker';let at=0,other=null;
function show(i,tell=true){at=Math.max(0,Math.min(slides.length-1,i));slides.forEach((s,k)=>s.classList.toggle('on',k===at));
document.querySelector('nav').textContent=(at+1)+' / '+slides.length;scrollTo(0,0);
const w=speaker?opener:other;if(tell&&w&&!w.closed)w.postMessage(at,'*')}
addEventListener('message',e=>{if(Number.isInteger(e.data)&&(e.source===other||e.source===opener))show(e.data,false)});
addEventListener('keydown',e=>{if(['ArrowRight','PageDown',' '].includes(e.key)){e.preventDefault();show(at+1)}
if(['ArrowLeft','PageUp'].includes(e.key)){e.preventDefault();show(at-1)}if(e.key==='Home')show(0);if(e.key==='End')show(slides.length);
const key=e.ctrlKey||e.metaKey||e.altKey?'':e.key.toLowerCase();
if(key==='n')document.body.classList.toggle('notes');
if(key==='s'&&!speaker){other=open(location.pathname+'#speaker','notes','width=900,height=700');setTimeout(()=>show(at),500)}});
if(speaker)document.body.classList.add('speaker');show((parseInt(location.hash.slice(1))||1)-1);
"""


class Slide(NamedTuple):
    """A slide: its heading, its body as HTML, and the speaker's notes in Markdown."""

    heading: str
    body: str
    notes: str


def slides(notebook: Any) -> list[Slide]:
    """Return the slides of a notebook: a first one, one for each piece of text, each picture and each short cell that prints, and
    one for each question of the self-test.
    """
    first, *rest = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"] or [""]
    title, words = render.title(notebook), re.sub(r"^# .+\n?", "", first, flags=re.MULTILINE).strip()
    found = [Slide("", f"<h1>{escape(title)}</h1>{_html(words)}", rest[0] if rest else "")]
    for section in outline.sections(notebook, "", {}):
        if section.title not in NOT_SHOWN:
            found += _of_section(section)
    for i, quiz in enumerate(outline.quizzes(notebook), 1):
        choices = "".join(
            f"<details><summary>{_inline(one.text)}</summary>{_inline(one.why)}</details>" for one in quiz.choices
        )
        right = " ".join(f"Right: {one.text}" for one in quiz.choices if one.right)
        found.append(Slide(f"{outline.ASK} {i}", _html(f"**{quiz.question}**") + choices, right))
    return found


def html(notebook: Any, path: Path) -> str:
    """Return the slides of a notebook as one page. Takes the notebook, and its path, whose folder its links are read from."""
    body = "\n".join(
        f"<section>{f'<h2>{escape(one.heading)}</h2>' if one.heading else ''}{one.body}<aside>{_html(one.notes)}</aside></section>"
        for one in slides(notebook)
    )
    body = re.sub(r'href="(?!https?:|#)[^"]*"', "", body)  # slides are shown from elsewhere, without the notebooks
    title = f"{path.stem[:2]} {render.title(notebook)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body>\n{body}\n<nav></nav><script>{SCRIPT}</script></body></html>\n"
    )


def _of_section(section: outline.Section) -> Iterator[Slide]:
    heading = section.title
    for part in section.parts:
        if part.cell is not None:
            yield from _of_code(heading, part.cell)
            continue
        for text in re.split(r"^(?=###? )", part.text, flags=re.MULTILINE):
            if "<details>" in text or not text.strip():
                continue
            own = re.match(r"###? +(.+)", text)
            heading = render.plain(own.group(1)) if own else heading
            words = re.sub(r"^###? .+\n?", "", text).strip()
            if words:
                yield Slide(heading, _html(_first_lines(words)), words)


def _of_code(heading: str, cell: Any) -> Iterator[Slide]:
    """Yield a slide for each picture of a cell, and one for its code and what it printed, if these are short."""
    outputs = cell.get("outputs", [])
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    printed = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout").rstrip()
    if "clock.report(" in cell.source:
        return
    for picture in pictures:
        data = "".join(picture.split())
        yield Slide(heading, f'<img alt="{escape(heading)}" src="data:image/png;base64,{data}">', printed)
    lines = len(cell.source.splitlines()) + len(printed.splitlines())
    if not pictures and lines <= CODE_LINES and (printed or progress.GUESS in cell.source):
        shown = f"<pre>{escape(cell.source)}</pre>" + (f"<pre>{escape(printed)}</pre>" if printed else "")
        yield Slide(heading, shown, "")


def _first_lines(markdown: str) -> str:
    """Return as much of a text as fits on a slide: its first lines, a list, a table or code left whole or out."""
    kept: list[str] = []
    for block in re.split(r"\n\s*\n", markdown):
        lines = block.splitlines()
        if kept and sum(len(one.splitlines()) for one in kept) + len(lines) > LINES:
            break
        whole = block.startswith(("- ", "* ", "1.", "|", "```", "$$", "    "))
        kept.append(block if whole else "  \n".join(lines[:LINES]))  # a sentence, a line
    return "\n\n".join(kept)


def _html(markdown: str) -> str:
    return pages.document(markdown, lambda link: link)


def _inline(markdown: str) -> str:
    return pages.inline(markdown, lambda link: link)
