"""/docs: the OpenAPI document as one plain page, without scripts and without network."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from phidelity.page.layout import render_page


class Row(NamedTuple):
    """A field of a request."""

    name: str
    type: str
    is_required: bool


class Route(NamedTuple):
    """A path and what it takes."""

    method: str
    path: str
    text: Markup
    rows: list[Row]


def reference_page(document: Mapping[str, Any]) -> str:
    """The page."""
    return render_page(Path(__file__).parent, "reference.html", title="API", routes=list(_routes(document)))


def _routes(document: Mapping[str, Any]) -> Iterator[Route]:
    schemas = document.get("components", {}).get("schemas", {})
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            body = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            schema = schemas.get(body.get("$ref", "").rsplit("/", 1)[-1], {})
            required = schema.get("required", ())
            rows = [Row(name, _type(field), name in required) for name, field in schema.get("properties", {}).items()]
            yield Route(method.upper(), path, _marked(one.get("description", "")), rows)


def _marked(text: str) -> Markup:
    """With what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rsplit("/", 1)[-1]
    if branches := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(_type(one) for one in branches if one.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    kind = " or ".join(map(str, field["enum"])) if "enum" in field else str(field.get("type", "any"))
    limits = [f"{sign} {field[name]:,}" for name, sign in _LIMITS.items() if name in field]
    return " ".join([kind, *limits])


_LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
