"""Log-probabilities of both sides of preference pairs, from one forward pass over packed sequences.

A `token` pair is one sequence, its context: at the last position the difference of two logits is all that a margin
needs, so no row of the vocabulary is made (`exact` subtracts the normaliser where a loss or a measurement asks for
it). `prefix` and `full` pairs are two sequences, the context with either side. All lie in rows as long as the longest
of them, best fit first, and none sees another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.data.batch import Batch, assemble, pack
from phidelity.model.documents import packed_attend
from phidelity.model.transformer import Transformer
from phidelity.records import PreferencePair
from phidelity.train.objectives import token_logprobs


@dataclass(slots=True)
class Row:
    """One pair as ids: what both continuations follow, and the two of them."""

    pair: PreferencePair
    context: list[int]
    reference: float = 0.0
    """Margin of the reference model."""
    reference_chosen: float = 0.0
    """log ref(chosen): of a token pair up to the normaliser, unless it was asked for exactly."""

    @property
    def reference_rejected(self) -> float:
        """log ref(rejected), likewise."""
        return self.reference_chosen - self.reference


class Sides(NamedTuple):
    """log pi(chosen) and log pi(rejected), sums over tokens: [B] each; and the same of the token at which they part."""

    chosen: Tensor
    rejected: Tensor
    parting_chosen: Tensor
    parting_rejected: Tensor


class _Sequence(NamedTuple):
    """Ids of which the last `n` are scored, for side `slot` (2 i chosen, 2 i + 1 rejected of pair i)."""

    ids: list[int]
    n: int
    slot: int


def sides(model: Transformer, rows: Sequence[Row], *, exact: bool = False) -> Sides:
    """Both sides of each pair; those of token pairs lack a common normaliser unless `exact`."""
    device = model.head.weight.device
    sequences = [sequence for i, row in enumerate(rows) for sequence in _sequences(i, row)]
    batch, order = _packed(sequences)
    here = batch.to(device)
    hidden = model(here.tokens, here.positions, packed_attend(batch.doc_ids, model.head.weight.dtype, device))
    index = batch.loss_mask.flatten().nonzero()[:, 0]
    x, targets = (tensor.flatten(0, 1)[index.to(device)] for tensor in (hidden, here.targets))  # [N, M], [N]
    slots = torch.tensor([sequence.slot for sequence in order for _ in range(sequence.n)])
    token = torch.tensor(
        [rows[sequence.slot // 2].pair.kind == "token" for sequence in order for _ in range(sequence.n)]
    )
    scores, owners = [], []
    for here_, function in ((token, _two_logits), (~token, _logprobs)):
        at = here_.nonzero()[:, 0]
        if len(at):
            values, of = function(model, rows, x[at.to(device)], targets[at.to(device)], slots[at], exact)
            scores.append(values)
            owners.append(of)
    values, of = torch.cat(scores), torch.cat(owners)
    sums = torch.zeros(2 * len(rows), device=device).index_add(0, of.to(device), values)
    parting = values.detach()[_partings(rows, of).to(device)].view(-1, 2)
    return Sides(sums[::2], sums[1::2], parting[:, 0], parting[:, 1])


def _sequences(i: int, row: Row) -> list[_Sequence]:
    if row.pair.kind == "token":
        return [_Sequence([*row.context, row.pair.chosen[0]], 1, 2 * i)]
    both = (row.pair.chosen, row.pair.rejected)
    return [_Sequence([*row.context, *side], len(side), 2 * i + which) for which, side in enumerate(both)]


def _packed(sequences: Sequence[_Sequence]) -> tuple[Batch, list[_Sequence]]:
    """A batch in whose mask every scored token is 1, and the sequences in the order in which they lie in it."""
    lengths = [len(sequence.ids) - 1 for sequence in sequences]
    packed = pack(lengths, max(lengths))
    pieces = [
        (np.asarray(sequence.ids), np.arange(n) >= n - sequence.n)
        for sequence, n in zip(sequences, lengths, strict=True)
    ]
    batch = assemble(
        [[(ids, mask.astype(np.float32)) for ids, mask in (pieces[i] for i in row)] for row in packed], max(lengths)
    )
    return batch, [sequences[i] for row in packed for i in row]


def _two_logits(
    model: Transformer, rows: Sequence[Row], x: Tensor, targets: Tensor, slots: Tensor, exact: bool
) -> tuple[Tensor, Tensor]:
    """z_chosen and z_rejected of token pairs, less the normaliser if `exact`."""
    rejected = torch.tensor([rows[slot // 2].pair.rejected[0] for slot in slots.tolist()], device=x.device)
    ids, twice = torch.cat([targets, rejected]), torch.cat([x, x])
    head = model.head.weight
    values = token_logprobs(twice, head, ids) if exact else (head[ids].float() * twice.float()).sum(-1)
    return values, torch.cat([slots, slots + 1])


def _logprobs(
    model: Transformer, rows: Sequence[Row], x: Tensor, targets: Tensor, slots: Tensor, exact: bool
) -> tuple[Tensor, Tensor]:
    """Log-probability of every scored token of longer pairs."""
    return token_logprobs(x, model.head.weight, targets), slots


def _partings(rows: Sequence[Row], of: Tensor) -> Tensor:
    """Where in the scored tokens the two sides of each pair part: [2 B], chosen and rejected in turn.

    Tokens of one side stand together and in order. Where one side is the beginning of the other, its last token is
    taken, the nearest that there is.
    """
    first = {slot: i for i, slot in reversed(list(enumerate(of.tolist())))}
    places = []
    for i, row in enumerate(rows):
        both = (row.pair.chosen, row.pair.rejected)
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(*both, strict=False))))
        places += [first[2 * i + which] + min(shared, len(side) - 1) for which, side in enumerate(both)]
    return torch.tensor(places)
