"""Answers with p(success) after every single token, as the report's figure 3 shows one (phi-4 report §4.3).

A search estimates only where it cuts. To show an answer whole, each of its prefixes gets continuations up to a number,
those counted first that were drawn for the search and happen to run through it. The figure in the report took 529 a
token; the number here is *ours* and stands beside every interval.
"""

from collections.abc import Sequence
from math import exp
from typing import NamedTuple

from phidelity.preference.estimate import Confirmed, Tally, tally
from phidelity.preference.pivotal import Answer
from phidelity.preference.rollouts import Prefix, Rollouts
from phidelity.statistics import wilson

PURPOSES = ("screen", "search", "confirm", "shown")


class Token(NamedTuple):
    """A token and p(success) after it."""

    text: str
    p: float
    low: float
    high: float
    """The 95 % interval."""
    probability: float
    """Of the token itself, where the answer was sampled."""
    pivot: Confirmed | None
    """The pivot that it was confirmed to be."""


class Shown(NamedTuple):
    """An answer, token by token."""

    answer: Answer
    before: Tally
    tokens: list[Token]


def show(
    answers: Sequence[Answer], pivots: Sequence[Confirmed], rollouts: Rollouts, *, n: int, n_answers: int
) -> list[Shown]:
    """The `n_answers` answers with most pivots, of different questions first, with `n` continuations at each prefix."""
    at = {pivot.candidate.after: pivot for pivot in pivots}
    rich = sorted(answers, key=lambda one: -sum(one.before(end) in at for end in range(1, len(one.tokens) + 1)))
    first = {answer.question: answer for answer in reversed(rich)}
    chosen = [answer for answer in rich if first[answer.question] is answer][:n_answers]
    lacking: dict[int, list[Prefix]] = {}
    for answer in chosen:
        for end in range(len(answer.tokens)):
            prefix = answer.before(end)
            if (missing := n - _known(prefix, answer, rollouts).n) > 0:
                lacking.setdefault(missing, []).append(prefix)
    for missing, prefixes in sorted(lacking.items()):
        rollouts.draw(list(dict.fromkeys(prefixes)), "shown", 0, missing)
    return [Shown(one, _known(one.before(0), one, rollouts), _tokens(one, at, rollouts)) for one in chosen]


def _known(prefix: Prefix, answer: Answer, rollouts: Rollouts) -> Tally:
    picked = [answer.rollout] if answer.rollout else []
    own = [one for one in rollouts.of(prefix, PURPOSES) if not any(one is other for other in picked)]
    return tally(own + rollouts.passing(prefix, PURPOSES, picked))


def _tokens(answer: Answer, at: dict[Prefix, Confirmed], rollouts: Rollouts) -> list[Token]:
    found, said = [], ""
    for end in range(1, len(answer.tokens) + 1):
        prefix, text = answer.before(end), rollouts.text(answer.tokens[:end])
        is_last = end == len(answer.tokens)
        known = Tally(answer.success, 1) if is_last else _known(prefix, answer, rollouts)
        low, high = (known.rate, known.rate) if is_last else wilson(known.successes, known.n)
        probability = exp(answer.logprobs[end - 1])
        found.append(Token(text.removeprefix(said), known.rate, low, high, probability, at.get(prefix)))
        said = text
    return found
