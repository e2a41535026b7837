"""A client's messages as the turns that phi-4 knows: system, user, assistant; text alone.

`developer` is `system`. Content parts are joined by nothing, as OpenAI does. What a tool said comes as the user's
turn, since phi-4 has no role for it. Names of special tokens in content stay text (tokenizer/chat.py).
"""

import json
from collections.abc import Sequence

from phidelity.records import Conversation, Message, Role, whole_characters
from phidelity.server.errors import ApiError
from phidelity.server.protocol import ChatMessage

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def conversation(messages: Sequence[ChatMessage], preamble: str = "") -> Conversation:
    """The chat as the engine takes it; `preamble` is put at the end of the first system message."""
    turns = [_turn(message, place) for place, message in enumerate(messages)]
    if preamble:
        if turns[0].role == "system":
            turns[0] = Message(role="system", content=f"{turns[0].content}\n\n{preamble}")
        else:
            turns.insert(0, Message(role="system", content=preamble))
    return Conversation(id="request", messages=tuple(turns))


def _turn(message: ChatMessage, place: int) -> Message:
    text = _text(message, place)
    if message.role == "tool":
        return Message(role="user", content=f"Result of the tool call {message.tool_call_id or ''}:\n{text}")
    if message.tool_calls:
        calls = [_call(call.function.name, call.function.arguments) for call in message.tool_calls]
        text = "\n".join([*([text] if text else []), *calls])
    return Message(role=_ROLES[message.role], content=text)


def _call(name: str, arguments: str) -> str:
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = arguments
    return json.dumps({"name": name, "arguments": parsed}, ensure_ascii=False)


def _text(message: ChatMessage, place: int) -> str:
    content = message.content
    if content is None:
        if message.role != "assistant":
            raise ApiError(
                400, f"messages.{place}.content is null; expected a text.", param=f"messages.{place}.content"
            )
        return ""
    if isinstance(content, str):
        return whole_characters(content)
    for at, part in enumerate(content):
        if part.type not in ("text", "input_text", "output_text", "refusal") or part.text is None:
            where = f"messages.{place}.content.{at}"
            raise ApiError(
                400, f"{where} is of type {part.type!r}; this model reads parts of type text alone.", param=where
            )
    return whole_characters("".join(part.text or "" for part in content))
