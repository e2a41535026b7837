"""A client's messages as the turns that phi-4 knows: system, user, assistant; text alone.

`developer` is `system`. Content parts are joined by nothing, as OpenAI does. What a tool said comes as the user's
turn, since phi-4 has no role for it. Names of special tokens in content stay text (tokenizer/chat.py).
"""

import json
from collections.abc import Sequence

from pydantic_core import from_json

from phidelity.records import Conversation, Message, Role
from phidelity.server.errors import ApiError
from phidelity.server.protocol import ChatMessage

_REFUSED = {
    "function_call": "calls of that form are not read; give them as tool_calls",
    "audio": "this model reads text alone; give what was said as content",
}
"""Of a message, what would be lost without a word."""
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def conversation(messages: Sequence[ChatMessage], preamble: str = "", where: str = "messages") -> Conversation:
    """The chat as the engine takes it; `preamble` is put at the end of the first system message."""
    turns = [_turn(message, f"{where}.{place}") for place, message in enumerate(messages)]
    if preamble:
        if turns[0].role == "system":
            turns[0] = Message(role="system", content=f"{turns[0].content}\n\n{preamble}")
        else:
            turns.insert(0, Message(role="system", content=preamble))
    return Conversation(id="request", messages=tuple(turns))


def _turn(message: ChatMessage, where: str) -> Message:
    for name, told in _REFUSED.items():
        if (message.model_extra or {}).get(name):
            field = f"{where}.{name}"
            raise ApiError(400, f"{field}: {told}.", param=field, code="unsupported_parameter")
    text = _text(message, where)
    if message.role == "tool":
        return Message(role="user", content=f"Result of the tool call {message.tool_call_id or ''}:\n{text}")
    if message.tool_calls:
        calls = [_call(call.function.name, call.function.arguments) for call in message.tool_calls]
        text = "\n".join([*([text] if text else []), *calls])
    return Message(role=_ROLES[message.role], content=text)


def _call(name: str, arguments: str) -> str:
    try:
        parsed = from_json(arguments, allow_inf_nan=False)
    except ValueError:
        parsed = arguments
    return json.dumps({"name": name, "arguments": parsed}, ensure_ascii=False)


def _text(message: ChatMessage, where: str) -> str:
    content = message.content
    if content is None:
        if message.role != "assistant":
            raise ApiError(400, f"{where}.content is null; expected a text.", param=f"{where}.content")
        return ""
    if isinstance(content, str):
        return content
    for at, part in enumerate(content):
        if part.type not in ("text", "input_text", "output_text", "refusal") or part.text is None:
            found = f"{where}.content.{at} is of type {part.type!r:.80}"
            told = f"{found}; this model reads parts of type text alone."
            raise ApiError(400, told, param=f"{where}.content.{at}")
    return "".join(part.text or "" for part in content)
