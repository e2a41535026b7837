"""Training batches as a function of (seed, step): nothing is remembered, any step can be rebuilt.

Each group's documents are packed into rows once. Sample i belongs to a group by a fixed schedule that keeps every
group within one row of its share; the k-th row of a group is a keyed permutation per epoch. So the whole state of
a run's data is how many samples it consumed, and the order knows nothing of accumulation, world size or resuming.
Shares are shares of tokens: a group whose rows are packed less full gets a few more of them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from phidelity.config import UserError
from phidelity.data.batch import Batch, Piece, assemble, pack, windows
from phidelity.data.mixture import check_shares
from phidelity.data.shards import Shard, groups, open_shard
from phidelity.records import atomic

PERIOD = 10_000
"""Rows after which the schedule of groups repeats: shares are exact to one in ten thousand (ours)."""


@dataclass(frozen=True, slots=True)
class PackedGroup:
    """The rows of one group: which pieces of its shard lie in each."""

    shard: Shard
    pieces: np.ndarray
    """(start, length) of each piece, `[P, 2]`."""
    rows: list[list[int]]
    context_len: int

    @property
    def fill(self) -> float:
        """The share of positions that hold something; packing wastes the rest."""
        return int(self.pieces[:, 1].sum()) / (len(self.rows) * self.context_len)

    def row(self, number: int) -> list[Piece]:
        """The pieces of one row."""
        return [self._piece(*self.pieces[piece]) for piece in self.rows[number]]

    def _piece(self, start: int, length: int) -> Piece:
        return self.shard.tokens[start : start + length + 1], np.ones(length, dtype=np.float32)


class Loader:
    """Batches of a mixture of shards. All methods are pure: ask for any step, in any order."""

    def __init__(
        self, shards: Path, shares: Mapping[str, float], *, context_len: int, batch_rows: int, seed: int
    ) -> None:
        check_shares(shares)
        names = sorted(group for group, share in shares.items() if share)
        self.groups = {name: open_packed(shards, name, context_len) for name in names}
        self.context_len, self.batch_rows, self.seed = context_len, batch_rows, seed
        self.shares = {name: shares[name] for name in names}
        weights = {name: shares[name] / self.groups[name].fill for name in names}
        self.quotas = _quotas(weights)
        """How many of every `PERIOD` rows each group gives."""
        self._schedule = schedule([self.quotas[name] for name in names])
        self._before = np.stack([np.cumsum(self._schedule == g) - (self._schedule == g) for g in range(len(names))])

    @property
    def fingerprint(self) -> str:
        """Two loaders with one fingerprint give the same samples in the same order."""
        shards = {name: group.shard.digest for name, group in self.groups.items()}
        identity = {"shards": shards, "quotas": self.quotas, "context_len": self.context_len, "seed": self.seed}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def waste(self) -> dict[str, float]:
        """The share of positions that packing leaves empty, by group."""
        return {name: 1 - group.fill for name, group in self.groups.items()}

    @property
    def targets_per_row(self) -> float:
        """Predicted tokens in a row, on average over the mixture."""
        return self.context_len * sum(self.quotas[name] * group.fill for name, group in self.groups.items()) / PERIOD

    def batch(self, step: int) -> Batch:
        """The batch of one step; the first is step 0."""
        return self.rows(step * self.batch_rows, self.batch_rows)

    def rows(self, first: int, n: int) -> Batch:
        """Samples `first` to `first + n - 1`: a rank or a micro-batch asks for its part of a step."""
        return assemble([self._sample(number) for number in range(first, first + n)], self.context_len)

    def place(self, sample: int) -> tuple[str, int, int]:
        """Which group a sample comes from, in which epoch over it, and which of its rows it is."""
        round_, slot = divmod(sample, PERIOD)
        index = int(self._schedule[slot])
        name = list(self.groups)[index]
        nth = round_ * self.quotas[name] + int(self._before[index, slot])
        epoch, nth_in_epoch = divmod(nth, len(self.groups[name].rows))
        return name, epoch, int(epoch_order(self.seed, name, epoch, len(self.groups[name].rows))[nth_in_epoch])

    def _sample(self, number: int) -> list[Piece]:
        name, _, row = self.place(number)
        return self.groups[name].row(row)


def validation_batches(
    shards: Path, *, context_len: int, batch_rows: int, max_rows: int | None = None
) -> Iterator[tuple[str, Batch]]:
    """(group, batch) pairs over the held-out split, in a fixed order; at most `max_rows` rows of each group."""
    folder = shards / "validation"
    for name in groups(folder):
        packed = pack_shard(open_shard(folder, name), context_len)
        n_rows = min(len(packed.rows), max_rows or len(packed.rows))
        for first in range(0, n_rows, batch_rows):
            rows = [packed.row(number) for number in range(first, min(first + batch_rows, n_rows))]
            yield name, assemble(rows, context_len)


def pack_shard(shard: Shard, context_len: int) -> PackedGroup:
    """Pack the documents of a shard into rows."""
    pieces = windows(shard.ends, context_len)
    if not len(pieces):
        raise UserError(f"Shard {shard.group!r} holds no text to train on. Give the group a source or share 0.")
    return PackedGroup(shard, pieces, pack(pieces[:, 1].tolist(), context_len), context_len)


def save_rows(folder: Path, packed: PackedGroup) -> None:
    """Keep the rows of a shard beside it, for whoever reads it with the same context."""
    with atomic(folder / f"{packed.shard.group}.rows.npz") as file:
        np.savez(
            file,
            pieces=np.array([piece for row in packed.rows for piece in row], dtype=np.int64),
            ends=np.cumsum([len(row) for row in packed.rows], dtype=np.int64),
            context_len=packed.context_len,
            shard=packed.shard.digest,
        )


def open_packed(folder: Path, group: str, context_len: int, *, verify: bool = True) -> PackedGroup:
    """A shard in rows: those kept beside it where they are of this context, else packed now, which gives the same."""
    shard = open_shard(folder, group, verify=verify)
    path = folder / f"{group}.rows.npz"
    if path.exists():
        with np.load(path) as kept:
            if (int(kept["context_len"]), str(kept["shard"])) == (context_len, shard.digest):
                pieces, ends = kept["pieces"].tolist(), kept["ends"].tolist()
                rows = [pieces[start:end] for start, end in pairwise([0, *ends])]
                return PackedGroup(shard, windows(shard.ends, context_len), rows, context_len)
    return pack_shard(shard, context_len)


def schedule(quotas: list[int]) -> np.ndarray:
    """An order of sum(quotas) slots in which every group is always less than one slot from its share.

    Tijdeman's rule: of the groups that may have one more, the one that must have it soonest.
    """
    period = sum(quotas)
    given = [0] * len(quotas)
    order = np.empty(period, dtype=np.int16)
    # In units of 1/(slack * period) of a slot, to stay in whole numbers.
    slack = max(2 * len(quotas) - 2, 1)
    for slot in range(1, period + 1):
        best, soonest = -1, 0.0
        for group, quota in enumerate(quotas):
            if quota and slack * (quota * slot - given[group] * period) >= period:
                deadline = ((given[group] + 1) * slack * period - period) / (slack * quota)
                if best < 0 or deadline < soonest:
                    best, soonest = group, deadline
        order[slot - 1] = best
        given[best] += 1
    assert given == quotas
    return order


def _quotas(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers proportional to the weights that sum to `PERIOD`, by largest remainder."""
    scale = PERIOD / sum(weights.values())
    floors = {name: int(weight * scale) for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: (floors[name] - weights[name] * scale, name))
    for name in by_remainder[: PERIOD - sum(floors.values())]:
        floors[name] += 1
    return floors


def epoch_sample(seed: int, what: str, step: int, size: int, n: int) -> list[int]:
    """Which of n things make up a step of `size`: permuted anew each epoch, a function of the arguments alone."""
    places = (divmod(i, n) for i in range(step * size, (step + 1) * size))
    return [int(epoch_order(seed, what, epoch, n)[k]) for epoch, k in places]


@lru_cache(maxsize=32)
def epoch_order(seed: int, what: str, epoch: int, n: int) -> np.ndarray:
    """Order of n things in one epoch: a keyed permutation, a function of the arguments alone."""
    key = hashlib.sha256(f"{seed}/{what}/{epoch}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).permutation(n)
