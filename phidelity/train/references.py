"""Log-probabilities under the reference model, computed once and kept.

A row is keyed by a hash of the reference's weights, the tokenizer and all of its ids. So a cache of other weights can
never be taken for one of these: its entries do not match, and are counted as foreign.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from phidelity.config import UserError
from phidelity.model.transformer import Transformer
from phidelity.records import read_json, write_json
from phidelity.train.pair_logprobs import Row, sides

CHUNK = 32
"""Pairs of one forward pass (ours)."""


def refer(model: Transformer, rows: Sequence[Row], cache: Path, *, exact: bool = False) -> dict[str, int]:
    """Fill in the reference of each row from `cache` or from `model` as it is; how many were found, made, and foreign.

    In evaluation mode: there is nothing random in the forward pass of a reference.
    """
    keys = row_keys(weights_digest(model), rows, exact)
    kept = _load(cache)
    missing = [i for i, key in enumerate(keys) if key not in kept]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for at in range(0, len(missing), CHUNK):
            chunk = missing[at : at + CHUNK]
            scored = sides(model, [rows[i] for i in chunk], exact=exact)
            for i, chosen, rejected in zip(chunk, scored.chosen.tolist(), scored.rejected.tolist(), strict=True):
                kept[keys[i]] = [chosen, rejected]
    model.train(was_training)
    for row, key in zip(rows, keys, strict=True):
        row.reference_chosen, row.reference = kept[key][0], kept[key][0] - kept[key][1]
    foreign = len(kept.keys() - set(keys))
    write_json(cache, {key: kept[key] for key in keys})
    return {"found": len(keys) - len(missing), "computed": len(missing), "foreign": foreign}


def weights_digest(model: Transformer) -> str:
    """SHA-256 of all weights by name, type and bytes."""
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        total.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        total.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def row_keys(weights: str, rows: Sequence[Row], exact: bool) -> list[str]:
    """What each row's reference is kept under."""
    parts = (
        (weights, exact, row.pair.tokenizer, row.pair.kind, row.context, row.pair.chosen, row.pair.rejected)
        for row in rows
    )
    return [hashlib.sha256(repr(part).encode()).hexdigest() for part in parts]


def _load(cache: Path) -> dict[str, list[float]]:
    if not cache.exists():
        return {}
    try:
        kept = read_json(cache)
        assert all(len(pair) == 2 for pair in kept.values())
    except (ValueError, AssertionError, AttributeError, TypeError):
        raise UserError(
            f"{cache} is damaged; expected log-probabilities by row. Remove it to compute them anew."
        ) from None
    return kept
