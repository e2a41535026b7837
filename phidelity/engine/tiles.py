"""Shapes at which a product gives a row the same bits whatever stands in the other rows: found by trial.

Matrix libraries choose their kernels by shape, and between kernels a row may differ in its last bits. Measured with
MKL 2024.2 on AVX-512, weights by columns: sums of at most 512 terms have the same bits at every number of rows from 4
on; sums of 1,792 change between 128 and 192 rows with one thread, between 16 and 24 and between 192 and 256 with two;
weights by rows change between 12 and 16 rows, too. A single row, or a single item of a batched product, has kernels
of its own. With AVX2 the last rows of a batch differ from the first at sizes that 6 does not divide. So nothing is
assumed: the largest group of sizes that agree on this machine, for this model and number of threads, is used, and
nothing else.
"""

import hashlib
import logging

import numpy as np
import torch
from torch import Tensor

from phidelity.engine.blocks import BLOCK
from phidelity.engine.cache import TILE, BlockAttend, BlockCache, group
from phidelity.model.attention import Rotation
from phidelity.model.transformer import Transformer

SIZES = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Rows of a batch that are tried (*ours*)."""
N_TRIALS = 2

logger = logging.getLogger(__name__)


@torch.inference_mode()
def row_sizes(model: Transformer) -> tuple[int, ...]:
    """The batch sizes at which one token has the same logits, bit for bit, in every row and at every size.

    One block and the head are tried, since all blocks have the same shapes. Of several groups of sizes that agree
    the one with most members is taken, then the one with the widest.
    """
    groups: list[tuple[Tensor, list[int]]] = []
    for size in SIZES:
        logits = torch.stack([_through_one_block(model, row, size) for row in _trials(model)])
        if torch.equal(logits, logits[:, :1].expand_as(logits)):
            agreeing = next((sizes for rows, sizes in groups if torch.equal(rows, logits[:, 0])), None)
            groups.append((logits[:, 0], [size])) if agreeing is None else agreeing.append(size)
    if not groups:
        logger.warning("No batch size gives all rows the same bits here: companions may change an answer's rounding.")
        return SIZES[-4:]
    return max((tuple(sizes) for _, sizes in groups), key=lambda sizes: (len(sizes), sizes))


@torch.inference_mode()
def query_slots(model: Transformer) -> int:
    """How often decode repeats a query so that its attention has the bits of a full tile: 1, 2, 4 or 8."""
    config = model.config.model_copy(update={"n_layers": 1})
    n_blocks = 512 // BLOCK
    dtype, device = model.embed.weight.dtype, model.embed.weight.device
    cache = BlockCache(config, n_blocks + 1, dtype, device)
    generator = torch.Generator().manual_seed(0)
    cache.data.copy_(torch.randn(cache.data.shape, generator=generator))
    q = torch.randn(TILE, config.n_heads, 1, config.head_dim, generator=generator).to(device, dtype)
    full = [_mixed(cache, q, last, TILE, n_items) for last in (5, 100, 511) for n_items in (2, 9)]
    for n_slots in (1, 2, 4):
        if all(torch.equal(one, _mixed(cache, q, last, n_slots, 1)) for one, last in zip(full, _LASTS, strict=True)):
            return n_slots
    return TILE


_LASTS = (5, 5, 100, 100, 511, 511)


def fingerprint(model: Transformer, sizes: tuple[int, ...]) -> str:
    """Digest of the bits this machine computes: stored keys and values are only taken up by the same arithmetic."""
    bits = torch.stack([_through_one_block(model, row, sizes[0])[0] for row in _trials(model)])
    return hashlib.sha256(bits.float().cpu().numpy().tobytes()).hexdigest()[:16]


def _trials(model: Transformer) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = model.embed.weight
    return [torch.randn(weight.shape[1], generator=generator).to(weight) for _ in range(N_TRIALS)]


def _through_one_block(model: Transformer, row: Tensor, size: int) -> Tensor:
    """Logits [size, V] of the same hidden state [M] in every row."""
    x = row.expand(size, 1, -1).contiguous()
    rotation = Rotation.at(torch.ones(size, 1, dtype=torch.int64, device=x.device), model.config, x.dtype)
    return model.logits(model.norm(model.blocks[0](x, rotation, _own_value, 0)))[:, 0]


def _own_value(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """An Attend that sees only the token itself."""
    return v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)


def _mixed(cache: BlockCache, q: Tensor, last: int, n_slots: int, n_items: int) -> Tensor:
    """Attention of queries [TILE, H, 1, D] at position `last`, in items of `n_slots`; a full tile `n_items` times."""
    table = np.arange(1, len(cache.data[0]))[None]
    if n_slots == TILE:
        rows = np.tile(np.arange(TILE), (n_items, 1))
    else:
        rows = np.repeat(np.arange(TILE)[:, None], n_slots, axis=1)
    positions = np.full(rows.shape, last)
    one = group(cache, np.repeat(table, len(rows), 0), positions, rows, np.full(len(rows), n_slots), n_slots)
    assert one.pick is not None
    mixed = BlockAttend(cache, torch.zeros(2, 0, dtype=torch.int64), [one]).mix(0, q.index_select(0, one.pick), one)
    return mixed[:TILE] if n_slots == TILE else mixed[::n_slots]
