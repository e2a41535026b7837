"""How surprised a model is by a text: perplexity per token, and bits per byte, which no vocabulary changes.

The text is cut into windows of the context's length that do not overlap (the usual short cut, *ours*); the first token
of each is not predicted.
"""

import math
from typing import NamedTuple

from phidelity.completion import Completer
from phidelity.config import UserError


class Surprise(NamedTuple):
    """What a text cost a model."""

    perplexity: float
    """exp of the mean negative log-likelihood of a token."""
    bits_per_byte: float
    n_tokens: int
    """Tokens that were predicted."""


def surprise(completer: Completer, ids: list[int], n_bytes: int, window: int) -> Surprise:
    """Score the token `ids` of a text of `n_bytes` in windows of at most `window` tokens."""
    if len(ids) < 2:
        raise UserError("The text has no two tokens; expected one long enough to predict something. Give a longer one.")
    windows = [tuple(ids[start : start + window]) for start in range(0, len(ids), window)]
    scores = [score for row in completer.logprobs([row for row in windows if len(row) > 1]) for score in row]
    total = -math.fsum(scores)
    share = n_bytes * len(scores) / len(ids)
    return Surprise(math.exp(total / len(scores)), total / math.log(2) / share, len(scores))
