"""Tokens as a client sees them: text, bytes, log-probabilities with their alternatives, in both of OpenAI's forms.

A token that is no whole character is shown in the legacy form as `bytes:\\xe2\\x82`, so that two of them never have one
name (lm-eval compares by name); in the chat form its text has replacement characters and its bytes are exact.
"""

import codecs
import math
from collections.abc import Iterator, Sequence
from typing import Any

from phidelity.tokenizer.bpe import Tokenizer

LEAST = -9999.0
"""What minus infinity is written as: JSON has no such number (OpenAI's own choice)."""


def chat_logprobs(
    tokenizer: Tokenizer, tokens: Sequence[int], logprobs: Sequence[float], alternatives: Sequence[Any], n_top: int
) -> dict[str, Any]:
    """`logprobs` of a chat's choice; `content` is an iterator."""

    def content() -> Iterator[dict[str, Any]]:
        for at, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
            top = (alternatives[at] or ()) if at < len(alternatives) else ()
            shown = [_chat_token(tokenizer, one.token, one.logprob) for one in top[:n_top]]
            yield {**_chat_token(tokenizer, token, logprob), "top_logprobs": shown}

    return {"content": content(), "refusal": None}


def text_logprobs(
    tokenizer: Tokenizer,
    tokens: Sequence[int],
    logprobs: Sequence[float | None],
    alternatives: Sequence[Any],
    n_top: int,
    places: "Places",
) -> dict[str, Any]:
    """`logprobs` of a text's choice; the first token of an echoed prompt has none. The chosen one is always listed."""
    names = [token_name(tokenizer, token) for token in tokens]
    tops: list[dict[str, float] | None] = []
    for at, logprob in enumerate(logprobs):
        if logprob is None:
            tops.append(None)
            continue
        top = (alternatives[at] or ()) if at < len(alternatives) else ()
        named = {token_name(tokenizer, one.token): finite(one.logprob) for one in top[:n_top]}
        tops.append(named | {names[at]: finite(logprob)} if n_top else named)
    return {
        "tokens": names,
        "token_logprobs": [None if one is None else finite(one) for one in logprobs],
        "top_logprobs": tops if n_top else None,
        "text_offset": [places.place(token) for token in tokens],
    }


class Places:
    """Where each token of a growing text begins, in characters; one amid a character has that character's place."""

    def __init__(self, tokenizer: Tokenizer, *, start: int = 0, by_name: bool = False) -> None:
        """`by_name`: special tokens are in the text by their names, as in an echoed prompt; else they are not."""
        self._tokenizer, self._at = tokenizer, start
        self._unseen = frozenset() if by_name else frozenset(tokenizer.special_ids.values())
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def place(self, token: int) -> int:
        """The place of the next token."""
        at = self._at
        if token not in self._unseen and token < self._tokenizer.vocab_size:
            self._at += len(self._decoder.decode(self._tokenizer.token_bytes(token)))
        return at


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """A token's text, or its bytes spelled out where they are no whole characters."""
    raw = tokenizer.token_bytes(token) if token < tokenizer.vocab_size else b""
    try:
        return raw.decode("utf-8") if raw else f"token:{token}"
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def finite(logprob: float) -> float:
    """A number that JSON can hold."""
    return logprob if math.isfinite(logprob) else LEAST


def _chat_token(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    raw = tokenizer.token_bytes(token) if token < tokenizer.vocab_size else b""
    return {"token": raw.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(raw)}
