"""Chats to token ids with their loss mask: the only file that knows where special tokens go.

phi-4's layout is `<|im_start|>` role `<|im_sep|>` content `<|im_end|>`, with no newline, no space and no opening
token anywhere. Ids are placed by hand and content is encoded with special-token parsing off, so text can never
close a turn, and the mask is known as the ids are written: the assistant's content and the end token that closes
it are trained, nothing else (phi-4 report §4).
"""

from collections.abc import Sequence
from typing import NamedTuple

from phidelity.config import UserError
from phidelity.records import Message
from phidelity.tokenizer.bpe import Tokenizer

ROLES = ("system", "user", "assistant")


class Rendered(NamedTuple):
    """Token ids of a chat and, of the same length, whether each id is trained."""

    ids: list[int]
    mask: list[bool]


def render(messages: Sequence[Message], tokenizer: Tokenizer, *, generation_prompt: bool = False) -> Rendered:
    """Ids and loss mask of a chat; `generation_prompt` opens an assistant turn at the end."""
    ids: list[int] = []
    mask: list[bool] = []
    for message in messages:
        head = turn_head(message.role, tokenizer)
        body = [*tokenizer.encode(message.content), tokenizer.im_end]
        ids += head + body
        mask += [False] * len(head) + [message.role == "assistant"] * len(body)
    if generation_prompt:
        head = turn_head("assistant", tokenizer)
        ids += head
        mask += [False] * len(head)
    return Rendered(ids, mask)


def turn_head(role: str, tokenizer: Tokenizer) -> list[int]:
    """Ids that open a turn of `role`."""
    if role not in ROLES:
        raise UserError(f"Role {role!r} was found; phi-4 knows {', '.join(ROLES)}. Rename or drop that message.")
    return [tokenizer.im_start, *tokenizer.encode(role), tokenizer.im_sep]


def stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that end an answer: the end of a turn and the end of a document; never the padding id."""
    return frozenset((tokenizer.im_end, tokenizer.endoftext))
