#!/usr/bin/env bash
# nbclient 0.11.0, ipykernel 7.4.0, Python 3.11, any processor.
# The hook `on_cell_complete` is documented to run after the execution of a cell is complete. It runs as soon as the cell was sent to the
# kernel: a cell that takes two seconds is "complete" at once, with no output and no count. A progress bar is one cell early, and a clock
# read there gives each cell the seconds of the one before. `on_cell_executed` runs when the answer is there, but only if the kernel lives.
# Seen, for a cell that sleeps two seconds: complete after 0.0 s without output, executed after 2.0 s with it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  nbclient==0.11.0 nbformat==5.11.1 ipykernel==7.4.0
cd "$work"
cat > check.py <<'PY'
import sys
import time
from importlib.metadata import version

import nbformat
from nbclient import NotebookClient

print("nbclient", version("nbclient"), "ipykernel", version("ipykernel"))
SLEEPS = 2.0


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


def heard(hook):
    """Run a notebook of one slow cell; return the seconds from its start to the hook, and the outputs that were there then."""
    seen = {}

    def begin(cell, cell_index):
        seen["begun"] = time.perf_counter()

    def note(cell, cell_index, **more):
        seen["after"] = time.perf_counter() - seen["begun"]
        seen["outputs"] = len(cell.outputs)

    cell = nbformat.v4.new_code_cell(f"import time\ntime.sleep({SLEEPS})\nprint('done')")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3", on_cell_execute=begin, **{hook: note}).execute()
    assert notebook.cells[0].outputs[0].text == "done\n"  # at the end it is there, either way
    print(f"{hook}: after {seen['after']:.1f} s, with {seen['outputs']} outputs")
    return seen


help_text = NotebookClient.class_traits()["on_cell_complete"].help
still("after a cell execution is complete" in " ".join(help_text.split()), "the documentation says it.")
early, late = heard("on_cell_complete"), heard("on_cell_executed")
still(early["after"] < SLEEPS / 2 and early["outputs"] == 0, "on_cell_complete comes before the answer.")
still(late["after"] >= SLEEPS and late["outputs"] == 1, "on_cell_executed comes with the answer.")  # the control
print("As found")
PY
"$work/venv/bin/python" check.py
