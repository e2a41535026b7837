"""`phi bench serve`: the server against the engine alone and, with `--peer llama.cpp=BIN`, against llama.cpp's.

All servers stand at the same time, on two threads each, and are asked in turns; medians of the turns are told. Rows:
`throughput` is tokens a second of 64 requests (64 tokens in, 64 out, 16 at a time) on a small model (4 layers of
width 512, vocabulary 4,096, fp32 on both sides), beside the engine in a process without HTTP, and beside the peer;
`http share` is the part of the server's CPU time that HTTP takes. `phi-4 shape` is 4 layers of phi-4's shape with
weights of 4 bits, 4 requests at a time; `prefill beside` the 99th percentile between pieces of running streams
while a prompt of 1,000 tokens is read, against the same without it, and the peer's own such ratio.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np

from phidelity.bench.llama_bench import write_file
from phidelity.bench.load import Load, Seen, measure
from phidelity.bench.make_checkpoint import shape_of
from phidelity.bench.packed import make
from phidelity.config import UserError

SMALL = "n_layers=4,d_model=512,n_heads=8,n_kv_heads=2,d_ff=1792,vocab_size=4096,context_len=1024"
LARGE = "n_layers=4,context_len=2048"
ROUNDS = 3
THREADS = 2


class Server(NamedTuple):
    """A server that is up."""

    url: str
    pid: int


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        llama = (peers or {}).get("llama.cpp")
        rows = _small(folder, llama)
    with tempfile.TemporaryDirectory() as name:
        return [*rows, *_large(Path(name), llama)]


def _small(folder: Path, llama: Path | None) -> list[dict[str, Any]]:
    model, gguf = _small_model(folder)
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {}
    shares = []
    with ExitStack() as stack:
        ours = stack.enter_context(our_server(model))
        alone = stack.enter_context(_engine(model))
        theirs = stack.enter_context(llama_server(llama, gguf, 16, 1024)) if llama else None
        for turn in range(ROUNDS + 1):
            prompts = [rng.integers(300, 3900, 64).tolist() for _ in range(64)]
            spent: list[tuple[float, float]] = []

            def through_http(p: list[list[int]] = prompts, spent: list[tuple[float, float]] = spent) -> float:
                before = cpu_seconds(ours.pid)
                seconds = measure(Load(ours.url, p, 64, 16)).seconds
                after = cpu_seconds(ours.pid)
                spent.append((after[0] - before[0], after[1] - before[1]))
                return seconds

            sides: dict[str, Callable[[], float]] = {
                "ours": through_http,
                "engine": lambda p=prompts: alone(p),
            }
            if theirs:
                sides["llama.cpp"] = lambda p=prompts: measure(Load(theirs.url, p, 64, 16)).seconds
            for name, side in sides.items():
                seconds = side()
                if turn:
                    rates.setdefault(name, []).append(64 * 64 / seconds)
            shares.append(spent[0][0] / sum(spent[0]))
    rate = {name: statistics.median(found) for name, found in rates.items()}
    rows = [row("throughput", rate["ours"], "tokens/s", name, rate[name]) for name in rate if name != "ours"]
    return [*rows, row("http share", statistics.median(shares), "of the server's CPU time", None, None)]


def _large(folder: Path, llama: Path | None) -> list[dict[str, Any]]:
    config = shape_of(LARGE)
    make(folder / "packed", LARGE)
    rng = np.random.default_rng(1)
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    with ExitStack() as stack:
        servers = {"ours": stack.enter_context(our_server(folder / "packed"))}
        if llama:
            gguf = write_file(config, "Q4_0", folder / "q4.gguf")
            servers["llama.cpp"] = stack.enter_context(llama_server(llama, gguf, 5, 2048))
        for turn in range(ROUNDS + 1):
            for name, server in servers.items():
                prompts = [rng.integers(300, 90_000, 16).tolist() for _ in range(4)]
                idle = measure(Load(server.url, prompts, 48, 4))
                prompts = [rng.integers(300, 90_000, 16).tolist() for _ in range(4)]
                busy = measure(Load(server.url, prompts, 160, 4, rng.integers(300, 90_000, 1000).tolist()))
                if turn:
                    rates.setdefault(name, []).append(4 * 48 / idle.seconds)
                    ratios.setdefault(name, []).append(_p99(busy) / _p99(idle))
    rate = {name: statistics.median(found) for name, found in rates.items()}
    ratio = {name: statistics.median(found) for name, found in ratios.items()}
    rows = [row("phi-4 shape", rate["ours"], "tokens/s", name, rate[name]) for name in rate if name != "ours"]
    limit = row("prefill beside", ratio["ours"], "p99 between pieces over idle", "limit", 3.0, larger_is_better=False)
    others = [
        row("prefill beside", ratio["ours"], "p99 between pieces over idle", name, ratio[name], larger_is_better=False)
        for name in ratio
        if name != "ours"
    ]
    return [*rows, limit, *others]


def row(
    what: str, ours: float, unit: str, peer: str | None, theirs: float | None, *, larger_is_better: bool = True
) -> dict[str, Any]:
    """One figure; the ratio is above 1 where ours is the better one."""
    ratio = None if theirs is None else round(ours / theirs if larger_is_better else theirs / ours, 3)
    shown = None if theirs is None else round(theirs, 3)
    return {"what": what, "ours": round(ours, 3), "unit": unit, "peer": peer, "theirs": shown, "ratio": ratio}


def _p99(seen: Seen) -> float:
    return float(np.percentile(list(seen.between()), 99))


def _small_model(folder: Path) -> tuple[Path, Path]:
    """The same random weights as a Hugging Face folder and as GGUF, both fp32."""
    import torch

    from phidelity.bench.make_checkpoint import filled_tokenizer
    from phidelity.checkpoint.huggingface import save_checkpoint
    from phidelity.checkpoint.open import open_weights
    from phidelity.export.gguf import write_gguf
    from phidelity.model.transformer import Transformer

    config = shape_of(SMALL)
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    save_checkpoint(folder / "small", model, filled_tokenizer(config.vocab_size))
    write_gguf(open_weights(folder / "small"), folder / "small.gguf", "f32")
    return folder / "small", folder / "small.gguf"


@contextmanager
def our_server(model: Path) -> Iterator[Server]:
    """`phi serve` on a free port, ready."""
    port = free_port()
    command = [sys.executable, "-m", "phidelity.cli.main", "serve", str(model), "--port", str(port)]
    with process([*command, "--prefix-cache", "none"], f"http://127.0.0.1:{port}") as server:
        yield server


@contextmanager
def llama_server(folder: Path, gguf: Path, n_slots: int, context: int) -> Iterator[Server]:
    """llama.cpp's server on a free port, ready, with as many slots as there are streams."""
    program = folder / "llama-server"
    if not program.is_file():
        raise UserError(f"--peer llama.cpp: no llama-server in {folder}; expected a build's bin folder.")
    port = free_port()
    command = [str(program), "-m", str(gguf), "-t", str(THREADS), "-np", str(n_slots), "-c", str(n_slots * context)]
    with process([*command, "--port", str(port)], f"http://127.0.0.1:{port}") as server:
        yield server


