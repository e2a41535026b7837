"""`phi bench make-packed OUT` and `phi bench packed MODEL`: a whole quantised model on a small machine.

The first writes a packed folder of phi-4's shape (or another) whose matrices hold arbitrary bytes, not rounded weights:
speed and memory do not depend on values, and no 29 GB of floats are needed. The second opens a packed folder as
`phi serve` does, in a process of its own for each context: seconds until it is ready (the file warm), the peak of
resident memory with the cache of that context full, and seconds to the first token of prompts. What stands before a
prompt is never computed: the cache is filled instead, so 16K takes no half an hour. 16K's first token is scaled from
the time of its chunks at their depths through the first four layers.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phidelity.bench.make_checkpoint import figure, shape_of
from phidelity.bench.packed_shape import KernelAttend, packed_shape, seconds, write_shape
from phidelity.checkpoint.packed import WEIGHTS
from phidelity.device import peak_memory, reset_peak_memory
from phidelity.model.config import PHI_4
from phidelity.progress import SILENT, Progress

LAYERS, LONGEST, CHUNK = 4, 16384, 512
"""What is scaled: layers that are measured, tokens of the prompt, tokens of a step (engine/tiles.py)."""


def make(out: Path, shape: str = "phi-4", progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Write the folder; rows of the table: rate, peak memory and size."""
    reset_peak_memory()
    start = time.perf_counter()
    write_shape(shape_of(shape), "q4", out, progress)
    took, size = time.perf_counter() - start, (out / WEIGHTS).stat().st_size
    return [
        figure("write q4 of arbitrary bytes", size / took / 1e6, "MB/s"),
        figure("write q4 peak", peak_memory() / 1e9, "GB"),
        figure("folder", _folder_size(out) / 1e9, "GB"),
    ]


def run(model: Path) -> list[dict[str, Any]]:
    """Rows of the table, each context measured in a process of its own."""
    rows = [figure("folder", _folder_size(model) / 1e9, "GB")]
    for context, cache, prompts in ((4096, "f32", ()), (4096, "int8", (1024, 4096)), (16384, "int8", ())):
        command = [sys.executable, "-m", "phidelity.bench.packed", str(model), str(context), cache, *map(str, prompts)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows += json.loads(done.stdout)
    command = [sys.executable, "-m", "phidelity.bench.packed", "scaled", str(LONGEST)]
    return rows + json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@torch.inference_mode()
def scaled(n: int) -> list[dict[str, Any]]:
    """Seconds to the first token of `n`, from chunks at some depths through four layers of phi-4's shape."""
    config = shape_of(f"n_layers={LAYERS}")
    ours = packed_shape(config, "q4")
    attend = KernelAttend(config, n, ours.library, as_bytes=True)
    depths = np.linspace(0, n - CHUNK, 5).astype(int).tolist()
    times = []
    for depth in depths:
        attend.fill(depth)
        positions = torch.arange(depth, depth + CHUNK)[None]
        times.append(seconds(lambda at=positions: ours.model(at % 1000, at, attend)))
    at = np.arange(0, n, CHUNK)
    total = float(np.interp(at, depths, times).sum()) * PHI_4.n_layers / LAYERS
    return [figure(f"first token of {n}, scaled from {LAYERS} layers, int8 cache", total, "s")]


def measure(model: Path, context: int, cache: str, prompts: list[int]) -> list[dict[str, Any]]:
    """Open, fill the cache, answer; rows of one context."""
    from phidelity.completion import SamplingParams
    from phidelity.engine.llm import open_model
    from phidelity.engine.memory import cache_bytes

    reset_peak_memory()
    start = time.perf_counter()
    llm = open_model(model, n_running=1, context_len=context, cache_bytes=0, cache_format=cache, speculate=False)
    llm.warm()
    ready = time.perf_counter() - start
    rows = [figure(f"ready, {cache} cache of {context}", ready, "s")]
    rng = np.random.default_rng(0)
    for n in prompts:
        prompt = tuple(rng.integers(0, llm.model.config.vocab_size, n - 1).tolist())
        start = time.perf_counter()
        llm.complete([prompt], SamplingParams(max_tokens=1, ignore_end=True))
        rows.append(figure(f"first token of {n}, {cache} cache", time.perf_counter() - start, "s"))
    assert llm.engine is not None
    cache_blocks = llm.engine.runner.cache
    block = torch.zeros_like(cache_blocks.get(0))
    for number in range(1, llm.engine.runner.n_blocks):
        cache_blocks.put(number, block)  # every page of the cache is now resident
    rows.append(figure(f"peak, {cache} cache of {context} full", peak_memory() / 1e9, "GB"))
    rows.append(figure(f"{cache} cache of {context}", context * cache_bytes(llm.model.config, cache) / 1e9, "GB"))
    llm.close()
    return rows


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    place, length, *rest = sys.argv[1:]
    long = scaled(int(length)) if place == "scaled" else None
    sys.stdout.write(json.dumps(long or measure(Path(place), int(length), rest[0], [int(n) for n in rest[1:]])))
