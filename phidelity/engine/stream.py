"""Token ids to text as they come: whole characters only, nothing that may still turn out to be a stop string.

The stop string that is complete first cuts, of two that end together the longer one; so the text does not depend on how
it is split into tokens. Bytes that are no UTF-8 become replacement characters, as when all are decoded at once.
Special tokens are not text and leave none.
"""

import codecs
from collections.abc import Sequence

from phidelity.tokenizer.bpe import Tokenizer


class TextStream:
    """Text of one growing answer. Generation and streaming share it, so both cut at the same place."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.is_stopped = False
        self._tokenizer, self._specials = tokenizer, frozenset(tokenizer.special_ids.values())
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def push(self, token: int) -> str:
        """Text that is certain after one more token; sets `is_stopped` when a stop string is complete."""
        if token in self._specials:
            return ""
        return self._emit(self._decoder.decode(self._tokenizer.token_bytes(token)))

    def finish(self) -> str:
        """What was still held; broken bytes become replacement characters."""
        text = self._emit(self._decoder.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _emit(self, new: str) -> str:
        if self.is_stopped:
            return ""
        text = self._held + new
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)[1]]
        n_held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]


def said_text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """The text of a whole answer, as a stream of its tokens would give it."""
    specials = frozenset(tokenizer.special_ids.values())
    return tokenizer.decode(token for token in tokens if token not in specials)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
