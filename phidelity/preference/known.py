"""Knowing what it does not know: pairs that teach to answer what is known and to decline the rest.

phi-4 report, appendix A.1: the model's own accuracy on a question is estimated first, by sampling. Then a correct
answer is preferred to a refusal if it is sometimes right, and a refusal to a wrong answer if it is sometimes
wrong; to a bogus question every answer is wrong. Only the first five tokens of each side are used, and no end token.
Here both answers are the model's own samples (the report had another model write the correct ones). The three rules for
SFT are in preference/limits.py.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from phidelity.config import Config
from phidelity.grading.simpleqa import is_refusal
from phidelity.preference.pairs import make_pair
from phidelity.preference.rollouts import Prefix, Rollout, Rollouts
from phidelity.problems.prompts import UNKNOWN
from phidelity.records import PreferencePair
from phidelity.tokenizer.chat import stop_ids

RULES = {"correct": "correct over refusal", "wrong": "refusal over wrong"}
"""What a question of which some answers are so gives rise to."""


class KnownConfig(Config):
    """Pairs on fact questions. phi-4 put 1 to 5 % of such and safety pairs into each round (report, tables 7 and 8)."""

    questions: int = Field(default=8, ge=0)
    """Fact questions asked; 0 makes no such pairs."""
    samples: int = Field(default=8, ge=1)
    """Answers sampled per question to estimate the model's own accuracy (ours)."""
    first_tokens: int = Field(default=5, ge=1)
    """Tokens of an answer that a pair holds (report, appendix A.1)."""


class Known(NamedTuple):
    """The pairs, and how the answers and questions fell."""

    pairs: list[PreferencePair]
    counts: Counter[str]


def known_pairs(questions: Sequence[str], rollouts: Rollouts, config: KnownConfig) -> Known:
    """Ask each fact question `samples` times and apply the two rules.

    Sides that begin alike hold nothing to prefer, and a right and a wrong answer that begin alike would ask for
    opposite things; both are left out and counted.
    """
    pairs, counts = [], Counter(correct=0, refused=0, wrong=0)
    refusal = tuple(rollouts.tokenizer.encode(UNKNOWN)[: config.first_tokens])
    drawn = rollouts.draw([Prefix(question) for question in questions], "known", 0, config.samples)
    for question, answers in zip(questions, drawn, strict=True):
        kinds = [_kind(answer, rollouts) for answer in answers]
        counts.update(kinds)
        if rollouts.questions[question].problem.reference == UNKNOWN:
            counts["bogus declined"] += kinds.count("refused")
            counts["bogus answered"] += kinds.count("wrong")
        openings = {kind: _opening(answers[kinds.index(kind)], rollouts, config) for kind in RULES if kind in kinds}
        if len({refusal, *openings.values()}) <= len(openings):
            counts["begin alike"] += 1
            continue
        for kind, opening in openings.items():
            chosen, rejected = (opening, refusal) if kind == "correct" else (refusal, opening)
            meta = {"rule": RULES[kind], "accuracy": kinds.count("correct") / len(kinds)}
            problem, tokenizer = rollouts.questions[question].problem, rollouts.tokenizer.digest
            pairs.append(make_pair("prefix", problem, chosen, rejected, tokenizer=tokenizer, source="known", meta=meta))
            counts[RULES[kind]] += 1
    return Known(pairs, counts)


def _kind(answer: Rollout, rollouts: Rollouts) -> str:
    """correct, refused, wrong or undetermined; an empty answer declines, and declining is never `correct` here."""
    if answer.success is None:
        return "undetermined"
    text = rollouts.text(answer.tokens).strip()
    if not text or is_refusal(text):
        return "refused"
    return "correct" if answer.success else "wrong"


def _opening(answer: Rollout, rollouts: Rollouts, config: KnownConfig) -> tuple[int, ...]:
    stop = stop_ids(rollouts.tokenizer)
    return tuple(token for token in answer.tokens if token not in stop)[: config.first_tokens]
