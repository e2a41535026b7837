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
TRIED = 16
"""Tokens for which a grammar is tried out before it is taken (*ours*): one without a finite answer breaks early."""

Allow = Callable[[], "Held"]
"""Makes what holds one answer."""


class Held:
    """One answer under a grammar: `phidelity.engine.sampling.Allowed`."""

    def __init__(self, matcher: Any, n_known: int, ends: Sequence[int]) -> None:
        self._matcher, self._n_known = matcher, n_known
        self._ends = np.isin(np.arange(n_known), list(ends))
        self._n_ends, self._n_taken = len(ends), 0
        self.is_broken = False

    def mask(self, said: Sequence[int]) -> np.ndarray:
        """Booleans [n_known]; the end alone where the grammar is at its end, or is broken and knows no way on."""
        for token in said[self._n_taken :]:
            self._matcher.consume_token(token)
        self._n_taken = len(said)
        if not (self._matcher.is_stopped() or self._matcher.is_error()):
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            mask = np.unpackbits(bits, bitorder="little", count=self._n_known).astype(bool)
            if np.count_nonzero(mask) > self._n_ends or (mask & ~self._ends).any():
                return mask
        self.is_broken = self.is_broken or not self._matcher.is_accepting()
        return self._ends

    def is_passable(self) -> bool:
        """Whether there is a way through its first `TRIED` tokens; for one that is used for nothing else."""
        said: list[int] = []
        while len(said) < TRIED and not self.is_broken:
            mask = self.mask(said)
            if not (mask & ~self._ends).any():
                break
            said.append(int(np.argmax(mask & ~self._ends)))
        return not self.is_broken


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
        first = matcher_type(vocabulary, grammar, log_level=0)
        ends = sorted(stop_ids(self._tokenizer))

        def make() -> Held:
            return Held(first.deep_copy(), self._n_known, ends)

        problem = first.get_error() or matcher_type.validate_grammar(grammar, vocabulary)
        if not problem and not make().is_passable():
            problem = "no finite JSON is valid under it"
        if problem:
            told = f"{param} cannot be kept to: {problem.splitlines()[0]}"
            raise ApiError(400, told, param=param, code="invalid_json_schema")
        return make

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


def schema_of(response_format: Mapping[str, Any] | None, param: str) -> Mapping[str, Any] | None:
    """The schema that a `response_format` (or the `text.format` of /v1/responses) asks for; None for plain text."""
    kind = (response_format or {"type": "text"}).get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        told = f"{param}.type is {kind!r:.80}; expected text, json_object or json_schema."
        raise ApiError(400, told, param=f"{param}.type", code="invalid_value")
    assert response_format
    holder = response_format.get("json_schema", response_format)
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    if not isinstance(schema, Mapping):
        where = f"{param}.json_schema.schema" if param == "response_format" else f"{param}.schema"
        raise ApiError(400, f"{where} is missing or no object; expected a JSON schema.", param=where)
    return schema
