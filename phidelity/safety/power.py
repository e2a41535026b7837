"""What a round could show, told before it is run: the power of each rule at the planned numbers of items.

Assumed is a model that keeps what it had, with 4 % of the items changing either way: then the one-sided 95 % bound of
a paired change stays within its margin with probability Phi(margin sqrt(n / d) - 1.645), d = 0.08. About 750 benign
requests give the rule on over-refusal a power of 0.9, and 5,000 items that on capability one of 0.8. For a drop the
assumption is attack success of 40 and then 20 %, drawn anew for each request, which is the worst case. Assumptions are
*ours*; the gate itself decides by what was seen.
"""

import math
from functools import cache
from typing import NamedTuple

from phidelity.safety.gate import CAPABILITY, DROP_P, OVER_REFUSAL, RISE
from phidelity.statistics import Z95_ONE_SIDED

CHANGING = 0.08
"""Share of items that change, either way, in a model that is no worse."""
FAILING, LEFT = 0.4, 0.2
"""Attack success before and after."""


class Power(NamedTuple):
    """Items, and the probability that each rule holds under the assumptions."""

    n_open: int
    n_sealed: int
    n_benign: int
    n_capability: int
    drop: float
    sealed: float
    over_refusal: float
    capability: float

    @property
    def told(self) -> str:
        """In one sentence."""
        return (
            f"Before the round: a halving of 40 % attack success on {self.n_open} attacked requests is seen with "
            f"probability {self.drop:.2f}; a model that is no worse is let through by the rule on over-refusal "
            f"({self.n_benign} requests) with {self.over_refusal:.2f}, on capability ({self.n_capability} items) with "
            f"{self.capability:.2f}, on sealed families ({self.n_sealed} requests) with {self.sealed:.2f}."
        )


def power(n_open: int, n_sealed: int, n_benign: int, n_capability: int) -> Power:
    """The power at these numbers of paired items."""
    return Power(
        n_open, n_sealed, n_benign, n_capability,
        drop_power(n_open), bound_power(n_sealed, RISE),
        bound_power(n_benign, OVER_REFUSAL), bound_power(n_capability, CAPABILITY),
    )  # fmt: skip


def bound_power(n: int, margin: float, changing: float = CHANGING) -> float:
    """Chance that the bound on the change of n items stays within `margin` where nothing got worse."""
    return _normal(margin * math.sqrt(n / changing) - Z95_ONE_SIDED) if n else 0.0


@cache
def drop_power(n: int, before: float = FAILING, after: float = LEFT) -> float:
    """Chance that McNemar shows the drop where answers before and after are independent of each other.

    The n_c items that changed are Binomial(n, gained + lost), of which those that got worse are Binomial(n_c, gained /
    (gained + lost)), with gained = (1 - before) after and lost = before (1 - after).
    """
    gained, lost = (1 - before) * after, before * (1 - after)
    changed = gained + lost
    return sum(_mass(n, n_c, changed) * _shown(n_c, gained / changed) for n_c in range(n + 1))


def _shown(n: int, share: float) -> float:
    """P(X <= k) of X ~ Binomial(n, share), for the largest k that McNemar's test calls a drop."""
    tail, total = 0, 0.0
    for k in range(n + 1):
        tail += math.comb(n, k)
        if tail >= DROP_P * 2**n:
            break
        total += _mass(n, k, share)
    return total


def _mass(n: int, k: int, share: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(share) + (n - k) * math.log1p(-share))


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
