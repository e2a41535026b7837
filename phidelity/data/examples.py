"""Examples to fine-tune on, from a file of JSON lines: chats (`messages`) or preferences (`chosen`, `rejected`).

The format is the first row's and every row must have it. What makes a row unusable by mistake (another format, roles
out of order, a chat template baked into the text) is refused with its number; what is merely of no use (nothing to
learn, too long, said twice) is dropped and counted, with numbers too. Rows are numbered from 1, as editors do.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from phidelity.config import UserError
from phidelity.records import Message, Role

Kind = Literal["sft", "dpo"]
MARKS = (
    "<|im_start|>", "<|im_sep|>", "<|im_end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|eot_id|>",
    "<|start_header_id|>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "### Instruction:", "### Response:",
)  # fmt: skip
"""What shows that a chat template was applied already: phi-4's own, and those of others (*ours*)."""
ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Example(NamedTuple):
    """One row: a chat that ends with the assistant, or a prompt with a better and a worse answer."""

    row: int
    messages: tuple[Message, ...]
    chosen: str = ""
    rejected: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn, or nothing that it answers."""
        if self.chosen or self.rejected:
            return not (self.chosen.strip() and self.rejected.strip()) or self.chosen == self.rejected
        said = [message.content.strip() for message in self.messages if message.role != "system"]
        return len(said) < 2 or not all(said)


class Examples(NamedTuple):
    """All rows of a file."""

    kind: Kind
    rows: list[Example]


def read_examples(path: Path) -> Examples:
    """The examples of a file; anything but one format throughout is a `UserError` with the row's number."""
    found: list[Example] = []
    first: tuple[str, int] | None = None
    for row, data in _objects(path):
        form = _form(path, row, data)
        if first and form != first[0]:
            raise UserError(
                f"{path}, row {row} is of the format {form!r}, row {first[1]} of {first[0]!r}; expected one format in "
                "a file. Split it into two."
            )
        first = first or (form, row)
        found.append(_chat(path, row, data) if form == "messages" else _preference(path, row, data))
    if first is None:
        raise UserError(f"{path} holds no row; expected JSON lines with `messages`, or `prompt`, `chosen`, `rejected`.")
    return Examples("sft" if first[0] == "messages" else "dpo", found)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    row = 0
    try:
        with open(path, encoding="utf-8") as file:
            for row, line in enumerate(file, 1):
                if line.strip():
                    data = json.loads(line)
                    if not isinstance(data, dict):
                        raise UserError(f"{path}, row {row} holds {line.strip()!r:.40}; expected a JSON object.")
                    yield row, data
    except FileNotFoundError:
        raise UserError(f"No file {path}; expected JSON lines. Check the path.") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path}, row {row} is no JSON ({error}). Mend that line.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}). Save it as UTF-8.") from None


def _form(path: Path, row: int, data: Mapping[str, Any]) -> str:
    is_chat, is_preference = "messages" in data, {"chosen", "rejected"} <= data.keys()
    if is_chat == is_preference:
        keys = ", ".join(sorted(data))[:80] or "nothing"
        raise UserError(
            f"{path}, row {row} has {keys}; expected `messages`, or `chosen` and `rejected`. Rename or convert it."
        )
    return "messages" if is_chat else "preferences"


def _chat(path: Path, row: int, data: Mapping[str, Any]) -> Example:
    messages = _messages(path, row, data["messages"], "messages")
    _check_order(path, row, messages, ends_with="assistant")
    return Example(row, messages)


def _preference(path: Path, row: int, data: Mapping[str, Any]) -> Example:
    sides = [data["chosen"], data["rejected"]]
    prompt = data.get("prompt", [])
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}] if prompt.strip() else []
    said = []
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        if isinstance(side, str):
            side = [*prompt, {"role": "assistant", "content": side}]
        elif isinstance(side, list) and len(side) == 1:
            side = [*prompt, *side]
        messages = _messages(path, row, side, name)
        _check_order(path, row, messages, ends_with="assistant")
        said.append(messages)
    chosen, rejected = said
    if chosen[:-1] != rejected[:-1]:
        raise UserError(
            f"{path}, row {row}: chosen and rejected answer different prompts; expected one. Mend that row."
        )
    return Example(row, chosen[:-1], chosen[-1].content, rejected[-1].content)


def _messages(path: Path, row: int, value: Any, name: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise UserError(f"{path}, row {row}: {name} is {value!r:.60}; expected a list of messages.")
    found = []
    for one in value:
        role, content = one.get("role"), one.get("content")
        if role not in ROLES:
            raise UserError(
                f"{path}, row {row}: a role is {role!r:.40}; expected system, user or assistant. Rename it."
            )
        if not isinstance(content, str):
            raise UserError(f"{path}, row {row}: content is {content!r:.40}; expected a text. Mend that row.")
        if mark := next((mark for mark in MARKS if mark in content), None):
            raise UserError(
                f"{path}, row {row}: a chat template is baked into the text ({mark!r}); expected bare text, since the "
                "template is put around it here. Strip it."
            )
        found.append(Message(role=ROLES[role], content=content))
    return tuple(found)


def _check_order(path: Path, row: int, messages: tuple[Message, ...], *, ends_with: str) -> None:
    """A system prompt at most, first; then user and assistant in turn."""
    turns = [message.role for message in messages]
    rest = turns[1:] if turns[:1] == ["system"] else turns
    expected = ["user", "assistant"] * (len(rest) // 2 + 1)
    if rest != expected[: len(rest)] or (rest and rest[-1] != ends_with):
        raise UserError(
            f"{path}, row {row}: the roles are {', '.join(turns)[:80]}; expected user and assistant in turn, an "
            "assistant's turn last and a system prompt at most first. Mend the order."
        )
