"""A request's body as the type that its route takes, at a cost that a small body cannot drive up.

Python objects are dear: so the values of a large body are counted in its bytes before any is made, and a list ends at
its first wrong element (`List` in protocol.py). JSON is read by pydantic's own reader, which says where it breaks
and why, and refuses half characters, numbers of thousands of digits and 200 levels of nesting.
"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from phidelity.server.errors import ApiError
from phidelity.server.protocol import Body

MOST_VALUES = 500_000
"""Values of a body: numbers and texts (*ours*)."""
MOST_NESTED = 20_000
"""Lists and objects of a body (*ours*)."""
_TOLD = 5
"""Mistakes that one message names (*ours*)."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80

Kind = TypeVar("Kind", bound=Body)


async def read(request: Request, kind: type[Kind]) -> Kind:
    """The body; a 400 with every mistake by its path, up to five."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        found = f"Content-Type is {media!r}" if media else "Content-Type is missing"
        raise ApiError(415, f"{found}; expected application/json (curl: -H 'Content-Type: application/json').")
    raw = await request.body()
    if len(raw) > MOST_NESTED:
        _count(raw)
    try:
        data = from_json(raw)
    except ValueError as error:
        told = f"The body is not valid JSON: {error}. Expected one JSON object in UTF-8."
        raise ApiError(400, told, code="invalid_json") from None
    if not isinstance(data, dict):
        found = _SHORT.repr(data)
        raise ApiError(400, f"The body is {found}; expected a JSON object.", code="invalid_value")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_context=False), data) from None


def _count(raw: bytes) -> None:
    """Refuse a body of too many values by its bytes alone: what stands outside texts is brackets and commas."""
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    n_values = bare.count(b'"') // 2
    n_nested = 0
    if n_values <= MOST_VALUES:
        outside = b"".join(bare.split(b'"')[::2])
        n_nested = outside.count(b"[") + outside.count(b"{")
        n_values = n_nested + outside.count(b",")
    if n_values > MOST_VALUES or n_nested > MOST_NESTED:
        found = f"The body has {n_nested:,} lists and objects, and {n_values:,} values or more"
        told = f"{found}; at most {MOST_NESTED:,} and {MOST_VALUES:,} are read. Send several requests."
        raise ApiError(413, told, code="body_too_large")


def _invalid(mistakes: Sequence[Mapping[str, Any]], data: Any) -> ApiError:
    lines: dict[str, str] = {}
    for item in mistakes:
        path = ".".join(map(str, _path(item, data))) or "body"
        if path in lines:  # branches of one choice of types
            lines[path] += f" or {_wanted(item).removeprefix('input should be ')}"
        else:
            lines[path] = _explain(item)
    lines = {path: line for path, line in lines.items() if not any(one.startswith(f"{path}.") for one in lines)}
    told = [f"{path}: {line}" for path, line in list(lines.items())[:_TOLD]]
    if len(lines) > _TOLD:
        told.append(f"and {len(lines) - _TOLD} more")
    return ApiError(400, "; ".join(told), param=next(iter(lines)), code="invalid_value")


def _path(item: Mapping[str, Any], data: Any) -> Sequence[Any]:
    """Where it is in the body; pydantic's own path also names branches of types, which the body does not have."""
    path: list[Any] = []
    for at, part in enumerate(item["loc"]):
        is_there = part in data if isinstance(data, dict) else isinstance(part, int) and isinstance(data, list)
        if is_there:
            data = data[part]
        if is_there or (item["type"] == "missing" and at == len(item["loc"]) - 1):
            path.append(part)
    return path


def _explain(item: Mapping[str, Any]) -> str:
    if item["type"] == "missing":
        return "is missing; expected it"
    return f"found {_SHORT.repr(item.get('input'))[:100]}; {_wanted(item)}"


def _wanted(item: Mapping[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
