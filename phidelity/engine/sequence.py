"""One request while it lives: what was asked, where its random stream begins, what it has said."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from phidelity.engine.stream import TextStream


@dataclass(slots=True)
class Sequence:
    """A prompt to be continued."""

    index: int
    """Its place among the prompts of the call."""
    prompt: np.ndarray
    """Token ids, at least one."""
    key: int
    """Of its random stream."""
    limit: int
    """Tokens it may generate."""
    text: TextStream | None = None
    """Watches for stop strings, where there are any."""
    shown: str = ""
    """Text that `text` has released."""


class Finished(NamedTuple):
    """A sequence that ended, with its tokens (end token included) and their log-probabilities."""

    sequence: Sequence
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    reason: str
