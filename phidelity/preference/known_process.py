"""A process of which every p(success) is known, to say how true and how complete a search is.

Sequences of 200 tokens: p(success) begins uniform on 0.2 to 0.8, its logit drifts by N(0, 0.02) a token within +-4 and
jumps by +-U(0.9, 2.5) at Poisson(2) places; six tokens before the end an answer token decides. Token
probabilities are Beta(12, 0.6), at jumps U(0.08, 0.6): choices are less likely than what follows from them, as in the
report's figure 3. Rollouts are Bernoulli draws. A pivot is a true change of 0.2, junk one below 0.1. All of it *ours*.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from phidelity.preference.estimate import Confirmed, Tally
from phidelity.preference.pivotal import Answer, Found, SearchConfig, find_pivots
from phidelity.preference.rollouts import Prefix
from phidelity.statistics import Estimate, estimate

LENGTH, PIVOT, JUNK = 200, 0.2, 0.1
SCREENED = 16
"""Rollouts of each question before its search, counted in its cost."""
THOROUGH = SearchConfig(search_gap=0.12, confirm_steps=(16, 32, 64, 96), rollouts=2000)
"""More pivots for half as many rollouts again (*ours*)."""


class Known(NamedTuple):
    """p(success) before each token and after the last, and the log-probabilities of the tokens."""

    p: list[float]
    logprobs: list[float]

    def answer(self, name: str) -> Answer:
        """The sequence as an answer that was sampled."""
        return Answer(name, tuple(range(len(self.logprobs))), tuple(self.logprobs), bool(self.p[-1]))


class Figures(NamedTuple):
    """What a search is worth, with intervals by sequence."""

    precision: Estimate
    """Of the tokens called pivotal, the share whose true change is 0.2."""
    junk: Estimate
    """The share whose true change is below 0.1."""
    recall: Estimate
    """Of all tokens with a true change of 0.2, the share found."""
    recall_before_answer: Estimate
    """The same without the answer tokens, which are easier."""
    rollouts: float
    """A sequence, screening and acceptance included."""


class NullFigures(NamedTuple):
    """What a search makes of tokens that do not matter."""

    tested: int
    """Single tokens whose two ends were compared."""
    called: int
    rate: Estimate


def sequences(n: int, seed: int = 7) -> list[Known]:
    """`n` sequences of the process."""
    rng = np.random.default_rng(seed)
    return [_sequence(rng) for _ in range(n)]


class Bernoulli:
    """Draws at each prefix by its true p(success); `drawn` counts them."""

    def __init__(self, known: Sequence[Known], seed: int = 11) -> None:
        self.known, self.rng, self.drawn = known, np.random.default_rng(seed), 0

    def __call__(self, prefixes: Sequence[Prefix], purpose: str, start: int, n: int) -> list[Tally]:
        """A `Count` for the search."""
        self.drawn += n * len(prefixes)
        p = [self.known[int(prefix.question)].p[len(prefix.tokens)] for prefix in prefixes]
        return [Tally(int(successes), n) for successes in self.rng.binomial(n, p)]

    def change(self, pivot: Confirmed) -> float:
        """The true change at a pivot."""
        question, tokens = pivot.candidate.before
        p = self.known[int(question)].p
        return abs(p[len(tokens) + 1] - p[len(tokens)])


def measure(config: SearchConfig, *, n: int, seed: int = 7) -> Figures:
    """Search `n` sequences and compare with the truth."""
    known = sequences(n, seed)
    count = Bernoulli(known, seed + 4)
    found = _search(known, count, config)
    changes = [(count.change(pivot), pivot.candidate.before.question) for pivot in found.pivots]
    names = {pivot.candidate.before for pivot in found.pivots}
    true = [
        (answer.before(at) in names, answer.question, at)
        for answer, one in ((one.answer(str(i)), one) for i, one in enumerate(known))
        for at, (before, after) in enumerate(pairwise(one.p))
        if abs(after - before) >= PIVOT
    ]
    early = [(hit, question) for hit, question, at in true if at < LENGTH - 7]
    return Figures(
        _share([change >= PIVOT for change, _ in changes], [question for _, question in changes]),
        _share([change < JUNK for change, _ in changes], [question for _, question in changes]),
        _share([hit for hit, *_ in true], [question for _, question, _ in true]),
        _share([hit for hit, _ in early], [question for _, question in early]),
        count.drawn / n,
    )


def measure_null(config: SearchConfig, *, n: int) -> NullFigures:
    """Search `n` sequences whose success is decided by their last token alone, by a coin."""
    known = [Known([0.5] * LENGTH + [float(i % 2)], [-0.1] * LENGTH) for i in range(n)]
    count = Bernoulli(known)
    found = _search(known, count, config)
    tested = [
        traced.answer.question
        for traced in found.traces
        for start, end in pairwise(traced.p)
        if end == start + 1 and end < LENGTH
    ]
    called = [one.candidate.before.question for one in found.pivots if len(one.candidate.after.tokens) < LENGTH]
    outcomes = [True] * len(called) + [False] * (len(tested) - len(called))
    return NullFigures(len(tested), len(called), estimate([float(one) for one in outcomes]))


def _search(known: Sequence[Known], count: Bernoulli, config: SearchConfig) -> Found:
    answers = [one.answer(str(i)) for i, one in enumerate(known)]
    drawn = count([Prefix(answer.question) for answer in answers], "screen", 0, SCREENED)
    roots = {answer.question: tally for answer, tally in zip(answers, drawn, strict=True)}
    return find_pivots(answers, roots, count, config)


def _share(outcomes: Sequence[bool], clusters: Sequence[str]) -> Estimate:
    return estimate([float(one) for one in outcomes], clusters)


def _sequence(rng: np.random.Generator) -> Known:
    p = rng.uniform(0.2, 0.8)
    logit, path = math.log(p / (1 - p)), [float(p)]
    jumps = set(rng.integers(1, LENGTH - 8, size=rng.poisson(2)).tolist())
    probability = np.clip(rng.beta(12, 0.6, size=LENGTH), 1e-9, 1)
    for at in range(LENGTH):
        if at >= LENGTH - 6:
            path.append(float(rng.random() < path[-1]) if at == LENGTH - 6 else path[-1])
            continue
        logit += rng.normal(0, 0.02)
        if at in jumps:
            logit += rng.choice([-1, 1]) * rng.uniform(0.9, 2.5)
            probability[at] = rng.uniform(0.08, 0.6)
        logit = float(np.clip(logit, -4, 4))
        path.append(1 / (1 + math.exp(-logit)))
    return Known(path, np.log(probability).tolist())
