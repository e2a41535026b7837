"""Keys and values rounded to bytes, one scale for each token and head: a quarter of the memory, and of what is read.

The kernels store and attend (kernels/attention.py); a token's result has the same bits in every batch and however its
prompt was cut. Blocks leave and come as bytes with their scales behind them, so spilling them needs to know nothing.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from phidelity.config import UserError
from phidelity.engine.cache import n_ready
from phidelity.kernels.attention import BLOCK, LANES, Cache, Span, attend
from phidelity.kernels.library import Library, kernels
from phidelity.model.config import ModelConfig, cache_bytes_per_token

CacheFormat = Literal["f32", "int8"]
"""How keys and values are kept: as computed, or rounded to bytes."""


def cached_token(config: ModelConfig) -> int:
    """Bytes of one token's keys and values: a byte a value, a float a vector."""
    return cache_bytes_per_token(config, 1 + 4 / config.head_dim)


class ByteCache:
    """Keys and values [L, n_blocks, 2, K, 32, D] in signed bytes, scales [L, n_blocks, 2, K, 32]."""

    def __init__(self, config: ModelConfig, n_blocks: int) -> None:
        self.config = config
        self.library = _library(config)
        shape = (config.n_layers, n_blocks, 2, config.n_kv_heads, BLOCK, config.head_dim)
        self._bytes, self._scales = np.zeros(shape, np.int8), np.zeros(shape[:-1], np.float32)  # pages come as written
        self.clear(list(range(n_ready(n_blocks, self._bytes.nbytes))))
        self.layers = [Cache(data, scales) for data, scales in zip(self._bytes, self._scales, strict=True)]

    def copy(self, source: int, target: int) -> None:
        """Make one block hold what another holds."""
        for part in (self._bytes, self._scales):
            part[:, target] = part[:, source]

    def clear(self, blocks: list[int]) -> None:
        """Zero blocks."""
        for part in (self._bytes, self._scales):
            part[:, blocks] = 0

    def get(self, block: int) -> Tensor:
        """A copy of one block, uint8 [L, 2, K, 32, D + 4]."""
        scales = self._scales[:, block, ..., None].view(np.uint8)
        return torch.from_numpy(np.concatenate((self._bytes[:, block].view(np.uint8), scales), axis=-1))

    def put(self, block: int, data: Tensor) -> None:
        """Fill one block."""
        raw, n = data.numpy(), self.config.head_dim
        self._bytes[:, block] = raw[..., :n].view(np.int8)
        self._scales[:, block] = np.ascontiguousarray(raw[..., n:]).view(np.float32)[..., 0]


class ByteAttend:
    """Attends from a batch of single tokens [N, H, 1, D] to what their sequences hold, themselves included."""

    def __init__(self, cache: ByteCache, spans: Sequence[Span], cells: np.ndarray) -> None:
        """`spans` say which rows belong to which sequence, `cells` int64 [N] where each row is stored."""
        self.cache, self.spans, self.cells = cache, spans, cells

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, H, 1, D], [N, K, 1, D], [N, K, 1, D] -> [N, H, 1, D]; keys and values are stored first."""
        q, k, v = (_rows(one) for one in (q, k, v))
        if k.stride(0) != v.stride(0):
            k, v = k.contiguous(), v.contiguous()
        one, library, n_heads = self.cache.layers[layer], self.cache.library, q.shape[1]
        one.store(library, k.data_ptr(), v.data_ptr(), k.stride(0), self.cells)
        y = torch.empty(q.shape)
        attend(library, one, q.data_ptr(), q.stride(0), y.data_ptr(), y.stride(0), n_heads, self.spans)
        return y


def _rows(x: Tensor) -> Tensor:
    """Heads of a row side by side; rows may lie apart."""
    d = x.shape[-1]
    return x if x.stride(-1) == 1 and x.stride(1) == d else x.contiguous()


def can_hold_bytes(config: ModelConfig) -> bool:
    """Whether keys and values of this model can be kept in bytes here."""
    return kernels() is not None and config.head_dim % LANES == 0


def _library(config: ModelConfig) -> Library:
    library = kernels()
    if library is None or not can_hold_bytes(config):
        why = "the kernels do not serve here" if library is None else f"heads are {config.head_dim} wide"
        raise UserError(f"An int8 cache was asked for, but {why}; expected kernels and a multiple of {LANES}. Use f32.")
    return library
