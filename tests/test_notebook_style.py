"""The shape that every notebook keeps. Each rule is shown to fail on a notebook that breaks it."""

import ast
import json
import re
import symtable
from pathlib import Path

import nbformat
import pytest

import stored
from course_utils.authoring import bands, workshop

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
COMING = sorted((ROOT / "coming").rglob("*.ipynb"))  # sources that wait for their long runs

MAX_CELLS = 60
MAX_CODE_LINES = 25
MAX_WORDS = 130
MAX_CODE_RUN = 2
MAX_KB = 300
# what describes the reader's machine, quotes a model's own words or mistakes one by one, sums up what is compared above,
# or is what a solution trained
LEFT_OUT = {
    "00_start_here/check",
    "00_start_here/aloud",
    "00_start_here/detector",
    "00_start_here/typed",
    "02_fine_tune_every_weight/generate-after",
    "04_tune_a_prompt/mixed",
    "04_tune_a_prompt/learns-look",
    "04_tune_a_prompt/knob",
    "04_tune_a_prompt/mine",
    "06_teach_a_decoder_to_answer/asked",
    "06_teach_a_decoder_to_answer/trap",
    "09_grade_dr_in_two_stages/stage-2",
    "09_grade_dr_in_two_stages/losses-figure",
    "09_grade_dr_in_two_stages/test",
    "09_grade_dr_in_two_stages/attribution-figure",
    "09_grade_dr_in_two_stages/pair",
    "09_grade_dr_in_two_stages/c1",
    "09_grade_dr_in_two_stages/measured",
    "09_grade_dr_in_two_stages/ledger",
    "12_ship_with_onnx_int8/flips",
    "12_ship_with_onnx_int8/neighbours",
    "12_ship_with_onnx_int8/sticking",
    "13_version_your_models/log",
    "solutions/00_start_here/exercise-sizes",
    "solutions/00_start_here/exercise-sizes-figure",
    "solutions/02_fine_tune_every_weight/exercise-forget",
    "solutions/03_adapt_with_lora/exercise-hundred",
    "solutions/03_adapt_with_lora/exercise-hundred-long",
    "solutions/04_tune_a_prompt/exercise-start-run",
    "solutions/09_grade_dr_in_two_stages/exercise-open-compared",
    "solutions/13_version_your_models/flaws-figures",
}
ABSOLUTE = re.compile(
    r"(?<![\w.:/<])/(?:home|Users|root|tmp|work|var|usr|opt|mnt|private)/|\b[A-Z]:\\\\?\w|\b0x[0-9a-f]{6,}"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<(?:a|img)\b[^>]*(?:href|src)=\"([^\"]+)\"")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def name(cell):
    return f"cell {cell.get('id')}"


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


def printed(cell):
    """Return all text in a cell's outputs, tracebacks included."""
    texts = []
    for output in cell.outputs:
        texts += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        texts += [text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in texts)


# Each rule takes a notebook and its path, and yields a sentence for each place that breaks it.


def counts_run_from_one(notebook, path):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}: store it with `python -m course_utils.authoring.run --store`"


def no_stderr(notebook, path):
    for cell in code_cells(notebook):
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"{name(cell)} stores stderr"


def no_unexpected_error(notebook, path):
    for cell in code_cells(notebook):
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed and "raises-exception" not in cell.metadata.get("tags", []):
            yield f"{name(cell)} stores an error without the tag raises-exception"


def nothing_hidden_from_nbval(notebook, path):
    for cell in code_cells(notebook):
        tags = {tag for tag in cell.metadata.get("tags", []) if tag.startswith("nbval-")}
        if f"{bands.name(path)}/{cell.get('id')}" in LEFT_OUT:
            tags -= {"nbval-ignore-output"}
        if tags or "NBVAL_" in cell.source or "PYTEST_VALIDATE" in cell.source:
            yield f"{name(cell)} is left out of the comparison of outputs"


def nothing_of_this_machine(notebook, path):
    for cell in notebook.cells:
        text = cell.source + ("\n" + printed(cell) if cell.cell_type == "code" else "")
        for found in ABSOLUTE.findall(text):
            yield f"{name(cell)} holds an absolute path or a memory address: {found}"


