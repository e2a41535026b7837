"""Answers that keep to a JSON schema: which tokens may come next, told to the sampler at every step.

llguidance does the work (the extra `phidelity[json]`): 3 MB, no dependencies, 67 microseconds a token on a vocabulary
of 100,352 and 10 on one of 1,024. (xgrammar was tried: 28 and 2 microseconds, and it requires triton, 286 MB.)
JSON comes with ", " and ": " and no other blanks, since a small model may else go on with blanks for ever.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from phidelity.server.errors import ApiError
from phidelity.tokenizer.bpe import PATTERN, Tokenizer
from phidelity.tokenizer.chat import stop_ids

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
LARGEST = 100_000
"""Characters of a schema (*ours*)."""

Allow = Callable[[], "Held"]
"""Makes what holds one answer."""


class Held:
    """One answer under a grammar: `phidelity.engine.sampling.Allowed`."""

    def __init__(self, matcher: Any, n_known: int, ends: Sequence[int]) -> None:
        self._matcher, self._n_known = matcher, n_known
        self._ends = np.isin(np.arange(n_known), list(ends))
        self._n_taken = 0

    def mask(self, said: Sequence[int]) -> np.ndarray:
        """Booleans [n_known]; the end alone where the grammar is at its end, or was broken by what came."""
        for token in said[self._n_taken :]:
            self._matcher.consume_token(token)
        self._n_taken = len(said)
        if self._matcher.is_stopped() or self._matcher.is_error():
            return self._ends
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little", count=self._n_known).astype(bool)
        return mask if mask.any() else self._ends


class Grammars:
    """Makes grammars for one tokenizer; what that takes is made when first needed (a second for 100,352 tokens)."""

    def __init__(self, tokenizer: Tokenizer, n_known: int) -> None:
        self._tokenizer, self._n_known = tokenizer, n_known
        self._vocabulary: Any = None

    def of_schema(self, schema: Mapping[str, Any], param: str) -> Allow:
        """Answers that are valid under a JSON schema; a 400 for one that cannot be kept to."""
        text = json.dumps({**schema, "x-guidance": COMPACT})
        return self._make(lambda matcher: matcher.grammar_from_json_schema(text), len(text), param)

    def of_lark(self, text: str, param: str) -> Allow:
        """Answers of a grammar in llguidance's notation."""
        return self._make(lambda matcher: matcher.grammar_from_lark(text), len(text), param)

    def _make(self, build: Callable[[Any], str], size: int, param: str) -> Allow:
        if size > LARGEST:
            raise ApiError(400, f"{param} has {size:,} characters; at most {LARGEST:,} are read.", param=param)
        matcher_type, vocabulary = self._tools(param)
        grammar = build(matcher_type)
        first = matcher_type(vocabulary, grammar)
        if problem := first.get_error() or matcher_type.validate_grammar(grammar, vocabulary):
            raise ApiError(400, f"{param} cannot be kept to: {problem}", param=param, code="invalid_json_schema")
        ends = sorted(stop_ids(self._tokenizer))
        return lambda: Held(first.deep_copy(), self._n_known, ends)

    def _tools(self, param: str) -> tuple[Any, Any]:
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError:
            told = "Structured output needs the extra phidelity[json], which is not installed on this server."
            raise ApiError(400, told, param=param, code="not_installed") from None
        if self._vocabulary is None:
            one = self._tokenizer
            make: Any = LLTokenizer
            self._vocabulary = make.from_tiktoken(
                encoder=one.ranks,
                special_tokens=one.special_ids,
                pattern=PATTERN,
                eos_token=[one.im_end, one.endoftext],
                n_vocab=None,
                slices=None,
            )
        return LLMatcher, self._vocabulary


def schema_of(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The schema that a `response_format` (or the `text.format` of /v1/responses) asks for; None for plain text."""
    kind = (response_format or {"type": "text"}).get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        told = f"response_format.type is {kind!r}; expected text, json_object or json_schema."
        raise ApiError(400, told, param="response_format.type", code="invalid_value")
    assert response_format
    holder = response_format.get("json_schema", response_format)
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    if not isinstance(schema, Mapping):
        where = "response_format.json_schema.schema"
        raise ApiError(400, f"{where} is missing or no object; expected a JSON schema.", param=where)
    return schema
