"""The OpenAPI document: FastAPI's paths, and of each what it takes and every answer that it can give.

Bodies are read by reading.py, not by the framework, so their schemas are put in here, by the types that read them.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from phidelity.server.protocol import (
    Body,
    ChatRequest,
    DetokenizeRequest,
    TemplateRequest,
    TextRequest,
    TokenizeRequest,
)
from phidelity.server.responses import ResponsesRequest

BODIES: dict[str, type[Body]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": TextRequest,
    "/v1/responses": ResponsesRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
    "/apply-template": TemplateRequest,
}
STREAMED = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
OPEN = ("/health",)
"""Paths that need no key."""

_REF = "#/components/schemas/{model}"
_TEXT = {"type": "string"}
_NULL_TEXT = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _TEXT, "type": _TEXT, "param": _NULL_TEXT, "code": _NULL_TEXT},
        }
    },
}
"""OpenAI's, of every answer that is not 200."""
_WRONG = {"403": "Another site or another name.", "405": "Not the method of this path."}
_WRONG_BODY = {
    "400": "Something in the body is wrong; the message names it.",
    "404": "No such model.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is no application/json.",
    "503": "The model is being loaded, the server is full or shuts down; Retry-After says when to come again.",
}
_BUSY = {"429": "No more answers can wait; Retry-After says when to come again.", "504": "The request took too long."}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, schemas = models_json_schema([(kind, "validation") for kind in BODIES.values()], ref_template=_REF)
    made["components"] = {
        "schemas": {**schemas["$defs"], "Error": _ERROR},
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "Where the server has keys."}},
    }
    for path, methods in made["paths"].items():
        for one in methods.values():
            one["responses"] = _responses(path)
            one["security"] = [] if path in OPEN else [{"key": []}, {}]
            if kind := BODIES.get(path):
                ref = {"$ref": _REF.format(model=kind.__name__)}
                one["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref}}}
    app.openapi_schema = made
    return made


def _responses(path: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if path in STREAMED:
        content["text/event-stream"] = {"schema": _TEXT}
    if path == "/metrics":
        content = {"text/plain": {"schema": _TEXT}}
    told = {**_WRONG, **(_WRONG_BODY if path in BODIES else {}), **(_BUSY if path in STREAMED else {})}
    if path.startswith("/v1/models"):
        told |= {"404": "No such model.", "503": "The model is being loaded."}
    if path not in OPEN:
        told["401"] = "No key, or a wrong one."
    error = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    found = {"200": {"description": "The answer.", "content": content}}
    if path == "/health":
        found["503"] = {"description": "Loading or draining.", "content": content}
    return found | {status: {"description": why, "content": error} for status, why in sorted(told.items())}
