"""A file of prompts, read and checked line by line: whatever is wrong with it is told with the line's number.

A line is a JSON object of `prompt` (a text) or `messages` (a conversation), and optionally `id` and `params` (sampling
for that line alone). Anything else is a slip of the pen, and refused.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from phidelity.completion import Prompt, SamplingParams
from phidelity.config import UserError
from phidelity.records import Conversation, Message

_KEYS = ("id", "prompt", "messages", "params")
_EXPECTED = 'Expected one JSON object with "prompt" or "messages", and optionally "id" and "params", a line'
_TOLD = 5
"""Bad lines that one message names (*ours*)."""
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class Line(NamedTuple):
    """One line of the input."""

    id: str
    """Its own, else its row number from 0, with as many # before it as tell it from the ids of others."""
    prompt: Prompt
    params: SamplingParams


def read_prompts(
    path: Path,
    params: SamplingParams,
    *,
    raw: bool = False,
    check: Callable[[SamplingParams], None] = lambda params: None,
) -> list[Line]:
    """The prompts of a file of JSON lines; `raw` takes a "prompt" as plain text, without the chat template."""
    lines: list[tuple[str | None, Line]] = []
    bad: list[str] = []
    numbers: dict[str, int] = {}
    for number, text in _texts(path):
        try:
            row = _row(text)
            name = _id(row.get("id"))
            if name is not None and (first := numbers.setdefault(name, number)) != number:
                raise UserError(f"id {name!r} is line {first}'s already")
            own = _own(params, row.get("params"))
            check(own)
            lines.append((name, Line(name or "", _prompt(row, name or "prompt", raw), own)))
        except (UserError, ValidationError) as error:
            bad.append(f"line {number}: found {text[:80]!r} ({_reason(error)})")
    if bad:
        more = f"; {len(bad) - _TOLD} more" if len(bad) > _TOLD else ""
        raise UserError(f"{path}, {'; '.join(bad[:_TOLD])}{more}. {_EXPECTED}.")
    if not lines:
        raise UserError(f"{path} is empty. {_EXPECTED}.")
    return [
        line if name is not None else line._replace(id=_free(str(row), numbers))
        for row, (name, line) in enumerate(lines)
    ]


def as_prompt(text: str, name: str = "prompt", *, raw: bool = False) -> Prompt:
    """A text as the user's message, or as it is."""
    return text if raw else Conversation(id=name, messages=(Message(role="user", content=text),))


def _row(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UserError("half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise UserError("nested too deep") from None
    except ValueError as error:
        raise UserError(f"no JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f"{_kind(row)}, no object")
    if unknown := sorted(row.keys() - set(_KEYS)):
        raise UserError(f"unknown: {', '.join(map(repr, unknown))}; how to sample goes into params")
    return row


def _id(given: Any) -> str | None:
    if given is None or (isinstance(given, str | int | float) and not isinstance(given, bool)):
        return None if given is None else str(given)
    raise UserError(f"id: {_kind(given)}, neither text nor number")


def _prompt(row: dict[str, Any], name: str, raw: bool) -> Prompt:
    prompt, messages = row.get("prompt"), row.get("messages")
    if prompt is not None and messages is not None:
        raise UserError("both a prompt and messages")
    if messages is not None:
        conversation = Conversation(id=name, messages=messages)
        if not conversation.messages:
            raise UserError("no messages")
        return conversation
    if "prompt" not in row:
        raise UserError("no 'prompt'")
    if not isinstance(prompt, str) or not prompt:
        raise UserError("the prompt is no text, or an empty one")
    return as_prompt(prompt, name, raw=raw)


def _own(params: SamplingParams, own: Any) -> SamplingParams:
    if own is None:
        return params
    if not isinstance(own, dict):
        raise UserError(f"params: {_kind(own)}, no object")
    return SamplingParams.model_validate({**params.model_dump(), **own})


def _free(name: str, taken: dict[str, int]) -> str:
    while name in taken:
        name = f"#{name}"
    return name


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), "a number")


def _reason(error: UserError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text.strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text ({error}). {_EXPECTED}.") from None
