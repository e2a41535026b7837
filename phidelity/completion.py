"""The seam between whoever asks and whoever answers: `Completer`.

A prompt is a `Conversation`, a plain text, or token ids. The local engine, an OpenAI-style endpoint and a
scripted fake are all Completers; `synthetic`, `preference`, `eval` and `safety` are handed one and never import
the engine. A prompt that occurs several times in one call is sampled independently each time: the random
stream of a completion is a function of (seed, prompt, its how-manieth occurrence) and of nothing else.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from phidelity.config import UserError
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


PATIENCE = (1.0, 4.0, 16.0)
"""Seconds between tries when an endpoint is busy or out of reach (*ours*)."""


@dataclass(slots=True)
class HttpCompleter:
    """A Completer behind an OpenAI-style endpoint: chats go to /chat/completions, texts and ids to /completions."""

    url: str
    model: str
    key: str = ""
    n_parallel: int = 8
    patience: tuple[float, ...] = PATIENCE

    @property
    def name(self) -> str:
        """The model at its endpoint; the key is no part of it."""
        return f"{self.model}@{self.url}"

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """One completion per prompt, in order; an endpoint that stays unwilling is a `UserError`."""
        bodies = [_body(prompt, params, occurrence) for prompt, occurrence in _occurrences(prompts)]
        completions: dict[int, Completion] = {}
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with (
            httpx.Client(base_url=self.url.rstrip("/") + "/", headers=headers, timeout=600) as client,
            ThreadPoolExecutor(self.n_parallel) as pool,
        ):
            jobs = {pool.submit(self._ask, client, body): index for index, body in enumerate(bodies)}
            for job in as_completed(jobs):
                completions[jobs[job]] = job.result()
                if on_done:
                    on_done(jobs[job], completions[jobs[job]])
        return [completions[index] for index in range(len(prompts))]

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Not possible: OpenAI-style endpoints do not score prompts."""
        raise TypeError("an endpoint has no log-probabilities of prompts")

    def _ask(self, client: httpx.Client, body: dict[str, Any]) -> Completion:
        path = "chat/completions" if "messages" in body else "completions"
        found = ""
        for seconds in (*self.patience, None):
            try:
                response = client.post(path, json={"model": self.model, **body})
            except httpx.TransportError as error:
                found = str(error) or type(error).__name__
            else:
                if response.status_code == 200:
                    return _completion(response, self.url)
                found = f"status {response.status_code}: {response.text[:200]}"
                if response.status_code not in (408, 429) and response.status_code < 500:
                    break
            if seconds is not None:
                time.sleep(seconds)
        raise UserError(f"The endpoint {self.url} did not answer ({found}). Check url, model and key, then go on.")


def _occurrences(prompts: Sequence[Prompt]) -> list[tuple[Prompt, int]]:
    """Each prompt with how often the very same one came before."""
    seen: dict[Prompt | str, int] = {}
    pairs = []
    for prompt in prompts:
        key = prompt.model_dump_json() if isinstance(prompt, Conversation) else prompt
        pairs.append((prompt, seen.get(key, 0)))
        seen[key] = seen.get(key, 0) + 1
    return pairs


def _body(prompt: Prompt, params: SamplingParams, occurrence: int) -> dict[str, Any]:
    body: dict[str, Any] = {"temperature": params.temperature, "top_p": params.top_p, "max_tokens": params.max_tokens}
    if isinstance(prompt, Conversation):
        body["messages"] = [message.model_dump() for message in prompt.messages]
    else:
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
    digest = hashlib.sha256(f"{params.seed}/{occurrence}".encode()).digest()
    body["seed"] = int.from_bytes(digest[:4], "big") >> 1
    return (
        body | ({"stop": list(params.stop)} if params.stop else {}) | ({"top_k": params.top_k} if params.top_k else {})
    )


def _completion(response: httpx.Response, url: str) -> Completion:
    try:
        reply = response.json()
        choice, used = reply["choices"][0], reply.get("usage") or {}
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    except (ValueError, LookupError, TypeError):
        raise UserError(
            f"The endpoint {url} sent no completion: {response.text[:200]!r}. Expected OpenAI's reply; check the url."
        ) from None
    usage = Usage(prompt_tokens=used.get("prompt_tokens", 0), completion_tokens=used.get("completion_tokens", 0))
    return Completion(text=text or "", finish_reason=choice.get("finish_reason") or "stop", usage=usage)
