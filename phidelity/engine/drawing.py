"""How a token is drawn: random streams, the cuts of top-k, top-p and min-p, and one number that chooses.

The n-th number of a request is a hash of (its key, n), as in counter-based generators (Salmon et al. 2011; the
mixer is splitmix64), so companions never shift a random stream. A token is drawn by inverting the cumulative
distribution, which also makes speculation exact: a draft is right where it is what would have been drawn. Ties go to
the lowest id, also at the edge of top-k and top-p.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.completion import SamplingParams

BLOCK = 64
"""Probabilities are summed in blocks of this many; the draw looks into one of them (*ours*)."""
CANDIDATES = 256
"""A nucleus is looked for among the first so many before all are added up (*ours*)."""
COLDEST = 1e-30
"""Lower temperatures act as this one (*ours*): all but exact ties have gone by then."""


class Settings(NamedTuple):
    """Parameters of the rows that are drawn, as columns [D, 1]."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor

    @classmethod
    def of(cls, params: Sequence[SamplingParams], device: torch.device) -> "Settings":
        """The columns of some rows."""
        values = [[max(p.temperature, COLDEST), p.top_k, p.top_p, p.min_p] for p in params]
        table = torch.tensor(values, dtype=torch.float64, device=device).reshape(-1, 4)
        temperature, top_k, top_p, min_p = table.split(1, dim=1)
        return cls(temperature.float(), top_k.long(), top_p, min_p.float())


def stream_key(seed: int, prompt: tuple[int, ...], repeat: int) -> int:
    """The 64-bit key of a request's random stream: its seed, its token ids, its how-manieth repeat."""
    text = f"{seed}/{repeat}/{','.join(map(str, prompt))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def uniforms(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1): the `counters[i]`-th of stream `keys[i]` (uint64), 53 bits each."""
    x = keys + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def draw(logits: Tensor, settings: Settings, u: np.ndarray) -> np.ndarray:
    """Tokens [D] from logits [D, V] by numbers u [D] in [0, 1)."""
    scaled = (logits - logits.amax(-1, keepdim=True)) / settings.temperature
    limited = (settings.top_k[:, 0] > 0) & (settings.top_k[:, 0] < scaled.shape[1])
    if limited.any():
        scaled[limited] = _best_k(scaled[limited], settings.top_k[limited])
    p = scaled.softmax(-1)
    limited = settings.top_p[:, 0] < 1
    if limited.any():
        p[limited] = _nucleus(p[limited], settings.top_p[limited])
    if settings.min_p.any():
        p = p.masked_fill(p < settings.min_p * p.amax(-1, keepdim=True), 0.0)
    return _invert(p, torch.from_numpy(u).to(p.device)).cpu().numpy()


def _invert(p: Tensor, u: Tensor) -> Tensor:
    """The first token at which the cumulative distribution exceeds u; p [D, V] need not sum to 1."""
    p = torch.nn.functional.pad(p, (0, -p.shape[1] % BLOCK)).view(len(p), -1, BLOCK)
    ends = p.sum(-1).cumsum(-1, dtype=torch.float64)
    target = u[:, None] * ends[:, -1:]
    block = (ends <= target).sum(-1, keepdim=True).clamp_(max=ends.shape[1] - 1)
    before = torch.nn.functional.pad(ends, (1, 0)).gather(1, block)
    inside = p[torch.arange(len(p), device=p.device), block[:, 0]]  # [D, BLOCK]
    place = (before + inside.cumsum(-1, dtype=torch.float64) <= target).sum(-1)
    last = (inside > 0).long().cumsum(-1).argmax(-1)
    return block[:, 0] * BLOCK + torch.minimum(place, last)


def _best_k(x: Tensor, k: Tensor) -> Tensor:
    """-inf for all but the k [D, 1] largest of each row."""
    values = _descending(x)[:, : int(k.max())]
    return x.masked_fill(~_largest(x, k, values.gather(1, k - 1)), float("-inf"))


def _nucleus(p: Tensor, top_p: Tensor) -> Tensor:
    """Zero for all but the fewest most probable tokens that together reach `top_p` [D, 1]."""
    ordered = _descending(p)
    values = ordered[:, :CANDIDATES]
    reached = values.cumsum(-1, dtype=torch.float64)
    if (reached[:, -1:] < top_p).any():
        values = ordered
        reached = values.cumsum(-1, dtype=torch.float64)
    before = reached - values
    n = (before < top_p).sum(-1, keepdim=True).clamp_(min=1)
    return p.masked_fill(~_largest(p, n, values.gather(1, n - 1)), 0.0)


def _largest(x: Tensor, n: Tensor, least: Tensor) -> Tensor:
    """Which are the n [D, 1] largest of each row, whose n-th is `least` [D, 1]; of equal ones those of lowest id."""
    kept = x >= least
    surplus = (kept.sum(-1, keepdim=True) > n)[:, 0]
    if surplus.any():
        x, n, least = x[surplus], n[surplus], least[surplus]
        above, equal = x > least, x == least
        kept[surplus] = above | (equal & (equal.cumsum(-1) <= n - above.sum(-1, keepdim=True)))
    return kept


def _descending(x: Tensor) -> Tensor:
    """Each row's values from the largest (numpy's sort is measured 40 times as fast as torch's on CPU)."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.numpy(), axis=-1)).flip(-1)
    return x.sort(-1, descending=True).values
