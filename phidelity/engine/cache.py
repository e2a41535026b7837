"""Keys and values in blocks, and the attention that writes and reads them: the engine's `Attend`.

Attention gathers the blocks of a group of sequences side by side and is then a few batched products. On CPU its bits
must not depend on who is in the batch, nor on whether a token is computed alone (decode) or among others (prefill);
so every product has one form. Queries go in tiles of `TILE` tokens: a matrix library takes another kernel where rows
outnumber columns (measured with MKL, heads of 8, 32 and 128). Values are summed 64 columns at a time: a sum over more
than 256 is made in parts that depend on their number, while further columns of weight zero add exact zeros. Where a
tile of one token still differs from a full one (heads of 128), `query_slots` finds it and decode repeats its queries.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phidelity.engine.blocks import BLOCK, NULL
from phidelity.model.config import ModelConfig

COLUMNS = 64
"""Columns of one product with values; what is gathered is filled up to a multiple (*ours*)."""
TILE = 8
"""Query tokens of one product in prefill (*ours*)."""
READY = 16 << 20
"""Bytes of the first blocks that are written when a cache is made (*ours*), so that the first touch of their pages
falls on the start and not on the first prompt."""


class BlockCache:
    """Keys and values [L, n_blocks, 2, K, BLOCK, D]; block 0 stays zero."""

    def __init__(self, config: ModelConfig, n_blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        self.config = config
        shape = (config.n_layers, n_blocks, 2, config.n_kv_heads, BLOCK, config.head_dim)
        self.data = _zeros(shape, dtype) if device.type == "cpu" else torch.zeros(shape, dtype=dtype, device=device)
        self.data[:, : n_ready(n_blocks, self.data.nbytes)] = 0.0
        self.pages = [layer.data_ptr() for layer in self.data]
        """Address of each layer."""
        self._cells = self.data.view(config.n_layers, -1, config.head_dim)
        self._strips = self.data.view(config.n_layers, -1, BLOCK * config.head_dim)
        self._gathered = self._strips[0][:0]
        """Room for what `read` gathers, kept: new pages for it cost more than the copy (measured: 40 times)."""

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        """Store rows k and v [N, K, 1, D] at `places` [2, N * K]."""
        self._cells[layer].index_copy_(0, places[0], k.reshape(-1, self.config.head_dim))
        self._cells[layer].index_copy_(0, places[1], v.reshape(-1, self.config.head_dim))

    def read(self, layer: int, strips: Tensor, n_items: int) -> tuple[Tensor, Tensor]:
        """Keys and values, [n_items, C, D] each, gathered from `strips` (see `strips_of`); good until the next read."""
        source = self._strips[layer]
        if len(strips) > len(self._gathered):
            self._gathered = source.new_empty(len(strips), source.shape[1])
        gathered = torch.index_select(source, 0, strips, out=self._gathered[: len(strips)])
        keys, values = gathered.view(2, n_items, -1, self.config.head_dim)
        return keys, values

    def places(self, blocks: np.ndarray, positions: np.ndarray) -> Tensor:
        """Where tokens at `positions` [N], each in its block [N], are written: [2, N * K]."""
        n_heads = self.config.n_kv_heads
        heads = np.arange(2 * n_heads).reshape(2, 1, n_heads)
        cells = ((blocks[None, :, None] * 2 * n_heads) + heads) * BLOCK + positions[None, :, None] % BLOCK
        return torch.from_numpy(cells.reshape(2, -1)).to(self.data.device)

    def strips_of(self, tables: np.ndarray) -> Tensor:
        """What `read` gathers for sequences with these tables of blocks [S, n]: keys of all, then values of all."""
        n_heads = self.config.n_kv_heads
        heads = np.arange(2 * n_heads).reshape(2, 1, n_heads, 1)
        return torch.from_numpy((tables[None, :, None, :] * 2 * n_heads + heads).reshape(-1)).to(self.data.device)

    def copy(self, source: int, target: int) -> None:
        """Make one block hold what another holds."""
        self.data[:, target] = self.data[:, source]

    def clear(self, blocks: list[int]) -> None:
        """Zero blocks: a stored NaN would survive its mask."""
        self.data[:, blocks] = 0.0

    def get(self, block: int) -> Tensor:
        """A copy of one block [L, 2, K, BLOCK, D] in main memory."""
        return self.data[:, block].cpu().contiguous()

    def put(self, block: int, data: Tensor) -> None:
        """Fill one block."""
        self.data[:, block] = data.to(self.data.device)


def n_ready(n_blocks: int, n_bytes: int) -> int:
    """How many of so many blocks, which take `n_bytes` together, are written at once."""
    return min(n_blocks, READY * n_blocks // n_bytes)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that take memory only where they are written (torch's own fill all of it)."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    return torch.from_numpy(np.zeros(n_bytes, dtype=np.uint8)).view(dtype).view(shape)


class Group(NamedTuple):
    """Sequences whose attention is computed together: S of them with T query slots each."""

    strips: Tensor
    mask: Tensor
    """[S, 1, T, 1, C]: 0 where a query looks, -inf elsewhere."""
    n_columns: list[int]
    """Columns that each tile needs to look at."""
    tile: int
    pick: Tensor | None
    """[S * T] rows of the batch that fill the query slots; None: all rows, one each."""
    take: Tensor | None
    """Query slots whose result counts; None: all."""
    put: Tensor | None
    """Rows of the batch they belong to."""


def group(
    cache: BlockCache, tables: np.ndarray, positions: np.ndarray, rows: np.ndarray, counts: np.ndarray, tile: int
) -> Group:
    """Plan a group: `tables` [S, n], and for each query slot its position and row of the batch [S, T]; counts [S]."""
    n_slots = positions.shape[1]
    n_blocks = -(-(int(positions.max()) + 1) // COLUMNS) * (COLUMNS // BLOCK)
    if tables.shape[1] < n_blocks:
        tables = np.pad(tables, ((0, 0), (0, n_blocks - tables.shape[1])), constant_values=NULL)
    ends = [int(positions[:, start : start + tile].max()) + 1 for start in range(0, n_slots, tile)]
    device = cache.data.device
    places = torch.from_numpy(positions).to(device)
    hidden = torch.arange(n_blocks * BLOCK, device=device) > places[:, None, :, None, None]
    mask = torch.zeros(hidden.shape, dtype=cache.data.dtype, device=device).masked_fill_(hidden, float("-inf"))
    is_valid = np.arange(n_slots) < counts[:, None]
    return Group(
        strips=cache.strips_of(tables[:, :n_blocks]),
        mask=mask,
        n_columns=[-(-end // COLUMNS) * COLUMNS for end in ends],
        tile=tile,
        pick=torch.from_numpy(rows.reshape(-1)).to(device),
        take=torch.from_numpy(np.flatnonzero(is_valid)).to(device),
        put=torch.from_numpy(rows[is_valid]).to(device),
    )


class BlockAttend:
    """Attends from a batch of single tokens [N, H, 1, D] to what their sequences hold, themselves included."""

    def __init__(self, cache: BlockCache, places: Tensor, groups: list[Group]) -> None:
        self.cache = cache
        self.places = places
        self.n_live = places.shape[1] // cache.config.n_kv_heads
        self.groups = groups

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, H, 1, D], [N, K, 1, D], [N, K, 1, D] -> [N, H, 1, D]; only the first `n_live` rows are stored."""
        self.cache.write(layer, self.places, k[: self.n_live], v[: self.n_live])
        if len(self.groups) == 1 and self.groups[0].pick is None:
            return self.mix(layer, q, self.groups[0]).view_as(q)
        y = torch.zeros_like(q)
        for one in self.groups:
            assert one.pick is not None
            assert one.take is not None
            assert one.put is not None
            mixed = self.mix(layer, q.index_select(0, one.pick), one)
            y.view(len(q), -1).index_copy_(0, one.put, mixed.flatten(1).index_select(0, one.take))
        return y

    def mix(self, layer: int, q: Tensor, one: Group) -> Tensor:
        """[S * T, H, 1, D] -> [S * T, H, D]."""
        c = self.cache.config
        n_items, _, n_slots, _, _ = one.mask.shape
        keys, values = self.cache.read(layer, one.strips, n_items * c.n_kv_heads)
        q = q.view(n_items, n_slots, c.n_kv_heads, -1, c.head_dim).transpose(1, 2)  # [S, K, T, G, D]
        if q.is_cuda:
            return _fused(q, keys, values, one.mask)
        q = (q * c.head_dim**-0.5).reshape(n_items * c.n_kv_heads, -1, c.head_dim)
        height = q.shape[1] // n_slots * one.tile
        parts = [
            _tile(q[:, at * height : (at + 1) * height], keys, values, one.mask.narrow(2, at * one.tile, one.tile), n)
            for at, n in enumerate(one.n_columns)
        ]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        y = y.view(n_items, c.n_kv_heads, n_slots, -1, c.head_dim)
        return y.transpose(1, 2).reshape(n_items * n_slots, -1, c.head_dim)


