"""What counts as the same output of a notebook, and how an executed notebook is stored.

The same rules serve twice: strict `pytest --nbval` compares with them (see conftest.py), and storing a notebook keeps
the old text where they see no change, so that running an unchanged notebook again leaves `git diff` empty.

Words must be equal, and so must every number that no run of `make spread` has ever moved. A number that moves with the
processor, the threads or the seed has a band, made from what it was in those runs (see bands.py). Times and megabytes
are masked on three lines of a fixed form, and nowhere else: the one that the clock of `session.start` prints, the one
that `costs.say` prints, and the one for latency.
"""

import re

NUMBER = re.compile(r"(?<![\w.])[-+]?\d++(?:,\d{3}\b)*+(?:\.\d++)?+(?:e[-+]?\d++)?+(?![\w.]*\w)")
TIMING_LINE = re.compile(
    r"^Time: \d+\.\d s of processor time, of (\d+) s; \d+\.\d s by the clock; peak memory: \d+ MB of (\d+) MB$",
    re.MULTILINE,
)
COST_LINE = re.compile(r"^(Cost: [^\n:]+): \d+\.\d ms a step, \d+ MB peak$", re.MULTILINE)
LATENCY_LINE = re.compile(r"^(Latency: [^\n:]+): \d+\.\d+ ms a report$", re.MULTILINE)
IGNORE = "nbval-ignore-output"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def mask_timing(text):
    """Take printed text; return it with the times and megabytes of the lines above masked, but not budgets or names."""
    text = TIMING_LINE.sub(r"Time: # s of processor time, of \1 s; # s by the clock; peak memory: # MB of \2 MB", text)
    text = LATENCY_LINE.sub(r"\1: # ms a report", text)
    return COST_LINE.sub(r"\1: # ms a step, # MB peak", text)


def without_stderr(outputs):
    """Return the outputs that are not on stderr: progress bars and warnings differ from run to run."""
    return [output for output in outputs if output.get("name") != "stderr"]


def text_of(outputs):
    """Return what is compared of a cell's outputs as one text: times and megabytes masked."""
    return mask_timing(raw_text_of(outputs))


def raw_text_of(outputs):
    """Return what a cell printed as one text: all of stdout, then tables and errors. No pictures."""
    printed, rest = [], []
    for output in without_stderr(outputs):
        if output["output_type"] == "stream":
            printed.append(output["text"])
        elif output["output_type"] == "error":
            rest.append(f"\n{output['ename']}: {output['evalue']}\n")
        else:
            kinds = sorted(kind for kind in output["data"] if not kind.startswith("image/"))
            rest += [f"\n{kind}: {output['data'][kind]}\n" for kind in kinds]
    return "".join(printed + rest)


def words(text):
    """Return the text between its numbers, a list one longer than that of its numbers.

    The blanks that align a table do not count, for a number with a sign or one digit more moves them.
    """
    return [re.sub(r" *\n *", "\n", re.sub(r" +", " ", part)) for part in NUMBER.split(text)]


def differences(new, old, bands=None):
    """Return a sentence for each thing in which a printed text is not what is stored; none where the two are the same.

    `bands` holds {position of a number in the text: its band}, for the numbers that may move (see bands.Band).
    """
    if words(new) != words(old):
        return [_first_other_line(new, old)]
    found = []
    for i, (is_, was) in enumerate(zip(NUMBER.finditer(new), NUMBER.finditer(old), strict=True)):
        band = (bands or {}).get(i)
        if is_.group() == was.group() or (band and band.holds(is_.group())):
            continue
        expected = f"{was.group()} {band}" if band else f"{was.group()}, a number that no run has moved"
        found.append(f"{is_.group()}, expected {expected}, in the line: {_line(new, is_.start())}")
    return found


def _line(text, place):
    """Return the line of a text that holds a place."""
    return text[text.rfind("\n", 0, place) + 1 :].split("\n", 1)[0].strip()


def _first_other_line(new, old):
    """Say where two texts part whose words are not the same."""
    lines = [[line.strip() for line in text.splitlines() if line.strip()] for text in (new, old)]
    for now, before in zip(*lines, strict=False):
        if words(now) != words(before):
            return f'It says "{now}", and "{before}" is stored.'
    now, before = (len(some) for some in lines)
    return f"It says {now} lines, and {before} are stored."


def settle(new, old, bands=None):
    """Return the stored outputs where the fresh ones are the same by the rules above; pictures stay fresh beside equal texts.

    A picture shows the numbers of its own run, so it goes with its text.
    """
    kinds = [[output["output_type"] for output in some] for some in (new, old)]
    if kinds[0] != kinds[1] or differences(text_of(new), text_of(old), bands):
        return new
    if NUMBER.findall(text_of(new)) != NUMBER.findall(text_of(old)):
        return old
    return [_with_text_of(type(fresh)(fresh), stored) for fresh, stored in zip(new, old, strict=True)]


def _with_text_of(fresh, stored):
    if "text" in fresh:
        fresh["text"] = stored["text"]
    if "data" in fresh:
        texts = {kind: text for kind, text in stored["data"].items() if not kind.startswith("image/")}
        fresh["data"] = fresh["data"] | texts
    return fresh


def left_out(cell):
    """Say if a cell's output is not compared, for it carries the tag."""
    return IGNORE in cell.metadata.get("tags", [])


def normalise(notebook):
    """Strip from an executed notebook, in place, all that differs from run to run or from machine to machine.

    Execution counts become 1..N, stderr goes, a stored error keeps its name and message only, metadata keeps only
    tags and the kernel's name. Cell ids stay as they are. Returns the notebook.
    """
    notebook.metadata = {"kernelspec": dict(KERNEL), "language_info": {"name": "python"}}
    count = 0
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = without_stderr(cell.outputs)
        for output in cell.outputs:
            _normalise_output(output, cell.execution_count)
    return notebook


def _normalise_output(output, count):
    if output["output_type"] == "execute_result":
        output["execution_count"] = count
    if output["output_type"] == "error":
        output["traceback"] = [f"{output['ename']}: {output['evalue']}"]


def keep_stored(notebook, stored, bands=lambda cell: {}, known=lambda cell: True):
    """Give each unchanged cell of a fresh run, in place, its stored text where the two are the same.

    `bands` takes a cell's id and returns its bands; `known` takes a cell and says if the runs of `make spread` were of
    this very code. A cell whose output is not compared, because it describes the machine, keeps all that was stored if so.
    """
    before = {cell.get("id"): cell for cell in stored.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        old = before.get(cell.get("id"))
        if cell.cell_type != "code" or old is None or old.source != cell.source or not old.outputs:
            continue
        if not left_out(cell):
            cell.outputs = settle(cell.outputs, old.outputs, bands(cell.id))
        elif known(cell):
            cell.outputs = old.outputs
    return notebook
