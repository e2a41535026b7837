"""Pivotal token search: the single tokens at which an answer is won or lost (phi-4 report §4.3, figure 4).

The search subdivides a sampled answer: where p(success) differs between the two ends of a segment, the segment is
split at the midpoint of cumulative token log-probability, until single tokens remain. All open segments of all
answers advance together, so a round is one batch for the model, and estimates are kept by token ids. Four
things are *ours*: draws stop where an interval decides, the search gap is looser than the gap that accepts (noise at
the search costs samples, at the acceptance truth), acceptance draws fresh samples, and the end of a full answer is
graded, not sampled.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from phidelity.config import Config
from phidelity.preference.estimate import (
    Candidate,
    Confirmed,
    Count,
    Ledger,
    Reuse,
    Tally,
    confirm,
    differs,
    no_reuse,
)
from phidelity.preference.rollouts import Prefix, Rollout


class SearchConfig(Config):
    """How pivotal tokens are searched for. The report states the method and none of these values."""

    search_steps: tuple[int, ...] = (16, 32)
    """Continuations per prefix while searching: more only while the difference is undecided (ours)."""
    search_gap: float = Field(default=0.15, gt=0, lt=1)
    """Split a segment over which p(success) changes by this much (ours); looser than `p_gap`."""
    confirm_steps: tuple[int, ...] = (16, 32, 64)
    """Fresh continuations on each side of a suspected pivot (ours); none: every suspect of `p_gap` is accepted."""
    p_gap: float = Field(default=0.2, gt=0, lt=1)
    """Least change of p(success) at a pivotal token (the report's figure 3 boxes tokens at 0.2)."""
    rollouts: int = Field(default=1000, ge=1)
    """Most continuations that the search of one question may draw, without screening and acceptance (ours)."""
    sibling_rollouts: int = Field(default=4, ge=1)
    """The other token of a pair must have begun this many of the continuations at the pivot (ours)."""
    split: Literal["logprob", "index"] = "logprob"
    """Where a segment is cut: half its log-probability, as the report does, or half its length, for comparison."""

    @field_validator("search_steps", "confirm_steps")
    @classmethod
    def _growing(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)) or (steps and steps[0] < 1):
            raise ValueError("expected counts that grow, such as [16, 32]")
        return steps


N10 = SearchConfig(search_steps=(10,), search_gap=0.2, confirm_steps=(), split="index", rollouts=100_000)
"""Ten continuations a prefix decide both the split and the pivot: what the one other open implementation does."""


class Answer(NamedTuple):
    """A sampled full answer of known worth: ids with the end token, their log-probabilities."""

    question: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    success: bool
    rollout: Rollout | None = None
    """The sample that the answer is: it was picked, so it counts in no estimate of its own prefixes."""

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


def find_pivots(
    answers: Sequence[Answer],
    roots: Mapping[str, Tally],
    count: Count,
    config: SearchConfig,
    reuse: Reuse = no_reuse,
) -> Found:
    """Search `answers` and confirm what is suspected; `roots` is p(success) of each question before any token."""
    traces = search(answers, roots, count, config, reuse)
    if not config.confirm_steps:
        taken = suspects(traces, config.p_gap)
        seen = {one.answer.before(end): p for one in traces for end, p in one.p.items()}
        return Found(traces, taken, [Confirmed(one, seen[one.before], seen[one.after]) for one in taken])
    suspected = suspects(traces, config.search_gap)
    ends = dict(_end(answer) for answer in answers)
    return Found(
        traces, suspected, confirm(suspected, count, known=ends, p_gap=config.p_gap, steps=config.confirm_steps)
    )


class Segment(NamedTuple):
    """Tokens `start` to `end` of an answer, over which p(success) may change."""

    answer: int
    start: int
    end: int


def search(
    answers: Sequence[Answer],
    roots: Mapping[str, Tally],
    count: Count,
    config: SearchConfig,
    reuse: Reuse = no_reuse,
) -> list[Traced]:
    """Subdivide all answers together; a question that has used up its rollouts is not looked into further.

    Each round decides what can be decided and draws the next step of all that is open: a question's own course does
    not depend on which others are searched beside it.
    """
    known = {Prefix(question): root for question, root in roots.items()} | dict(_end(answer) for answer in answers)
    ledger = Ledger(count, "search", known, reuse)
    spent: Counter[str] = Counter()
    cuts = [{0, len(answer.tokens)} for answer in answers]
    open_segments = [Segment(i, 0, len(answer.tokens)) for i, answer in enumerate(answers)]
    while open_segments:
        wanted: dict[Prefix, int] = {}
        following: list[Segment] = []
        for segment in open_segments:
            answer = answers[segment.answer]
            ends = answer.before(segment.start), answer.before(segment.end)
            verdict = differs(ledger[ends[0]], ledger[ends[1]], config.search_gap, config.search_steps[-1])
            if verdict is None and (step := _next_step(ends, ledger, config)):
                if _afford(ends, step, ledger, config, spent, wanted):
                    following.append(segment)
                continue
            if verdict is None:
                verdict = abs(ledger[ends[1]].rate - ledger[ends[0]].rate) >= config.search_gap
            if verdict and segment.end - segment.start > 1:
                middle = _cut(answer, segment, config)
                if _afford((answer.before(middle),), config.search_steps[0], ledger, config, spent, wanted):
                    cuts[segment.answer].add(middle)
                    following += [segment._replace(end=middle), segment._replace(start=middle)]
        ledger.buy(wanted)
        open_segments = following
    return [
        Traced(answer, {end: ledger[answer.before(end)] for end in sorted(ends)})
        for answer, ends in zip(answers, cuts, strict=True)
    ]


def _next_step(ends: Sequence[Prefix], ledger: Ledger, config: SearchConfig) -> int | None:
    """The first step that one of the ends has not reached; None where draws are used up."""
    return next((step for step in config.search_steps if any(ledger.shortfall(end, step) for end in ends)), None)


def _afford(
    prefixes: Sequence[Prefix],
    step: int,
    ledger: Ledger,
    config: SearchConfig,
    spent: Counter[str],
    wanted: dict[Prefix, int],
) -> bool:
    """Put what each prefix lacks to `step` on the list, if the question can pay for it; what is on it is free."""
    lacking = {one: n for one in prefixes if one not in wanted and (n := ledger.shortfall(one, step))}
    question, price = prefixes[0].question, sum(lacking.values())
    if spent[question] + price > config.rollouts:
        return False
    spent[question] += price
    wanted |= lacking
    return True


def _cut(answer: Answer, segment: Segment, config: SearchConfig) -> int:
    if config.split == "index":
        return (segment.start + segment.end) // 2
    return midpoint(answer.logprobs, segment.start, segment.end)


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
    return Prefix(answer.question, answer.tokens), Tally(answer.success, 1, exact=True)
