"""Which questions are worth searching: those the model gets right sometimes, not always and not never.

phi-4 keeps questions with 0.2 <= p(success) <= 0.8, since pivotal tokens are rare outside (report §4.3). Most
questions lie clearly outside after a few samples; only the undecided get as many again (ours). The samples are
kept: they are p(success) before the first token, and the answers to be searched come from among them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from phidelity.config import UserError
from phidelity.preference.estimate import Reuse, Tally, tally
from phidelity.preference.pivotal import Answer
from phidelity.preference.rollouts import Prefix, Rollout, Rollouts
from phidelity.statistics import wilson


class Screened(NamedTuple):
    """p(success) of the questions inside the window, in the order asked, and why the others were dropped."""

    roots: dict[str, Tally]
    dropped: Counter[str]


def screen(questions: Sequence[str], rollouts: Rollouts, *, window: tuple[float, float], n: int) -> Screened:
    """Keep questions whose p(success) lies in `window`: over `n` answers, 2n where the interval crosses an edge."""
    prefixes = [Prefix(question) for question in questions]
    tallies = [tally(drawn) for drawn in rollouts.draw(prefixes, "screen", 0, n)]
    estimates = dict(zip(prefixes, tallies, strict=True))
    undecided = [prefix for prefix in prefixes if _crosses_an_edge(estimates[prefix], window)]
    for prefix, drawn in zip(undecided, rollouts.draw(undecided, "screen", n, n), strict=True):
        estimates[prefix] = estimates[prefix] + tally(drawn)
    verdicts = {prefix.question: _verdict(counted, window) for prefix, counted in estimates.items()}
    kept = {question: estimates[Prefix(question)] for question, reason in verdicts.items() if not reason}
    return Screened(kept, Counter(reason for reason in verdicts.values() if reason))


def answers_of(question: str, rollouts: Rollouts) -> list[Answer]:
    """The first right and the first wrong answer that ended by itself: pivots of either direction lie in them."""
    answers: dict[bool, Answer] = {}
    for rollout in rollouts.at(Prefix(question)):
        if rollout.finish_reason == "stop" and rollout.success is not None and len(rollout.tokens) > 1:
            if len(rollout.logprobs) != len(rollout.tokens):
                raise UserError(
                    f"{rollouts.completer.name} gives no log-probabilities of its tokens; the search splits answers by "
                    "them. Use a local checkpoint, or an endpoint with logprobs."
                )
            answer = Answer(question, rollout.tokens, rollout.logprobs, rollout.success, rollout)
            answers.setdefault(rollout.success, answer)
    return [answers[success] for success in (True, False) if success in answers]


def reusing(answers: Sequence[Answer], rollouts: Rollouts) -> Reuse:
    """What continuations drawn for shorter prefixes say of a longer one; the answers themselves do not count."""
    picked: defaultdict[str, list[Rollout]] = defaultdict(list)
    for answer in answers:
        if answer.rollout:
            picked[answer.question].append(answer.rollout)
    return lambda prefix: tally(rollouts.passing(prefix, ("screen", "search"), picked[prefix.question]))


def _crosses_an_edge(counted: Tally, window: tuple[float, float]) -> bool:
    if not counted.n:
        return True
    low, high = wilson(int(counted.successes), counted.n)
    return any(low < edge < high for edge in window)


def _verdict(counted: Tally, window: tuple[float, float]) -> str:
    if not counted.n:
        return "undetermined"
    return "too hard" if counted.rate < window[0] else "too easy" if counted.rate > window[1] else ""
