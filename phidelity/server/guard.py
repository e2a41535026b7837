"""What stands before every request: keys, hosts, origins, and the limits of a body.

A body is read whole here, within its limit and its time, before anything looks at it: a large one is cut off as soon as
its length is known or passed. Which paths are open to all is a list: the page, its files, the health.
"""

import asyncio
from collections import deque
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phidelity.server.errors import ApiError
from phidelity.server.service import Service

GUARDED = ("/v1/", "/metrics", "/tokenize", "/detokenize", "/apply-template")
"""Paths that need a key where there are keys."""


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with a refusal."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        self._service.metrics.n_requests += 1

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._service.metrics.refused[str(message["status"])] += 1
            await send(message)

        try:
            self._admit(scope)
            body = await self._body(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, counted)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), counted)

    def _admit(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        settings = self._service.settings
        host = headers.get(b"host", "")
        if settings.hosts and _name(host) not in settings.hosts:
            told = f"The server is not addressed as {host[:80]!r}; expected {', '.join(settings.hosts)}."
            raise ApiError(403, told, code="wrong_host")
        origin = headers.get(b"origin", "")
        own = (f"http://{host}", f"https://{host}")
        if origin and origin not in (*own, *settings.origins) and "*" not in settings.origins:
            told = f"Pages of {origin[:80]!r} may not call this server; start it with --cors-origin to let them."
            raise ApiError(403, told, code="wrong_origin")
        is_preflight = scope["method"] == "OPTIONS" and origin
        if settings.keys and not is_preflight and scope["path"].startswith(GUARDED):
            given = headers.get(b"authorization", "")
            if not settings.keys.admits(given):
                told = "The API key is wrong" if given else "No API key was given"
                told += "; expected the header `Authorization: Bearer KEY` with a key of this server."
                raise ApiError(401, told, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, receive: Receive) -> list[bytes] | None:
        """All of it; None where the client left meanwhile."""
        settings = self._service.settings
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length[:20]) > settings.body_bytes:
            raise _too_large(settings.body_bytes)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > settings.body_bytes:
                        raise _too_large(settings.body_bytes)
                    if not message.get("more_body"):
                        return parts
        except TimeoutError:
            told = f"The body did not arrive within {settings.body_timeout:g} seconds."
            raise ApiError(408, told, code="timeout", headers={"Connection": "close"}) from None


def _too_large(limit: int) -> ApiError:
    told = f"The body is larger than the {limit:,} bytes that this server reads. Send less."
    return ApiError(413, told, code="body_too_large", headers={"Connection": "close"})


def _replay(parts: list[bytes], receive: Receive) -> Receive:
    """What was read, again, and then whatever comes."""
    messages: deque[dict[str, Any]] = deque([{"type": "http.request", "body": b"".join(parts), "more_body": False}])

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again


def _name(host: str) -> str:
    """A host without its port."""
    return host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host
