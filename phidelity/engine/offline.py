"""A file of prompts in, a file of answers out: JSON lines both, in the same order."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from phidelity.completion import Completer, Prompt, SamplingParams
from phidelity.config import UserError
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, Message, atomic

_EXPECTED = 'Expected one JSON object with "prompt" or "messages", and optionally "id", a line'


class Asked(NamedTuple):
    """One line of the input."""

    id: str
    """Its own, else its row number from 0."""
    prompt: Prompt


def answer_file(
    completer: Completer,
    source: Path,
    out: Path,
    params: SamplingParams,
    *,
    raw: bool = False,
    progress: Progress = SILENT,
) -> int:
    """Complete every prompt of `source` and write the completions to `out`; returns how many."""
    asked = list(read_prompts(source, raw=raw))
    if not asked:
        raise UserError(f"{source} is empty. {_EXPECTED}.")
    with progress.task("generate", len(asked), "answers") as task:
        completions = completer.complete([one.prompt for one in asked], params, lambda *_: task.advance())
    with atomic(out, "w") as file:
        for one, completion in zip(asked, completions, strict=True):
            line = {"id": one.id, **completion.model_dump(mode="json")}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(asked)


def read_prompts(path: Path, *, raw: bool = False) -> Iterator[Asked]:
    """The prompts of a file of JSON lines; `raw` takes a "prompt" as plain text, without the chat template."""
    for number, line in enumerate(_lines(path)):
        try:
            row = json.loads(line)
            name = str(row.get("id", number))
            messages = row.get("messages")
            prompt = Conversation(id=name, messages=messages) if messages else as_prompt(row["prompt"], name, raw=raw)
        except (ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{path}, line {number + 1}: found {line[:80]!r} ({error!r}). {_EXPECTED}.") from None
        yield Asked(name, prompt)


def as_prompt(text: str, name: str = "prompt", *, raw: bool = False) -> Prompt:
    """A text as the user's message, or as it is."""
    return text if raw else Conversation(id=name, messages=(Message(role="user", content=text),))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text ({error}). {_EXPECTED}.") from None
