"""Figures as inline SVG: lines, dots with intervals, bars and shares.

Every series has a dash pattern and a marker besides its colour, every bar and dot its label and number; each figure
has a title and a description for those who do not see it. Colours are classes of `style.css`, so a figure follows
light and dark.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH = 560
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 52, 14, 12, 42
N_STYLES = 8
"""Colours, dashes and markers that can be told apart; further series begin again."""
MAX_MARKERS = 8


class Series(NamedTuple):
    """A named line."""

    name: str
    points: Sequence[tuple[float, float]]


class Dot(NamedTuple):
    """A labelled value with its interval; `hollow` sets baselines apart."""

    label: str
    value: float
    low: float
    high: float
    hollow: bool = False


class Bar(NamedTuple):
    """A labelled length; `note` is what is written at its end."""

    label: str
    value: float
    note: str


def line_chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str, height: int = 300) -> Markup:
    """Lines over common axes with a legend; nothing where no line has two points."""
    points = [point for one in series for point in one.points]
    if max((len(one.points) for one in series), default=0) < 2:
        return Markup("")
    x_ticks, y_ticks = ticks(*_range(points, 0)), ticks(*_range(points, 1))
    x = _scale(x_ticks, MARGIN_LEFT, WIDTH - MARGIN_RIGHT)
    y = _scale(y_ticks, height - MARGIN_BOTTOM, MARGIN_TOP)
    body = [_y_axis(y_ticks, y, y_label, height), _x_axis(x_ticks, x, x_label, height)]
    body += [_line([(x(a), y(b)) for a, b in one.points], place % N_STYLES) for place, one in enumerate(series)]
    told = "; ".join(f"{one.name} from {_short(one.points[0][1])} to {_short(one.points[-1][1])}" for one in series)
    description = f"{y_label} by {x_label}: {told}."
    return _figure(title, description, body, WIDTH, height, _legend(series), kind="figure lines")


def dot_plot(
    title: str, dots: Sequence[Dot], *, x_label: str, low: float = 0.0, high: float = 100.0, zero: bool = False
) -> Markup:
    """One row per dot with its interval as a line; `zero` draws the line of no change."""
    width, row = 420, 22
    left = 20 + 6.6 * max((len(dot.label) for dot in dots), default=0)
    height = row * len(dots) + 46
    x_ticks = ticks(low, high, 5)
    x = _scale(x_ticks, left, width - MARGIN_RIGHT)
    body = [_x_axis(x_ticks, x, x_label, height, grid=True)]
    if zero:
        body.append(_tag("line", "zero", x1=x(0), x2=x(0), y1=4, y2=height - MARGIN_BOTTOM))
    for place, dot in enumerate(dots):
        y = 14 + row * place
        body.append(_text(dot.label, left - 10, y + 4, "end", "label"))
        body.append(_tag("line", "interval", x1=x(dot.low), x2=x(dot.high), y1=y, y2=y))
        body += [_tag("line", "interval", x1=x(end), x2=x(end), y1=y - 4, y2=y + 4) for end in (dot.low, dot.high)]
        body.append(_tag("circle", "dot hollow" if dot.hollow else "dot", cx=x(dot.value), cy=y, r=4.5))
    told = "; ".join(f"{dot.label} {dot.value:.1f} ({dot.low:.1f} to {dot.high:.1f})" for dot in dots)
    return _figure(title, f"{x_label}: {told}.", body, width, height)


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """Horizontal bars with their notes at the end."""
    longest = max((bar.value for bar in bars), default=0) or 1
    left, row = 20 + 7.4 * max((len(bar.label) for bar in bars), default=0), 22
    body = []
    for place, bar in enumerate(bars):
        y = 4 + row * place
        length = (WIDTH - left - 110) * bar.value / longest
        body.append(_text(bar.label, left - 10, y + 13, "end", "label"))
        body.append(_tag("rect", "bar", x=left, y=y + 2, width=max(1, length), height=row - 8))
        body.append(_text(bar.note, left + max(1, length) + 6, y + 13, "start", "value"))
    told = "; ".join(f"{bar.label} {bar.note}" for bar in bars)
    return _figure(title, f"{told}.", body, WIDTH, row * len(bars) + 8)


def share_bar(title: str, parts: Sequence[tuple[str, float]]) -> Markup:
    """One bar divided by shares of the whole; hatched in turn, named and numbered in the legend."""
    total = sum(value for _, value in parts) or 1
    body, begin = [], 0.0
    for place, (_, value) in enumerate(parts):
        width = WIDTH * value / total
        body.append(_tag("rect", f"part s{place % N_STYLES}", x=begin, y=1, width=width, height=30))
        if width > 16:
            body.append(_tag("circle", "badge", cx=begin + width / 2, cy=16, r=9))
            body.append(_text(str(place + 1), begin + width / 2, 20, "middle", "value"))
        begin += width
    named = [(name, f"{100 * value / total:.1f} %") for name, value in parts]
    items = Markup("").join(
        Markup('<li><span class="swatch s{}">{}</span> {} {}</li>').format(place % N_STYLES, place + 1, name, share)
        for place, (name, share) in enumerate(named)
    )
    told = "; ".join(f"{name} {share}" for name, share in named)
    legend = Markup('<ol class="legend">{}</ol>').format(items)
    return _figure(title, f"{told}.", body, WIDTH, 32, legend, kind="figure fluid")


def ticks(low: float, high: float, n: int = 6) -> list[float]:
    """About `n` round numbers that enclose [low, high]."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / max(1, n - 1)
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def slug(title: str) -> str:
    """A title as an id."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class _Scale(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scale(at: Sequence[float], start: float, end: float) -> _Scale:
    return _Scale(at[0], at[-1], start, end)


def _range(points: Sequence[tuple[float, float]], axis: int) -> tuple[float, float]:
    """From zero where nothing is negative, as a length from zero cannot mislead."""
    values = [point[axis] for point in points]
    return min(0.0, *values), max(values)


def _line(points: Sequence[tuple[float, float]], place: int) -> Markup:
    """A dashed line with a few markers on it."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    every = max(1, math.ceil(len(points) / MAX_MARKERS))
    marked = [points[i] for i in range(place % every, len(points), every)] if len(points) > 1 else list(points)
    line = _tag("polyline", f"line s{place}", points=path)
    return line + Markup("").join(_marker(x, y, place) for x, y in marked)


