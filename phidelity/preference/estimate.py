"""Success probabilities as counts, and the fresh second look that a suspected pivot must pass.

Ten samples a side call a difference of 0.2 "pivotal" half the time when there is none, and whatever a search has
picked out is overstated by the picking. So acceptance draws new samples in growing steps on both sides,
gives up early where the change is plainly too small, and decides at the full count (the report does not say
how many samples its data used; the steps and the futility line are *ours*).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

from phidelity.preference.rollouts import Prefix, Rollout, Rollouts


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of `n` continuations succeeded."""

    successes: float
    n: int

    @property
    def rate(self) -> float:
        """p(success); not a number where nothing could be graded, which no comparison accepts."""
        return self.successes / self.n if self.n else nan

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.successes + other.successes, self.n + other.n)


Count = Callable[[Sequence[Prefix], str, int, int], list[Tally]]
"""`count(prefixes, purpose, start, n)`: n continuations of each prefix; each (purpose, start) draws anew."""


class Candidate(NamedTuple):
    """A token that may be pivotal: the prefixes before and after it, and whether it seems to raise p(success)."""

    before: Prefix
    after: Prefix
    raises: bool


class Confirmed(NamedTuple):
    """A candidate that passed, with its fresh tallies."""

    candidate: Candidate
    before: Tally
    after: Tally


def tally(rollouts: Sequence[Rollout]) -> Tally:
    """Count what the oracle could tell."""
    graded = [rollout.success for rollout in rollouts if rollout.success is not None]
    return Tally(sum(graded), len(graded))


def counting(rollouts: Rollouts) -> Count:
    """Estimates by sampling."""
    return lambda prefixes, purpose, start, n: [tally(drawn) for drawn in rollouts.draw(prefixes, purpose, start, n)]


def confirm(
    candidates: Sequence[Candidate],
    count: Count,
    *,
    known: Mapping[Prefix, Tally],
    p_gap: float,
    n: int,
) -> list[Confirmed]:
    """Candidates whose change is at least `p_gap` over `n` fresh continuations a side, drawn n/4, n/2, n.

    `known` holds what needs no sampling (ends of answers). All open candidates are drawn together at each step.
    """
    live, tallies = list(candidates), dict(known)
    drawn = 0
    for step in (n // 4, n // 2, n):
        sides = dict.fromkeys(side for c in live for side in (c.before, c.after) if side not in known)
        for side, fresh in zip(sides, count(list(sides), "confirm", drawn, step - drawn), strict=True):
            tallies[side] = tallies.get(side, Tally(0, 0)) + fresh
        drawn = step
        least = p_gap * (0.25 + 0.5 * step / n) if step < n else p_gap
        live = [c for c in live if _change(c, tallies) >= least]
    return [Confirmed(c, tallies[c.before], tallies[c.after]) for c in live]


def _change(candidate: Candidate, tallies: Mapping[Prefix, Tally]) -> float:
    """Change of p(success) in the direction that the search saw."""
    change = tallies[candidate.after].rate - tallies[candidate.before].rate
    return change if candidate.raises else -change