def no_trailing_semicolon(notebook, path):
    for cell in code_cells(notebook):
        if cell.source.rstrip().endswith(";"):
            yield f"{name(cell)} ends with a semicolon: write `_ = ...`"


def code_is_short(notebook, path):
    for cell in code_cells(notebook):
        if len(lines(cell.source)) > MAX_CODE_LINES:
            yield f"{name(cell)} has {len(lines(cell.source))} lines of code"


def few_cells(notebook, path):
    if path.parent.name != "solutions" and len(notebook.cells) > MAX_CELLS:
        yield f"there are {len(notebook.cells)} cells: {MAX_CELLS} are enough for one sitting"


def no_empty_cell(notebook, path):
    for cell in notebook.cells:
        if not cell.source.strip():
            yield f"{name(cell)} is empty"


def prose_is_short(notebook, path):
    for cell in markdown_cells(notebook):
        words = len(re.sub(r"[^\w\s'-]", " ", workshop.without_minutes(cell.source)).split())
        if words > MAX_WORDS:
            yield f"{name(cell)} has {words} words"


def code_is_announced(notebook, path):
    run = 0
    for cell in notebook.cells:
        run = run + 1 if cell.cell_type == "code" else 0
        if run > MAX_CODE_RUN:
            yield f"{name(cell)} is the third code cell in a row"


def ids_are_unique_and_readable(notebook, path):
    ids = [cell.get("id") for cell in notebook.cells]
    for identity in sorted({str(identity) for identity in ids if ids.count(identity) > 1}):
        yield f"the cell id {identity} is there twice"
    for identity in ids:
        if not identity or re.fullmatch(r"[0-9a-f-]{8,}", identity):
            yield f"the cell id {identity} is random: name the cell for what it does"


def figures_are_described(notebook, path):
    for cell in code_cells(notebook):
        drawn = any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))
        if drawn and not re.search(r"^Figure: \S", printed(cell), re.MULTILINE):
            yield f"{name(cell)} shows a figure without a line that starts with 'Figure: '"
        for output in cell.outputs:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if alt not in printed(cell):
                yield f"{name(cell)} has a picture of another run than its words: store it anew"


def rounds(node, names=()):
    """Say if an expression holds a number that was rounded to some digits, itself or under one of these names."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in names:
            return True
        if isinstance(part, ast.Call):
            called = part.func.attr if isinstance(part.func, ast.Attribute) else getattr(part.func, "id", None)
            digits = part.args[0 if isinstance(part.func, ast.Attribute) else 1 :]
            if called == "round" and digits:
                return True
    return False


def rounded_names(tree):
    """Return the names of what is rounded where it is made: variables assigned once, and functions that return it."""
    stored_names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names, found = None, set()
    while names != found:
        names, found = found, set(found)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and rounds(node.value, names):
                found |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            elif isinstance(node, ast.FunctionDef):
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
                found |= {node.name} if any(rounds(value, names) for value in returned) else set()
        found -= {one for one in found if stored_names.count(one) > 1}
    return names


def formatted(node):
    """Return the expressions that a part of the code rounds: in an f-string, by `format` or by `round`."""
    if isinstance(node, ast.FormattedValue):
        return [node.value] if node.format_spec and re.search(r"\.\d+[fg%]", ast.unparse(node.format_spec)) else []
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return []
    if node.func.attr == "format":
        return [*node.args] if re.search(r":,?\.\d+[fg%]", ast.unparse(node.func.value)) else []
    return [node.func.value] if node.func.attr == "round" and node.args else []


def numbers_are_rounded_once(notebook, path):
    parsed = [
        (name(cell), ast.parse(re.sub(r"^\s*[!%].*", "", cell.source, flags=re.M))) for cell in code_cells(notebook)
    ]
    names = rounded_names(ast.Module([line for _, tree in parsed for line in tree.body], []))
    for cell, tree in parsed:
        for again in (value for node in ast.walk(tree) for value in formatted(node)):
            if rounds(again, names):
                yield f"{cell} rounds again what was rounded: {ast.unparse(again)}"


def scopes(table):
    """Return a symbol table and all that lie in it."""
    return [table, *(inner for child in table.get_children() for inner in scopes(child))]


def bound_and_read(text):
    """Return the names that a cell binds, but for those that it sets to None and so gives back, and those that it reads of all cells'."""
    kept = re.sub(r"^(\s*)\w+ = None\b", r"\1pass", re.sub(r"^\s*[!%].*", "", text, flags=re.M), flags=re.M)
    table = symtable.symtable(kept, "cell", "exec")
    bound = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    inner = {one.get_name() for scope in scopes(table)[1:] for one in scope.get_symbols() if one.is_global()}
    return bound, inner | {one.get_name() for one in table.get_symbols() if one.is_referenced()}


