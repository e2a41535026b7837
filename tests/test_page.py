"""Pages: what is put in stays text, figures can be read without colour or sight, and the page is one file."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from phidelity.page.figures import Bar, Dot, Series, bar_chart, dot_plot, line_chart, share_bar, ticks
from phidelity.page.layout import duration, number, percent, render_markdown, render_page, signed, style

HOSTILE = "</svg><script>alert(1)</script>\"'&"
FIGURES = {
    "lines": line_chart(HOSTILE, [Series(HOSTILE, [(1, 2.5), (2, 1.5)])], x_label="step", y_label=HOSTILE),
    "dots": dot_plot("Dots", [Dot(HOSTILE, 40, 30, 50), Dot("b", 0, 0, 4, hollow=True)], x_label="score", zero=True),
    "bars": bar_chart("Bars", [Bar(HOSTILE, 3, "3 (75 %)"), Bar("none", 0, "0")]),
    "shares": share_bar("Shares", [(HOSTILE, 0.25), ("rest", 0.75)]),
}


def svg(figure: Markup) -> ElementTree.Element:
    found = re.search(r"<svg class=\"figure.*?</svg>", figure, re.DOTALL)
    assert found
    return ElementTree.fromstring(found.group())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_well_formed_and_keeps_text_as_text(name):
    root = svg(FIGURES[name])
    assert "<script" not in FIGURES[name]
    assert not root.findall(".//script")
    assert HOSTILE in "".join(root.itertext()) or HOSTILE in Markup(FIGURES[name]).unescape()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_tells_its_title_and_its_numbers_to_those_who_do_not_see_it(name):
    root = svg(FIGURES[name])
    title, description = root.find("title"), root.find("desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert description.text
    assert re.search(r"\d", description.text)
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"


def test_lines_differ_in_dash_and_marker_and_not_in_colour_alone():
    names = [f"line {n}" for n in range(8)]
    figure = line_chart("Many", [Series(name, [(0, 1), (1, 2)]) for name in names], x_label="x", y_label="y")
    markers = {path.get("d") for path in svg(figure).iter("path")}
    assert len(markers) == 8
    dashes = re.findall(r"\.s\d \{[^}]*?--dash: ([^;]+);", style())
    assert len(set(dashes)) == len(dashes) == 7  # the first line is whole
    assert all(name in figure for name in names)


def test_a_line_of_one_point_is_no_chart():
    assert line_chart("One", [Series("a", [(1, 1)])], x_label="x", y_label="y") == ""


def test_a_dot_stands_where_its_value_is():
    root = svg(
        dot_plot("Where", [Dot("low", 0, 0, 0), Dot("half", 50, 40, 60), Dot("all", 100, 100, 100)], x_label="x")
    )
    low, half, high = (float(circle.get("cx", "nan")) for circle in root.iter("circle"))
    assert half == pytest.approx((low + high) / 2, abs=0.1)


@pytest.mark.parametrize(("low", "high"), [(0, 7.3), (0, 100), (-3, 12), (0, 0.003), (5, 5), (0, 1e7)])
def test_ticks_are_few_round_and_enclose_the_values(low, high):
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= 8
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1


def test_numbers_are_written_as_people_read_them():
    assert [number(1234567), number(0.12345), number(3.0)] == ["1,234,567", "0.1235", "3"]
    assert [percent(0.125), percent(None), signed(-0.5)] == ["12.5 %", "undetermined", "−0.5"]
    assert [duration(4.23), duration(59.97), duration(125), duration(7800)] == [
        "4.2 s",
        "1 min 00 s",
        "2 min 05 s",
        "2 h 10 min",
    ]


def test_what_is_put_into_a_page_is_escaped(tmp_path):
    (tmp_path / "page.html").write_text('{% extends "layout.html" %}{% block main %}{{ text }}{% endblock %}')
    page = render_page(tmp_path, "page.html", text="<b>&")
    assert "&lt;b&gt;&amp;" in page
    assert "--paper" in page


def test_what_is_put_into_markdown_opens_no_tag_cell_link_or_line(tmp_path):
    (tmp_path / "card.md").write_text("| {{ text }} |\n")
    text = render_markdown(tmp_path, "card.md", text="a|b\n# c <img> [d](e) `f` *g*")
    assert text == "| a\\|b # c \\<img\\> \\[d\\](e) \\`f\\` \\*g\\* |\n"
