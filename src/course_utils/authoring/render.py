"""Say what a notebook is called, which part of the course it belongs to and what it costs; make the tables that list them."""

import ast
import base64
import re

from course_utils import paths
from course_utils.authoring import imports, workshop

# the one table of the parts, in order: the number of each part's last notebook, and its name
PARTS = {6: "1 Methods", 10: "2 Case study", 13: "3 Practice and shipping", 99: "4 Beyond"}
# what the README says first: lessons of `experiments.lessons`, by their words; chosen for the choice that hangs on them
FINDINGS = (
    "Few labels are enough: 250 beat word counts with all",
    "LoRA needs a learning rate of its own",
    "LoRA is level with all weights at 1,000 labels",
    "A second stage on the last two layers helps on the new site",
    "Dev labels are worth more as training labels",
)
REPORTS = "the course's reports"  # as real.json names the text on which a real base is held against our own


def title(notebook):
    """Return the notebook's first heading, without marks."""
    headings = re.findall(r"^# +(.+)$", opening(notebook), re.MULTILINE)
    return plain(headings[0]) if headings else "Untitled"


def first_sentence(notebook):
    """Return the first sentence of text after the heading, or nothing."""
    body = [line for line in opening(notebook).splitlines() if line.strip() and not line.startswith(("#", "!", "<"))]
    return re.split(r"(?<=[.!?])\s|(?<=[。！？])", plain(body[0]))[0] if body else ""


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


def picture(notebook, cell_id):
    """Return the PNG bytes that a cell stores. Raises ValueError if it stores none."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if cell.get("id") == cell_id else []:
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise ValueError(f"No cell {cell_id} with a picture is stored: run the notebook with --store first.")


def notebook_table(notebooks, timings, titles=None):
    """Return the README's table of notebooks in Markdown, for (path, notebook) pairs and what timings.json holds.

    Minutes are those of `workshop.minutes` together; seconds are the processor's. What was not measured is a dash.
    `titles` are those in another language, by the stems of the files.
    """
    lines, shown = ["| notebook | minutes | seconds | peak MB |", "|---|---:|---:|---:|"], ""
    for path, notebook in notebooks:
        if part(path) != shown:
            shown = part(path)
            lines.append(f"| **{shown}** | | | |")
        timing = timings.get(path.stem)
        spent = sum(workshop.minutes(notebook, timing["seconds"]).values()) if timing else "–"
        seconds, _, peak = cost(timing)
        called = (titles or {}).get(path.stem) or title(notebook)
        lines.append(f"| [{path.stem[:2]} {called}](notebooks/{path.name}) | {spent} | {seconds} | {peak} |")
    return "\n".join(lines)


def findings(lessons):
    """Return the README's FINDINGS in Markdown, from the list of lessons in lessons.json.

    Raises ValueError for one that is not there.
    """
    known = {lesson["lesson"]: lesson for lesson in lessons}
    if missing := [says for says in FINDINGS if says not in known]:
        raise ValueError(f"lessons.json has no {missing}: run `make results-lessons`, or change FINDINGS.")
    lines = []
    for lesson in (known[says] for says in FINDINGS):
        found = [f"{one['base']} {one['verdict']}, {interval(one['difference'])}" for one in lesson["bases"]]
        lines.append(
            f"- **{lesson['lesson']}**: holds on {lesson['holds']} of {lesson['of']} bases. {'; '.join(found)}."
        )
    return "\n".join(lines)


def real_lessons(ours, scores, costs):
    """Return in Markdown which lessons hold on a real base; what is not measured yet is said.

    Takes the lessons of lessons.json, real.json and real_costs.json, each a list, empty where there is no such file.
    """
    parts = [
        of_scores(ours, scores) if scores else "What methods score there is not measured yet: `make results-real`.",
        of_costs(costs) if costs else "What they cost there is not measured yet: `make results-real-costs`.",
    ]
    return "\n\n".join(parts)


def of_scores(ours, scores):
    """Return the table of the lessons on what methods score, and in words which part from our own bases'."""
    own, base = {one["lesson"]: one for one in ours}, scores[0]["base"]
    at = {(one["lesson"], one["text"]): one for one in scores}
    says, texts = (list(dict.fromkeys(one[key] for one in scores)) for key in ("lesson", "text"))
    rows = [["lesson", "notebook", "our bases", *(f"{base}, {text}" for text in texts)]]
    for lesson in says:
        ours_of = own.get(lesson, {"notebook": "–"})
        among = f"{ours_of['holds']} of {ours_of['of']}" if lesson in own else "not asked"
        rows.append([lesson, ours_of["notebook"], among, *(of_base(at[lesson, text]) for text in texts)])
    here = {lesson: at[lesson, REPORTS]["verdict"] for lesson in says if lesson in own}
    lost = [lesson for lesson, verdict in here.items() if verdict == "does not hold" and own[lesson]["holds"]]
    won = [lesson for lesson, verdict in here.items() if verdict == "holds" and not own[lesson]["holds"]]
    return (
        f"{table(rows)}\n\nHold on one of our bases or more, and **do not carry over** to {base} on {REPORTS}: {listed(lost)}.\n"
        f"Hold there, and on none of ours: {listed(won)}."
    )


def of_base(one):
    """Return what a lesson's line says of a real base as text."""
    first, second = one["seeds"]
    return f"{one['verdict']}, {interval(one['difference'])}, seeds {first} and {second}"


def of_costs(costs):
    """Return the table of the lessons on what methods cost, and in words which of them do not carry over."""
    base = costs[0]["base"]
    rows = [["lesson of cost", "our sizes", base]]
    for one in costs:
        value, low, high = one["interval"]
        found = f"{one['verdict']}, {value:.3f} [{low:.3f}, {high:.3f}] {one['unit']}, {one['over']}"
        rows.append([one["lesson"], f"{one['holds']} of {one['of']}" if one["of"] else "not measured", found])
    lost = [one["lesson"] for one in costs if one["verdict"] == "does not hold" and one["holds"]]
    return f"{table(rows)}\n\nHold at one of our sizes or more, and **do not carry over** to {base}: {listed(lost)}."


def listed(lessons):
    """Return lessons in one sentence."""
    return "; ".join(lessons) or "none that can be told"


def table(rows):
    """Return rows of texts as a table in Markdown, the first as its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(difference):
    """Return a difference with its interval as text."""
    value, low, high = difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


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
    """Return CONTRIBUTING's table of the flat modules in Markdown."""
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
