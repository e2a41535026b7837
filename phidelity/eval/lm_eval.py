"""lm-evaluation-harness over any Completer: `lm_eval.simple_evaluate(model=HarnessModel(completer), tasks=[...])`.

Needs the extra `phidelity[lm-eval]`. Generation works with every Completer; log-likelihoods need one that scores
prompts and its tokenizer. As the harness has it, context and continuation are encoded together and the context's last
blanks count as the continuation's; an empty context and the beginning of a rolling text are the end-of-text token.
Chats (the harness's apply_chat_template) reach the Completer as conversations, so the template is the model's own.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # pyright: ignore[reportMissingImports]

from phidelity.completion import Completer, Prompt, SamplingParams
from phidelity.config import UserError
from phidelity.records import Conversation, Message

MAX_TOKENS = 256
"""Answers of tasks that name no length of their own, as in the harness."""


class _Chat(str):
    """Messages as JSON, on their way through the harness."""


class HarnessModel(LM):
    """A Completer as the harness's model."""

    def __init__(self, completer: Completer, tokenizer: Any = None, *, context_len: int | None = None) -> None:
        """Tokenizer and context length are the Completer's own where it has them."""
        super().__init__()
        self.completer = completer
        self.tokenizer: Any = tokenizer or getattr(completer, "tokenizer", None)
        self.context_len = context_len or getattr(completer, "context_len", None) or 2048

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps chats under in its cache."""
        return self.completer.name

    def chat_template(self, chat_template: bool | str = False) -> str:
        """None of the harness's concern: the Completer renders conversations."""
        return ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages, to be taken apart again in `generate_until`."""
        return _Chat(json.dumps(chat_history))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """One answer a request, cut before the first of its stop strings."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
        answers: dict[int, str] = {}
        for setting, places in groups.items():
            prompts = [_prompt(requests[place].args[0]) for place in places]
            completions = self.completer.complete(prompts, _params(json.loads(setting)))
            answers |= {place: one.text for place, one in zip(places, completions, strict=True)}
        return [answers[place] for place in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether the model would have said it greedily."""
        return self._score([self._encode_pair(*request.args) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, every token once, in windows that fit the context."""
        result = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self._tokens(request.args[0]),
                prefix_token=self._prefix(),
                max_seq_len=self.context_len - 1,
                context_len=1,
            )
            pairs = [(tuple(before), tuple(after)) for before, after in map(make_disjoint_window, windows)]
            result.append(sum(value for value, _ in self._score(pairs)))
        return result

    def _score(self, pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[tuple[float, bool]]:
        prompts = [(before + after)[-self.context_len :] for before, after in pairs]
        rows = self.completer.logprobs(prompts)
        parts = [row[len(row) - len(after) :] for row, (_, after) in zip(rows, pairs, strict=True)]
        greedy = self._are_greedy([(prompt, part) for prompt, part in zip(prompts, parts, strict=True)])
        return [(float(sum(part)), is_greedy) for part, is_greedy in zip(parts, greedy, strict=True)]

    def _are_greedy(self, scored: Sequence[tuple[tuple[int, ...], Sequence[float]]]) -> list[bool]:
        """Whether each prompt's scored end is what greedy decoding gives; said by the model only where in doubt.

        A token of probability over 1/2 is the greedy one, and if all are there is nothing to ask.
        """
        known = [all(value > math.log(0.5) for value in part) for _, part in scored]
        doubtful: dict[int, list[int]] = {}
        for place, (_, part) in enumerate(scored):
            if not known[place]:
                doubtful.setdefault(len(part), []).append(place)
        for n, places in doubtful.items():
            before = [scored[place][0][:-n] for place in places]
            said = self.completer.complete(before, SamplingParams(max_tokens=n))
            for place, completion in zip(places, said, strict=True):
                known[place] = completion.tokens == scored[place][0][-n:]
        return known

    def _encode_pair(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if not context:
            return (self._prefix(),), tuple(self._tokens(continuation))
        n_blanks = len(context) - len(context.rstrip())
        if n_blanks:
            context, continuation = context[:-n_blanks], context[-n_blanks:] + continuation
        before, whole = self._tokens(context), self._tokens(context + continuation)
        return tuple(before), tuple(whole[len(before) :])

    def _tokens(self, text: str) -> list[int]:
        encode: Callable[[str], list[int]] | None = getattr(self.tokenizer, "encode", None)
        if encode is None:
            raise UserError(f"{self.completer.name} has no tokenizer to score texts with. Give HarnessModel one.")
        return list(encode(text))

    def _prefix(self) -> int:
        return int(self.tokenizer.endoftext)


def _prompt(context: str) -> Prompt:
    if not isinstance(context, _Chat):
        return context
    messages = tuple(Message(role=one["role"], content=one["content"]) for one in json.loads(context))
    return Conversation(id="lm-eval", messages=messages)


def _params(setting: dict[str, Any]) -> SamplingParams:
    """The harness's words for how to sample."""
    until = setting.get("until") or []
    stop = (until,) if isinstance(until, str) else tuple(until)
    is_greedy = not setting.get("do_sample", bool(setting.get("temperature")))
    return SamplingParams(
        temperature=0.0 if is_greedy else float(setting.get("temperature", 1.0)),
        top_p=float(setting.get("top_p", 1.0)),
        max_tokens=int(setting.get("max_gen_toks", MAX_TOKENS)),
        stop=tuple(one for one in stop if one),
    )
