"""Whether a page is parsed at all: its tree would take too much memory, or its depth too much time."""

import re

from phidelity.data.formats.blob import MAX_ELEMENTS

_HARMLESS = 10_000
"""Tags that may be nested as they like (ours): a parser takes the square of the depth."""
_DEEPEST = 1000
"""Elements within one another on a larger page (ours)."""
_LOOSE = frozenset(
    """p li dt dd td th tr tbody thead tfoot colgroup col option optgroup br img input meta link hr area base embed
    param source track wbr path rect circle g use""".split()  # noqa: SIM905 (a list to read)
)
"""Elements that need no end, and so do not tell how deep we are."""
_DEEPENS = re.compile(rf"<(?!/?(?:{'|'.join(sorted(_LOOSE))})(?![\w-]))(/?)[a-z]")
"""Tags of all others, in small letters: a pattern for both cases took nearly twice the time."""


def too_big(html: str) -> str:
    """Why a page is not parsed: its tree would take too much memory, or its depth too much time; "" for one that is."""
    n = html.count("<")
    if n > MAX_ELEMENTS:
        return "too_many_elements"
    if n <= _HARMLESS:
        return ""
    depth = 0
    for ends in _DEEPENS.findall(html.lower()):
        if not ends:
            depth += 1
            if depth > _DEEPEST:
                return "too_deep"
        elif depth:
            depth -= 1
    return ""
