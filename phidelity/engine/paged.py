"""Attention straight over the blocks of the cache, in C: nothing is gathered, nothing masked, nothing filled up.

The kernels (kernels/csrc/dense_block.c) take each token's position and its sequence's table of blocks. They keep the
keys of a block as [D, BLOCK], so that scores of 32 tokens are computed side by side; values lie as [BLOCK, D]. A
token's result is computed from its own keys in their order, whatever else is in the batch.
"""

import numpy as np
import torch
from torch import Tensor

from phidelity.engine.cache import BlockCache
from phidelity.kernels.library import Library


class PagedAttend:
    """Attends from a batch of single tokens [N, H, 1, D] to what their sequences hold, themselves included."""

    def __init__(
        self, cache: BlockCache, library: Library, tables: np.ndarray, rows: np.ndarray, positions: np.ndarray
    ) -> None:
        """`tables` [R, n] holds blocks, `rows` [N] and `positions` [N] say whose table and which token; int64 all."""
        self._cache = cache
        self._call = library.call.phi_dense_attend
        self._arrays = tables, rows, positions  # kept alive: the kernels read them where they lie
        self._where = tables.ctypes.data, tables.shape[1], rows.ctypes.data, positions.ctypes.data, len(rows)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, H, 1, D], [N, K, 1, D], [N, K, 1, D] -> [N, H, 1, D]; keys and values are stored."""
        c = self._cache.config
        if not _is_one_buffer(q, k, v):
            q = torch.cat((q, k, v), dim=1).contiguous()
        y = torch.empty(len(q), 1, c.n_heads, c.head_dim)
        self._call(
            self._cache.pages[layer], q.data_ptr(), *self._where, c.n_heads, c.n_kv_heads, c.head_dim, y.data_ptr()
        )
        return y.transpose(1, 2)


def _is_one_buffer(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether each token's queries, keys and values lie one after the other."""
    n_heads, n_kv_heads, size = q.shape[1], k.shape[1], q.shape[3]
    start, stride = q.data_ptr(), ((n_heads + 2 * n_kv_heads) * size, size)
    return (
        k.data_ptr() == start + 4 * n_heads * size
        and v.data_ptr() == start + 4 * (n_heads + n_kv_heads) * size
        and all(part.stride()[:2] == stride and part.stride()[3] == 1 for part in (q, k, v))
    )
