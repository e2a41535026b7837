"""Packed folders of phi-4's shape that hold arbitrary bytes, and attention over a cache of the kernels' own.

Speed does not depend on values, so the bytes are slices of one pool; row scales keep the weights near 0.02. What is
measured is opened as every packed folder is: checked, and read where the file is mapped.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.bench.make_checkpoint import RandomWeights
from phidelity.checkpoint.packed import PackedWeights, Stored, stored_bytes
from phidelity.config import UserError
from phidelity.export.packed import write_folder
from phidelity.kernels.attention import BLOCK, Cache, Span, attend
from phidelity.kernels.layout import Kind, padded
from phidelity.kernels.library import Library, kernels
from phidelity.model.config import PHI_4, ModelConfig, census
from phidelity.model.quantized import QuantisedBlock
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress, Task

POOL = 16_777_213
"""Bytes drawn once; prime, so that no two matrices hold the same ones at the same places."""


class Ours(NamedTuple):
    """A model, and the bytes that a decoded token reads: all but the embedding."""

    model: Transformer
    area: np.ndarray
    library: Library


def packed_shape(config: ModelConfig, kind: Kind) -> Ours:
    """A model opened from a folder that is gone afterwards; the map keeps its file."""
    library = kernels()
    if library is None:
        raise UserError("There are no kernels to measure: no C compiler was found. Install one (gcc or clang).")
    with tempfile.TemporaryDirectory(prefix="phi-packed-") as place:
        write_shape(config, kind, Path(place) / kind)
        weights = PackedWeights(Path(place) / kind)
        model = weights.load().model
    block = model.blocks[0]
    assert isinstance(block, QuantisedBlock)
    whole = block.qkv.packed.data.base
    assert isinstance(whole, np.ndarray)
    start = weights.entries["embed.weight"].n_bytes
    return Ours(model, whole[start : start + (len(whole) - start) // 512 * 512], library)


def write_shape(config: ModelConfig, kind: Kind, out: Path, progress: Progress = SILENT) -> None:
    """A packed folder of this shape, row scales of a plausible size."""
    weights = RandomWeights(config)
    pool = np.random.default_rng(0).integers(0, 256, POOL, dtype=np.uint8)

    def fill(name: str, stored: Stored, task: Task) -> np.ndarray:
        data = _arbitrary(stored, weights.shapes[name], pool)
        task.advance(int(np.prod(weights.shapes[name])))
        return data

    write_folder(weights, out, kind, fill, {"source": "arbitrary bytes, no weights"}, progress)


def _arbitrary(kind: Stored, shape: tuple[int, ...], pool: np.ndarray) -> np.ndarray:
    """Bytes of one tensor; row scales keep weights near 0.02, norms are one."""
    size = stored_bytes(kind, shape)
    if kind == "f32":
        return np.ones(shape, dtype=np.float32).view(np.uint8)
    data = np.resize(pool, size)
    supers = data[-padded(shape[0], shape[1])[0] * (8 if kind == "q4" else 4) :].view(np.float32)
    supers[:] = 3e-5 if kind == "q4" else 2e-6
    if kind == "q4":
        supers[len(supers) // 2 :] *= 7.5
    return data


class KernelAttend:
    """The kernels' attention of one sequence at `start`, which advances with every forward pass."""

    def __init__(self, config: ModelConfig, length: int, library: Library, *, as_bytes: bool = False) -> None:
        self.config, self.library, self.start = config, library, 0
        n_blocks = -(-length // BLOCK)
        self.table = np.arange(n_blocks, dtype=np.int64)
        self.caches = [
            Cache.empty(n_blocks, config.n_kv_heads, config.head_dim, as_bytes=as_bytes) for _ in range(config.n_layers)
        ]

    def fill(self, n: int) -> None:
        """Let `n` arbitrary tokens stand before what comes."""
        c, rng = self.config, np.random.default_rng(0)
        for cache in self.caches:
            k, v = rng.standard_normal((2, n, c.n_kv_heads, c.head_dim), dtype=np.float32)
            cache.store(self.library, k.ctypes.data, v.ctypes.data, c.n_kv_heads * c.head_dim, np.arange(n))
        self.start = n

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[1, H, T, D], [1, K, T, D], [1, K, T, D] -> [1, H, T, D]."""
        n, n_heads = q.shape[2], q.shape[1]
        y, cells = torch.empty(n, *q.shape[1::2]), np.arange(self.start, self.start + n)
        self.caches[layer].store(self.library, k.data_ptr(), v.data_ptr(), k.stride(2), cells)
        attend(
            self.library, self.caches[layer], q.data_ptr(), q.stride(2), y.data_ptr(), y.stride(0), n_heads,
            [Span(0, n, self.start, self.table)],
        )  # fmt: skip
        return y.transpose(0, 1)[None]


@torch.inference_mode()
def forward(model: Transformer, attend: KernelAttend, n: int) -> Tensor:
    """Logits [V] after `n` more tokens of the sequence; the cache stays where it stood."""
    positions = torch.arange(attend.start, attend.start + n)[None]
    tokens = positions * 7919 % model.config.vocab_size
    return model.logits(model(tokens, positions, attend)[0, -1])


def scale_to_phi_4(config: ModelConfig) -> float:
    """How many times the weights that phi-4 multiplies a token by are those of this shape."""
    return census(PHI_4).matmul / census(config).matmul


def seconds(work: Callable[[], object]) -> float:
    """That it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
