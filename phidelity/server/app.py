"""The routes: which path answers what. FastAPI reads bodies by their types and writes the OpenAPI document of them."""

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from phidelity.config import UserError
from phidelity.model.config import census
from phidelity.server import chats, messages, responses, texts
from phidelity.server.errors import ApiError, on_error
from phidelity.server.events import to_json
from phidelity.server.guard import Guard
from phidelity.server.openapi import document
from phidelity.server.protocol import (
    Body,
    ChatRequest,
    DetokenizeRequest,
    TemplateRequest,
    TextRequest,
    TokenizeRequest,
)
from phidelity.server.reading import read
from phidelity.server.responses import ResponsesRequest
from phidelity.server.service import Service

WEB = Path(__file__).parent / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, no inline script: what a model says cannot become code on the page."""
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(service: Service) -> Any:
    """The ASGI application."""
    app = FastAPI(
        title="Phidelity", version="1", docs_url=None, redoc_url=None,
        description="OpenAI's API in front of one model. " + service.settings.notice,
    )  # fmt: skip
    app.openapi = lambda: document(app)
    for kind in (ApiError, UserError, HTTPException, Exception):
        app.add_exception_handler(kind, on_error)  # pyright: ignore[reportArgumentType]
    _add_generation(app, service)
    _add_tokens(app, service)
    _add_state(app, service)
    _add_page(app)
    wrapped: Any = Guard(app, service)
    if service.settings.origins:
        wrapped = CORSMiddleware(
            wrapped, allow_origins=service.settings.origins, allow_methods=["GET", "POST"],
            allow_headers=["*"], expose_headers=["Warning", "Retry-After"],
        )  # fmt: skip
    return wrapped


def _add_generation(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", tags=["generation"], response_model=None)
    async def chat_completions(request: Request) -> Response:
        """Answer a chat, whole or as a stream."""
        body = await read(request, ChatRequest)
        return await chats.chat(service.of(body.model), body, request, warning(body))

    @app.post("/v1/completions", tags=["generation"], response_model=None)
    async def completions(request: Request) -> Response:
        """Continue texts or token ids; with `echo` and `logprobs` the prompt is scored."""
        body = await read(request, TextRequest)
        return await texts.text(service.of(body.model), body, request, warning(body))

    @app.post("/v1/responses", tags=["generation"], response_model=None)
    async def responses_(request: Request) -> Response:
        """Answer a text or messages; nothing is kept between requests."""
        body = await read(request, ResponsesRequest)
        return await responses.respond(service.of(body.model), body, request, warning(body))


def _add_tokens(app: FastAPI, service: Service) -> None:
    @app.post("/tokenize", tags=["tokens"], response_model=None)
    async def tokenize(request: Request) -> Response:
        """Ids of a text, or of a chat as the model reads it."""
        body = await read(request, TokenizeRequest)
        service.of(body.model).check_model(body.model)
        llm = service.llm
        given = [one for one in (body.prompt, body.content, body.messages) if one is not None]
        if len(given) != 1:
            raise ApiError(400, f"{len(given)} of prompt, content and messages were given; expected one of them.")
        text, add_turn = given[0], body.add_generation_prompt

        def ids() -> bytes:
            found = llm.tokenizer.encode(text) if isinstance(text, str) else _chat_ids(service, text, add_turn)
            return to_json({"tokens": found, "count": len(found), "max_model_len": llm.context_len}).encode()

        return Response(await asyncio.to_thread(ids), headers=warning(body), media_type="application/json")

    @app.post("/detokenize", tags=["tokens"], response_model=None)
    async def detokenize(request: Request) -> Response:
        """Text of ids; special tokens by name."""
        body = await read(request, DetokenizeRequest)
        service.of(body.model).check_model(body.model)
        tokenizer = service.llm.tokenizer
        if beyond := [token for token in body.tokens if token >= tokenizer.vocab_size]:
            told = f"tokens names {beyond[0]}; this model has 0 to {tokenizer.vocab_size - 1}."
            raise ApiError(400, told, param="tokens", code="invalid_value")
        said = await asyncio.to_thread(tokenizer.decode, body.tokens)
        return JSONResponse({"prompt": said, "content": said}, headers=warning(body))

    @app.post("/apply-template", tags=["tokens"], response_model=None)
    async def apply_template(request: Request) -> Response:
        """A chat as the text that the model reads, for a person to look at; ids are the truth (POST /tokenize)."""
        body = await read(request, TemplateRequest)
        service.of(body.model).check_model(body.model)
        ids = await asyncio.to_thread(_chat_ids, service, body.messages, body.add_generation_prompt)
        said = service.llm.tokenizer.decode(ids)
        return JSONResponse({"prompt": said}, headers=warning(body))


def _chat_ids(service: Service, turns: Any, add_generation_prompt: bool) -> list[int]:
    from phidelity.tokenizer.chat import render

    if not turns:
        raise ApiError(400, "messages is empty; expected at least one.", param="messages")
    read = messages.conversation(turns).messages
    return render(read, service.llm.tokenizer, generation_prompt=add_generation_prompt).ids


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", tags=["state"], response_model=None)
    async def models() -> Response:
        """The models that are served: one, and its adapters."""
        return JSONResponse({"object": "list", "data": [*map(describe, (service, *service.adapted.values()))]})

    @app.get("/v1/models/{name:path}", tags=["state"], response_model=None)
    async def model(name: str) -> Response:
        """The same, by name."""
        service.of(name).check_model(name)
        return JSONResponse(describe(service.of(name)))

    @app.get("/health", tags=["state"], response_model=None)
    async def health() -> Response:
        """`ready` with 200; `loading` or `draining` with 503."""
        status = 200 if service.state == "ready" else 503
        return JSONResponse({"status": service.state}, status)

    @app.get("/metrics", tags=["state"], response_model=None)
    async def metrics() -> Response:
        """For Prometheus."""
        said = service.metrics.text({one.settings.name: one.stats() for one in (service, *service.adapted.values())})
        return PlainTextResponse(said, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The API as a page of its own, without network."""
        from phidelity.server.reference import reference_page

        return HTMLResponse(reference_page(app.openapi()), headers=SAFE | {"Content-Security-Policy": DOCS_POLICY})


def _add_page(app: FastAPI) -> None:
    """The chat window's files by name, index.html at /; a path that is none of them is not found."""
    for path in sorted(WEB.rglob("*")):
        if path.is_file():
            name = path.relative_to(WEB).as_posix()
            app.add_api_route(
                "/" if name == "index.html" else f"/{name}",
                lambda path=path: FileResponse(path, headers=SAFE),
                include_in_schema=False,
                response_model=None,
            )


DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
"""The reference is one file with its style inside and no script at all."""


def describe(service: Service) -> dict[str, Any]:
    """OpenAI's model object, and what else is known of the model."""
    llm = service.llm
    config = llm.model.config
    return {
        "id": service.settings.name,
        "object": "model",
        "created": service.created,
        "owned_by": "phidelity",
        "max_model_len": llm.context_len,
        "parameters": census(config).total,
        "notice": service.settings.notice,
        "digest": llm.name,
        "vocab_size": llm.tokenizer.vocab_size,
    }


def warning(body: Body) -> dict[str, str]:
    """A header that names the fields which mean nothing here."""
    unknown = sorted(islice(body.unknown(), 50))
    if not unknown:
        return {}
    names = ", ".join(unknown)[:500].encode("ascii", "backslashreplace").decode()
    safe = "".join(one if " " <= one <= "~" and one not in '"\\' else "?" for one in names)
    return {"Warning": f'299 phidelity "ignored: {safe}"'}
