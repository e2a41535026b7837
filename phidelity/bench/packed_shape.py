"""Packed weights of phi-4's shape that hold arbitrary bytes, and attention over a cache of the kernels' own.

Speed does not depend on values, so the bytes are slices of one pool; row scales keep the weights near 0.02. All bytes
lie on large pages, as an opened model's do.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.checkpoint.weights import expected_shapes
from phidelity.config import UserError
from phidelity.kernels.attention import BLOCK, Cache, Span, attend
from phidelity.kernels.layout import Kind, n_bytes, padded
from phidelity.kernels.library import Library, kernels
from phidelity.kernels.memory import large_pages
from phidelity.model.config import PHI_4, ModelConfig, census
from phidelity.model.quantized import Packed, quantised_model
from phidelity.model.transformer import Transformer

POOL = 16_777_213
"""Bytes drawn once; prime, so that no two matrices hold the same ones at the same places."""


class Ours(NamedTuple):
    """A model, and the bytes that a decoded token reads: all but the embedding."""

    model: Transformer
    area: np.ndarray
    library: Library


def packed_shape(config: ModelConfig, kind: Kind) -> Ours:
    """A model all of whose matrices are `kind`, but for the head, which is q8 as in packed folders."""
    library = kernels()
    if library is None:
        raise UserError("There are no kernels to measure: no C compiler was found. Install one (gcc or clang).")
    pool = np.random.default_rng(0).integers(0, 256, POOL, dtype=np.uint8)
    shapes = expected_shapes(config)
    kinds: dict[str, Kind] = {name: "q8" if name == "head.weight" else kind for name in shapes}
    read = [name for name, shape in shapes.items() if len(shape) == 2 and name != "embed.weight"]
    sizes = {name: -(-n_bytes(kinds[name], *shapes[name]) // 512) * 512 for name in read}
    area, at, matrices = large_pages(sum(sizes.values())), 0, {}
    for name in read:
        matrices[name] = _packed(area[at : at + n_bytes(kinds[name], *shapes[name])], kinds[name], shapes[name], pool)
        at += sizes[name]
    embedding = large_pages(n_bytes(kind, *shapes["embed.weight"]))
    matrices["embed.weight"] = _packed(embedding, kind, shapes["embed.weight"], pool)
    norms = {name: torch.ones(shape) for name, shape in shapes.items() if len(shape) == 1}
    return Ours(quantised_model(config, matrices, norms), area, library)


def _packed(data: np.ndarray, kind: Kind, shape: tuple[int, ...], pool: np.ndarray) -> Packed:
    data[:] = np.resize(pool, len(data))
    supers = data[-padded(*shape)[0] * (8 if kind == "q4" else 4) :].view(np.float32)
    supers[:] = 3e-5 if kind == "q4" else 2e-6
    if kind == "q4":
        supers[len(supers) // 2 :] *= 7.5
    return Packed(kind, data, (shape[0], shape[1]))


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