def names_mean_one_thing(notebook, path):
    """What reads a name that two other cells bind reads another thing when it is run again, in silence."""
    cells = {name(cell): bound_and_read(cell.source) for cell in code_cells(notebook)}
    for reader, (own, read) in cells.items():
        for one in sorted(read - own):
            binders = [cell for cell, (bound, _) in cells.items() if one in bound]
            if len(binders) > 1:
                yield f"{reader} reads {one}, which {' and '.join(binders)} bind"


def no_installation_tricks(notebook, path):
    for cell in code_cells(notebook):
        if re.search(r"^\s*[!%]|\bsys\.path\b", cell.source, re.MULTILINE):
            yield f"{name(cell)} uses a shell command, a magic or sys.path"


def opens_with_title_and_glance(notebook, path):
    first = notebook.cells[0] if notebook.cells else None
    if not first or first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is no title"
    if path.parent.name != "solutions" and not any(
        re.search(r"^#+ At a glance\b|^\*\*At a glance", cell.source, re.MULTILINE | re.IGNORECASE)
        for cell in markdown_cells(notebook)[:3]
    ):
        yield "there is no 'At a glance' in the first three cells of text"


def file_is_small(notebook, path):
    kilobytes = len(json.dumps(notebook, indent=1, ensure_ascii=False).encode()) / 1000
    if path.parent.name != "solutions" and kilobytes > MAX_KB:
        yield f"the file has {kilobytes:.0f} kB"


def anchor(heading):
    """Return the anchor of a heading as JupyterLab makes it."""
    return heading.strip().replace(" ", "-")


def links_resolve(notebook, path):
    headings = [h for cell in markdown_cells(notebook) for h in re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)]
    anchors = {anchor(heading).lower() for heading in headings}
    for cell in markdown_cells(notebook):
        for target in (a or b for a, b in LINK.findall(cell.source)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, fragment = target.partition("#")
            if file and not (path.parent / file).exists():
                yield f"{name(cell)} links to {file}, which is not there"
            if not file and fragment.lower() not in anchors:
                yield f"{name(cell)} links to #{fragment}, which no heading here has"


def outputs_have_no_random_ids(notebook, path):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            kinds = output.get("data", {})
            if "image/svg+xml" in kinds or re.search(r"\bT_[0-9a-f]{5}\b", kinds.get("text/html", "")):
                yield f"{name(cell)} stores SVG or a styled table, whose ids differ from run to run"


RULES = [
    counts_run_from_one,
    no_stderr,
    no_unexpected_error,
    nothing_hidden_from_nbval,
    nothing_of_this_machine,
    no_trailing_semicolon,
    code_is_short,
    few_cells,
    no_empty_cell,
    prose_is_short,
    code_is_announced,
    ids_are_unique_and_readable,
    figures_are_described,
    numbers_are_rounded_once,
    names_mean_one_thing,
    no_installation_tricks,
    opens_with_title_and_glance,
    file_is_small,
    links_resolve,
    outputs_have_no_random_ids,
]
OF_OUTPUTS = {  # rules that a source without outputs can't keep or break
    counts_run_from_one,
    no_stderr,
    no_unexpected_error,
    nothing_hidden_from_nbval,
    figures_are_described,
    file_is_small,
    outputs_have_no_random_ids,
}


def test_there_are_notebooks():
    assert CHAPTERS, "notebooks/ holds no notebook"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CHAPTERS + SOLUTIONS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path, rule):
    assert not list(rule(stored.read(path), path))


