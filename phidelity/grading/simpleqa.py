"""Short factual answers: correct, incorrect or not attempted (SimpleQA's three grades), by rules.

A response is correct when it names the target, word by word after normalisation, and neither denies it nor offers
an alternative; it is not attempted when it is empty or says that it does not know. A response that
names the target in other words needs a judge and counts as incorrect here.
"""

import re
from typing import Literal

from phidelity.grading.answers import normalise

Grade = Literal["correct", "incorrect", "not attempted"]

REFUSALS = (
    "do not know", "don't know", "i am not sure", "i'm not sure", "i cannot answer", "i can't answer",
    "cannot be determined", "no information", "not known", "unknown",
    "ich weiß es nicht", "ich weiß nicht", "weiß ich nicht", "nicht bekannt", "unbekannt",
    "je ne sais pas", "no lo sé", "no sé", "non lo so", "não sei", "ik weet het niet", "nie wiem",
    "я не знаю", "не знаю", "我不知道", "不知道", "わかりません", "知りません", "sijui", "모르겠습니다",
)  # fmt: skip
"""Phrases by which a response declines to answer."""

_REFUSALS = tuple(map(normalise, REFUSALS))
_DENIAL = re.compile(r"\b(?:not|never|isn t|wasn t|nicht|kein\w*|nie|niemals)\b")
_ALTERNATIVE = re.compile(r"\b(?:or|oder|either|entweder)\b")


def grade(response: str, target: str) -> Grade:
    """Grade a response against the target; a refusal as target ("I do not know.") wants a refusal."""
    said, wanted = normalise(response), normalise(target)
    if not said:
        return "not attempted"
    if _refuses(wanted):
        return "correct" if _refuses(said) else "incorrect"
    if not _names(said, wanted):
        return "not attempted" if _refuses(said) else "incorrect"
    rest = _without(said, wanted)
    return "incorrect" if _ALTERNATIVE.search(rest) or (_DENIAL.search(rest) and not _refuses(rest)) else "correct"


def is_refusal(text: str) -> bool:
    """Whether a text says that it does not know."""
    return _refuses(normalise(text))


def _refuses(normalised: str) -> bool:
    return any(_names(normalised, phrase) or (not phrase.isascii() and phrase in normalised) for phrase in _REFUSALS)


def _names(text: str, words: str) -> bool:
    return bool(words) and f" {words} " in f" {text} "


def _without(text: str, words: str) -> str:
    return f" {text} ".replace(f" {words} ", " ")
