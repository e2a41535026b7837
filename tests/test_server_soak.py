"""Ten minutes of a crowd (`make soak`): 64 streams, some leave, some send nonsense; nobody gets another's words.

`phi serve` runs as its users run it, in a process of its own, on the smallest real run. What each request must say is
asked once, alone, before the crowd comes. PHI_SOAK_SECONDS shortens it.
"""

import asyncio
import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import phi_process

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("PHI_SOAK_SECONDS", "600"))
STREAMS, LEAVING, NONSENSE = 64, 0.20, 0.05
BAD: tuple[bytes, ...] = (
    b"{",
    b"[" * 5000,
    b'{"messages": 3}',
    b'{"messages": [{"role": "user", "content": "\xff"}]}',
    b"",
)


@dataclass
class Seen:
    """What the crowd saw."""

    whole: int = 0
    left: int = 0
    refused: int = 0
    first: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def requests() -> list[dict[str, Any]]:
    return [
        {
            "messages": [{"role": "user", "content": f"{n} cats and {n * 7 % 50} dogs. " + "And so on " * (n % 9)}],
            "temperature": n % 3 / 2, "seed": n, "max_tokens": 16 + n % 80, "ignore_eos": True,
        }
        for n in range(96)
    ]  # fmt: skip


async def send(port: int, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return reader, writer


async def get(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text


async def stream(port: int, body: dict[str, Any], leave_after: int | None, seen: Seen | None) -> str:
    """The text of one stream; empty where it was left."""
    began = time.perf_counter()
    reader, writer = await send(port, json.dumps({**body, "stream": True}).encode())
    text, last, n, is_done = "", 0.0, 0, False
    try:
        while line := await reader.readline():
            if line.startswith(b"data: [DONE]"):
                is_done = True
            if not line.startswith(b"data: {"):
                continue
            delta = json.loads(line[6:])["choices"][0]["delta"].get("content")
            if not delta:
                continue
            now = time.perf_counter()
            if seen:
                seen.between.append(now - last) if last else seen.first.append(now - began)
            text, last, n = text + delta, now, n + 1
            if leave_after is not None and n > leave_after:
                return ""
    finally:
        writer.close()
    assert is_done, "a stream ended without [DONE]"
    return text


async def crowd(port: int, pid: int) -> tuple[Seen, list[int]]:
    bodies = requests()
    expected = [await stream(port, body, None, None) for body in bodies]
    assert len(set(expected)) > len(bodies) // 2
    seen, end, rng = Seen(), time.monotonic() + SECONDS, random.Random(0)

    async def person() -> None:
        while time.monotonic() < end:
            dice, at = rng.random(), rng.randrange(len(bodies))
            if dice < NONSENSE:
                reader, writer = await send(port, rng.choice(BAD))
                status = await reader.readline()
                if b" 400 " not in status:
                    seen.wrong.append(f"nonsense got {status!r}")
                writer.close()
                seen.refused += 1
            elif dice < NONSENSE + LEAVING:
                await stream(port, bodies[at], rng.randrange(40), seen)
                seen.left += 1
            else:
                said = await stream(port, bodies[at], None, seen)
                seen.whole += 1
                if said != expected[at]:
                    seen.wrong.append(f"request {at}: {said!r} in place of {expected[at]!r}")

    sizes: list[int] = []

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(SECONDS / 20)
            sizes.append(resident(pid))

    await asyncio.gather(watch(), *(person() for _ in range(STREAMS)))
    return seen, sizes


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def metric(text: str, name: str) -> int:
    return next(int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{"))


def test_a_crowd_of_64_loses_nothing_mixes_nothing_and_leaks_nothing(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = phi_process("serve", small_run, "--port", "0", "--prefix-cache", "none")
    try:
        process.stdout.readline()  # type: ignore[union-attr]
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split(" ")[0])  # type: ignore[union-attr]
        seen, sizes = asyncio.run(crowd(port, process.pid))
        time.sleep(2)
        text = asyncio.run(get(port, "/metrics"))
        rows = [("whole", seen.whole), ("left", seen.left), ("nonsense", seen.refused)]
        rows += [("resident MB", f"{sizes[len(sizes) // 4] / 1e6:.1f} to {sizes[-1] / 1e6:.1f}")]  # type: ignore[list-item]
        for name, values in (("first token", seen.first), ("between pieces", seen.between)):
            p50, p95, p99 = (1000 * np.percentile(values, (50, 95, 99))).round(1)
            rows.append((f"{name} ms p50/p95/p99", f"{p50} / {p95} / {p99}"))  # type: ignore[arg-type]
        with capsys.disabled():
            print("\n" + "\n".join(f"soak: {name}: {value}" for name, value in rows))
        assert not seen.wrong, seen.wrong[:3]
        assert seen.whole > 50
        assert metric(text, "phi_cache_blocks_free") == metric(text, "phi_cache_blocks")
        assert metric(text, "vllm:num_requests_running") == metric(text, "vllm:num_requests_waiting") == 0
        assert sizes[-1] <= 1.02 * max(sizes[len(sizes) // 4 : len(sizes) // 2])
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert "Traceback" not in error
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
