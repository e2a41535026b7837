"""`phi bench convert MODEL`: how fast, and in how much memory, a checkpoint streams into GGUF.

Each format is written beside the model's folder, measured and deleted. The rate is bytes read a second; the peak is
that of the whole process, libraries included. The limits for phi-4's shape are 12 GB for Q4_0 and 18 GB for Q8_0.
There is no peer: llama.cpp converts in two steps, by way of a file of the model's own size.
"""

import math
import time
from pathlib import Path
from typing import Any

from phidelity.bench.make_checkpoint import figure
from phidelity.checkpoint.open import open_weights
from phidelity.device import peak_memory, reset_peak_memory
from phidelity.export.gguf import GGUFType, write_gguf
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress

TYPES: tuple[GGUFType, ...] = ("q4_0", "q8_0")


def run(model: Path, progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Rows of the table: rate, peak memory and size of each format."""
    return [row for type in TYPES for row in _rows(model, type, progress)]


def _rows(model: Path, type: GGUFType, progress: Progress) -> list[dict[str, Any]]:
    weights = open_weights(model)
    out = model.with_name(f"{model.name}.{type}.gguf")
    n_read = sum(weights.dtype_of(name).itemsize * math.prod(shape) for name, shape in weights.shapes.items())
    reset_peak_memory()
    start = time.perf_counter()
    try:
        size = write_gguf(weights, out, type, progress)
    finally:
        out.unlink(missing_ok=True)
    rate = n_read / (time.perf_counter() - start)
    parameters = census(weights.config).total
    return [
        figure(f"gguf {type}", rate / 1e6, "MB/s"),
        figure(f"gguf {type} peak", peak_memory() / 1e9, "GB"),
        figure(f"gguf {type} size", 8 * size / parameters, "bits/weight"),
    ]
