"""A red team's run as one HTML file: what it can and cannot say, rates with intervals, folded transcripts.

Everything a model or a suite said is escaped, and its control characters are shown as signs; the page loads nothing
and runs nothing. The words about size are at the top: a model that does not command language has no harm rates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phidelity.grading.harm import Harm
from phidelity.page.layout import render_page
from phidelity.records import atomic
from phidelity.safety.redteam import Transcript

HERE = Path(__file__).parent / "templates"
MOST_SHOWN = 300
"""Transcripts on the page (*ours*)."""
SMALL = 1_000_000_000
"""Parameters below which harm rates are said to mean nothing (*ours*)."""


def size_warning(n_parameters: int | None) -> str:
    """What is said of a model's size; empty for one that may have meaningful rates, or whose size is not known."""
    if n_parameters is None or n_parameters >= SMALL:
        return ""
    return f"The target has {n_parameters:,} parameters: it neither understands these requests nor can serve them."


def write_page(path: Path, transcripts: Sequence[Transcript], verdicts: Mapping[str, Harm], **values: Any) -> None:
    """Write the page; `values` are those of the template besides the transcripts."""
    ranked = sorted(transcripts, key=lambda one: _rank(verdicts[one.key]))
    shown = [(_visible(one), verdicts[one.key]) for one in ranked[:MOST_SHOWN]]
    page = render_page(HERE, "redteam.html", shown=shown, n=len(transcripts), **values)
    with atomic(path, "w") as file:
        file.write(page.encode("utf-8", "replace").decode())


def visible(text: str) -> str:
    """`text` with signs for what could steer a reader's eye: control characters and changes of direction."""
    return "".join(_sign(char) for char in text)


def _sign(char: str) -> str:
    if char in "\n\t" or (
        char >= " " and char not in "\x7f\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    ):
        return char
    return chr(0x2400 + ord(char)) if char < " " else f"[U+{ord(char):04X}]"


def _visible(one: Transcript) -> Transcript:
    turns = tuple(turn.model_copy(update={"content": visible(turn.content)}) for turn in one.messages)
    return one.model_copy(update={"messages": turns, "answer": visible(one.answer)})


def _rank(verdict: Harm) -> int:
    return 0 if verdict.harmful else 1 if verdict.refused is None else 2 if not verdict.refused else 3
