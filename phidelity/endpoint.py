"""A Completer behind an OpenAI-style endpoint: vLLM, SGLang, llama.cpp's server, our own, or a hosted API."""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import httpx

from phidelity.completion import Completion, Prompt, SamplingParams, Usage
from phidelity.config import UserError
from phidelity.records import Conversation

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
