"""Rounding of matrices to q4 and q8 with the least weighted squared error; the numbers are those of kernels/layout.py.

q4 looks for scale and minimum of each group of 32 weights: for some widths of the grid it rounds, solves the two
numbers by least squares, and keeps the best; then the scales of a row are rounded to 8 bits, and values, minima and
scales are rounded again, each given the others. This is the search of llama.cpp's K-formats with what 8-bit scales
allow besides. Without calibration all errors weigh the same; with it a column weighs what the mean square of its
inputs was on a text (an importance matrix). q8 is the largest magnitude over 127, its scale rounded up, so nothing is
cut off.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phidelity.kernels.layout import GROUP, Kind, Quantised

LEVELS = 15
"""Highest value of a nibble."""
WIDTHS = (-1.2, -0.8, -0.4, -0.1, 0.2, 0.6)
"""Grids that are tried: levels more than 15 that the range of a group is cut into (*ours*)."""
N_ROUNDS = 2
"""How often values, minima and scales are rounded again (*ours*)."""
CHUNK = 1 << 15
"""Values that are worked on at once (*ours*): temporaries stay in a core's cache, and torch shares no work of that size
among threads that would wait for each other."""


def quantise(kind: Kind, x: Tensor, importance: Tensor | None = None) -> Quantised:
    """Weights [R, C], finite -> their parts, C filled up to a multiple of 32; `importance` [C] weighs the columns."""
    x = F.pad(x.float(), (0, -x.shape[1] % GROUP))
    weight = None
    if kind == "q4" and importance is not None:
        weight = F.pad(importance.float(), (0, x.shape[1] - len(importance))).view(-1, GROUP).clamp_min(1e-20)

    with torch.inference_mode():
        chunks = x.split(max(1, CHUNK // x.shape[1]))
        parts = [_q4(chunk, weight) if kind == "q4" else _q8(chunk) for chunk in chunks]
    q, s, m, D, M = ([part for part in several if part is not None] for several in zip(*parts, strict=True))
    return Quantised(
        np.concatenate(q),
        np.concatenate(s),
        np.concatenate(m) if m else None,
        np.concatenate(D),
        np.concatenate(M) if M else None,
    )


def _q8(x: Tensor) -> Quantised:
    groups = x.view(len(x), -1, GROUP)
    largest = groups.abs().amax(-1) / 127
    D = largest.amax(1) / 255
    s = torch.where(D[:, None] > 0, torch.ceil(largest / D[:, None] - 1e-4), 0.0).clamp_(0, 255)
    q = (groups * _inverse(D[:, None] * s)[..., None]).round_().clamp_(-127, 127)
    return Quantised(q.view_as(x).to(torch.int8).numpy(), s.to(torch.uint8).numpy(), None, D.numpy(), None)


def _q4(x: Tensor, weight: Tensor | None) -> Quantised:
    groups = x.view(len(x), -1, GROUP)
    sums = _Sums(groups, weight)
    a, b = _fit(groups, sums)
    D, M = a.amax(1, keepdim=True) / LARGEST, b.amax(1, keepdim=True) / LARGEST
    s, m = _rounded(a, D), _rounded(b, M)
    for _ in range(N_ROUNDS):
        q = _values(groups, D * s, M * m)
        one, two, with_x = sums.of(q)
        m = _rounded((D * s * one - sums.x) / sums.weight, M)
        s = _rounded((with_x + M * m * one) / two.clamp_min(1e-30), D)
    q = _values(groups, D * s, M * m).to(torch.uint8)
    s, m = s.to(torch.uint8), m.to(torch.uint8)
    return Quantised(q.view_as(x).numpy(), s.numpy(), m.numpy(), D[:, 0].numpy(), M[:, 0].numpy())


LARGEST = 255.0
"""Highest 8-bit scale."""


class _Sums:
    """Sums over groups [R, G, 32], weighted if there is a weight [G, 32]."""

    def __init__(self, groups: Tensor, weight: Tensor | None) -> None:
        self._weight = weight
        self._weighted = groups if weight is None else groups * weight
        self.x = self._weighted.sum(-1)
        self.weight = torch.full_like(self.x, GROUP) if weight is None else weight.sum(-1).expand_as(self.x)

    def of(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of q, q squared and q x."""
        weighted = q if self._weight is None else q * self._weight
        return weighted.sum(-1), (weighted * q).sum(-1), (q * self._weighted).sum(-1)


def _fit(groups: Tensor, sums: _Sums) -> tuple[Tensor, Tensor]:
    """Scale a and minimum b >= 0 of each group, so that a q - b is near: [R, G] each."""
    low = groups.amin(-1).clamp_(max=0)
    width = groups.amax(-1) - low
    above = groups - low[..., None]
    scale, minimum = torch.zeros_like(low), -low
    best = torch.full_like(low, torch.inf)
    for more in WIDTHS:
        q = (above * ((LEVELS + more) * _inverse(width))[..., None]).round_().clamp_(0, LEVELS)
        one, two, with_x = sums.of(q)
        determinant = sums.weight * two - one * one
        inverse = _inverse(determinant)
        a = (sums.weight * with_x - sums.x * one) * inverse
        b = (one * with_x - two * sums.x) * inverse
        is_single = (b < 0) | (inverse == 0)
        a = torch.where(is_single, with_x * _inverse(two), a).clamp_(min=0)
        b = torch.where(is_single, 0.0, b)
        error = a * a * two - 2 * a * b * one + b * b * sums.weight - 2 * a * with_x + 2 * b * sums.x
        is_better = (error < best) & (width > 0)
        best = torch.where(is_better, error, best)
        scale, minimum = torch.where(is_better, a, scale), torch.where(is_better, b, minimum)
    return scale, minimum


def _values(groups: Tensor, scale: Tensor, minimum: Tensor) -> Tensor:
    return ((groups + minimum[..., None]) * _inverse(scale)[..., None]).round_().clamp_(0, LEVELS)


def _rounded(number: Tensor, unit: Tensor) -> Tensor:
    return (number * _inverse(unit)).round_().clamp_(0, LARGEST)


def _inverse(number: Tensor) -> Tensor:
    """1 / number; 0 where that is not finite."""
    inverse = number.reciprocal()
    return torch.where(inverse.isfinite(), inverse, 0.0)
