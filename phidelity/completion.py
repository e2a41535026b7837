"""The seam between whoever asks and whoever answers: `Completer`.

A prompt is a `Conversation`, a plain text, or token ids. The local engine, an OpenAI-style endpoint and a
scripted fake all are Completers; `synthetic`, `preference`, `eval` and `safety` are handed one and never import
the engine. A prompt that occurs several times in one call is sampled independently each time: the random
stream of a completion is a function of (seed, prompt, its how-manieth repeat) and of nothing else.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

from pydantic import SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from phidelity.config import UserError
from phidelity.records import Conversation, Record

Prompt = Conversation | str | tuple[int, ...]


MOST = 1 << 31
"""Counts and ids lie below (*ours*): sampling counts in 64 bits."""
HOTTEST, STRONGEST, MOST_ANSWERS = 100.0, 1000.0, 1 << 16
"""Most of temperature, of `repetition_penalty` (the least is its inverse), and of `n` (*ours*)."""


class SamplingParams(Record):
    """How to sample. Temperature 0 is greedy. Impossible values are a `UserError`, when it is made and when it is used.

    Written as JSON, fields after `stop` appear only where they differ from their defaults.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    max_tokens: int = 256
    """0 only scores the prompt, with `prompt_logprobs`."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Generation ends when the text contains one of these; the text is cut before it. One alone may be given bare."""
    min_p: float = 0.0
    """Tokens less probable than this times the most probable one are not drawn."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens in prompt and answer are divided by it, negative ones multiplied."""
    presence_penalty: float = 0.0
    """Taken from the logit of every token that the answer holds."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit as many times as the answer holds it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of these token ids; a mapping is taken, too. -100 in practice bans, 100 forces."""
    stop_ids: tuple[int, ...] = ()
    """Generation ends with one of these tokens, as it does with the end tokens; the text lacks it."""
    ignore_end: bool = False
    """Go on after end tokens, to `max_tokens`: for benchmarks."""
    n: int = 1
    """Completions per prompt; the same as giving each prompt n times."""
    first_repeat: int = 0
    """How many times these prompts were asked before: their random streams are passed over."""
    logprobs: int | None = None
    """The most probable tokens to report at each place of the answer; None: none, and the chosen token's own
    log-probability only where it costs nothing."""
    prompt_logprobs: int | None = None
    """As `logprobs`, for the places of the prompt; None: the prompt is not scored."""

    @field_validator("stop", mode="before")
    @classmethod
    def _strings(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return tuple(value.items()) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check(self)
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_defaults(self, handler(self), "stop")


def check(params: SamplingParams) -> None:
    """Refuse parameters that no distribution answers to, or that could only be a slip.

    For those that `model_copy` made as well, which validates nothing.
    """
    p = params
    least = 0 if p.prompt_logprobs is not None else 1
    limits = (
        ("temperature", 0 <= p.temperature <= HOTTEST, f"0 or more, and at most {HOTTEST:g}"),
        ("top_p", 0 < p.top_p <= 1, "above 0 and at most 1"),
        ("top_k", 0 <= p.top_k < MOST, "0 (no limit) or more, below 2^31"),
        ("max_tokens", least <= p.max_tokens < MOST, "1 or more (0 only with prompt_logprobs), below 2^31"),
        ("stop", all(p.stop), "strings that are not empty"),
        ("min_p", 0 <= p.min_p <= 1, "0 to 1"),
        (
            "repetition_penalty",
            1 / STRONGEST <= p.repetition_penalty <= STRONGEST,
            f"{1 / STRONGEST:g} to {STRONGEST:g} (1: none)",
        ),
        ("presence_penalty", -2 <= p.presence_penalty <= 2, "-2 to 2"),
        ("frequency_penalty", -2 <= p.frequency_penalty <= 2, "-2 to 2"),
        (
            "logit_bias",
            all(0 <= token < MOST and -100 <= bias <= 100 for token, bias in p.logit_bias)
            and len({token for token, _ in p.logit_bias}) == len(p.logit_bias),
            "token ids of 0 or more, each once, with -100 to 100",
        ),
        ("stop_ids", all(0 <= token < MOST for token in p.stop_ids), "token ids of 0 or more"),
        ("n", 1 <= p.n <= MOST_ANSWERS, f"1 or more, and at most {MOST_ANSWERS}"),
        ("first_repeat", 0 <= p.first_repeat < MOST, "0 or more, below 2^31"),
        ("logprobs", p.logprobs is None or 0 <= p.logprobs < MOST, "0 or more, below 2^31"),
        ("prompt_logprobs", p.prompt_logprobs is None or 0 <= p.prompt_logprobs < MOST, "0 or more, below 2^31"),
    )
    for name, is_fine, expected in limits:
        if not is_fine:
            found = repr(getattr(params, name))
            raise UserError(f"{name} is {found[:80]}{'...' * (len(found) > 80)}; expected {expected}. Change it.")


class Usage(Record):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


class Alternative(NamedTuple):
    """A token that might have stood at a place, and its log-probability there (temperature 1)."""

    token: int
    logprob: float


class Completion(Record):
    """One answer. `tokens` include the end token when the model gave it; `text` never does.

    Written as JSON, fields after `usage` appear only where they hold something.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Log-probability of each of `tokens` under the model (temperature 1, no penalty or filter), where known."""
    finish_reason: str
    """stop, length, context_exceeded, cancelled, or error; an endpoint may have others of its own."""
    usage: Usage
    error: str = ""
    """What went wrong, where `finish_reason` is error."""
    index: int = 0
    """Which of the `n` completions of its prompt this is."""
    alternatives: tuple[tuple[Alternative, ...], ...] = ()
    """For each of `tokens` the most probable ones at its place, best first, as many as `logprobs` asked for."""
    prompt_logprobs: tuple[float, ...] = ()
    """Log-probability of each prompt token after the first."""
    prompt_alternatives: tuple[tuple[Alternative, ...], ...] = ()
    """For each prompt token after the first the most probable ones at its place."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_defaults(self, handler(self), "usage")


def _without_defaults(record: Record, written: dict[str, Any], last: str) -> dict[str, Any]:
    """Drop fields after `last` that hold their defaults: so bytes of before a field was added stay as they are."""
    names = list(type(record).model_fields)
    later = names[names.index(last) + 1 :]
    idle = {name for name in later if getattr(record, name) == type(record).model_fields[name].default}
    return {name: value for name, value in written.items() if name not in idle}


class Capabilities(Record):
    """What a Completer can do; see `require`."""

    conversations: bool = True
    texts: bool = True
    tokens: bool = True
    """Takes prompts of token ids, and says which tokens its answers are made of."""
    logprobs: bool = False
    """Scores prompts: the method `logprobs`, and `prompt_logprobs` where it is not ignored."""
    ignored: frozenset[str] = frozenset()
    """Fields of `SamplingParams` without effect here; a caller that sets one of them is refused."""


class Completer(Protocol):
    """Whoever can continue prompts."""

    @property
    def name(self) -> str:
        """What answers are cached and reported under: weights hash, endpoint and model, or `rules`."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this one can do; what it cannot is a `UserError` when asked."""
        ...

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """`params.n` completions per prompt, those of one prompt together, in the order of the prompts.

        `on_done(index, completion)` is called as each one ends, with its place in that list.
        """
        ...

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Log-probability of each token after the first given those before it: `len(prompt) - 1` numbers."""
        ...


class Asked(NamedTuple):
    """One completion to make."""

    prompt: Prompt
    repeat: int
    """How often the very same prompt was asked before: part of its random stream and of its key in a cache."""
    choice: int
    """Which of the `n` completions of its prompt it is: its `index`."""


def asked(prompts: Sequence[Prompt], params: SamplingParams) -> list[Asked]:
    """The completions of a call, in the order of its result."""
    seen: Counter[Prompt] = Counter()
    result = []
    for prompt in prompts:
        key = what_is_read(prompt)
        for choice in range(params.n):
            result.append(Asked(prompt, params.first_repeat + seen[key], choice))
            seen[key] += 1
    return result


def what_is_read(prompt: Prompt) -> str | tuple[int, ...]:
    """A prompt as far as a model gets to see it: two conversations that differ in id or meta are the same prompt."""
    if isinstance(prompt, Conversation):
        return "messages:" + "".join(message.model_dump_json() for message in prompt.messages)
    return "text:" + prompt if isinstance(prompt, str) else tuple(prompt)


def require(completer: Completer, prompts: Sequence[Prompt], params: SamplingParams) -> None:
    """A `UserError` where `completer` cannot do what is asked: called by those that cannot do everything."""
    able = completer.capabilities
    kinds = {type(prompt) for prompt in prompts}
    missing = [
        what
        for kind, is_able, what in (
            (Conversation, able.conversations, "conversations"),
            (str, able.texts, "plain texts"),
            (tuple, able.tokens, "token ids"),
        )
        if kind in kinds and not is_able
    ]
    fields = SamplingParams.model_fields
    set_here = [name for name in sorted(able.ignored) if getattr(params, name) != fields[name].default]
    if missing or set_here:
        found = " and ".join(missing + [f"{name} = {getattr(params, name)!r}" for name in set_here])
        raise UserError(f"{completer.name} cannot take {found}. Leave it out, or ask a completer that can.")


@dataclass(slots=True)
class ScriptedCompleter:
    """A Completer that answers by a function of (prompt, repeat): for tests, rules and recorded replies."""

    reply: Callable[[Prompt, int], str]
    name: str = "scripted"
    calls: int = field(default=0)

    @property
    def capabilities(self) -> Capabilities:
        """Any prompt; it samples nothing, so how to sample means nothing to it."""
        return Capabilities(ignored=frozenset({"logprobs", "prompt_logprobs", "stop_ids"}))

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Reply to each prompt; usage counts words, since a script has no tokenizer."""
        require(self, prompts, params)
        completions = []
        for place, (prompt, repeat, choice) in enumerate(asked(prompts, params)):
            text = self.reply(prompt, repeat)
            self.calls += 1
            usage = Usage(prompt_tokens=0, completion_tokens=len(text.split()))
            completions.append(Completion(text=text, finish_reason="stop", usage=usage, index=choice))
            if on_done:
                on_done(place, completions[-1])
        return completions

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Not possible: a script has no probabilities."""
        raise TypeError("a scripted completer has no log-probabilities")
