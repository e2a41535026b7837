"""Knowing what it does not know: pairs that teach to answer what is known and to decline the rest.

phi-4 report, appendix A.1: the model's own accuracy on a question is estimated first, by sampling. Then a correct
answer is preferred to a refusal if it is sometimes right, and a refusal to a wrong answer if it is sometimes
wrong. Only the first five tokens of each side are used, and no end token. Here both answers are the
model's own samples (the report had another model write the correct ones).
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
    """Ask each fact question `samples` times and apply the two rules."""
    pairs, counts = [], Counter(correct=0, refused=0, wrong=0)
    drawn = rollouts.draw([Prefix(question) for question in questions], "known", 0, config.samples)
    for question, answers in zip(questions, drawn, strict=True):
        kinds = [_kind(answer, rollouts) for answer in answers]
        counts.update(kinds)
        accuracy = kinds.count("correct") / len(kinds)
        for rule in ("correct over refusal", "refusal over wrong"):
            wanted = "correct" if rule == "correct over refusal" else "wrong"
            if wanted not in kinds:
                continue
            pair = _pair(question, answers[kinds.index(wanted)], rule, accuracy, rollouts, config)
            counts[rule if pair else "same first tokens"] += 1
            pairs += [pair] if pair else []
    return Known(pairs, counts)


def _kind(answer: Rollout, rollouts: Rollouts) -> str:
    """correct, refused, wrong or undetermined; declining a question without an answer is `refused` too."""
    if answer.success is None:
        return "undetermined"
    if is_refusal(rollouts.text(answer.tokens)):
        return "refused"
    return "correct" if answer.success else "wrong"


def _pair(
    question: str, answer: Rollout, rule: str, accuracy: float, rollouts: Rollouts, config: KnownConfig
) -> PreferencePair | None:
    tokenizer = rollouts.tokenizer
    stop = stop_ids(tokenizer)
    answered = [token for token in answer.tokens if token not in stop][: config.first_tokens]
    refusal = tokenizer.encode(UNKNOWN)[: config.first_tokens]
    if not answered or answered == refusal:
        return None
    chosen, rejected = (answered, refusal) if rule == "correct over refusal" else (refusal, answered)
    return make_pair(
        "prefix", rollouts.questions[question].problem, chosen, rejected,
        tokenizer=tokenizer.digest, source="known", meta={"rule": rule, "accuracy": accuracy},
    )  # fmt: skip
