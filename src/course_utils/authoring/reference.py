"""The pages of the site that are looked up: all results, what carries over, the glossary, the abbreviations. From what ships."""

import csv
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader

from course_utils import figures, paths, results
from course_utils.authoring import render

STATIC = paths.PACKAGE / "authoring" / "static"
TEMPLATES = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True, lstrip_blocks=True)
METRIC = "macro F1"
ABBREVIATIONS = "abbreviations.csv"
NO_BASE = "no base"  # what rows of methods without one name as their base
COLUMNS = [
    "method",
    "task",
    "base",
    "metric",
    "score [95%]",
    "right",
    "seeds",
    "labels",
    "trained",
    "saved kB",
    "seconds",
    "peak MB",
    "from",
]

# What the glossary explains, as it stands in bold in the cell that explains it. The sentence and the notebook are taken from
# there, so that no term has two explanations.
TERMS = """
95% interval; ablation; accumulation; accuracy; activations; adapter; alias; all-reduce; alpha; answer mask; attention mask;
augmentation; base; batch; bfloat16; bootstrap; Brier score; calibrated; catastrophic forgetting; causal; centroid; chat template;
checkpoint; class weights; collator; confusion matrix; contract; contrastive loss; control; counterfactual pair; cross entropy;
DDP; decoder; DoRA; DP-SGD; DPO; dynamic padding; early stopping; embeddings; encoder; epoch; epsilon; expected calibration error;
F1; federated learning; few-shot; fine-tuning; fingerprint; flip; front; FSDP2; full fine-tuning; gradient checkpointing;
gradients; GRPO; head; heartbeat; Hyperband; IA3; importance; inference latency; int8; integrated gradients; Jaccard index;
labels; last layers; late fusion; leak; learning rate; length grouping; linear probe; logistic regression; logits; LoRA; loss;
macro F1; majority baseline; McNemar's p; merging; MinHash; mixed precision; model card; net benefit; NF4; normalising; ONNX;
ONNX Runtime; overfits; padding; paired; PEFT; perplexity; pickles; precision; projections; QLoRA; quadratic weighted kappa;
quantising; rank; recall; referable; retrieval; reward; round; sampler; scale; secure aggregation; sensitivity; signature;
soft prompt; softmax; space; specificity; study; temperature scaling; template; TF-IDF; threshold; tokenizer; tower; tracker;
trial; trimmed mean; underfits; VeRA; verbaliser; vision-language model; warms up; weighted F1; zero point
"""


class Cell(NamedTuple):
    """A cell of a table: its text, the number that it is sorted by, and where it leads."""

    text: str
    number: float | None = None
    link: str | None = None


class Term(NamedTuple):
    """A term, the sentence that explains it, in Markdown, and the notebook and cell in which it stands."""

    name: str
    sentence: str
    path: Path
    cell: str


def number(value, form=",.0f"):
    """Return the cell of a number, a dash if there is none."""
    return Cell("–") if value is None else Cell(format(value, form), value)


def table(columns, rows, caption, id=""):
    """Return a table as HTML. With an id its columns sort."""
    return TEMPLATES.get_template("table.html").render(columns=columns, rows=rows, caption=caption, id=id)


def missing(what, command):
    """Return the paragraph that stands where a long run has not been made yet."""
    return f"<p><strong>Not measured yet.</strong> {escape(what)} <code>{escape(command)}</code></p>"


def labels_of(row):
    """Return how many labels a row's task names, None if it names no number."""
    named = re.search(r"([\d,]+) labels", row["task"])
    return int(named[1].replace(",", "")) if named else None


def all_results(pages, picture):
    """Return the page of all results as HTML, for {the stem of a notebook: its page}; `picture` as `pages.notebook` has it."""
    rows = results.all_shipped()
    head = (
        "<h1>All results</h1>"
        "<p>Every row that a notebook or a long run measured and that ships with the course, with its 95% interval. "
        "Compare rows of one task and one base: “DR grade” is an encoder's, “DR grade as text” the small T5's. "
        "Seconds are for one thread, the shortest of the seeds' runs on a machine that also did other work.</p>"
    )
    if not rows:
        return head + missing("The results come from the long runs:", "make results")
    filters = (
        '<form class="filters" data-for="results" hidden><label>Words in a row <input type="search"></label>'
        f'<label>Metric <select name="metric" data-first="{METRIC}"><option value="">all</option></select></label>'
        '<label>Task <select name="task"><option value="">all</option></select></label>'
        '<label>From <select name="from"><option value="">all</option></select></label><output></output></form>'
    )
    cells = [result(file, row, pages) for file, row in rows]
    caption = (
        "Trained: the weights that were trained. Saved kB: what of them is stored. A dash: not measured, or not said."
    )
    drawn = "".join(drawing(*one, picture) for one in drawings([row for _, row in rows]))
    return f"{head}{drawn}<h2 id='table'>The table</h2>{filters}{table(COLUMNS, cells, caption, 'results')}"


