"""Make the ledger of docs/article.md: what the article claims beside what the notebooks found, from what ships."""

import re

from course_utils import paths
from course_utils.authoring import bands

# where each line of the ledger stands in the article, by the sections of docs/article.md
PLACES = {
    "C1": "1",
    "C2": "1",
    "C3": "2.1",
    "C4": "2.2",
    "C5": "2.2",
    "C6": "2.2",
    "C7": "2.3",
    "C8": "3",
    "C9": "4",
    "C10": "4",
    "C11": "4",
    "C12": "4",
    "C13": "3, 4",
    "21": "3: the base is English, the examples are Chinese",
    "22": "3, left out",
    "23": "3",
    "24": "4",
    "26": "4",
    "27": "4",
    "28": "nowhere: a trap on the way to what 4 advises",
    "29": "4",
    "30": "4: named as what lies ahead",
    "31": "4: named as what lies ahead",
    "32": "4: named as what lies ahead",
}
HEAD = ["no.", "the article says", "where", "measured", "verdict", "tested in"]


def table(notebooks):
    """Return the ledger as a table in Markdown, for (path, notebook) pairs: the claims, then the repairs, by number.

    Raises ValueError for a line that has no place in PLACES, or that no cell of its notebook writes.
    """
    lines = [(line, path, notebook) for path, notebook in notebooks for line in shipped(path)]
    lines.sort(key=lambda one: (one[0]["id"].isdigit(), int(one[0]["id"].lstrip("C"))))
    rows = [
        [line["id"], line["said"], place(line["id"]), line["measured"], line["verdict"], tested(line, path, notebook)]
        for line, path, notebook in lines
    ]
    return bands.grid(HEAD, [[cell.replace("|", "\\|") for cell in row] for row in rows])


def shipped(path):
    """Return the lines of the ledger that ship with a notebook; a run on this machine changes none."""
    return paths.read_json(paths.shipped_results() / f"{path.stem}.json").get("ledger", [])


def place(number):
    """Return where a line of the ledger stands in the article."""
    if number not in PLACES:
        raise ValueError(
            f"Line {number} of the ledger has no place in the article: add it to PLACES in authoring/article.py."
        )
    return PLACES[number]


def tested(line, path, notebook):
    """Return a link to the notebook, the heading, and the id of the first cell that holds the line's number in quotes."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        elif re.search(rf"""["']{line["id"]}["']""", cell.source):
            return f"[{path.stem[:2]}](../notebooks/{path.name}), *{heading}*, cell `{cell.id}`"
    raise ValueError(
        f"No cell of {path.name} writes line {line['id']} of the ledger, which ships: store the notebook again."
    )
