"""Success probabilities as counts, sampled only as far as a decision needs, and the fresh look a pivot must pass.

Ten samples a side call a difference of 0.2 "pivotal" half the time when there is none, and whatever a search has
picked out is overstated by the picking. So both search and acceptance draw in growing steps and stop where an
interval of the difference (Newcombe's) lies wholly on one side of the gap; acceptance uses samples of its own. The
report does not say how many samples its data used: steps and certainties are *ours*, set on the known process.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import NamedTuple

from phidelity.preference.rollouts import Prefix, Rollout, Rollouts
from phidelity.statistics import newcombe

Z_SEARCH = 1.3
"""Certainty at which a search leaves a segment or splits it (*ours*): mistakes there cost samples, not truth."""
Z_ACCEPT, Z_FUTILE = 1.6, 1.0
"""Certainties at which acceptance ends early, for and against (*ours*)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of `n` continuations succeeded; `exact` where the rate is known and not estimated."""

    successes: float
    n: int
    exact: bool = False

    @property
    def rate(self) -> float:
        """p(success); not a number where nothing could be graded, which no comparison accepts."""
        return self.successes / self.n if self.n else nan

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.successes + other.successes, self.n + other.n)


NOTHING = Tally(0, 0)

Count = Callable[[Sequence[Prefix], str, int, int], list[Tally]]
"""`count(prefixes, purpose, start, n)`: the draws `start` to `start + n` of this purpose at each prefix."""

Reuse = Callable[[Prefix], Tally]
"""What samples drawn elsewhere already say of a prefix."""


def no_reuse(prefix: Prefix) -> Tally:
    """Every estimate from draws of its own."""
    return NOTHING


@dataclass(slots=True)
class Ledger:
    """What is known of every prefix, and the means to know more: draws are bought in batches, each once."""

    count: Count
    purpose: str
    known: dict[Prefix, Tally]
    """Tallies to begin with; exact ones are never sampled."""
    reuse: Reuse = no_reuse
    drawn: defaultdict[Prefix, int] = field(default_factory=lambda: defaultdict(int))

    def __getitem__(self, prefix: Prefix) -> Tally:
        return self.known[prefix]

    def shortfall(self, prefix: Prefix, n: int) -> int:
        """Draws that `prefix` lacks to `n`; on first sight it is told what samples drawn elsewhere say of it."""
        if prefix not in self.known:
            self.known[prefix] = self.reuse(prefix)
        known = self.known[prefix]
        return 0 if known.exact else max(0, n - max(known.n, self.drawn[prefix]))

    def buy(self, wanted: Mapping[Prefix, int]) -> None:
        """Draw so many more at each prefix: one batch per place in their streams."""
        batches: defaultdict[tuple[int, int], list[Prefix]] = defaultdict(list)
        for prefix, n in wanted.items():
            batches[self.drawn[prefix], n].append(prefix)
        for (start, n), prefixes in sorted(batches.items()):
            for prefix, fresh in zip(prefixes, self.count(prefixes, self.purpose, start, n), strict=True):
                self.known[prefix] += fresh
                self.drawn[prefix] += n


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


def differs(start: Tally, end: Tally, gap: float, n: int) -> bool | None:
    """Whether p(success) changes by `gap` between two ends; None while fewer than `n` draws leave it open."""
    if not (start.n and end.n):
        return False
    low, high = change_interval(start, end, Z_SEARCH)
    if low > gap or high < -gap:
        return True
    if -gap < low and high < gap:
        return False
    if all(side.exact or side.n >= n for side in (start, end)):
        return abs(end.rate - start.rate) >= gap
    return None


def change_interval(before: Tally, after: Tally, z: float) -> tuple[float, float]:
    """Interval of the change of p(success)."""
    return newcombe((before.successes, before.n), (after.successes, after.n), z, exact=(before.exact, after.exact))


def confirm(
    candidates: Sequence[Candidate],
    count: Count,
    *,
    known: Mapping[Prefix, Tally],
    p_gap: float,
    steps: Sequence[int],
) -> list[Confirmed]:
    """Candidates whose change is at least `p_gap` over fresh continuations, up to `steps[-1]` a side.

    `known` holds what needs no sampling (ends of answers). All open candidates are drawn together at each step. A
    side that two candidates share is drawn once, and a later step of one adds nothing to a verdict of the other.
    """
    fresh = Ledger(count, "confirm", dict(known))
    verdicts: dict[Candidate, Confirmed | None] = {}
    for step in steps:
        live = [one for one in candidates if one not in verdicts]
        sides = dict.fromkeys(side for one in live for side in (one.before, one.after))
        fresh.buy({side: lacking for side in sides if (lacking := fresh.shortfall(side, step))})
        for one in live:
            before, after = fresh[one.before], fresh[one.after]
            passed = _verdict(one, before, after, p_gap, is_last=step == steps[-1])
            if passed is not None:
                verdicts[one] = Confirmed(one, before, after) if passed else None
    return [passed for one in candidates if (passed := verdicts[one])]


def _verdict(candidate: Candidate, before: Tally, after: Tally, p_gap: float, *, is_last: bool) -> bool | None:
    """Whether p(success) changes by `p_gap` in the direction that the search saw; None: draw more."""
    if not (before.n and after.n):
        return False
    if not candidate.raises:
        before, after = after, before
    if change_interval(before, after, Z_ACCEPT)[0] >= p_gap:
        return True
    if change_interval(before, after, Z_FUTILE)[1] < p_gap:
        return False
    return after.rate - before.rate >= p_gap if is_last else None