def result(file, row, pages):
    """Return a row of the results as the cells of COLUMNS."""
    digits = 2 if file[0].isdigit() else 3  # as in results: single runs of a notebook, long runs over seeds
    value, low, high = (format(row[name], f".{digits}f") for name in ("value", "low", "high"))
    right = Cell(f"{row['k']:,}/{row['n']:,}", row["k"] / row["n"]) if "k" in row else Cell("–")
    source = Cell(file[:2], None, pages[file]) if file in pages else Cell(file)
    words = [Cell(row["method"]), Cell(row["task"]), Cell(row.get(results.BASE, "–")), Cell(row["metric"])]
    costs = [number(row.get(name)) for name in ("trainable", "saved_kb", "seconds", "peak_mb")]
    score = Cell(f"{value} [{low}, {high}]", row["value"])
    return [*words, score, right, number(row["seeds"]), number(labels_of(row)), *costs, source]


def drawings(rows):
    """Return (base, rows) for each base: what the long runs measured of the grades of the whole test split, in METRIC."""
    graded = [
        row for row in rows if row["metric"] == METRIC and row["task"].startswith("DR grade, test") and row["seeds"] > 1
    ]
    most = max((row["n"] for row in graded), default=0)
    graded = [row for row in graded if row["n"] == most]
    bases = dict.fromkeys(row.get(results.BASE, "") for row in graded)
    return [
        (base, [row for row in graded if row.get(results.BASE, "") in (base, NO_BASE)])
        for base in bases
        if base != NO_BASE
    ]


def drawing(base, rows, picture):
    """Return the figure of a base's scores against labels, trained weights and seconds, with what it shows, as HTML."""
    styled = [row for row in rows if row["method"].split(",")[0] in figures.METHOD_STYLE]
    sizes = [labels_of(row) for row in styled if labels_of(row)]
    if not sizes:
        return ""
    usual = max(sizes, key=lambda size: (sizes.count(size), size))
    level = [row for row in styled if labels_of(row) == usual]
    panels = {
        "labels": [(row, labels_of(row)) for row in styled if labels_of(row)],
        f"trained weights, {usual:,} labels": [(row, row["trainable"]) for row in level if "trainable" in row],
        f"seconds, {usual:,} labels": [(row, row["seconds"]) for row in level if "seconds" in row],
    }
    on = f" on {base}" if base else ""
    points = {
        name: [(row["method"].split(",")[0], cost, (row["value"], row["low"], row["high"])) for row, cost in drawn]
        for name, drawn in panels.items()
        if drawn
    }
    title = f"Macro F1 on {rows[0]['n']:,} test reports{on}, against what it cost"
    said = "; ".join(f"against {name}: {spread([row for row, _ in panels[name]])}" for name in points)
    left = sorted({row["method"] for row in rows} - {row["method"] for row in styled})
    text = f"A mark for each row of the table, with its 95% interval; each panel has its own scale. Drawn: {said}." + (
        f" Not drawn: {', '.join(left)}." if left else ""
    )
    figures.set_style()
    file = picture(figures.png(figures.costs(points, title)))
    heading = f"<h2 id='{escape(base) or 'costs'}'>Score against cost{escape(on)}</h2>"
    return f'{heading}<figure><img src="{file}" alt="{escape(text)}"><figcaption aria-hidden="true">{escape(text)}</figcaption></figure>'


def spread(rows):
    """Return a sentence's part on the lowest and the highest score of some rows."""
    low, high = min(rows, key=lambda row: row["value"]), max(rows, key=lambda row: row["value"])
    ends = " to ".join(f"{row['value']:.3f} ({row['method']}, {labels_of(row):,} labels)" for row in (low, high))
    return f"{len(rows)} rows, from {ends}"


def carries_over(pages):
    """Return the page of lessons as HTML: each with how often it holds, once they are judged. `pages` as `all_results`."""
    head = (
        "<h1>What carries over</h1><p>A lesson is a comparison of two methods, with a claim about the first of them. "
        "Each claim was written down before its runs were made, and is judged on every base model that it can be asked of. "
        "A lesson that holds on one base and fails on another is the interesting one: ask before you rely on it.</p>"
    )
    told = paths.read_json(paths.shipped_results() / "lessons.json")
    if not told:
        return head + missing("The lessons are judged when all long runs are there, by", "make results-lessons")
    lessons, real = with_real(told["lessons"])
    bases = list(dict.fromkeys(one["base"] for lesson in lessons for one in lesson["bases"]))
    rows = [lesson_row(lesson, bases, pages) for lesson in lessons]
    margin = told["margin"]
    rule = (
        "In brackets: the difference of macro F1, the first less the second, with its 95% interval. "
        f"“Is better” holds where the interval lies above 0, and fails where it lies below {margin}; “is level” holds where it "
        f"lies within {margin} of 0, and fails beyond; “gains little” holds where it lies below {margin}, and fails above."
    )
    turns = sum(lesson["turns_round"] for lesson in lessons)
    held = sum(lesson["holds"] == lesson["of"] for lesson in lessons)
    sums = f"<p>{len(lessons)} lessons: {held} hold wherever they were asked; {turns} hold on one base and fail on another.</p>"
    if real:
        sums += f"<p>{escape(real)} is a checkpoint that people use. “Holds on”, and the sentence above, count our own bases.</p>"
    return head + sums + table(["lesson", "from", "the first", "holds on", *bases], rows, rule, "lessons")