def _tile(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, n_columns: int) -> Tensor:
    """Scaled q [S * K, t * G, D] over the first columns -> [S * K, t * G, D]; mask [S, 1, t, 1, C]."""
    scores = torch.bmm(q, keys[:, :n_columns].transpose(1, 2))
    by_slot = scores.view(len(mask), len(q) // len(mask), mask.shape[2], -1, n_columns)  # [S, K, t, G, C]
    by_slot.add_(mask[..., :n_columns])
    weights = scores.softmax(-1)
    y = torch.bmm(weights[:, :, :COLUMNS], values[:, :COLUMNS])
    for start in range(COLUMNS, n_columns, COLUMNS):
        y.baddbmm_(weights[:, :, start : start + COLUMNS], values[:, start : start + COLUMNS])
    return y


def _fused(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """The same by one fused call, for accelerators: q [S, K, T, G, D]."""
    n, n_kv_heads, n_slots, n_groups, head_dim = q.shape
    seen = mask.expand(-1, 1, -1, n_groups, -1).reshape(n, 1, n_slots * n_groups, -1)
    y = F.scaled_dot_product_attention(
        q.reshape(n, n_kv_heads, -1, head_dim),
        keys.view(n, n_kv_heads, -1, head_dim),
        values.view(n, n_kv_heads, -1, head_dim),
        attn_mask=seen,
    )
    return y.view(n, n_kv_heads, n_slots, -1, head_dim).transpose(1, 2).reshape(n * n_slots, -1, head_dim)
