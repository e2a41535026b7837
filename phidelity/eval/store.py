"""The response store: what a model said to each problem, one JSON line an answer, appended as it comes.

`responses.jsonl` only grows while a run works, so a kill loses at most the answers under way; a torn last line is cut
off. An answer is found again by its key: a hash of model, prompt, parameters and repeat. When all answers are there the
lines are put into the order of the problems, so a run that was stopped ends in the same bytes as one that was not;
answers to other questions (another temperature, a smaller limit) are set aside in `superseded.jsonl` and found there
when they are wanted again. Grades stand apart, in `graded.jsonl`: they can be made again without a model.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from phidelity.completion import Prompt, SamplingParams, Usage, what_is_read
from phidelity.config import UserError
from phidelity.records import Record, Score, read_records, write_records

SYNC_EVERY = 1.0
"""Seconds after which what was appended is forced to disk (*ours*)."""


def read_scores(path: Path) -> dict[str, Any]:
    """`scores.json`: {model: {benchmark: {profile: row}}}."""
    if not path.is_file():
        raise UserError(f"No file {path}; expected a folder that `phi eval --out` wrote.")
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}). Remove it and give `phi eval` again; answers stand.") from None
    if not isinstance(scores, dict) or not all(isinstance(rows, dict) for rows in scores.values()):
        raise UserError(f"{path} holds no scores by model. Remove it and give `phi eval` again; answers stand.")
    return scores


class Response(Record):
    """One answer to one problem."""

    id: str
    repeat: int = 0
    key: str = ""
    """Hash of model, prompt, parameters and repeat."""
    prompt: str
    """The user's message, or the whole text shown to a base model."""
    response: str
    finish_reason: str
    usage: Usage


class Graded(Record):
    """What graders say of one answer, by profile, with what a reader needs to judge it."""

    id: str
    repeat: int = 0
    reference: str
    cluster: str | None = None
    """What the problem shares with others; the standard error is clustered by it."""
    scores: dict[str, Score]
    meta: dict[str, str] = Field(default_factory=dict)
    """Subject, language, topic: where the dataset says so."""


class Asked(NamedTuple):
    """One answer that is wanted."""

    id: str
    repeat: int
    key: str


def response_key(model: str, prompt: Prompt, params: SamplingParams, repeat: int) -> str:
    """What an answer is kept under."""
    parts = (model, what_is_read(prompt), params.model_dump(mode="json"), repeat)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class ResponseStore:
    """The answers of one model to one benchmark; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """`path` is `responses.jsonl`; it is made when the first answer comes."""
        self.path, self.aside = path, path.with_name("superseded.jsonl")
        _mend(path)
        self._rows = {_place(one): one for one in (*_readable(self.aside), *_readable(path))}
        self._file = None
        self._synced = time.monotonic()

    def __enter__(self) -> "ResponseStore":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "ab", buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()

    def find(self, asked: Iterable[Asked]) -> dict[Asked, Response]:
        """The answers that stand."""
        return {one: self._rows[one] for one in asked if one in self._rows}

    def append(self, response: Response) -> None:
        """Write one answer: one call of the system for the whole line."""
        assert self._file, "append inside the with block"
        self._file.write(response.model_dump_json().encode() + b"\n")
        self._rows[_place(response)] = response
        if time.monotonic() - self._synced > SYNC_EVERY:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def settle(self, asked: Sequence[Asked]) -> list[Response]:
        """Put the wanted answers in order and set others aside; returns those that stand."""
        kept = [self._rows[one] for one in asked if one in self._rows]
        wanted = set(asked)
        others = [one for place, one in self._rows.items() if place not in wanted]
        if others:
            write_records(self.aside, others)
        elif self.aside.exists():
            self.aside.unlink()
        if list(_readable(self.path)) != kept:
            write_records(self.path, kept)
        return kept


def write_graded(folder: Path, graded: Iterable[Graded]) -> None:
    """Write `graded.jsonl` of a benchmark's folder."""
    write_records(folder / "graded.jsonl", graded)


def read_graded(folder: Path) -> list[Graded]:
    """The grades of a benchmark's folder; none where it was not graded."""
    path = folder / "graded.jsonl"
    return list(read_records(path, Graded)) if path.is_file() else []


def cluster_of(meta: Mapping[str, object]) -> str | None:
    """What a problem shares with others, as text."""
    return hashlib.sha256(str(meta["cluster"]).encode()).hexdigest()[:12] if "cluster" in meta else None


def _place(one: Response) -> Asked:
    return Asked(one.id, one.repeat, one.key)


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left without its end."""
    data = path.read_bytes() if path.is_file() else b""
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _readable(path: Path) -> Iterable[Response]:
    """The whole lines of a file; one that is damaged is passed over and asked again."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            yield Response.model_validate_json(line)
        except ValidationError:
            continue