def with_real(lessons):
    """Return the lessons with what a real base says of them beside our own, and its name; nothing more where that is not measured."""
    judged = paths.read_json(paths.shipped_results() / "real.json").get("lessons", [])
    found = {one["lesson"]: [one] for one in judged if one["text"] == render.REPORTS}
    beside = [one | {"bases": one["bases"] + found.get(one["lesson"], [])} for one in lessons]
    return beside, judged[0]["base"] if judged else ""


def lesson_row(lesson, bases, pages):
    """Return a lesson as the cells of its table."""
    on = {one["base"]: one for one in lesson["bases"]}
    asked = [on.get(base) for base in bases]
    verdicts = [Cell("not asked") if one is None else Cell(verdict(one)) for one in asked]
    link = next((name for stem, name in pages.items() if stem.startswith(f"{lesson['notebook']}_")), None)
    holds = Cell(f"{lesson['holds']} of {lesson['of']}", lesson["holds"] / max(lesson["of"], 1))
    return [Cell(lesson["lesson"]), Cell(lesson["notebook"], None, link), Cell(lesson["claim"]), holds, *verdicts]


def verdict(one):
    """Return what was found on one base, as it is printed."""
    return f"{one['verdict']} ({render.interval(one['difference'])})"


def terms():
    """Return the terms of the glossary, in order."""
    return [" ".join(term.split()) for term in TERMS.split(";")]


def explained(notebooks):
    """Return a Term for each term that a notebook explains, for (path, notebook) pairs: where it first stands in bold."""
    wanted, found = {term.lower(): term for term in terms()}, {}
    for path, notebook in notebooks:
        for cell in notebook.cells:
            for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
                for bold in re.findall(r"\*\*([^*]+)\*\*", line):
                    name = wanted.get(bold.lower())
                    if name and name not in found:
                        found[name] = Term(name, sentence(line, bold), path, cell.get("id", ""))
    return [found[term] for term in terms() if term in found]


def sentence(line, bold):
    """Return the sentence of a line in which a term stands in bold."""
    line = re.sub(r"^\s*[-*] +", "", line)
    return next(one for one in re.split(r"(?<=[.?!])\s+(?=[*A-Z`(\[])", line) if f"**{bold}**" in one)


def glossary(notebooks, pages, render, said, lang):
    """Return the glossary as HTML, for (path, notebook) pairs; `render` turns a sentence of a path into HTML.

    `said` holds sentences in the language `lang` by the terms' names; where it has none, the English stands.
    """
    entries = []
    for term in explained(notebooks):
        place = f"{pages[term.path.stem]}#cell-{term.cell}"
        link = f"<a href='{place}'>Notebook {term.path.stem[:2]}<span class='unseen'> on {escape(term.name)}</span></a>"
        sentence, spoken = said.get(term.name, term.sentence), f" lang='{lang}'" if term.name in said else ""
        words = f"<span{spoken}>{render(sentence, term.path)}</span>" if spoken else render(sentence, term.path)
        entries.append(f"<dt>{escape(term.name)}</dt><dd>{words} {link}</dd>")
    head = "<h1>Glossary</h1><p>Each term with the sentence that explains it, taken from the notebook where it first stands in bold.</p>"
    return f"{head}<dl>{''.join(entries)}</dl>" if entries else f"{head}<p>No notebook here explains a term.</p>"


def abbreviations():
    """Return the abbreviations of the reports as HTML."""
    head = "<h1>Abbreviations</h1><p>Short forms that stand in the reports, and what they mean there.</p>"
    file = paths.samples() / ABBREVIATIONS
    if not file.exists():
        return f"{head}<p><strong>Not here.</strong> There is no {ABBREVIATIONS} in the folder of the data.</p>"
    with file.open(encoding="utf-8", newline="") as lines:
        names, *rows = csv.reader(lines)
    return head + table(
        names, [[Cell(text) for text in row] for row in rows], f"{len(rows)} short forms.", "abbreviations"
    )
