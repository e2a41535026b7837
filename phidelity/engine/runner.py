"""Forward passes over the slots: prefill in fixed chunks of one sequence, decode one token of every sequence.

On CPU a request's bits must not depend on its companions. A matrix product gives a row the same bits whatever the
other rows are, but not whatever their *number* is: fewer than 16 rows, or many rows with long sums, take another
kernel (measured with MKL). So decode pads its batch to a multiple of 16 rows, and `widest_batch` measures, on this
machine and this model, how many rows may stand together before bits change.
"""

import numpy as np
import torch

from phidelity.engine.cache import COLUMN_STEP, SlotAttend, SlotCache
from phidelity.model.config import cache_bytes_per_token
from phidelity.model.transformer import Transformer

ROW_TILE = 16
CHUNK = 32
"""Tokens of one sequence in a prefill pass (*ours*): also the grid on which prefixes are recomputed."""
CAPACITY_STEP = 128
CACHE_BYTES = 2 << 30
"""Slots are given up, 16 at a time, where their cache would exceed this (*ours*)."""


class Runner:
    """The model with its slots; those in use are always 0 to n - 1."""

    def __init__(self, model: Transformer, n_slots: int) -> None:
        self.model = model
        self.owner: object = None
        """The scheduler whose sequences lie in the slots."""
        self.cache = SlotCache(model.config, 0, 0)
        self._max_slots = widest_batch(model, n_slots)

    @property
    def n_slots(self) -> int:
        """Sequences that run at once."""
        return self.cache.n_slots

    def reserve(self, length: int) -> None:
        """Make room for sequences of `length` tokens; what slots held is lost when they must grow."""
        if length <= self.cache.capacity:
            return
        capacity = -(-length // CAPACITY_STEP) * CAPACITY_STEP
        slot_bytes = capacity * cache_bytes_per_token(self.model.config, 4)
        affordable = max(CACHE_BYTES // slot_bytes // ROW_TILE * ROW_TILE, ROW_TILE)
        self.cache = SlotCache(self.model.config, min(self._max_slots, affordable), capacity)

    def prefill(self, slot: int, tokens: np.ndarray) -> None:
        """Fill `slot` with the keys and values of `tokens`, computing only what no slot holds."""
        n = self.cache.take_over(slot, tokens)
        if n < len(tokens):
            for start in range(n // CHUNK * CHUNK, len(tokens), CHUNK):
                prefill(self.model, self.cache, slot, start, tokens[start : start + CHUNK])
        self.cache.remember(slot, tokens)

    def decode(self, tokens: np.ndarray, positions: np.ndarray) -> torch.Tensor:
        """Feed one token each to the first slots; logits [n, V] of what follows."""
        return decode(self.model, self.cache, tokens, positions)


@torch.inference_mode()
def prefill(model: Transformer, cache: SlotCache, slot: int, start: int, tokens: np.ndarray) -> None:
    """Store keys and values of up to `CHUNK` tokens of one slot; always the same shape, zeros behind the end."""
    chunk = np.zeros((1, CHUNK), dtype=np.int64)
    chunk[0, : len(tokens)] = tokens
    positions = torch.arange(start, start + CHUNK)[None]
    model(torch.from_numpy(chunk), positions, SlotAttend(cache, slice(slot, slot + 1), positions, n_live=1))


@torch.inference_mode()
def decode(model: Transformer, cache: SlotCache, tokens: np.ndarray, positions: np.ndarray) -> torch.Tensor:
    """Feed tokens [n] at positions [n] to slots 0 to n - 1 in a batch padded to whole tiles; logits [n, V]."""
    n = len(tokens)
    inputs = np.zeros((2, -(-n // ROW_TILE) * ROW_TILE, 1), dtype=np.int64)
    inputs[0, :n, 0], inputs[1, :n, 0] = tokens, positions
    padded, places = torch.from_numpy(inputs)
    x = model(padded, places, SlotAttend(cache, slice(0, len(padded)), places, n_live=n))
    return model.logits(x[:, 0])[:n]


def widest_batch(model: Transformer, limit: int) -> int:
    """The most rows, a multiple of 16 up to `limit`, that give each row the bits it has among 16."""
    cache = SlotCache(model.config, max(limit, ROW_TILE), COLUMN_STEP)
    tile = np.arange(ROW_TILE) * 7 % model.config.vocab_size
    start = np.zeros_like(tile)
    expected = decode(model, cache, tile, start)
    widest = ROW_TILE
    for n_tiles in range(2, limit // ROW_TILE + 1):
        logits = decode(model, cache, np.tile(tile, n_tiles), np.tile(start, n_tiles))
        if not torch.equal(logits, expected.repeat(n_tiles, 1)):
            break
        widest = ROW_TILE * n_tiles
    return widest
