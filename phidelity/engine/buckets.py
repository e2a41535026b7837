"""Decode on an accelerator: buffers of fixed size for each bucket of batch and context, each one CUDA graph.

A decode step of a large model is hundreds of small kernels, and launching them costs more than they take; a graph
launches all of them at once, but only at fixed addresses and shapes. So a step is filled up to a bucket: rows to a
power of two, blocks of context to a power of two. Rows that fill up read and write a block of their own, which
nobody else holds. On a device without graphs the same step runs as it stands: so it is tested on a CPU.

Not run by us on a GPU: none was at hand.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phidelity.engine.blocks import BLOCK
from phidelity.engine.cache import BlockCache
from phidelity.model.transformer import Transformer

WARM_UP = 2
"""Steps before a capture, in which libraries make what they need (*ours*)."""


class StaticAttend:
    """Attention of one new token of each row over its blocks; every shape and address is that of the bucket."""

    def __init__(self, cache: BlockCache, tables: Tensor, positions: Tensor) -> None:
        """`tables` [N, n_blocks] and `positions` [N, 1], on the device."""
        n_heads = cache.config.n_kv_heads
        self._cache = cache
        self._block = tables.gather(1, positions // BLOCK)[:, 0]
        self._place = positions[:, 0] % BLOCK
        heads = torch.arange(2 * n_heads, device=tables.device).view(2, 1, n_heads, 1)
        self._strips = (tables[None, :, None] * 2 * n_heads + heads).reshape(-1)
        self._seen = torch.arange(tables.shape[1] * BLOCK, device=tables.device) <= positions[:, :, None, None]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[N, H, 1, D], [N, K, 1, D], [N, K, 1, D] -> [N, H, 1, D]; keys and values are stored."""
        data = self._cache.data[layer]
        for part, new in enumerate((k, v)):
            data[:, part][self._block, :, self._place] = new[:, :, 0]
        strips = data.view(-1, BLOCK * q.shape[3]).index_select(0, self._strips)
        keys, values = strips.view(2, len(q), k.shape[1], -1, q.shape[3])
        queries = q.reshape(len(q), k.shape[1], -1, q.shape[3])  # heads that share keys are rows of one product
        seen = self._seen.expand(-1, 1, queries.shape[2], -1)
        y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        return y.reshape(q.shape)


class _Bucket(NamedTuple):
    tokens: Tensor
    positions: Tensor
    tables: Tensor
    logits: Tensor
    graph: "torch.cuda.CUDAGraph | None"


class Buckets:
    """The decode steps of one model and cache."""

    def __init__(self, model: Transformer, cache: BlockCache, spare: int) -> None:
        """`spare` is a block for rows that fill up."""
        self.buckets: dict[tuple[int, int], _Bucket] = {}
        self._model, self._cache, self._spare = model, cache, spare
        self._pool = torch.cuda.graph_pool_handle() if cache.data.is_cuda else None

    @torch.inference_mode()
    def __call__(self, tokens: np.ndarray, positions: np.ndarray, tables: np.ndarray) -> Tensor:
        """Ids [N], positions [N] and tables of blocks [N, n] -> logits [N, V], good until the next step."""
        n = len(tokens)
        key = _power_of_two(n), _power_of_two(int(positions.max()) // BLOCK + 1)
        filled = np.zeros((2, key[0]), dtype=np.int64)
        filled[0, :n], filled[1, :n] = tokens, positions
        blocks = np.full(key, self._spare, dtype=np.int64)
        blocks[:n, : tables.shape[1]] = tables[:, : key[1]]
        device = self._cache.data.device
        inputs = [torch.from_numpy(part).to(device) for part in (filled[0, :, None], filled[1, :, None], blocks)]
        bucket = self.buckets.get(key) or self.buckets.setdefault(key, self._made(*inputs))
        for place, value in zip(bucket[:3], inputs, strict=True):
            place.copy_(value)
        if bucket.graph:
            bucket.graph.replay()
        else:
            bucket.logits.copy_(self._step(*bucket[:3]))
        return bucket.logits[:n]

    def _step(self, tokens: Tensor, positions: Tensor, tables: Tensor) -> Tensor:
        x = self._model(tokens, positions, StaticAttend(self._cache, tables, positions))[:, 0]
        return self._model.logits(x)

    def _made(self, *inputs: Tensor) -> _Bucket:
        """Buffers, and where there are graphs the step captured on them; trials write what the step will write."""
        tokens, positions, tables = (part.clone() for part in inputs)
        if not tokens.is_cuda:
            return _Bucket(tokens, positions, tables, self._step(tokens, positions, tables), None)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step(tokens, positions, tables)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = self._step(tokens, positions, tables)
        return _Bucket(tokens, positions, tables, logits, graph)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()
