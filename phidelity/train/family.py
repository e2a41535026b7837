"""The small family: one shape for every width, and how rate and initial weights go with it, so that tiny runs predict.

A block a 32 of width, four query heads for one of keys and values, d_ff 3.5 times d_model, as phi-4's blocks. Initial
weights have a deviation of 0.68 / sqrt(d_model), so that activations keep their size; residual outputs shrink
with depth in `Transformer.initialise`. The peak of the learning rate falls as 1 / width: tried at four widths, at half,
once and twice the rate (docs/log.md), where the square root of it was found too slow. All *ours*.
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from phidelity.config import UserError
from phidelity.model.config import ModelConfig

WIDTH = 128
PEAK_LR, INIT_STD = 3e-3, 0.06
"""What suits `WIDTH` (ours)."""


class Member(NamedTuple):
    """One size of the family."""

    model: ModelConfig
    peak_lr: float


def member(d_model: int, *, vocab_size: int, context_len: int) -> Member:
    """The member of a width, a multiple of 32."""
    narrower = (WIDTH / d_model) ** 0.5
    model = ModelConfig(
        n_layers=max(1, d_model // 32),
        d_model=d_model,
        n_heads=4,
        n_kv_heads=1,
        d_ff=d_model * 7 // 2,
        vocab_size=vocab_size,
        context_len=context_len,
        rope_theta=10_000.0,
        init_std=round(INIT_STD * narrower, 4),
    )
    return Member(model, PEAK_LR * WIDTH / d_model)


def extrapolate(sizes: Sequence[int], losses: Sequence[float], size: int) -> float:
    """The loss at `size` by L = E + A / N^a through three points (sizes in rising order, losses falling)."""
    if not (sizes[0] < sizes[1] < sizes[2] and losses[0] > losses[1] > losses[2]):
        raise UserError(f"Losses {losses} at {sizes} parameters were found; expected them to fall. Train for longer.")
    low, high = 0.0, losses[-1]
    for _ in range(200):  # the larger E, the steeper the last stretch against the first
        floor = (low + high) / 2
        slopes = [_slope(sizes[i], sizes[i + 1], losses[i] - floor, losses[i + 1] - floor) for i in (0, 1)]
        low, high = (floor, high) if slopes[1] < slopes[0] else (low, floor)
    floor, slope = low, _slope(sizes[0], sizes[2], losses[0] - low, losses[2] - low)
    return floor + (losses[2] - floor) * (sizes[2] / size) ** slope


def _slope(n: int, m: int, loss_n: float, loss_m: float) -> float:
    return log(loss_n / loss_m) / log(m / n)
