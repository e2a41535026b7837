"""What stands before every request: keys, hosts, origins, and the limits of a body.

A body is read whole here, within its limit and its time, before anything looks at it: a large one is cut off as soon as
its length is known or passed. Which paths are open to all is a list: the page, its files, the health.
"""

import asyncio
import ipaddress
from collections import deque
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phidelity.server.errors import ApiError
from phidelity.server.service import Service

GUARDED = ("/v1/", "/metrics", "/tokenize", "/detokenize", "/apply-template")
"""Paths that need a key where there are keys."""


LINGER = 5.0
"""Seconds for which the rest of a refused body is read and thrown away (*ours*)."""


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._n_held = 0
        """Bytes of bodies that are in memory, of all requests together."""

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

        parts: list[bytes] = []
        try:
            self._admit(scope)
            if await self._body(scope, receive, parts):
                await self._app(scope, _replay(parts, receive), counted)
        except ApiError as error:
            await _refuse(error, scope, receive, counted)
        finally:
            self._n_held -= sum(map(len, parts))

    def _admit(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        settings = self._service.settings
        host = headers.get(b"host", "")
        if settings.hosts and not (_name(host) in settings.hosts or _is_address(_name(host))):
            names = ", ".join(settings.hosts)
            told = f"The server is not addressed as {host[:80]!r}; expected an address or {names} (--allow-host adds)."
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

    async def _body(self, scope: Scope, receive: Receive, parts: list[bytes]) -> bool:
        """Add all of it to `parts`; False where the client left meanwhile."""
        settings = self._service.settings
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length[:20]) > settings.body_bytes:
            raise _too_large(settings.body_bytes)
        size = 0
        try:
            async with asyncio.timeout(settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._n_held += len(parts[-1])
                    if size > settings.body_bytes:
                        raise _too_large(settings.body_bytes)
                    if self._n_held > settings.held_bytes:
                        told = "The server holds as many large requests as it can. Ask again later."
                        raise ApiError(503, told, code="busy", headers={"Retry-After": "5", "Connection": "close"})
                    if not message.get("more_body"):
                        return True
        except TimeoutError:
            told = f"The body did not arrive within {settings.body_timeout:g} seconds."
            raise ApiError(408, told, code="timeout", headers={"Connection": "close"}) from None


def _too_large(limit: int) -> ApiError:
    told = f"The body is larger than the {limit:,} bytes that this server reads. Send less."
    return ApiError(413, told, code="body_too_large", headers={"Connection": "close"})


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once; where a client is cut off while it sends, read on for `LINGER` seconds.

    Else a reset would come before it sees the answer.
    """
    response = error.response()
    if response.headers.get("connection") != "close" or error.status == 408:
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replay(parts: list[bytes], receive: Receive) -> Receive:
    """What was read, again, and then whatever comes."""
    messages: deque[dict[str, Any]] = deque([{"type": "http.request", "body": b"".join(parts), "more_body": False}])

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again


def _name(host: str) -> str:
    """A host without its port."""
    return host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host


def _is_address(name: str) -> bool:
    """Whether a host is an address: no other site's name can be made to lead here as that."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
