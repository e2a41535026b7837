"""How often a scorer is right on labelled answers, and what a rate is when its mistakes are taken out.

A scorer with sensitivity Se and specificity Sp turns a true rate p into Se p + (1 - Sp)(1 - p); Rogan and Gladen's
estimate undoes that: (raw + Sp - 1) / (Se + Sp - 1), cut to [0, 1]. Its interval is drawn: the raw rate and both
measures vary as their counts allow (Jeffreys), so few labels make it wide. A scorer near to guessing corrects nothing.
"""

import random
from collections.abc import Iterable
from typing import NamedTuple

from phidelity.statistics import wilson

WEAKEST = 0.1
"""Least Se + Sp - 1 with which a rate is corrected (*ours*)."""
N_DRAWS = 2000


class Measured(NamedTuple):
    """A scorer's decisions against labels."""

    hits: int
    misses: int
    right_rejections: int
    false_alarms: int

    @property
    def sensitivity(self) -> float:
        """Share of what is there that was found."""
        return self.hits / max(1, self.hits + self.misses)

    @property
    def specificity(self) -> float:
        """Share of what is not there that was passed over."""
        return self.right_rejections / max(1, self.right_rejections + self.false_alarms)

    @property
    def accuracy(self) -> float:
        """Share of all that was told rightly."""
        return (self.hits + self.right_rejections) / max(1, sum(self))

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95 % of sensitivity and of specificity."""
        return (
            wilson(self.hits, self.hits + self.misses),
            wilson(self.right_rejections, self.right_rejections + self.false_alarms),
        )


PERFECT = Measured(1, 0, 1, 0)


class Corrected(NamedTuple):
    """A rate without the scorer's mistakes, with its 95 % interval."""

    rate: float
    low: float
    high: float


def measure(decided: Iterable[tuple[bool, bool | None]]) -> Measured:
    """From (label, decision); undetermined decisions are left out."""
    counts = {(True, True): 0, (True, False): 0, (False, False): 0, (False, True): 0}
    for label, decision in decided:
        if decision is not None:
            counts[label, decision] += 1
    return Measured(*counts.values())


def corrected(n_found: int, n: int, scorer: Measured, seed: int = 0) -> Corrected | None:
    """The corrected rate of `n_found` in `n`; None where the scorer is too weak or nothing was scored."""
    if not n or scorer.sensitivity + scorer.specificity - 1 < WEAKEST:
        return None
    rng = random.Random(f"{seed}/corrected")
    draws = sorted(
        _undone(_draw(rng, n_found, n - n_found), _draw(rng, *scorer[:2]), _draw(rng, *scorer[2:]))
        for _ in range(N_DRAWS)
    )
    rate = _undone(n_found / n, scorer.sensitivity, scorer.specificity)
    low, high = draws[int(0.025 * N_DRAWS)], draws[int(0.975 * N_DRAWS)]
    return Corrected(rate, min(low, rate), max(high, rate))


def _draw(rng: random.Random, hits: int, misses: int) -> float:
    return rng.betavariate(hits + 0.5, misses + 0.5)


def _undone(raw: float, sensitivity: float, specificity: float) -> float:
    span = max(WEAKEST, sensitivity + specificity - 1)
    return min(1.0, max(0.0, (raw - (1 - specificity)) / span))
