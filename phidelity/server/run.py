"""Running the server: a socket, an event loop, the model loaded beside it, and an orderly end.

The port is bound first, so that `GET /health` answers `loading` while weights are read. SIGTERM (and the first Ctrl-C)
drains: new requests get 503, running ones end or are cancelled after `drain` seconds, then the process exits with 0.
A connection on which no head is complete for `IDLE` seconds, or whose head is longer than `HEAD`, is closed: uvicorn
alone would wait for ever for a client that sends one byte at a time, and keep whatever one sends. What comes behind a
request that is not answered yet is read and left: the connection is closed after that answer, as HTTP allows, and a
client that goes is seen.
"""

import asyncio
import ipaddress
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from phidelity.config import UserError
from phidelity.engine.llm import LLM
from phidelity.server.app import make_app
from phidelity.server.errors import ApiError
from phidelity.server.service import Service

IDLE = 20.0
"""Seconds in which the head of a request has to arrive, also of the next one on the same connection (*ours*)."""
HEAD = 64 << 10
"""Bytes of a head (*ours*); one that is longer is refused within what is read at a time, 256 KiB."""
SLICE = 64 << 10
"""Bytes that the reader of a whole answer has to take in `IDLE` seconds (*ours*)."""
LOOK = 1.0
"""Seconds between looks at a connection (*ours*)."""

SWITCH = 0.0005
"""Seconds for which the engine's thread and the loop keep the interpreter from each other (*ours*; Python's 5 ms
make the engine wait for HTTP: measured 10 % of throughput)."""

logger = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with an end to patience."""

    idle = IDLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._n_head, self._n_fields, self._is_in_head, self._is_deaf = 0, 0, True, False
        self._since, self._state = time.monotonic(), self._waits_for()
        self._timer = self.loop.call_later(min(LOOK, self.idle), self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the watch."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the limit of a head."""
        if self._is_deaf:
            return
        self._n_head += len(data)
        super().data_received(data)
        if self._is_in_head and self._n_head > HEAD and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.scope["extensions"] = {"phidelity.abort": self.transport.abort}  # pyright: ignore
        self._n_head, self._n_fields, self._is_in_head = 0, 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count what one read brings at once."""
        super().on_header(name, value)
        self._n_fields += len(name) + len(value) + 4
        if self._n_fields > HEAD:
            raise ValueError("the head is too long")

    def on_headers_complete(self) -> None:
        """A request begins; one that comes too early is left."""
        self._is_in_head = False
        if self.cycle and not self.cycle.response_complete:
            self._is_deaf, self.cycle.keep_alive = True, False
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Of the request under way."""
        if not self._is_deaf:
            super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no head, in the shape of every other error."""
        is_long = max(self._n_fields, self._n_head if self._is_in_head else 0) > HEAD
        told = f"The head is longer than {HEAD:,} bytes." if is_long else "This is no HTTP request."
        error = ApiError(431 if is_long else 400, told)
        body = json.dumps(error.body).encode()
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self.transport.close()

    def _look(self) -> None:
        state, now = self._waits_for(), time.monotonic()
        if state is None or state != self._state:
            self._state, self._since = state, now
        elif now - self._since >= self.idle:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(min(LOOK, self.idle), self._look)

    def _waits_for(self) -> object:
        """What the client has to do next: send a head, or take an answer that is whole; None while it has to wait."""
        if self.cycle and not self.cycle.response_complete:
            return None
        return id(self.cycle), self.transport.get_write_buffer_size() // SLICE


class Server(uvicorn.Server):
    """uvicorn's server, which drains the service before it stops listening."""

    def __init__(self, config: uvicorn.Config, service: Service, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain = service, drain
        self._draining: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self._draining or not self.loop:
            self.should_exit = self.force_exit = True
        else:
            self.loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Refuse new requests and exit when the running ones have ended; on the loop."""
        if not self._draining:
            self._draining = asyncio.ensure_future(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        try:
            await self._service.drain(self._drain)
        finally:
            self.should_exit = True


def bind(host: str, port: int, *, has_keys: bool, forced: bool) -> socket.socket:
    """A listening socket; refused where others could reach a server without keys, or where the port is taken."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise UserError(f"--host {host!r} is no address of this machine; expected such as 127.0.0.1.") from None
    if not (ipaddress.ip_address(address[0]).is_loopback or has_keys or forced):
        raise UserError(
            f"--host {host} opens the server to other machines without a key. Give --api-key-file FILE, or "
            "--insecure if a proxy in front of it asks for keys."
        )
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise UserError(
            f"Cannot listen at {host}:{port}: {error.strerror}. Give another --port, or 0 for a free one."
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def serve(
    service: Service,
    listener: socket.socket,
    load: Callable[[], LLM],
    *,
    drain: float = 30.0,
    on_ready: Callable[[], None] = lambda: None,
    on_server: Callable[[Server], None] = lambda server: None,
) -> None:
    """Serve until told to end. What goes wrong while the model is loaded is raised here."""
    config = uvicorn.Config(
        make_app(service), http=Connection, ws="none", loop="asyncio", lifespan="off", log_config=None,
        access_log=False, server_header=False, timeout_keep_alive=int(IDLE), timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = Server(config, service, drain)
    failures: list[BaseException] = []

    async def main() -> None:
        server.loop = asyncio.get_running_loop()
        server.loop.set_exception_handler(_on_loop_error)
        loading = asyncio.ensure_future(_load(service, load, on_ready))
        loading.add_done_callback(lambda task: _loaded(task, server, failures))
        on_server(server)
        await server.serve(sockets=[listener])
        loading.cancel()

    sys.setswitchinterval(SWITCH)
    try:
        asyncio.run(main())
    finally:
        listener.close()
    if failures:
        raise failures[0]


async def _load(service: Service, load: Callable[[], LLM], on_ready: Callable[[], None]) -> None:
    llm = await asyncio.to_thread(load)
    await asyncio.to_thread(llm.warm)
    if service.state == "loading":
        service.use(llm)
        on_ready()


def _loaded(task: "asyncio.Task[None]", server: Server, failures: list[BaseException]) -> None:
    if not task.cancelled() and (failure := task.exception()):
        failures.append(failure)
        server.should_exit = True


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.error("%s", context.get("message"), exc_info=context.get("exception"))
