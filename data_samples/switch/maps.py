"""Third step of the switch: the two maps of the modules, in CONTRIBUTING.md and in the package, name the notebooks that stand."""

import re

from course_utils import paths
from course_utils.authoring import render, run

books = run.read_all(run.chapters())
guide, package = paths.ROOT / "CONTRIBUTING.md", paths.ROOT / "src" / "course_utils" / "__init__.py"
guide.write_text(render.replace_between(guide.read_text(), "modules", render.module_table(books)))
users = {name: " ".join(found) for name, _, found in render.modules(books)}
lines = package.read_text().splitlines(keepends=True)
for i, line in enumerate(lines):
    found = re.match(r"(\S* +(\w+) +\S.* \[)[\w ]*\]$", line)
    if found and found[2] in users:
        lines[i] = f"{found[1]}{users[found[2]]}]\n"
package.write_text("".join(lines))
