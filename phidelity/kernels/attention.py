"""Keys and values in blocks of 32 tokens, as floats or rounded to bytes, and attention over them by the kernels.

A layer is [n_blocks, 2, K, 32, D] as floats, the engine's own order, or as many signed bytes with one float32 scale a
token and head, [n_blocks, 2, K, 32]: 132 bytes instead of 512 (at D = 128). Byte keys lie [D, 32] within their block.
A token's result has the same bits in every batch and however its prompt was cut. D is a multiple of 16.
"""

import ctypes
from collections.abc import Sequence
from ctypes import addressof
from typing import NamedTuple

import numpy as np

from phidelity.kernels.library import Library, Pointer

BLOCK = 32
"""Tokens of a block; the engine's is the same."""
LANES = 16
"""What a head's width must be a multiple of."""


class Cache(ctypes.Structure):
    """`struct phi_cache`: one layer; keeps its arrays alive."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("n_kv_heads", ctypes.c_int32),
        ("head_dim", ctypes.c_int32),
    )

    def __init__(self, data: np.ndarray, scales: np.ndarray | None = None) -> None:
        n_blocks, two, n_kv_heads, block, head_dim = data.shape
        assert (two, block, head_dim % LANES) == (2, BLOCK, 0)
        assert data.flags.c_contiguous
        assert data.dtype == (np.float32 if scales is None else np.int8)
        assert scales is None or scales.shape == (n_blocks, 2, n_kv_heads, BLOCK)
        super().__init__(data.ctypes.data, None if scales is None else scales.ctypes.data, n_kv_heads, head_dim)
        self.arrays = (data, scales)

    @classmethod
    def empty(cls, n_blocks: int, n_kv_heads: int, head_dim: int, *, as_bytes: bool) -> "Cache":
        """Zeros, which take memory only where they are written."""
        shape = (n_blocks, 2, n_kv_heads, BLOCK, head_dim)
        if not as_bytes:
            return cls(np.zeros(shape, np.float32))
        return cls(np.zeros(shape, np.int8), np.zeros(shape[:-1], np.float32))

    def store(self, library: Library, k: Pointer, v: Pointer, stride: int, cells: np.ndarray) -> None:
        """Keys and values [N, K, D] of rows `stride` floats apart into `cells` int64 [N]: block * 32 + place in it."""
        assert cells.dtype == np.int64
        assert cells.flags.c_contiguous
        library.call.phi_store(addressof(self), k, v, stride, cells.ctypes.data, len(cells))


class Span(NamedTuple):
    """`n` query tokens of one sequence, the first at position `start`, in rows `first`, ... of the batch."""

    first: int
    n: int
    start: int
    table: np.ndarray
    """The sequence's blocks, int64."""


def attend(
    library: Library,
    cache: Cache,
    q: Pointer,
    q_stride: int,
    y: Pointer,
    y_stride: int,
    n_heads: int,
    spans: Sequence[Span],
) -> None:
    """q [N, H, D] of rows `q_stride` floats apart -> y; keys and values of the rows themselves are stored already."""
    packed = np.array([(s.first, s.n, s.start, s.table.ctypes.data) for s in spans], dtype=np.int64)
    library.call.phi_attend(
        addressof(cache), q, q_stride, y, y_stride, n_heads, packed.ctypes.data, len(spans)
    )  # fmt: skip
