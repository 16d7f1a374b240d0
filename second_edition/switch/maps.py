"""Third step of the switch: the two maps of the modules, in README.md and in the package, name the notebooks that stand."""

import re

from course_utils import paths
from course_utils.authoring import render, run

books = run.read_all(run.chapters())
p = paths.ROOT / "README.md"
p.write_text(render.replace_between(p.read_text(), "modules", render.module_table(books)))
q = paths.ROOT / "src/course_utils/__init__.py"
t = q.read_text()
users = {name: u for name, _, u in render.modules(books)}
t = re.sub(
    r"^(\S* +(\w+) +\S.* \[)([\w ]*)\]$",
    lambda m: m[1] + " ".join(users[m[2]]) + "]" if m[2] in users else m[0],
    t,
    flags=re.M,
)
q.write_text(t)
