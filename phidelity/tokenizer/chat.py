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
from phidelity.tokenizer.layout import WHITESPACE

ROLES = ("system", "user", "assistant")


class Rendered(NamedTuple):
    """Token ids of a chat and, of the same length, whether each id is trained."""

    ids: list[int]
    mask: list[bool]


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    weights: Sequence[int] = (),
    generation_prompt: bool = False,
    continue_last: bool = False,
    like_transformers: bool = False,
) -> Rendered:
    """Ids and loss mask of a chat.

    `weights`, one a message, leaves the assistant's turns of weight 0 untrained.
    `generation_prompt` opens an assistant turn at the end; `continue_last` leaves the last one, the assistant's, open
    for more. `like_transformers` gives the ids of transformers' `apply_chat_template` on the published files to the
    last one: special tokens in content take effect and eat the whitespace beside them. Not for text of strangers.
    """
    if continue_last:
        _check_open_end(messages, generation_prompt)
    assert not weights or len(weights) == len(messages), f"{len(weights)} weights for {len(messages)} messages"
    ids: list[int] = []
    mask: list[bool] = []
    for i, message in enumerate(messages):
        is_open = continue_last and i == len(messages) - 1
        head = turn_head(message.role, tokenizer)
        body = _loose(message.content, tokenizer, is_open) if like_transformers else tokenizer.encode(message.content)
        body += [] if is_open else [tokenizer.im_end]
        ids += head + body
        trained = message.role == "assistant" and (not weights or bool(weights[i]))
        mask += [False] * len(head) + [trained] * len(body)
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


def _check_open_end(messages: Sequence[Message], generation_prompt: bool) -> None:
    if generation_prompt:
        raise UserError("A chat can go on in its last message or in a new turn, not both. Ask for one of them.")
    if not messages or messages[-1].role != "assistant":
        found = f"the {messages[-1].role}'s" if messages else "missing"
        raise UserError(f"The last message is {found}; only an assistant's can be gone on with. Add its beginning.")


def _loose(content: str, tokenizer: Tokenizer, is_open: bool) -> list[int]:
    """Content as the published files have it read: between two special tokens, or after one when the turn is open."""
    content = content.lstrip(WHITESPACE) if is_open else content.strip(WHITESPACE)
    return tokenizer.encode_with_specials(content, strip=True)
