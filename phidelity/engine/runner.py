"""Forward passes over the slots: prefill in fixed chunks of one sequence, decode one token of every sequence.

On CPU a request's bits must not depend on its companions. Matrix libraries choose their kernels by the number of
rows, and at some numbers they give the last rows other bits than the first (measured with MKL: few rows, long sums,
with AVX2 whatever 6 does not divide but for 4). So decode pads its batch to one of a few sizes, and `batch_sizes` finds
by trial, on this machine and for this model, the sizes among which no row changes a bit.
"""

import logging

import numpy as np
import torch

from phidelity.engine.cache import COLUMN_BLOCK, SlotAttend, SlotCache
from phidelity.model.config import cache_bytes_per_token
from phidelity.model.transformer import Transformer

BATCH_SIZES = (16, 24, 32, 48, 64)
"""Sizes that are tried (*ours*); fewer rows are slower per row, more fill caches."""
CHUNK = 64
"""Tokens of one sequence in a prefill pass (*ours*): also the grid on which prefixes are recomputed."""
CAPACITY_STEP = 128
CACHE_BYTES = 2 << 30
"""Fewer slots are used where their cache would exceed this, down to the smallest batch (*ours*)."""

logger = logging.getLogger(__name__)


class Runner:
    """The model with its slots; those in use are always 0 to n - 1."""

    def __init__(self, model: Transformer, n_slots: int) -> None:
        self.model = model
        self.owner: object = None
        """The scheduler whose sequences lie in the slots."""
        self.cache = SlotCache(model.config, 0, 0)
        self._sizes: tuple[int, ...] = ()
        self._max_slots = n_slots

    @property
    def n_slots(self) -> int:
        """Sequences that run at once."""
        return self.cache.n_slots

    def reserve(self, length: int) -> None:
        """Make room for sequences of `length` tokens; what slots held is lost when they must grow."""
        if length <= self.cache.capacity:
            return
        self._sizes = self._sizes or batch_sizes(self.model)
        capacity = -(-length // CAPACITY_STEP) * CAPACITY_STEP
        affordable = CACHE_BYTES // (capacity * cache_bytes_per_token(self.model.config, 4))
        wanted = min(self._max_slots, affordable)
        n_slots = next((size for size in self._sizes if size >= wanted), self._sizes[-1])
        self.cache = SlotCache(self.model.config, n_slots, capacity)

    def forget(self) -> None:
        """Empty all slots, so that the next prompts are computed anew."""
        for slot in range(self.n_slots):
            self.cache.clear(slot)

    def prefill(self, slot: int, tokens: np.ndarray) -> None:
        """Fill `slot` with the keys and values of `tokens`, computing only what no slot holds."""
        n = self.cache.take_over(slot, tokens)
        if n < len(tokens):
            for start in range(n // CHUNK * CHUNK, len(tokens), CHUNK):
                prefill(self.model, self.cache, slot, start, tokens[start : start + CHUNK])
        self.cache.remember(slot, tokens)

    def decode(self, tokens: np.ndarray, positions: np.ndarray) -> torch.Tensor:
        """Feed one token each to the first slots; logits [n, V] of what follows."""
        size = next(size for size in self._sizes if size >= len(tokens))
        return decode(self.model, self.cache, tokens, positions, size)


@torch.inference_mode()
def prefill(model: Transformer, cache: SlotCache, slot: int, start: int, tokens: np.ndarray) -> None:
    """Store keys and values of up to `CHUNK` tokens of one slot; always the same shape, zeros behind the end."""
    chunk = np.zeros((1, CHUNK), dtype=np.int64)
    chunk[0, : len(tokens)] = tokens
    positions = torch.arange(start, start + CHUNK)[None]
    model(torch.from_numpy(chunk), positions, SlotAttend(cache, slice(slot, slot + 1), positions, n_live=1))


@torch.inference_mode()
def decode(
    model: Transformer, cache: SlotCache, tokens: np.ndarray, positions: np.ndarray, batch_size: int
) -> torch.Tensor:
    """Feed tokens [n] at positions [n] to slots 0 to n - 1 in a batch padded to `batch_size`; logits [n, V]."""
    n = len(tokens)
    inputs = np.zeros((2, batch_size, 1), dtype=np.int64)
    inputs[0, :n, 0], inputs[1, :n, 0] = tokens, positions
    padded, places = torch.from_numpy(inputs)
    x = model(padded, places, SlotAttend(cache, slice(0, batch_size), places, n_live=n))
    return model.logits(x[:, 0])[:n]


def batch_sizes(model: Transformer) -> tuple[int, ...]:
    """The batch sizes at which a token has the same logits, bit for bit, in every row and at every size.

    Where sizes fall into several such groups, the largest group is taken, then the one with the widest batch.
    """
    cache = SlotCache(model.config, BATCH_SIZES[-1], COLUMN_BLOCK)
    trials = np.arange(1, 4) * model.config.vocab_size // 4
    groups: list[tuple[torch.Tensor, list[int]]] = []
    for size in BATCH_SIZES:
        start = np.zeros(size, dtype=np.int64)
        logits = torch.stack([decode(model, cache, np.full(size, token), start, size) for token in trials])
        if torch.equal(logits, logits[:, :1].expand_as(logits)):
            group = next((sizes for rows, sizes in groups if torch.equal(rows, logits[:, 0])), None)
            groups.append((logits[:, 0], [size])) if group is None else group.append(size)
    if not groups:
        logger.warning("No batch size gives all rows the same bits here: the order of requests may change them.")
        return BATCH_SIZES[-1:]
    return max((tuple(sizes) for _, sizes in groups), key=lambda sizes: (len(sizes), sizes))
