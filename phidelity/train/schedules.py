"""The learning rate over time: each schedule is a pure function of the step that gives a share of the peak.

All rise in a straight line over the warm-up, step 0 having 1 / n_warmup of the peak, and reach `final` only at the
step after the last, so that no step is spent at a rate of zero. phi-4 trains with the linear one (report §3); the
length of its warm-up is not published.
"""

import math
from collections.abc import Callable


def linear(step: int, steps: int, *, warmup: float, final: float, decay: float = 1.0) -> float:
    """Up over the warm-up, then straight down: 1 - (1 - final) * x, x the share of the way after the warm-up."""
    n_warmup = round(warmup * steps)
    return _rise(step, n_warmup) or 1 - (1 - final) * _way(step, n_warmup, steps)


def cosine(step: int, steps: int, *, warmup: float, final: float, decay: float = 1.0) -> float:
    """Up over the warm-up, then half a cosine down: final + (1 - final) * (1 + cos(pi x)) / 2."""
    n_warmup = round(warmup * steps)
    x = _way(step, n_warmup, steps)
    return _rise(step, n_warmup) or final + (1 - final) * (1 + math.cos(math.pi * x)) / 2


def wsd(step: int, steps: int, *, warmup: float, final: float, decay: float = 0.2) -> float:
    """Warm-up, stable, decay: the peak is held until the last `decay` of the steps, which fall straight down."""
    n_warmup = round(warmup * steps)
    n_stable = max(n_warmup, steps - round(decay * steps))
    return _rise(step, n_warmup) or 1 - (1 - final) * _way(step, n_stable, steps)


SCHEDULES: dict[str, Callable[..., float]] = {"linear": linear, "cosine": cosine, "wsd": wsd}


def _rise(step: int, n_warmup: int) -> float:
    """The share of the peak during the warm-up, 0 after it."""
    return (step + 1) / n_warmup if step < n_warmup else 0.0


def _way(step: int, begin: int, end: int) -> float:
    """How far `step` is from `begin` (0) to `end` (1)."""
    return min(1.0, max(0.0, (step - begin) / max(1, end - begin)))
