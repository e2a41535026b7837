"""Function calling, as well as a model can that was not trained for it: by prompt and by grammar. Best effort.

The functions are described in the system message, with the form of a call: `{"name": ..., "arguments": {...}}`. A
grammar holds the answer to that form: with `tool_choice` "required" or a named function it must be a call; with "auto"
an answer that begins with `{` must be one and any other is text. So a call is always well-formed, of a function
that is on offer, with arguments of its schema; whether it makes sense is up to the model. One call an answer.
"""

import json
import secrets
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from phidelity.server.errors import ApiError
from phidelity.server.grammar import Allow, Grammars
from phidelity.server.protocol import Tool

PROMPT = (
    "You can call functions. To call one, answer with nothing but a JSON object of the form "
    '{{"name": "...", "arguments": {{...}}}}; the result will be given to you. {when}\n'
    "The functions, each with the JSON schema of its arguments:\n{functions}"
)
WHEN = {
    "auto": "When no function is needed, answer in plain words.",
    "required": "Answer with a call.",
}


class Offer(NamedTuple):
    """What a request offers: text for the system message, and what holds the answer."""

    preamble: str
    allow: Allow
    names: Collection[str]


def offer(
    tools: list[Tool] | None,
    choice: str | dict[str, Any] | None,
    grammars: Grammars,
    answer: Mapping[str, Any] | None = None,
) -> Offer | None:
    """None where no call can come of it; `answer` is the schema of an answer that is no call, where it has one."""
    if not tools:
        if choice not in (None, "none", "auto"):
            raise ApiError(400, f"tool_choice is {choice!r} and no tools are given. Give tools.", param="tool_choice")
        return None
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise ApiError(400, "tools has two functions of one name. Rename one.", param="tools")
    if isinstance(choice, dict):
        named = choice.get("function", choice)
        name = named.get("name") if isinstance(named, dict) else None
        tools = [tool for tool in tools if tool.function.name == name]
        if not tools:
            raise ApiError(400, f"tool_choice names {name!r}; expected one of tools.", param="tool_choice")
    elif choice not in (None, "none", "auto", "required"):
        told = f"tool_choice is {choice!r}; expected none, auto, required or a function."
        raise ApiError(400, told, param="tool_choice")
    if choice == "none":
        return None
    is_free = choice in (None, "auto")
    functions = "\n".join(json.dumps(tool.function.model_dump(exclude_none=True)) for tool in tools)
    preamble = PROMPT.format(when=WHEN["auto" if is_free else "required"], functions=functions)
    schema = {"anyOf": [_call_schema(tool) for tool in tools]}
    allow = grammars.of_schema(schema, "tools")
    if answer is not None:
        grammars.of_schema(answer, "response_format")
    if is_free and answer is not None:
        allow = grammars.of_schema({"anyOf": [*schema["anyOf"], _scoped(answer, "answer")]}, "tools")
    elif is_free:
        call = json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}})
        text = 'start: text | call\ntext: /[^{](.|\\n)*/ | ""\ncall: %json ' + call
        allow = grammars.of_lark(text, "tools")
    return Offer(preamble, allow, {tool.function.name for tool in tools})


def read_call(text: str, names: Collection[str]) -> dict[str, Any] | None:
    """The call that an answer is, in OpenAI's shape; None for text, and for a call that was cut off."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
        name, arguments = found["name"], found["arguments"]
    except (ValueError, LookupError, RecursionError):
        return None
    if name not in names or not isinstance(arguments, dict):
        return None  # an answer by a schema of its own
    said = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": said}


def _call_schema(tool: Tool) -> dict[str, Any]:
    arguments = _scoped(tool.function.parameters or {"type": "object", "properties": {}}, tool.function.name)
    return {
        "type": "object",
        "properties": {"name": {"const": tool.function.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _scoped(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A schema with an address of its own, so that its `#/$defs/...` are looked up in it wherever it stands."""
    return {"$id": f"phi:{name}", **schema}