@pytest.mark.parametrize("path", COMING, ids=lambda path: path.stem)
def test_a_notebook_that_waits_keeps_the_rules_and_holds_no_output(path):
    place = FOLDER / path.relative_to(ROOT / "coming")
    assert not place.exists(), "it has the name of a notebook that stands"
    notebook = stored.read(path)
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))
    broken = [line for rule in RULES if rule not in OF_OUTPUTS | {links_resolve} for line in rule(notebook, path)]
    # a link may lead to a notebook that waits too, which lies beside this one
    assert not broken and not set(links_resolve(notebook, place)) & set(links_resolve(notebook, path))


# The rules themselves: a good notebook passes all, and each way to spoil it is noticed by its rule.


def good_notebook():
    cell = nbformat.v4.new_code_cell("print('hello')", id="say-hello", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="hello\n")]
    title = nbformat.v4.new_markdown_cell("# Say hello\n\n## At a glance\nSee [the end](#The-end).", id="title")
    return nbformat.v4.new_notebook(cells=[title, cell, nbformat.v4.new_markdown_cell("## The end", id="end")])


def output(kind, **fields):
    return lambda notebook: notebook.cells[1].outputs.append(nbformat.v4.new_output(kind, **fields))


def source(text, cell=1):
    return lambda notebook: notebook.cells[cell].update(source=text)


def more_cells(make, count, **fields):
    def spoil(notebook):
        for number in range(count):
            cell = make("1", id=f"more-{number}")
            cell.update({key: number + 2 for key in fields})
            notebook.cells.insert(2 + number, cell)

    return spoil


def sources(*texts):
    def spoil(notebook):
        added = [nbformat.v4.new_code_cell(text, id=f"more-{i}", execution_count=i + 2) for i, text in enumerate(texts)]
        spaced = [
            one for cell in added for one in (cell, nbformat.v4.new_markdown_cell("Next.", id=f"{cell['id']}-words"))
        ]
        notebook.cells[2:2] = spaced

    return spoil


def copy_id(notebook):
    notebook.cells[2]["id"] = notebook.cells[0]["id"]


SPOILED = [
    (counts_run_from_one, lambda notebook: notebook.cells[1].update(execution_count=2)),
    (counts_run_from_one, lambda notebook: notebook.cells[1].update(execution_count=None)),
    (no_stderr, output("stream", name="stderr", text="50%")),
    (no_unexpected_error, output("error", ename="ValueError", evalue="no", traceback=[])),
    (nothing_hidden_from_nbval, lambda notebook: notebook.cells[1].metadata.update(tags=["nbval-skip"])),
    (nothing_hidden_from_nbval, lambda notebook: notebook.cells[1].metadata.update(tags=["nbval-ignore-output"])),
    (nothing_hidden_from_nbval, source("# NBVAL_IGNORE_OUTPUT\n1")),
    (nothing_of_this_machine, output("stream", name="stdout", text="saved to /home/me/model")),
    (nothing_of_this_machine, output("execute_result", data={"text/plain": "<object at 0x7f3a2b4c5d60>"})),
    (nothing_of_this_machine, source(r"open('C:\\Users\\me')")),
    (no_trailing_semicolon, source("plot();")),
    (code_is_short, source("\n".join(["1"] * 26))),
    (few_cells, more_cells(nbformat.v4.new_markdown_cell, 58)),
    (no_empty_cell, source(" ", cell=2)),
    (prose_is_short, source("word " * 131, cell=2)),
    (code_is_announced, more_cells(nbformat.v4.new_code_cell, 2, execution_count=True)),
    (ids_are_unique_and_readable, copy_id),
    (ids_are_unique_and_readable, lambda notebook: notebook.cells[2].update(id="3f2a9c1d")),
    (figures_are_described, output("display_data", data={"image/png": "iVBORw0KGgo="})),
    (numbers_are_rounded_once, source("share = round(2 / 3, 3)\nprint(f'{share:.2f}')")),
    (numbers_are_rounded_once, source("def share():\n    return round(2 / 3, 3)\n\n\nprint(f'{share():.0%}')")),
    (numbers_are_rounded_once, source("share = round(2 / 3, 3)\nprint('{:.2f}'.format(share))")),
    (numbers_are_rounded_once, source("import pandas as pd\n\nprint(pd.Series({'a': round(2 / 3, 3)}).round(2))")),
    (names_mean_one_thing, sources("some = 1", "some = 2", "print(some)")),
    (names_mean_one_thing, sources("for some in range(2):\n    pass", "some = 2", "def twice():\n    return 2 * some")),
    (no_installation_tricks, source("!pip install torch")),
    (no_installation_tricks, source("import sys\nsys.path.append('src')")),
    (opens_with_title_and_glance, source("Hello, [the end](#The-end).\n\n## At a glance", cell=0)),
    (opens_with_title_and_glance, source("# Say hello", cell=0)),
    (file_is_small, output("stream", name="stdout", text="x" * 300_001)),
    (links_resolve, source("See [the next](99_missing.ipynb).", cell=2)),
    (links_resolve, source("See [above](#Nowhere).\n\n## The end", cell=2)),
    (outputs_have_no_random_ids, output("display_data", data={"image/svg+xml": "<svg/>", "text/plain": "Figure: a"})),
    (outputs_have_no_random_ids, output("display_data", data={"text/html": '<table id="T_1a2b3">'})),
]


