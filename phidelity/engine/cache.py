"""Keys and values of the running sequences, one contiguous slot each, and the attention that reads them.

A slot remembers the prompt it was prefilled with, also after its sequence has ended; a new prompt takes over the
longest beginning that any slot holds. That is exact: prefill works on a fixed grid of chunks, so the keys and
values of a position are a function of the tokens up to it, bit for bit. Attention is a few batched products and a
softmax with -inf beyond a row's length. A product over more than 256 columns is summed in parts that depend on
their number (measured with MKL), so values are summed 64 columns at a time: further blocks add exact zeros.
"""

import numpy as np
import torch
from torch import Tensor

from phidelity.model.config import ModelConfig

COLUMN_BLOCK = 64
"""Columns of one product with values; slots are read up to the longest running length, in whole blocks (*ours*)."""


class SlotCache:
    """Keys and values [L, 2, slots, K, T, D], and which prompt tokens each slot holds; T in whole column blocks."""

    def __init__(self, config: ModelConfig, n_slots: int, capacity: int) -> None:
        self.config = config
        self.n_slots = n_slots
        self.capacity = capacity
        shape = (config.n_layers, 2, n_slots, config.n_kv_heads, capacity, config.head_dim)
        self.data = torch.zeros(shape, dtype=torch.float32)
        self._flat = self.data.view(config.n_layers, 2, -1, config.head_dim)
        self._prompts = np.full((n_slots, capacity), -1, dtype=np.int64)

    def take_over(self, slot: int, prompt: np.ndarray) -> int:
        """Copy the longest beginning of `prompt` that any slot holds into `slot`; returns its length.

        Until `remember` the slot holds no prompt, so an interrupted prefill is never taken for a whole one.
        """
        same = np.logical_and.accumulate(self._prompts[:, : len(prompt)] == prompt, axis=1).sum(axis=1)
        source = slot if same[slot] == same.max() else int(same.argmax())
        n = int(same[source])
        self._prompts[slot] = -1
        if source != slot:
            self._copy(source, slot, n)
        return n

    def remember(self, slot: int, prompt: np.ndarray) -> None:
        """Say that `slot` now holds the keys and values of `prompt`."""
        self._prompts[slot, : len(prompt)] = prompt

    def move(self, source: int, target: int, length: int) -> None:
        """Make `target` hold what the first `length` positions of `source` hold."""
        self._copy(source, target, length)
        self._prompts[target] = self._prompts[source]

    def clear(self, slot: int) -> None:
        """Forget a slot; zeros, since a stored NaN would survive its mask."""
        self.data[:, :, slot] = 0.0
        self._prompts[slot] = -1

    def write(self, layer: int, index: Tensor, k: Tensor, v: Tensor) -> None:
        """Store rows k, v [N, D] at flat places `index` [N]."""
        self._flat[layer, 0].index_copy_(0, index, k)
        self._flat[layer, 1].index_copy_(0, index, v)

    def read(self, layer: int, slots: slice, n_columns: int) -> tuple[Tensor, Tensor]:
        """Views of keys and values [slots * K, n_columns, D]."""
        k, v = self.data[layer, :, slots, :, :n_columns].flatten(1, 2)
        return k, v

    def _copy(self, source: int, target: int, length: int) -> None:
        self.data[:, :, target, :, :length] = self.data[:, :, source, :, :length]


class SlotAttend:
    """Attends from new tokens at `positions` [B, T] of `slots` to all that these slots hold, themselves included.

    Only the first `n_live` rows are stored: the others pad the batch to a shape that keeps every bit.
    """

    def __init__(self, cache: SlotCache, slots: slice, positions: Tensor, n_live: int) -> None:
        c = cache.config
        self.cache = cache
        self.slots = slots
        self.n_live = n_live
        self.n_columns = (int(positions.max()) // COLUMN_BLOCK + 1) * COLUMN_BLOCK
        n_rows = len(positions)
        hidden = torch.arange(self.n_columns) > positions[:, None, None, :, None]
        mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
        self.mask = mask.expand(-1, c.n_kv_heads, c.n_heads // c.n_kv_heads, -1, -1).reshape(
            n_rows * c.n_kv_heads, -1, self.n_columns
        )
        row = torch.arange(slots.start, slots.start + n_live)[:, None] * c.n_kv_heads + torch.arange(c.n_kv_heads)
        self.index = (row[:, :, None] * cache.capacity + positions[:n_live, None, :]).flatten()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, H, T, D], [B, K, T, D], [B, K, T, D] -> [B, H, T, D]."""
        n_rows, _, n_new, head_dim = q.shape
        self.cache.write(
            layer, self.index, k[: self.n_live].reshape(-1, head_dim), v[: self.n_live].reshape(-1, head_dim)
        )
        keys, values = self.cache.read(layer, self.slots, self.n_columns)
        q = q.reshape(len(keys), -1, head_dim)  # [B * K, H / K * T, D]
        weights = torch.baddbmm(self.mask, q, keys.transpose(1, 2), alpha=head_dim**-0.5).softmax(-1)
        y = torch.zeros_like(q)
        for block in range(0, self.n_columns, COLUMN_BLOCK):
            columns = slice(block, block + COLUMN_BLOCK)
            y.baddbmm_(weights[:, :, columns], values[:, columns])
        return y.view(n_rows, -1, n_new, head_dim)