@contextmanager
def process(command: list[str], url: str) -> Iterator[Server]:
    """A server's process, waited for until its /health is 200, and ended after use."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        _wait(url + "/health", server)
        yield Server(url + "/v1", server.pid)
    finally:
        server.terminate()
        server.wait(60)


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise UserError(f"No server came up at {url}; its process ended with {server.poll()}. Run it by hand to see why.")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu_seconds(pid: int) -> tuple[float, float]:
    """CPU time of a process: of its main thread (HTTP) and of all others (the engine)."""
    tick = os.sysconf("SC_CLK_TCK")
    main = other = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        used = (int(fields[11]) + int(fields[12])) / tick
        main, other = (main + used, other) if task.name == str(pid) else (main, other + used)
    return main, other


@contextmanager
def _engine(model: Path) -> Iterator[Callable[[list[list[int]]], float]]:
    """The engine in a process of its own: seconds for the same prompts, 16 at a time."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "phidelity.bench.serve", str(model)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert worker.stdin
    assert worker.stdout

    def ask(prompts: list[list[int]]) -> float:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps(prompts) + "\n")
        worker.stdin.flush()
        return float(worker.stdout.readline())

    try:
        yield ask
    finally:
        worker.stdin.close()
        worker.wait(60)


def _answer_lines(model: Path) -> None:
    from phidelity.completion import SamplingParams
    from phidelity.engine.llm import open_model

    llm = open_model(model, n_running=16)
    llm.warm()
    for line in sys.stdin:
        prompts = [tuple(one) for one in json.loads(line)]
        start = time.perf_counter()
        llm.complete(prompts, SamplingParams(max_tokens=64, ignore_end=True))
        sys.stdout.write(f"{time.perf_counter() - start}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _answer_lines(Path(sys.argv[1]))
