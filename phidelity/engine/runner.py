"""One forward pass over tokens of many sequences: some decode, some prefill, each a row of one flat batch.

Every token is a row, and on CPU its bits are a function of the tokens before it and of nothing else: not of companions,
chunks, prefix hits or preemption. Where the kernels serve (model/dense.py, paged.py) that holds by construction. Where
torch serves alone, rows are filled up to one of the sizes of tiles.py; sequences that attend are grouped, all that
decode and all that prefill, and a group that would gather too much is split. No step has more rows than the budget.
"""

from collections.abc import Sequence as List
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.engine.blocks import BLOCK, NULL
from phidelity.engine.buckets import Buckets
from phidelity.engine.cache import TILE, BlockAttend, BlockCache, Group, group
from phidelity.engine.compact import ByteAttend, ByteCache, CacheFormat, cached_token
from phidelity.engine.paged import PagedAttend
from phidelity.engine.sequence import Sequence
from phidelity.engine.tiles import SIZES, fingerprint, query_slots, row_sizes
from phidelity.kernels.attention import Span
from phidelity.kernels.library import Library, kernels
from phidelity.model.config import ModelConfig, cache_bytes_per_token
from phidelity.model.dense import dense
from phidelity.model.transformer import Block, Transformer

GATHERED = 1 << 16
"""Columns that one group gathers a layer, unless a single sequence has more (*ours*)."""
ACCELERATOR_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Rows of a batch where bits are not promised (*ours*)."""
KERNEL_SIZES = (1, 2, *SIZES)
"""Where any number of rows will do: up to the last of these (*ours*), which are what speculation measures."""

SCORED = 1 << 24
"""Logits of a step that score prompts (*ours*): of a large vocabulary a step scores fewer tokens than it computes."""


class Chunk(NamedTuple):
    """The next `n` tokens of a sequence; logits are wanted of the last `n_logits` of them."""

    sequence: Sequence
    n: int
    n_logits: int


class Output(NamedTuple):
    """Logits [sum of n_logits, V] in the order of the chunks, and whether each chunk stayed finite."""

    logits: Tensor
    is_finite: np.ndarray


class Runner:
    """The model with its cache and the table of blocks of every row that runs."""

    def __init__(
        self,
        model: Transformer,
        *,
        n_rows: int,
        cache_bytes: int,
        context_len: int,
        step_tokens: int | None = None,
        cache_format: CacheFormat = "f32",
    ) -> None:
        self.model = dense(model) or model
        weight = model.embed.weight
        self.device = weight.device
        self._library = _library(self.model)
        blocks_per_row = -(-context_len // BLOCK)
        as_bytes = cache_format == "int8"
        per_token = (
            cached_token(model.config) if as_bytes else cache_bytes_per_token(model.config, weight.element_size())
        )
        self.n_blocks = 1 + max(blocks_per_row, min(cache_bytes // (BLOCK * per_token), n_rows * blocks_per_row))
        self.cache = (
            ByteCache(model.config, self.n_blocks)
            if as_bytes
            else BlockCache(model.config, self.n_blocks + 1, weight.dtype, self.device)  # one for rows that fill up
        )
        self._buckets = None
        if self.device.type == "cuda" and isinstance(self.cache, BlockCache):
            self._buckets = Buckets(model, self.cache, self.n_blocks)
        on_torch = self.device.type == "cpu" and not self._library
        self.sizes = row_sizes(model) if on_torch else KERNEL_SIZES if self._library else ACCELERATOR_SIZES
        self._n_slots = query_slots(model) if on_torch else 1
        self.budget = min(step_tokens or self.sizes[-1], self.sizes[-1])
        """Tokens of one step."""
        self.most_scored = max(1, min(self.budget, SCORED // model.config.vocab_size))
        """Of these, such as score a prompt."""
        self.n_rows = min(n_rows, self.budget)
        self.tables = np.full((self.n_rows, blocks_per_row + 1), NULL, dtype=np.int64)

    @property
    def config(self) -> ModelConfig:
        """Shape of the model."""
        return self.model.config

    def arithmetic(self) -> str:
        """What else than weights decides the bits of keys and values, and how they lie in a block."""
        bits = fingerprint(self.model, self.sizes)
        return f"{self._library.isa}-{bits}" if self._library else bits

    @torch.inference_mode()
    def forward(self, chunks: List[Chunk]) -> Output:
        """Compute and store the next tokens of each sequence; those with a single one come first."""
        n_decode = next((at for at, chunk in enumerate(chunks) if chunk.n > 1), len(chunks))
        rows = np.array([chunk.sequence.row for chunk in chunks])
        counts = np.array([chunk.n for chunk in chunks])
        starts = np.array([chunk.sequence.n_cached for chunk in chunks])
        n = int(counts.sum())
        if self._buckets and all(chunk.n == chunk.n_logits == 1 for chunk in chunks):
            logits = self._buckets(np.array(_next_tokens(chunks)), starts, self.tables[rows])
            return Output(logits, np.ones(n, dtype=bool))
        size = self._size(n)
        first = np.cumsum(counts) - counts
        inputs = np.zeros((2, size, 1), dtype=np.int64)
        tokens, positions = inputs[0, :, 0], inputs[1, :, 0]
        tokens[:n] = _next_tokens(chunks)
        positions[:n] = np.arange(n) + np.repeat(starts - first, counts)
        if isinstance(self.cache, ByteCache):
            cells = self.tables[np.repeat(rows, counts), positions // BLOCK] * BLOCK + positions % BLOCK
            places = zip(first, counts, starts, self.tables[rows], strict=True)
            spans = [Span(int(at), int(n_rows), int(start), table) for at, n_rows, start, table in places]
            attend = ByteAttend(self.cache, spans, cells)
        elif self._library:
            attend = PagedAttend(self.cache, self._library, self.tables, np.repeat(rows, counts), positions)
        else:
            blocks = self.tables[np.repeat(rows, counts), positions[:n] // BLOCK]
            groups = self._groups(self.cache, rows, starts, counts, first, n_decode, size)
            attend = BlockAttend(self.cache, self.cache.places(blocks, positions[:n]), groups)
        on_device = torch.from_numpy(inputs).to(self.device)
        x = self.model(on_device[0], on_device[1], attend)[:, 0]
        return Output(self._logits(x, chunks, first, counts, n), self._finite(x, first, n_decode, n))

    def _size(self, n: int) -> int:
        return n if self._library else next(size for size in self.sizes if size >= n)

    def _logits(self, x: Tensor, chunks: List[Chunk], first: np.ndarray, counts: np.ndarray, n: int) -> Tensor:
        """The head on the rows that are wanted, they too in a batch of a known size."""
        n_logits = np.array([chunk.n_logits for chunk in chunks])
        n_wanted = int(n_logits.sum())
        if n_wanted == n:
            return self.model.logits(x)[:n]
        ends = np.repeat(first + counts - n_logits, n_logits)
        within = np.arange(n_wanted) - np.repeat(np.cumsum(n_logits) - n_logits, n_logits)
        wanted = np.zeros(self._size(n_wanted), dtype=np.int64)
        wanted[:n_wanted] = ends + within
        return self.model.logits(x[torch.from_numpy(wanted).to(self.device)])[:n_wanted]

    def _finite(self, x: Tensor, first: np.ndarray, n_decode: int, n: int) -> np.ndarray:
        """Whether all hidden states of each prefilled chunk are finite; decode shows it in its log-probabilities."""
        is_finite = np.ones(len(first), dtype=bool)
        if n_decode < len(first):
            start = int(first[n_decode])
            hidden = x[start:n]
            rows = np.isfinite(hidden.numpy()).all(-1) if self._library else hidden.isfinite().all(-1).cpu().numpy()
            is_finite[n_decode:] = np.logical_and.reduceat(rows, first[n_decode:] - start)
        return is_finite

    def _groups(
        self,
        cache: BlockCache,
        rows: np.ndarray,
        starts: np.ndarray,
        counts: np.ndarray,
        first: np.ndarray,
        n_decode: int,
        size: int,
    ) -> list[Group]:
        """Decode and prefill attend apart, each in as many groups as the columns they gather ask for."""
        if n_decode == len(rows) and self._n_slots == 1 and (starts.max() + 1) * size <= GATHERED:
            tables = np.full((size, self.tables.shape[1]), NULL)
            tables[:n_decode] = self.tables[rows]
            places = np.zeros((size, 1), dtype=np.int64)
            places[:n_decode, 0] = starts
            one = group(cache, tables, places, np.arange(size)[:, None], np.ones(size, dtype=np.int64), 1)
            return [one._replace(pick=None)]
        result = []
        for part, tile in ((slice(0, n_decode), self._n_slots), (slice(n_decode, len(rows)), TILE)):
            order = np.argsort(starts[part] + counts[part], kind="stable") + part.start
            for members in _within(order, starts + counts):
                result.append(self._group(cache, rows[members], starts[members], counts[members], first[members], tile))
        return result

    def _group(
        self,
        cache: BlockCache,
        rows: np.ndarray,
        starts: np.ndarray,
        counts: np.ndarray,
        first: np.ndarray,
        tile: int,
    ) -> Group:
        tables = self.tables[rows]
        if len(rows) * self.config.n_kv_heads < 2:  # a single item has a kernel of its own
            tables, starts, first = (np.concatenate((one, one)) for one in (tables, starts, first))
            counts = np.array([counts[0], 0])
        n_slots = -(-int(counts.max()) // tile) * tile
        within = np.minimum(np.arange(n_slots), np.maximum(counts, 1)[:, None] - 1)
        return group(cache, tables, starts[:, None] + within, first[:, None] + within, counts, tile)


def _library(model: Transformer) -> Library | None:
    """The kernels, where the blocks run on them and the cache is theirs."""
    return kernels() if type(model.blocks[0]) is not Block and model.embed.weight.dtype == torch.float32 else None


def _next_tokens(chunks: List[Chunk]) -> list[int]:
    tokens = []
    for sequence, n, _ in chunks:
        known = sequence.tokens[sequence.n_cached : sequence.n_cached + n]
        tokens += known if len(known) == n else [*known, *sequence.draft[: n - len(known)]]
    return tokens


def _within(order: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Split sequences, shortest first, into groups that gather at most `GATHERED` columns each."""
    groups, start = [], 0
    for at in range(1, len(order) + 1):
        if at == len(order) or (at + 1 - start) * lengths[order[at]] > GATHERED:
            groups.append(order[start:at])
            start = at
    return groups
