"""DROP's own scores, exact match and F1 over bags of words, after the description of its official scorer.

Corrected against the official normaliser in one point: there a number with punctuation on
it (`5.3.`, `$5.3`, `5.3%`, `1,200`) loses its decimal point or its value, which costs 15 points; here the
punctuation goes and the number stays. Files in simple-evals' format join several spans by "and" in one
alternative, so both sides are a single bag of words; alternatives are separated by "|" and the best one counts.
"""

import re
import string
from typing import NamedTuple

from phidelity.grading.answers import answer_line, undress

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DRESSED = re.compile(r"^[^\w.+-]*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?)[^\w]*$")


class DropScore(NamedTuple):
    """Exact match (0 or 1) and F1 in [0, 1]."""

    exact: float
    f1: float


def grade(answer: str, accepted: str) -> DropScore:
    """The best score of an answer over the alternatives that "|" separates."""
    scores = [_score(answer, reference) for reference in accepted.split("|") if reference.strip()]
    return max(scores, key=lambda score: (score.exact, score.f1), default=DropScore(0.0, 0.0))


def extract(response: str) -> str:
    """What is graded: the answer line, or without one the whole response, as in simple-evals."""
    line = answer_line(response)
    return undress(response) if line is None else line


def normalise(text: str) -> str:
    """Lower case, split at spaces and hyphens, numbers as floats, no punctuation, no articles."""
    words = (_word(token) for token in re.split(r"[\s-]+", text.lower()))
    return " ".join(word for word in words if word and word not in ("a", "an", "the"))


def _score(answer: str, reference: str) -> DropScore:
    said, wanted = normalise(answer), normalise(reference)
    return DropScore(float(said == wanted and bool(wanted)), round(_f1(set(said.split()), set(wanted.split())), 2))


def _f1(said: set[str], wanted: set[str]) -> float:
    """F1 of two bags; 0 unless a number of the reference, if it has any, is in the answer."""
    numbers = {word for word in wanted if is_number(word)}
    common = len(said & wanted)
    if not common or (numbers and not numbers & said):
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def _word(token: str) -> str:
    dressed = _DRESSED.match(token)
    bare = dressed.group(1).replace(",", "") if dressed else ""
    if is_number(bare):
        return str(float(bare))
    if is_number(token):
        return str(float(token))
    return token.translate(_PUNCTUATION)


def is_number(word: str) -> bool:
    """Whether Python reads `word` as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
