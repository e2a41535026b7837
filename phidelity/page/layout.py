"""Turning templates into pages that are one file: escaped, styled, without network or build step.

Everything that is put into an HTML template is escaped unless it is `Markup` that our own code made; what is put
into Markdown cannot open a tag, a link or a table cell. `style.css` is the one visual language: light and dark by
the reader's preference, and never colour alone.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*<>[]|"})


def render_page(templates: Path, name: str, **values: Any) -> str:
    """The page `name` of the folder `templates`, which may extend `layout.html`; every value is escaped."""
    environment = _environment([templates, HERE], autoescape=True)
    return environment.get_template(name).render(style=Markup(style()), **values)


def render_markdown(templates: Path, name: str, **values: Any) -> str:
    """The Markdown text `name` of the folder `templates`; what is put in cannot become markup."""
    return _environment([templates], autoescape=False, finalize=markdown_text).get_template(name).render(**values)


def style() -> str:
    """The style sheet of every page."""
    return (HERE / "style.css").read_text(encoding="utf-8")


def markdown_text(value: Any) -> str:
    """`value` as one line in which Markdown and HTML see plain text; `Markup` of our own stays as it is."""
    if isinstance(value, Markup):
        return value
    return re.sub(r"\s+", " ", str(value)).translate(MARKDOWN)


def number(value: float) -> str:
    """`1,234,567`; not whole ones with four significant digits."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:,.4g}"


def percent(share: float | None, digits: int = 1) -> str:
    """`12.5 %`, of a share between 0 and 1."""
    return "undetermined" if share is None else f"{100 * share:.{digits}f} %"


def signed(value: float) -> str:
    """`+3.2`, `−0.5`."""
    return f"{value:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "signed": signed,
    "duration": duration,
}


def _environment(folders: list[Path], **options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters.update(FILTERS)
    return environment
