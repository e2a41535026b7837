"""`Batch`, what a training step reads, and the packing of documents into its rows.

A document of n tokens fills n - 1 positions: its last token, the end of text, is only ever a target, and nothing
is predicted across documents. Packing is best-fit decreasing: no document that fits the context is cut, longer
ones are cut into windows (each predicts on from where the last one ended). Positions restart and doc_ids differ
from document to document in a row; what is left of a row is padding with doc_id -1 and loss_mask 0. phi-4 does
not say how it packs (report §3); all of this is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phidelity.config import UserError
from phidelity.device import sent

PADDING = -1
"""The doc_id of positions that hold nothing."""

Piece = tuple[np.ndarray, np.ndarray]
"""n + 1 token ids, of which the last n are targets, and the n loss masks of those targets."""


@dataclass(slots=True)
class Batch:
    """Rows of packed documents, each field `[B, T]`."""

    tokens: Tensor
    targets: Tensor
    """The token after each of `tokens` in the same document."""
    loss_mask: Tensor
    """1.0 where the target is learnt from."""
    positions: Tensor
    doc_ids: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_targets(self) -> int:
        """How many targets are learnt from."""
        return int(self.loss_mask.sum())

    def select(self, rows: slice | Sequence[int] | Tensor) -> "Batch":
        """These rows alone."""
        index = rows if isinstance(rows, slice | Tensor) else torch.tensor(rows, dtype=torch.long)
        return Batch(
            self.tokens[index], self.targets[index], self.loss_mask[index], self.positions[index], self.doc_ids[index]
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        fields = (self.tokens, self.targets, self.loss_mask, self.positions, self.doc_ids)
        return Batch(*(sent(field, device) for field in fields))


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: which pieces (by number) lie together in each row of `capacity` positions.

    Longest first, each into the row it fills best. Rows come in the order of their first piece and keep their
    pieces in order, so an order that means something survives as well as it can.
    """
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set when some row has room r
    for piece in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        length = lengths[piece]
        assert 0 < length <= capacity, f"a piece of {length} for rows of {capacity}"
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = by_room[room].pop()
            rooms &= ~(1 << room) if not by_room[room] else -1
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(piece)
        by_room[room - length].append(row)
        rooms |= 1 << (room - length)
    return sorted((sorted(row) for row in rows), key=lambda row: row[0])


def waste(rows: Sequence[Sequence[int]], lengths: Sequence[int], capacity: int) -> float:
    """The share of positions that packing leaves empty."""
    if not rows:
        return 0.0
    return 1 - sum(lengths[piece] for row in rows for piece in row) / (len(rows) * capacity)


def windows(ends: np.ndarray, context_len: int) -> np.ndarray:
    """Where to read: (start, length) of each piece of the documents that end at `ends`; `[P, 2]`.

    A piece of length n reads n + 1 tokens from its start. Only documents of more than `context_len` positions
    have several; a document of one token has none.
    """
    ends = np.asarray(ends, dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends])[:-1]
    positions = np.maximum(ends - starts - 1, 0)
    n_windows = -(-positions // context_len)
    number = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    offsets = number * context_len
    lengths = np.minimum(np.repeat(positions, n_windows) - offsets, context_len)
    return np.stack([np.repeat(starts, n_windows) + offsets, lengths], axis=1)


def assemble(rows: Sequence[Sequence[Piece]], context_len: int) -> Batch:
    """Lay pieces out in rows, one after the other."""
    shape = (len(rows), context_len)
    tokens, targets, positions = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    doc_ids = np.full(shape, PADDING, dtype=np.int64)
    loss_mask = np.zeros(shape, dtype=np.float32)
    for r, row in enumerate(rows):
        at = 0
        for number, (ids, mask) in enumerate(row):
            n = len(ids) - 1
            place = slice(at, at + n)
            tokens[r, place], targets[r, place], loss_mask[r, place] = ids[:-1], ids[1:], mask
            positions[r, place], doc_ids[r, place] = np.arange(n), number
            at += n
    return Batch(*(torch.from_numpy(array) for array in (tokens, targets, loss_mask, positions, doc_ids)))


def pack_rows(rows: Sequence[tuple[Sequence[int], Sequence[int | bool]]], context_len: int) -> Batch:
    """Pack conversations, each as (ids, mask) where mask says which ids are learnt from, into one `Batch`.

    The first id is never a target, whatever its mask. A conversation over the context is an error: cut, it
    would lose its question or its end.
    """
    too_long = [len(ids) - 1 for ids, _ in rows if len(ids) - 1 > context_len]
    if too_long:
        raise UserError(
            f"{len(too_long)} of {len(rows)} conversations exceed the context of {context_len} (the longest has "
            f"{max(too_long)} positions). Leave them out or raise context_len."
        )
    pieces = [
        (np.asarray(ids, dtype=np.int64), np.asarray(mask[1:], dtype=np.float32)) for ids, mask in rows if len(ids) > 1
    ]
    packed = pack([len(ids) - 1 for ids, _ in pieces], context_len)
    return assemble([[pieces[number] for number in row] for row in packed], context_len)
