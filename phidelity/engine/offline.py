"""A file of prompts in, a file of answers out: JSON lines both, in the same order.

Answers are kept in `OUT.partial` as they come (cached.py), and OUT is written when all are there. So a killed run goes
on where it stood, also when prompts were added meanwhile, and ends in the same bytes as an unbroken one.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from phidelity.cached import CachedCompleter
from phidelity.completion import Completer, Completion, Prompt, SamplingParams
from phidelity.config import UserError
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import Conversation, Message, atomic

_EXPECTED = 'Expected one JSON object with "prompt" or "messages", and optionally "id" and "params", a line'
_TOLD = 5
"""Bad lines that one message names (*ours*)."""
_TOGETHER = 64
"""Sets of parameters that are under way at once (*ours*)."""


class Line(NamedTuple):
    """One line of the input."""

    id: str
    """Its own, else its row number from 0."""
    prompt: Prompt
    params: SamplingParams


def answer_file(
    completer: Completer,
    source: Path,
    out: Path,
    params: SamplingParams,
    *,
    raw: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Complete every prompt of `source` and write the completions to `out`; returns how many.

    A line's own `params` go before `params`. A prompt over the context is answered `context_exceeded`.
    """
    if source.resolve() == out.resolve():
        raise UserError(f"{source} would be overwritten by its answers. Give --out another name.")
    lines = read_prompts(source, params, raw=raw)
    partial = out.with_name(out.name + ".partial")
    cached = CachedCompleter(completer, partial)
    try:
        with progress.task("generate", sum(line.params.n for line in lines), "answers") as task:
            answers = _answers(cached, lines, task)
    finally:
        cached.close()
    with atomic(out, "w") as file:
        for line, completions in zip(lines, answers, strict=True):
            for completion in completions:
                row = {"id": line.id, **completion.model_dump(mode="json")}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    partial.unlink()
    return sum(map(len, answers))


def _answers(completer: Completer, lines: list[Line], task: Task) -> list[list[Completion]]:
    """The completions of each line; those with the same parameters are asked for together."""
    groups: dict[SamplingParams, list[int]] = {}
    for index, line in enumerate(lines):
        groups.setdefault(line.params, []).append(index)
    answers: list[list[Completion]] = [[] for _ in lines]

    def ask(params: SamplingParams, members: list[int]) -> None:
        prompts = [lines[index].prompt for index in members]
        completions = completer.complete(prompts, params, lambda *_: task.advance())
        for place, index in enumerate(members):
            answers[index] = completions[place * params.n : (place + 1) * params.n]

    if len(groups) == 1:
        ask(*next(iter(groups.items())))
    else:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            for done in [pool.submit(ask, *group) for group in groups.items()]:
                done.result()
    return answers


def read_prompts(path: Path, params: SamplingParams, *, raw: bool = False) -> list[Line]:
    """The prompts of a file of JSON lines; `raw` takes a "prompt" as plain text, without the chat template."""
    lines: list[Line] = []
    bad: list[str] = []
    numbers: dict[str, int] = {}
    for number, text in _texts(path):
        try:
            line = _line(text, str(len(lines) + len(bad)), params, raw)
            if (first := numbers.setdefault(line.id, number)) != number:
                raise ValueError(f"id {line.id!r} is line {first}'s already")
            lines.append(line)
        except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
            bad.append(f"line {number}: found {text[:80]!r} ({_reason(error)})")
    if bad:
        more = f"; {len(bad) - _TOLD} more" if len(bad) > _TOLD else ""
        raise UserError(f"{path}, {'; '.join(bad[:_TOLD])}{more}. {_EXPECTED}.")
    if not lines:
        raise UserError(f"{path} is empty. {_EXPECTED}.")
    return lines


def as_prompt(text: str, name: str = "prompt", *, raw: bool = False) -> Prompt:
    """A text as the user's message, or as it is."""
    return text if raw else Conversation(id=name, messages=(Message(role="user", content=text),))


def _line(text: str, number: str, params: SamplingParams, raw: bool) -> Line:
    row = json.loads(text)
    name = str(row.get("id", number))
    if (messages := row.get("messages")) is not None:
        prompt: Prompt = Conversation(id=name, messages=messages)
        if not prompt.messages:
            raise ValueError("no messages")
    else:
        if not isinstance(row["prompt"], str) or not row["prompt"]:
            raise ValueError("the prompt is no text, or an empty one")
        prompt = as_prompt(row["prompt"], name, raw=raw)
    return Line(name, prompt, _own(params, row.get("params")))


def _own(params: SamplingParams, own: Any) -> SamplingParams:
    return SamplingParams.model_validate({**params.model_dump(), **own}) if own else params


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no {error}"
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
