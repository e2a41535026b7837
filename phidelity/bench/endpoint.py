"""`phi bench endpoint`: how full the slots of an endpoint are kept.

A mock endpoint in a process of its own has 64 slots and takes 1 to 3 seconds for each answer. It counts how many
requests it has at each moment; `slots@64` is the mean of that over the time in which there was still work to hand
out, as a share of the slots. The target is 0.95 (*ours*); the peer is a perfect client, which fills them all.
"""

import asyncio
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from phidelity.completion import SamplingParams
from phidelity.endpoint import HttpCompleter

SLOTS = 64
REQUESTS = 10 * SLOTS


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """One row: the share of the slots that were busy."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        completer = HttpCompleter(f"http://127.0.0.1:{here.recv()}/v1", "mock", n_parallel=SLOTS)
        completer.complete([f"question {n}" for n in range(REQUESTS)], SamplingParams(max_tokens=16))
        here.send("end")
        share = _busy(here.recv())
    finally:
        server.terminate()
        server.join()
    return [
        {
            "what": f"slots@{SLOTS}",
            "ours": round(share, 4),
            "unit": "share busy",
            "peer": "all slots busy",
            "theirs": 1.0,
            "ratio": round(share, 4),
        }
    ]


def _busy(events: list[tuple[float, int]]) -> float:
    """Mean number of requests in the endpoint over its slots, from the first arrival to the last."""
    arrivals = [at for at, change in events if change > 0]
    begin, end = arrivals[0], arrivals[-1]
    area, n, last = 0.0, 0, begin
    for at, change in events:
        if at > end:
            break
        area += n * (at - last)
        n, last = n + change, at
    return area / (end - begin) / SLOTS


def _serve(pipe: Connection) -> None:
    asyncio.run(_listen(pipe))


async def _listen(pipe: Connection) -> None:
    events: list[tuple[float, int]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(head)
            place = len(events)
            events.append((time.perf_counter(), 1))
            await asyncio.sleep(1 + place * 0.618034 % 1 * 2)
            events.append((time.perf_counter(), -1))
            writer.write(_reply())
            await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    while not pipe.poll():
        await asyncio.sleep(0.05)
    pipe.send(events)


async def _head(reader: asyncio.StreamReader) -> int:
    """The length of the body that follows; 0 when the connection is closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return 0
    return int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])


def _reply() -> bytes:
    usage = {"prompt_tokens": 4, "completion_tokens": 16}
    body = json.dumps({"choices": [{"text": "yes", "finish_reason": "stop"}], "usage": usage}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
