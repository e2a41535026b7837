"""Clients that are as cheap as can be: streams of /v1/completions over bare sockets, and when each event came.

Runs as a process of its own (`python -m phidelity.bench.load`, a job as JSON on standard input), so that its work is
not counted as the server's. Any server of OpenAI's shape will do.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Load(NamedTuple):
    """Requests for one server: each of `prompts` is continued by `max_tokens`, `n_streams` at a time."""

    url: str
    prompts: list[list[int]]
    max_tokens: int
    n_streams: int
    also: Sequence[int] = ()
    """A prompt that is sent once all streams run; one token of it is asked for."""


class Seen(NamedTuple):
    """What came of it; times in seconds since the start."""

    seconds: float
    sent: list[float]
    events: list[list[float]]
    """Of each request, when each of its pieces came."""
    also: tuple[float, float]
    """When the other prompt was sent and answered."""

    def first(self) -> list[float]:
        """Seconds to the first piece of each request."""
        return [times[0] - sent for sent, times in zip(self.sent, self.events, strict=True) if times]

    def between(self) -> Iterator[float]:
        """Seconds between pieces of each request, where another prompt was sent of that time alone."""
        begin, end = self.also if self.also[1] else (0.0, self.seconds)
        for times in self.events:
            for before, after in pairwise(times):
                if after >= begin and before <= end:
                    yield after - before


def measure(load: Load) -> Seen:
    """Do it in a process of its own."""
    command = [sys.executable, "-m", "phidelity.bench.load"]
    done = subprocess.run(command, input=json.dumps(load), capture_output=True, text=True, check=True)
    return Seen(*json.loads(done.stdout))


async def drive(load: Load) -> Seen:
    """Do it here."""
    start = time.perf_counter()
    events: list[list[float]] = [[] for _ in load.prompts]
    sent = [0.0] * len(load.prompts)
    todo = iter(range(len(load.prompts)))
    also = [0.0, 0.0]

    async def client() -> None:
        for at in todo:
            sent[at] = time.perf_counter() - start
            await _stream(load.url, load.prompts[at], load.max_tokens, events[at], start)

    async def other() -> None:
        while sum(1 for times in events if len(times) > 3) < load.n_streams:
            await asyncio.sleep(0.01)
        also[0] = time.perf_counter() - start
        await _stream(load.url, list(load.also), 1, [], start)
        also[1] = time.perf_counter() - start

    await asyncio.gather(*(client() for _ in range(load.n_streams)), *([other()] if load.also else []))
    return Seen(time.perf_counter() - start, sent, events, (also[0], also[1]))


async def _stream(url: str, prompt: list[int], max_tokens: int, times: list[float], start: float) -> None:
    """One request; RuntimeError where it is refused or ends early."""
    where = urlsplit(url)
    body = json.dumps(
        {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True, "ignore_eos": True}
    ).encode()
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 20)
    try:
        head = f"POST {where.path}/completions HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{status!r}: {(await reader.read(2000))!r}")
        last: Any = b""
        while line := await reader.readline():
            if line.startswith(b"data: {"):
                times.append(time.perf_counter() - start)
                last = line
            elif line.startswith(b"data: [DONE]"):
                break
        if b'"length"' not in last:
            raise RuntimeError(f"the stream ended with {last[:500]!r}")
    finally:
        writer.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(drive(Load(*json.load(sys.stdin))))))