def _marker(x: float, y: float, place: int) -> Markup:
    shapes = (
        "M-3.2,0a3.2,3.2 0 1,0 6.4,0a3.2,3.2 0 1,0 -6.4,0z",
        "M-3,-3h6v6h-6z",
        "M0,-4L4,3H-4z",
        "M0,-4.2L4.2,0L0,4.2L-4.2,0z",
        "M-3,-3L3,3M3,-3L-3,3",
        "M0,4L4,-3H-4z",
        "M0,-4V4M-4,0H4",
        "M-1.5,-4.5h3v9h-3z",
    )
    return Markup('<path class="marker s{}" transform="translate({:.1f},{:.1f})" d="{}"/>').format(
        place, x, y, shapes[place]
    )


def _legend(series: Sequence[Series]) -> Markup:
    items = Markup("").join(
        Markup('<li><svg class="key" viewBox="0 0 36 12" aria-hidden="true">{}</svg> {}</li>').format(
            _tag("line", f"line s{place % N_STYLES}", x1=1, x2=35, y1=6, y2=6) + _marker(18, 6, place % N_STYLES),
            one.name,
        )
        for place, one in enumerate(series)
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def _x_axis(at: Sequence[float], x: _Scale, label: str, height: float, grid: bool = False) -> Markup:
    bottom = height - MARGIN_BOTTOM
    parts = [_tag("line", "axis", x1=x.start, x2=x.end, y1=bottom, y2=bottom)]
    for value in at:
        top = 4 if grid else bottom
        parts.append(_tag("line", "grid", x1=x(value), x2=x(value), y1=top, y2=bottom + 4))
        parts.append(_text(_short(value), x(value), bottom + 17, "middle", "tick"))
    parts.append(_text(label, (x.start + x.end) / 2, height - 6, "middle", "axis-label"))
    return Markup("").join(parts)


def _y_axis(at: Sequence[float], y: _Scale, label: str, height: float) -> Markup:
    parts = []
    for value in at:
        parts.append(_tag("line", "grid", x1=MARGIN_LEFT, x2=WIDTH - MARGIN_RIGHT, y1=y(value), y2=y(value)))
        parts.append(_text(_short(value), MARGIN_LEFT - 7, y(value) + 4, "end", "tick"))
    middle = (y.start + y.end) / 2
    turned = Markup(
        '<text class="axis-label" text-anchor="middle" transform="translate(12,{:.1f}) rotate(-90)">{}</text>'
    )
    return Markup("").join(parts) + turned.format(middle, label)


def _short(value: float) -> str:
    """A number as an axis shows it: `0.5`, `1,200`, `3M`, `2e-04`."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.4g}M"
    if size and size < 1e-2:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"


def _text(text: str, x: float, y: float, anchor: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _tag(name: str, kind: str, **attributes: float | str) -> Markup:
    """An element without content; numbers with one decimal."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key, f"{value:.1f}" if isinstance(value, float) else value)
        for key, value in attributes.items()
    )
    return Markup('<{} class="{}"{}/>').format(name, kind, written)


def _figure(
    title: str,
    description: str,
    body: Sequence[Markup],
    width: float,
    height: float,
    legend: Markup | str = "",
    kind: str = "figure",
) -> Markup:
    """The drawing in a box that scrolls when the screen is narrow, with its caption and legend."""
    name = slug(title)
    return Markup(
        '<figure><figcaption>{title}</figcaption><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        '<svg class="{kind}" role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width} {height}" '
        'style="--width:{width}px"><title id="{name}-t">{title}</title><desc id="{name}-d">{description}</desc>{body}'
        "</svg></div>{legend}</figure>"
    ).format(
        title=title,
        kind=kind,
        name=name,
        width=width,
        height=height,
        description=description,
        body=Markup("").join(body),
        legend=legend,
    )
