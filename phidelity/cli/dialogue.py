"""One conversation with a model: its turns, how it samples, and the commands that change either.

Knows nothing of terminals: what it has to tell goes to `tell`, answers go to `show` as they grow. A message never
leaves unsaid that something was forgotten: turns that no longer fit the context are left out of the prompt from the
front, with a line that says so. A conversation rests as one `Conversation` record, which is what the web chat exports,
`phi generate --input` reads and `phi finetune` learns from.
"""

import math
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from phidelity.completion import Alternative, SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import LLM
from phidelity.engine.worker import Request
from phidelity.records import Conversation, Message, read_records, write_records

SETTINGS = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop",
    "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
"""What /set sets: fields of SamplingParams."""
ALTERNATIVES = 3
"""Tokens beside the chosen one that /tokens shows (*ours*)."""


class Leave(Exception):  # noqa: N818  no error: how /quit ends the loop
    """The person wants to go."""


@dataclass(slots=True)
class Dialogue:
    """The turns so far and how the next answer is sampled."""

    llm: LLM
    params: SamplingParams
    show: Callable[[str], None]
    """Gets an answer, piece by piece."""
    tell: Callable[[str], None]
    """Gets whole lines about the conversation."""
    system: str = ""
    turns: list[Message] = field(default_factory=list)
    """User and assistant by turns."""
    models: Mapping[str, LLM] = field(default_factory=dict)
    """What /adapter chooses from: the base and its adapters."""
    tries: int = 0
    """How often the last question was asked again."""
    last: Request | None = None

    def hear(self, line: str) -> None:
        """Do what a line says: a command, or a message to answer. `//` begins a message with a slash."""
        if not line.startswith("/") or line.startswith("//"):
            self.ask(line.removeprefix("/") if line.startswith("//") else line)
            return
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise UserError(f"/{name} is no command. /help lists them; // begins a message with a slash.")
        COMMANDS[name][0](self, rest.strip())

    def ask(self, text: str) -> None:
        """Answer one more message."""
        self.turns.append(Message(role="user", content=text))
        self.tries = 0
        self._answer()

    def _answer(self) -> None:
        """Stream an answer to the last turn; Ctrl-C ends it and keeps what was said."""
        asked = self._fitting()
        began = time.monotonic()
        try:
            request = self.llm.submit(_conversation(asked), self.params, repeat=self.tries)
        except UserError:
            self.turns.pop()
            raise
        self.last, first, said, stopped = request, 0.0, "", False
        try:
            for piece in request:
                first = first or (time.monotonic() if piece.tokens else 0.0)
                if piece.text:
                    said += piece.text
                    self.show(piece.text)
        except KeyboardInterrupt:
            request.cancel()
            stopped = True
            with suppress(KeyboardInterrupt):  # its last step is awaited; whoever presses again need not
                request.result()
        self.show("\n")
        self.turns.append(Message(role="assistant", content=said))
        self.tell(_figures(request, began, first or time.monotonic(), stopped, self.llm.context_len, self.params))

    def _fitting(self) -> list[Message]:
        """The turns that leave room for an answer of usual length, and a word about those that do not."""
        head = [Message(role="system", content=self.system)] if self.system else []
        room = min(self.params.max_tokens, self.llm.context_len // 4)
        kept = list(self.turns)
        while len(kept) > 2 and len(self.llm.prompt_ids(_conversation(head + kept))) + room > self.llm.context_len:
            kept = kept[2:]
        if left_out := len(self.turns) - len(kept):
            self.tell(f"The first {left_out} turns no longer fit {self.llm.context_len:,} tokens and are left out.")
        return head + kept


def _help(dialogue: Dialogue, rest: str) -> None:
    """What can be typed."""
    usage = {f"/{name} {usage}".strip(): what for name, (_, usage, what) in COMMANDS.items()}
    dialogue.tell("\n".join(f"{line:<24} {what}" for line, what in (usage | TYPING).items()))


def _system(dialogue: Dialogue, rest: str) -> None:
    if rest:
        dialogue.system = "" if rest == "off" else rest
    dialogue.tell(f"System prompt: {dialogue.system}" if dialogue.system else "No system prompt.")


def _adapter(dialogue: Dialogue, rest: str) -> None:
    if rest not in dialogue.models:
        found = f"{rest!r} is not here" if rest else "No adapter was named"
        raise UserError(f"{found}; expected /adapter and one of: {', '.join(dialogue.models)}.")
    dialogue.llm = dialogue.models[rest]
    dialogue.tell(f"Answers come from {rest} now.")


def _reset(dialogue: Dialogue, rest: str) -> None:
    dialogue.turns.clear()
    dialogue.last = None
    dialogue.tell("A new conversation.")


def _retry(dialogue: Dialogue, rest: str) -> None:
    if not dialogue.turns:
        raise UserError("There is no question to ask again. Type one.")
    if dialogue.turns[-1].role == "assistant":
        dialogue.turns.pop()
    if dialogue.params.temperature == 0:
        dialogue.tell("At temperature 0 the same answer comes again; /set temperature 0.8 makes it vary.")
    dialogue.tries += 1
    dialogue._answer()


def _undo(dialogue: Dialogue, rest: str) -> None:
    if not dialogue.turns:
        raise UserError("There is nothing to take back.")
    while dialogue.turns and dialogue.turns.pop().role != "user":
        pass
    dialogue.tell(f"Taken back; {len(dialogue.turns)} turns are left.")


def _save(dialogue: Dialogue, rest: str) -> None:
    if not dialogue.turns:
        raise UserError("There is nothing to save yet. Say something first.")
    head = [Message(role="system", content=dialogue.system)] if dialogue.system else []
    settings = dialogue.params.model_dump(mode="json", include=set(SETTINGS))
    meta = {"model": dialogue.llm.name, "settings": settings}
    record = Conversation(id="chat", messages=tuple(head + dialogue.turns), source="chat", meta=meta)
    if not _path(rest).parent.is_dir():
        raise UserError(f"There is no folder {_path(rest).parent} to save in. Make it, or give another path.")
    write_records(_path(rest), [record])
    dialogue.tell(f"{len(dialogue.turns)} turns in {_path(rest)}.")


def _load(dialogue: Dialogue, rest: str) -> None:
    if not _path(rest).is_file():
        raise UserError(f"No file {_path(rest)} was found; expected one as /save writes it.")
    found = next(read_records(_path(rest), Conversation), None)
    if found is None:
        raise UserError(f"{_path(rest)} is empty; expected a conversation as /save writes it.")
    roles = [message.role for message in found.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != ["user", "assistant"] * (len(turns) // 2):
        raise UserError(f"{_path(rest)} has the turns {', '.join(roles)}; expected user and assistant by turns.")
    dialogue.turns = list(found.messages[len(roles) - len(turns) :])
    dialogue.system = found.messages[0].content if len(turns) < len(roles) else ""
    dialogue.last = None
    dialogue.tell(f"{len(turns)} turns from {_path(rest)}; settings stay as they are.")


def _set(dialogue: Dialogue, rest: str) -> None:
    name, _, value = rest.partition(" ")
    if not name:
        dialogue.tell("\n".join(f"{name:<20} {_shown(getattr(dialogue.params, name))}" for name in SETTINGS))
        return
    if name not in SETTINGS:
        raise UserError(f"{name!r} cannot be set; expected one of {', '.join(SETTINGS)}.")
    if not value.strip():
        dialogue.tell(f"{name} is {_shown(getattr(dialogue.params, name))}.")
        return
    given: Any = _words(value) if name == "stop" else value.strip()
    fields = dialogue.params.model_dump(include=set(SETTINGS)) | {name: given}
    try:
        dialogue.params = SamplingParams(**fields)
    except ValidationError:
        raise UserError(f"{name} cannot be {value.strip()!r}; expected a number.") from None
    dialogue.tell(f"{name} is now {_shown(getattr(dialogue.params, name))}.")


def _tokens(dialogue: Dialogue, rest: str) -> None:
    """Score the last answer anew, with what might have stood there instead."""
    request, llm = dialogue.last, dialogue.llm
    if not request or not request.sequence.said:
        raise UserError("There is no answer whose tokens could be shown. Ask something first.")
    said, ids = request.sequence.said, tuple(request.sequence.tokens)
    how = SamplingParams(max_tokens=0, prompt_logprobs=ALTERNATIVES)
    (scored,) = llm.complete([ids[:-1] if len(ids) > llm.context_len else ids], how)
    places = scored.prompt_alternatives[len(ids) - len(said) - 1 :]
    for token, logprob, others in zip(said, scored.prompt_logprobs[-len(places) :], places, strict=False):
        dialogue.tell(_token_line(llm, token, logprob, others))


def _token_line(llm: LLM, token: int, logprob: float, others: tuple[Alternative, ...]) -> str:
    def piece(one: int) -> str:
        return repr(llm.tokenizer.decode([one]))

    rest = "  ".join(f"{piece(other)} {math.exp(p):.1%}" for other, p in others if other != token)
    return f"{piece(token):<16} {math.exp(logprob):>6.1%} {logprob:>8.3f}   {rest}"


def _quit(dialogue: Dialogue, rest: str) -> None:
    raise Leave


COMMANDS: dict[str, tuple[Callable[[Dialogue, str], None], str, str]] = {
    "help": (_help, "", "this list"),
    "system": (_system, "[TEXT | off]", "show, set or remove the system prompt"),
    "adapter": (_adapter, "NAME", "answer with another adapter, or with base"),
    "reset": (_reset, "", "begin a new conversation; system prompt and settings stay"),
    "retry": (_retry, "", "answer the last question again"),
    "undo": (_undo, "", "take back the last question and its answer"),
    "set": (_set, "[NAME [VALUE]]", f"how to sample: {', '.join(SETTINGS[:6])}, ..."),
    "tokens": (_tokens, "", "the last answer token by token, with probabilities and alternatives"),
    "save": (_save, "FILE.jsonl", "write the conversation, one JSON line"),
    "load": (_load, "FILE.jsonl", "go on with a saved one (the web chat's export, too)"),
    "quit": (_quit, "", "leave; Ctrl-D does, too"),
}
"""Name -> what does it, what follows the name, what it is for."""

TYPING = {
    '"""': "begins a message of several lines, and ends it",
    "\\ at the end of a line": "goes on with the next line",
    "Ctrl-C": "stops the answer, or clears the line",
}


def _conversation(turns: list[Message]) -> Conversation:
    return Conversation(id="chat", messages=tuple(turns))


def _figures(request: Request, began: float, first: float, stopped: bool, room: int, params: SamplingParams) -> str:
    """`34 tokens, 210 tokens/s, first after 0.05 s, context 61 of 512`, and why it ended if not by itself."""
    n, ended = request.sequence.n_said, time.monotonic()
    rate = f", {(n - 1) / (ended - first):,.0f} tokens/s" if n > 1 and ended > first else ""
    used = f"context {len(request.sequence.tokens):,} of {room:,}"
    cut = {"length": f", cut off at max_tokens {params.max_tokens}" if n >= params.max_tokens else ", context full"}
    why = ", stopped" if stopped else cut.get(request.sequence.finish_reason, "")
    return f"{n} token{'s' * (n != 1)}{rate}, first after {first - began:.2f} s, {used}{why}"


def _path(text: str) -> Path:
    if not text:
        raise UserError("No file was named; expected one, such as /save talk.jsonl.")
    return Path(text).expanduser()


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"{text!r} cannot be read ({error}); put texts with spaces in quotes.") from None


def _shown(value: Any) -> str:
    return " ".join(map(repr, value)) or "none" if isinstance(value, tuple) else str(value)
