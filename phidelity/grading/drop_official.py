"""DROP's official scorer on files in simple-evals' format, its flaws kept.

Tokens split at single spaces and hyphens only; punctuation goes unless the token is a bare number, so `5.3.` becomes
53; an empty bag agrees with an empty one. In this format several spans are one text joined by "and", so there is one
bag on each side and nothing to align. Percentages of F1 are rounded to two decimals, as there; the best alternative
counts, for exact match and F1 apart. `lenient` is simple-evals' third score: either text contains the other.
"""

import re
import string
from typing import NamedTuple

from phidelity.grading.drop import is_number

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


class Official(NamedTuple):
    """Exact match, F1 and containment, each in [0, 1]."""

    exact: float
    f1: float
    lenient: float


def grade(answer: str, accepted: str) -> Official:
    """The official scores of an answer against alternatives that "|" separates."""
    alternatives = accepted.split("|")
    scores = [_score(answer, one) for one in alternatives if one.strip()]
    lenient = any(_contain(_plain(answer), _plain(one)) for one in alternatives)
    exact, f1 = (max(column) for column in zip(*scores, strict=True)) if scores else (0.0, 0.0)
    return Official(exact, f1, float(lenient))


def normalise(text: str) -> str:
    """Lower case, numbers as floats, no punctuation, no articles, tokens split at spaces and hyphens."""
    parts = (" ".join(_ARTICLES.sub(" ", _token(token)).split()) for token in re.split(" |-", text))
    return " ".join(part for part in parts if part)


def _score(answer: str, reference: str) -> tuple[float, float]:
    said, wanted = normalise(answer), normalise(reference)
    return float(said == wanted), _f1(set(said.split()), set(wanted.split()))


def _f1(said: set[str], wanted: set[str]) -> float:
    numbers = {word for word in wanted if is_number(word)}
    if numbers and not numbers & said:
        return 0.0
    common = len(said & wanted)
    precision = common / len(said) if said else 1.0
    recall = common / len(wanted) if wanted else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision or recall else 0.0
    return round(f1 * 100 * 100) / 100 / 100


def _token(token: str) -> str:
    lower = token.lower()
    bare = lower if is_number(lower) else lower.translate(_PUNCTUATION)
    return str(float(bare)) if is_number(bare) else bare


def _plain(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _contain(one: str, other: str) -> bool:
    return one == other if "" in (one, other) else one in other or other in one
