"""Who holds which block of the cache, and which prefix it holds: bookkeeping alone, no tensors.

A block has room for `BLOCK` tokens. Full blocks are shared by reference; a block that is being written has one holder.
A prefix is a chain: a block is found by (serial number of the block before it, its token ids), so a hit compares
all ids and the whole chain by construction, and a collision of hashes can never serve another prompt's keys. Blocks
nobody holds stay findable until room is needed; the one used longest ago goes first, ends of chains before beginnings.
A prefix that ends inside a block is found too: its beginning is copied (copy-on-write), for n > 1 as for like prompts.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

BLOCK = 32
"""Tokens of a block (*ours*)."""
NULL = 0
"""A block of zeros that is never handed out: it fills tables of blocks up."""
ROOT = 0
"""Serial number before the first block of every prompt."""
SIBLINGS = 32
"""Newest continuations of a prefix that are compared for one that ends inside a block (*ours*)."""


class Entry(NamedTuple):
    """What a findable block holds."""

    parent: int
    ids: tuple[int, ...]
    serial: int
    chain: bytes
    """Its name on disk: the digest of all token ids from the beginning, of a block that is not full of those before."""


class Match(NamedTuple):
    """The longest known beginning of a prompt: whole blocks, then `n_partial` tokens of one more."""

    blocks: list[int]
    parent: int
    """Serial number of the last whole block."""
    chain: bytes
    """Its name on disk."""
    partial: int
    n_partial: int


class Blocks:
    """Blocks 1 to n_blocks - 1: free, held, or idle (findable and held by nobody)."""

    def __init__(self, n_blocks: int, on_evict: Callable[[int, Entry], None] | None = None) -> None:
        self.n_blocks = n_blocks
        self.refs = np.zeros(n_blocks, dtype=np.int64)
        self.entries: list[Entry | None] = [None] * n_blocks
        self._on_evict = on_evict
        self._free = list(range(n_blocks - 1, 0, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._found: dict[tuple[int, tuple[int, ...]], int] = {}
        self._children: dict[int, dict[int, None]] = {}
        self._serial = ROOT

    @property
    def n_available(self) -> int:
        """Blocks that `take` can give."""
        return len(self._free) + len(self._idle)

    @property
    def n_held(self) -> int:
        """Blocks that somebody holds."""
        return self.n_blocks - 1 - self.n_available

    @property
    def idle(self) -> Iterable[int]:
        """Findable blocks that nobody holds, the one used longest ago first."""
        return self._idle

    def take(self) -> int:
        """A block for one holder to write into."""
        block = self._free.pop() if self._free else self._evict()
        self.refs[block] = 1
        return block

    def share(self, block: int) -> None:
        """One more holder."""
        self._idle.pop(block, None)
        self.refs[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """One holder less for each of a sequence's blocks; its last block becomes the oldest."""
        for block in reversed(list(blocks)):
            self.refs[block] -= 1
            assert self.refs[block] >= 0, "a block was released more often than held"
            if self.refs[block] == 0:
                if self.entries[block]:
                    self._idle[block] = None
                else:
                    self._free.append(block)

    def match(self, ids: tuple[int, ...]) -> Match:
        """The longest known beginning of `ids`; holds nothing yet."""
        blocks, parent, chain, start = [], ROOT, b"", 0
        while start + BLOCK <= len(ids):
            block = self._found.get((parent, ids[start : start + BLOCK]))
            if block is None:
                break
            entry = self.entries[block]
            assert entry, "a findable block has no entry"
            parent, chain = entry.serial, entry.chain
            blocks.append(block)
            start += BLOCK
        rest = ids[start : start + BLOCK]
        best, n_best = NULL, 0
        for block in islice(reversed(self._children.get(parent, {})), SIBLINGS):
            entry = self.entries[block]
            n = n_common(entry.ids, rest) if entry else 0
            if n > n_best:
                best, n_best = block, n
        return Match(blocks, parent, chain, best, n_best)

    def publish(self, block: int, parent: int, parent_chain: bytes, ids: tuple[int, ...]) -> Entry:
        """Make `block` findable as `ids` after `parent`; where another block is, that one stays. Its entry."""
        known = self._found.get((parent, ids))
        if known is not None and known != block:
            entry = self.entries[known]
            assert entry
            return entry
        old = self.entries[block]
        if old and old.ids == ids:
            return old
        if old:
            self._forget(block)
        self._serial += 1
        entry = Entry(parent, ids, self._serial, chained(parent_chain, ids if len(ids) == BLOCK else ()))
        self.entries[block] = entry
        self._found[parent, ids] = block
        self._children.setdefault(parent, {})[block] = None
        return entry

    def forget_partial(self, block: int) -> bool:
        """Make a block that is not full unfindable; whether it is one that its holder may still be writing."""
        entry = self.entries[block]
        if entry and len(entry.ids) == BLOCK:
            return False
        if entry:
            self._forget(block)
        return int(self.refs[block]) == 1

    def forget_all(self) -> None:
        """Make nothing findable; idle blocks are free."""
        for block, entry in enumerate(self.entries):
            if entry:
                self._forget(block)
        self._free.extend(self._idle)
        self._idle.clear()

    def check(self, held: Iterable[list[int]]) -> None:
        """Assert that no block is lost and that counts match what sequences hold; called when tests are idle."""
        counts = np.zeros(self.n_blocks, dtype=np.int64)
        for blocks in held:
            np.add.at(counts, blocks, 1)
        assert (counts == self.refs).all(), "reference counts differ from what is held"
        assert len(self._free) + len(self._idle) + int((counts > 0).sum()) == self.n_blocks - 1, "a block was lost"
        assert len(set(self._free) | set(self._idle)) == self.n_available, "a block is free twice"
        assert all(self.entries[block] for block in self._idle)
        assert sorted(self._found.values()) == [block for block, entry in enumerate(self.entries) if entry]

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        entry = self.entries[block]
        if entry and self._on_evict:
            self._on_evict(block, entry)
        self._forget(block)
        return block

    def _forget(self, block: int) -> None:
        entry = self.entries[block]
        assert entry
        del self._found[entry.parent, entry.ids]
        siblings = self._children[entry.parent]
        del siblings[block]
        if not siblings:
            del self._children[entry.parent]
        self.entries[block] = None


def chained(chain: bytes, ids: tuple[int, ...]) -> bytes:
    """Digest of a prefix that goes on with a block of `ids`."""
    return hashlib.blake2b(chain + np.array(ids, dtype="<i8").tobytes(), digest_size=16).digest()


def n_common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            return n
        n += 1
    return n
