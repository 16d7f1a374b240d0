"""A page is whole by itself, and no text of a reader's becomes part of it."""

from html.parser import HTMLParser

import pandas as pd
from matplotlib.figure import Figure

from course_utils import page


class Outline(HTMLParser):
    """Collects the tags, the text and the alternative texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.alt = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.alt += [value for name, value in attrs if name == "alt"]

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())


def parts():
    table = pd.DataFrame({"found": ["1 of 2"]}, index=pd.Index(["<b>urgent</b>"], name="label"))
    figure = Figure()
    figure.subplots().plot([0, 1])
    return {
        "One": ["A sentence.", ["a & b", "<script>alert(1)</script>"], table],
        "Two": [page.Drawn(figure, 'It says "up"'), "    grade = 1\n    grade('a')"],
    }


def test_every_part_is_there_and_what_comes_from_a_file_is_text():
    found = Outline(page.html("A grader for <i>mine</i>.csv", parts()))
    for text in ("A grader for <i>mine</i>.csv", "One", "A sentence.", "a & b", "<script>alert(1)</script>", "1 of 2"):
        assert text in found.text
    assert "<b>urgent</b>" in found.text and "label" in found.text
    assert not {"script", "i", "b", "link"} & set(found.tags)
    assert found.alt == ['It says "up"']
    assert "grade = 1\n    grade('a')" in found.text


def test_it_asks_for_nothing_from_elsewhere():
    html = page.html("t", parts())
    assert "http" not in html and 'src="data:image/png;base64,' in html


def test_the_same_parts_give_the_same_page():
    assert page.html("t", parts()) == page.html("t", parts())
