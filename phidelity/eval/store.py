"""The response store: what a model said to each problem, appended in whole chunks.

A file only ever grows by a chunk of fixed size, synced before the next one begins. After a kill the last chunk may
be torn: whatever is not a whole chunk is cut off and asked again, so the file ends in the same bytes as that of
an unbroken run. Grading is kept beside the answer, and every answer can be graded again from here.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from phidelity.completion import Usage
from phidelity.records import Record


class Response(Record):
    """One answer to one problem, with its score."""

    id: str
    repeat: int = 0
    prompt: str
    """The user's message, or the whole text shown to a base model."""
    response: str
    finish_reason: str
    usage: Usage
    score: float | None
    """Between 0 and 1; None is undetermined."""
    extracted: str | None = None
    explanation: str = ""


def resume(path: Path, asked: Sequence[tuple[str, str]], chunk: int) -> list[Response]:
    """The answers that stand, in whole chunks, and only if they answer `asked` (pairs of id and prompt)."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = _readable(lines)
    n = len(kept) if len(kept) == len(asked) else len(kept) // chunk * chunk
    if [(one.id, one.prompt) for one in kept[:n]] != list(asked[:n]):
        n = 0
    if n < len(lines):
        os.truncate(path, sum(map(len, lines[:n])))
    return kept[:n]


def append(path: Path, responses: Sequence[Response]) -> None:
    """Write one chunk and see it on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(b"".join(one.model_dump_json().encode() + b"\n" for one in responses))
        file.flush()
        os.fsync(file.fileno())


def _readable(lines: Sequence[bytes]) -> list[Response]:
    """The answers up to the first torn line."""
    kept = []
    for line in lines:
        try:
            kept.append(Response.model_validate_json(line))
        except ValidationError:
            break
        if not line.endswith(b"\n"):
            return kept[:-1]
    return kept