def broken_rules(notebook):
    path = FOLDER / "98_say_hello.ipynb"
    return {rule.__name__ for rule in RULES if list(rule(notebook, path))}


def test_a_good_notebook_breaks_no_rule():
    assert broken_rules(good_notebook()) == set()


@pytest.mark.parametrize(
    ("rule", "spoil"), SPOILED, ids=[f"{i}-{rule.__name__}" for i, (rule, _) in enumerate(SPOILED)]
)
def test_a_spoiled_notebook_is_noticed(rule, spoil):
    notebook = good_notebook()
    spoil(notebook)
    assert rule.__name__ in broken_rules(notebook)


def test_a_name_may_be_bound_again_where_no_other_cell_reads_it_and_be_given_back():
    notebook = good_notebook()
    sources("some = 1\nprint(some)", "some = 2\nprint(some)", "kept = 1", "kept = None", "print(kept)")(notebook)
    assert broken_rules(notebook) == set()


def test_the_minutes_that_a_program_adds_are_no_words_of_ours():
    notebook = good_notebook()
    notebook.cells[2].update(id=workshop.PLACE, source="## The end\n\n" + "- word\n" * 64)  # a dash counts as a word
    assert workshop.put(notebook, 61) and workshop.LINE in notebook.cells[2].source
    assert broken_rules(notebook) == set()


def test_every_rule_has_a_spoiled_notebook():
    assert {rule for rule, _ in SPOILED} == set(RULES)


def test_the_cell_about_the_machine_may_differ():
    notebook = good_notebook()
    notebook.cells[1].update(id="check")
    notebook.cells[1].metadata.tags = ["nbval-ignore-output"]
    assert list(nothing_hidden_from_nbval(notebook, FOLDER / "00_start_here.ipynb")) == []
    assert list(nothing_hidden_from_nbval(notebook, FOLDER / "01_set_the_bar.ipynb"))


def test_all_that_is_left_out_is_there():
    tagged = {
        f"{bands.name(path)}/{cell.get('id')}"
        for path in CHAPTERS + SOLUTIONS
        for cell in code_cells(stored.read(path))
        if "nbval-ignore-output" in cell.metadata.get("tags", [])
    }
    assert tagged == {one for one in LEFT_OUT if one.partition("/")[0] not in {path.stem for path in COMING}}


def test_a_described_figure_and_a_tagged_error_are_fine():
    notebook = good_notebook()
    notebook.cells[1].metadata.tags = ["raises-exception"]
    notebook.cells[1].outputs += [
        nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo="}),
        nbformat.v4.new_output("stream", name="stdout", text="Figure: two bars, the second is taller.\n"),
        nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[]),
    ]
    assert broken_rules(notebook) == set()
