"""The seam between whoever asks and whoever answers: `Completer`.

A prompt is a `Conversation`, a plain text, or token ids. The local engine, an OpenAI-style endpoint and a
scripted fake are all Completers; `synthetic`, `preference`, `eval` and `safety` are handed one and never import
the engine. A prompt that occurs several times in one call is sampled independently each time: the random
stream of a completion is a function of (seed, prompt, its how-manieth occurrence) and of nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from phidelity.records import Conversation, Record

Prompt = Conversation | str | tuple[int, ...]


class SamplingParams(Record):
    """How to sample. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    max_tokens: int = 256
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Generation ends when the text contains one of these; the text is cut before it."""


class Usage(Record):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int


class Completion(Record):
    """One answer. `tokens` include the end token when the model gave it; `text` never does."""

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Log-probability of each of `tokens` under the model (temperature 1), where known."""
    finish_reason: str
    """stop, length, context_exceeded, or error."""
    usage: Usage


class Completer(Protocol):
    """Whoever can continue prompts."""

    @property
    def name(self) -> str:
        """What answers are cached and reported under: weights hash, endpoint and model, or `rules`."""
        ...

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """One completion per prompt, in order. `on_done(index, completion)` is called as each one ends."""
        ...

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Log-probability of each token after the first given those before it: `len(prompt) - 1` numbers."""
        ...


@dataclass(slots=True)
class ScriptedCompleter:
    """A Completer that answers by a function of (prompt, occurrence): for tests, rules and recorded replies."""

    reply: Callable[[Prompt, int], str]
    name: str = "scripted"
    calls: int = field(default=0)

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Reply to each prompt; usage counts words, since a script has no tokenizer."""
        seen: dict[Prompt, int] = {}
        completions = []
        for index, prompt in enumerate(prompts):
            key = prompt if not isinstance(prompt, Conversation) else prompt.model_dump_json()
            occurrence = seen.get(key, 0)
            seen[key] = occurrence + 1
            text = self.reply(prompt, occurrence)
            self.calls += 1
            usage = Usage(prompt_tokens=0, completion_tokens=len(text.split()))
            completions.append(Completion(text=text, finish_reason="stop", usage=usage))
            if on_done:
                on_done(index, completions[-1])
        return completions

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Not possible: a script has no probabilities."""
        raise TypeError("a scripted completer has no log-probabilities")
