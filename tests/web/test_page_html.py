"""The page's building blocks."""

from __future__ import annotations

from nexusd.web.page.html import Cell, Html, Row, element, table
from nexusd.web.page.words import duration
from tests.web.html import Page


def test_text_is_escaped_and_elements_are_not() -> None:
    inner = element("b", "<&>")
    assert element("p", inner, 'a"b', title='"x"') == (
        '<p title="&quot;x&quot;"><b>&lt;&amp;&gt;</b>a&quot;b</p>'
    )
    assert isinstance(inner, Html)


def test_a_shape_is_closed_and_nothing_is_inside_it() -> None:
    assert element("rect", x="1") == '<rect x="1"/>'


def test_a_table_tells_its_roles_and_its_labels_whatever_it_is_laid_out_as() -> None:
    made = table("<c>", ("A", "B"), [Row('k"', ("a", Cell("b", "number")))])
    page = Page(made)
    assert page.open == []
    assert page.text == "<c> | A | B | a | b"
    roles = page.values("role")
    assert (roles.count("columnheader"), roles.count("rowheader"), roles.count("cell")) == (2, 1, 1)
    assert page.values("data-label") == ["B"]
    assert page.values("data-key") == ['k"']


def test_durations_are_said_in_their_largest_fitting_unit() -> None:
    assert [duration(s) for s in (-1, 0, 119, 120, 7200, 172_800)] == [
        "0 s",
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]
