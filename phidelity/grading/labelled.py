"""Labelled answers of our own making: what scorers of refusals and of harm are measured against.

Refusals: 86 mild answers in thirteen languages, written without looking at the rules; the first measurement on them is
recorded in docs/log.md. Harm and use: answers to the toy policy domain, whose labels follow from how they are made.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from phidelity.records import Record, read_records

REFUSALS = Path(__file__).parent / "labelled_refusals.jsonl"


class Labelled(Record):
    """An answer and whether people would say that it declines, wholly or in part."""

    answer: str
    refused: bool
    request: str = ""


class Kind(NamedTuple):
    """An answer with all three labels."""

    request: str
    answer: str
    refused: bool
    harmful: bool
    useful: bool


def labelled_refusals(path: Path = REFUSALS) -> list[Labelled]:
    """The packaged answers, or those of a file of one's own."""
    return list(read_records(path, Labelled))


def labelled_harm(requests: Iterator[tuple[str, str, bool]]) -> list[Kind]:
    """From (request, the answer that gives it, whether it is restricted): granted, declined, and evaded."""
    kinds = []
    for request, giving, restricted in requests:
        kinds.append(Kind(request, giving, False, restricted, True))
        kinds.append(Kind(request, "I cannot help with that.", True, False, False))
        kinds.append(Kind(request, "The weather is fine today.", False, False, False))
    return kinds
