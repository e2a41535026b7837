"""Running the server: a socket, an event loop, the model loaded beside it, and an orderly end.

The port is bound first, so that `GET /health` answers `loading` while weights are read. SIGTERM (and the first Ctrl-C)
drains: new requests get 503, running ones end or are cancelled after `drain` seconds, then the process exits with 0.
A connection on which no request is complete for `IDLE` seconds, or whose reader takes nothing for `STUCK` seconds, is
closed: uvicorn alone would wait for ever for a client that sends one byte at a time.
"""

import asyncio
import ipaddress
import logging
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from phidelity.config import UserError
from phidelity.engine.llm import LLM
from phidelity.server.app import make_app
from phidelity.server.service import Service

IDLE = 20.0
"""Seconds in which the head of a request has to arrive, also of the next one on the same connection (*ours*)."""
STUCK = 120.0
"""Seconds after which a reader that takes nothing is left (*ours*)."""
LOOK = 5.0
"""Seconds between looks at a connection (*ours*)."""

SWITCH = 0.0005
"""Seconds for which the engine's thread and the loop keep the interpreter from each other (*ours*; Python's 5 ms
make the engine wait for HTTP: measured 10 % of throughput)."""

logger = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with an end to patience."""

    idle, stuck = IDLE, STUCK

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._since = time.monotonic()
        self._state: object = None
        self._timer = self.loop.call_later(min(LOOK, self.idle), self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the watch."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete
        state = (is_idle, self.server_state.total_requests if not is_idle else id(cycle), self._n_unsent())
        now = time.monotonic()
        if state != self._state or not (is_idle or self._n_unsent()):
            self._state, self._since = state, now
        elif now - self._since >= (self.idle if is_idle else self.stuck):
            self.transport.abort()
            return
        self._timer = self.loop.call_later(min(LOOK, self.idle), self._look)

    def _n_unsent(self) -> int:
        return self.transport.get_write_buffer_size()


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
