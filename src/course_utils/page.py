"""Write findings as one web page that needs nothing else: headings, sentences, tables, figures. It knows no model."""

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure

from course_utils import figures


class Drawn(NamedTuple):
    """A figure and the sentence that says what it shows."""

    figure: Figure
    text: str


Part: TypeAlias = str | list[str] | pd.DataFrame | Drawn  # a paragraph, a list of sentences, a table, a figure

# what comes from a file is escaped, so that no text of a reader's becomes part of the page
TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0 }
td, th { padding: .3rem .7rem; border-bottom: 1px solid #8886; text-align: left; vertical-align: top }
img { max-width: 100%; background: #fff }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8886 }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for heading, parts in sections.items() %}
<h2>{{ heading }}</h2>
{% for kind, part in parts %}
{% if kind == "list" %}
<ul>
{% for line in part %}
<li>{{ line }}</li>
{% endfor %}
</ul>
{% elif kind == "table" %}
<table>
<thead><tr><th scope="col">{{ part.name }}</th>{% for name in part.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name, cells in part.rows %}
<tr><th scope="row">{{ name }}</th>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% elif kind == "figure" %}
<figure><img src="data:image/png;base64,{{ part.png }}" alt="{{ part.text }}"><figcaption>{{ part.text }}</figcaption></figure>
{% elif kind == "code" %}
<pre>{{ part }}</pre>
{% else %}
<p>{{ part }}</p>
{% endif %}
{% endfor %}
{% endfor %}
</body>
</html>
""")


def html(title: str, sections: Mapping[str, Sequence[Part]]) -> str:
    """Return a page: {heading: its parts}. A text that begins with four spaces is shown as code.

    The same parts give the same bytes.
    """
    return TEMPLATE.render(
        title=title, sections={name: [_kind(part) for part in parts] for name, parts in sections.items()}
    )


def _kind(part: Part) -> tuple[str, object]:
    """Return what kind a part is and what the template needs of it."""
    if isinstance(part, pd.DataFrame):
        rows = list(zip(part.index, part.astype(str).to_numpy().tolist(), strict=True))
        return "table", {"name": part.index.name or "", "columns": list(part.columns), "rows": rows}
    if isinstance(part, Drawn):
        return "figure", {"png": base64.b64encode(figures.png(part.figure)).decode(), "text": part.text}
    if isinstance(part, list):
        return "list", part
    return ("code", part.strip()) if part.startswith("    ") else ("text", part)
