"""Pivotal token search: the single tokens at which an answer is won or lost (phi-4 report §4.3, figure 4).

The search subdivides a sampled answer: where p(success) differs between the two ends of a segment, the segment is
split at the midpoint of cumulative token log-probability, until single tokens remain. All open segments of all
answers advance together, so one batch a level goes to the model, and estimates are kept by token ids. Three
things are *ours*: the search gap is looser than the gap that accepts (noise at the search costs samples, at
the acceptance truth), acceptance draws fresh samples, and the end of a full answer is graded, not sampled.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from pydantic import Field

from phidelity.config import Config
from phidelity.preference.estimate import Candidate, Confirmed, Count, Tally, confirm
from phidelity.preference.rollouts import Prefix, Rollout


class SearchConfig(Config):
    """How pivotal tokens are searched for. The report states the method and none of these values."""

    search_rollouts: int = Field(default=24, ge=1)
    """Continuations per prefix while searching (ours)."""
    search_gap: float = Field(default=0.15, gt=0, lt=1)
    """Split a segment over which p(success) changes by this much (ours); looser than `p_gap`."""
    confirm_rollouts: int = Field(default=64, ge=4)
    """Fresh continuations on each side of a suspected pivot, drawn a quarter, a half, all (ours)."""
    p_gap: float = Field(default=0.2, gt=0, lt=1)
    """Least change of p(success) at a pivotal token (the report's figure 3 boxes tokens at 0.2)."""
    rollouts: int = Field(default=600, ge=1)
    """Most continuations that the search of one question may draw, without screening and acceptance (ours)."""
    sibling_rollouts: int = Field(default=4, ge=1)
    """The other token of a pair must have begun this many of the continuations at the pivot (ours)."""


class Answer(NamedTuple):
    """A sampled full answer of known worth: ids with the end token, their log-probabilities."""

    question: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    success: bool

    def before(self, position: int) -> Prefix:
        """What precedes the token at `position`."""
        return Prefix(self.question, self.tokens[:position])


class Traced(NamedTuple):
    """An answer with p(success) at the ends of its final segments, in order of position."""

    answer: Answer
    p: dict[int, Tally]


class Found(NamedTuple):
    """What a search saw, what it suspected, and what fresh samples confirmed."""

    traces: list[Traced]
    suspects: list[Candidate]
    pivots: list[Confirmed]


class Pair(NamedTuple):
    """Two tokens after one prefix: `chosen` raises p(success) above `rejected`."""

    prefix: Prefix
    chosen: int
    rejected: int
    p_chosen: float
    p_rejected: float


def find_pivots(answers: Sequence[Answer], roots: Mapping[str, Tally], count: Count, config: SearchConfig) -> Found:
    """Search `answers` and confirm what is suspected; `roots` is p(success) of each question before any token."""
    traces = search(answers, roots, count, config)
    suspected = suspects(traces, config.search_gap)
    ends = dict(_end(answer) for answer in answers)
    pivots = confirm(suspected, count, known=ends, p_gap=config.p_gap, n=config.confirm_rollouts)
    return Found(traces, suspected, pivots)


def search(answers: Sequence[Answer], roots: Mapping[str, Tally], count: Count, config: SearchConfig) -> list[Traced]:
    """Subdivide all answers level by level; a question that has used up its rollouts is not split further."""
    p = {Prefix(question): root for question, root in roots.items()}
    p |= dict(_end(answer) for answer in answers)
    spent: Counter[str] = Counter()
    traces = [Traced(answer, {}) for answer in answers]
    segments = [(traced, 0, len(traced.answer.tokens)) for traced in traces]
    while segments:
        for traced, *ends in segments:
            traced.p.update((end, p[traced.answer.before(end)]) for end in ends)
        splits: list[tuple[Traced, int, int, int]] = []
        wanted: dict[Prefix, None] = {}
        for traced, start, end in segments:
            if end - start < 2 or not abs(traced.p[end].rate - traced.p[start].rate) >= config.search_gap:
                continue
            middle = midpoint(traced.answer.logprobs, start, end)
            prefix = traced.answer.before(middle)
            if prefix not in p and prefix not in wanted:
                if spent[prefix.question] + config.search_rollouts > config.rollouts:
                    continue
                spent[prefix.question] += config.search_rollouts
                wanted[prefix] = None
            splits.append((traced, start, middle, end))
        p.update(zip(wanted, count(list(wanted), "search", 0, config.search_rollouts), strict=True))
        segments = [half for traced, a, b, c in splits for half in ((traced, a, b), (traced, b, c))]
    return [Traced(answer, dict(sorted(p.items()))) for answer, p in traces]


def midpoint(logprobs: Sequence[float], start: int, end: int) -> int:
    """The cut inside (start, end) nearest to half of the segment's log-probability; the earlier of two equals.

    A segment of certain tokens, whose log-probabilities are all zero, is cut in the middle.
    """
    total = sum(logprobs[start:end])
    if total == 0:
        return (start + end) // 2
    best, least, done = start + 1, float("inf"), 0.0
    for position in range(start, end - 1):
        done += logprobs[position]
        if (distance := abs(done - total / 2)) < least:
            best, least = position + 1, distance
    return best


def suspects(traces: Sequence[Traced], gap: float) -> list[Candidate]:
    """Single-token segments over which p(success) changes by at least `gap`, once each."""
    found = {}
    for answer, p in traces:
        cuts = list(p)
        for start, end in pairwise(cuts):
            change = p[end].rate - p[start].rate
            if end == start + 1 and abs(change) >= gap:
                found[answer.before(end)] = Candidate(answer.before(start), answer.before(end), change > 0)
    return list(found.values())


def pair_at(pivot: Confirmed, rollouts: Sequence[Rollout], config: SearchConfig) -> Pair | None:
    """The pivotal token against the token that the continuations at its prefix show to be worse or better.

    Both come from continuations sampled already (report §4.3, footnote). A token that raises p(success) is
    chosen against the worst sibling, one that lowers it is rejected against the best. Rates of siblings are drawn
    towards p(success) before the pivot by two pseudo-counts (ours), so rare tokens need more than luck.
    """
    prefix, token = pivot.candidate.before, pivot.candidate.after.tokens[-1]
    raises, before, after = pivot.candidate.raises, pivot.before.rate, pivot.after.rate
    rates = {
        other: (counted.successes + 2 * before) / (counted.n + 2)
        for other, counted in by_first_token(rollouts).items()
        if other != token and counted.n >= config.sibling_rollouts
    }
    if not rates:
        return None
    sibling = (min if raises else max)(rates, key=lambda t: (rates[t], t))
    rate = rates[sibling]
    if (rate >= before if raises else rate <= before) or abs(after - rate) < config.p_gap:
        return None
    return Pair(prefix, token, sibling, after, rate) if raises else Pair(prefix, sibling, token, rate, after)


def by_first_token(rollouts: Sequence[Rollout]) -> dict[int, Tally]:
    """p(success) after each first token that the continuations began with."""
    tallies: dict[int, Tally] = {}
    for rollout in rollouts:
        if rollout.tokens and rollout.success is not None:
            first = rollout.tokens[0]
            tallies[first] = tallies.get(first, Tally(0, 0)) + Tally(rollout.success, 1)
    return tallies


def _end(answer: Answer) -> tuple[Prefix, Tally]:
    """A full answer and its grade: known without sampling."""
    return Prefix(answer.question, answer.tokens), Tally(answer.success, 1)
