"""/v1/completions: texts or token ids in, what follows out; with `echo` the prompt too, and its log-probabilities.

`max_tokens: 0` with `echo` scores a prompt and generates nothing, which is what evaluations by log-likelihood ask for.
Choices come prompt by prompt, `n` of each, as OpenAI numbers them.
"""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from phidelity.completion import Completion, Prompt
from phidelity.server import tokens
from phidelity.server.answer import Answer
from phidelity.server.errors import ApiError
from phidelity.server.events import DONE, event, send, with_pings
from phidelity.server.protocol import TEXT_TOKENS, TextRequest, refuse
from phidelity.server.service import Service


async def text(service: Service, body: TextRequest, http: HttpRequest, headers: dict[str, str]) -> Response:
    """Continue prompts."""
    refuse(body)
    service.check_model(body.model)
    llm = service.llm
    scored = body.logprobs if body.echo and body.logprobs is not None else None
    if body.max_tokens == 0 and scored is None:
        scored = 0
    params = body.params(llm.context_len, TEXT_TOKENS, body.logprobs, scored)
    room = min(params.max_tokens, 1)
    prompts = _prompts(body)
    service.check_room(len(prompts) * (body.n or 1))
    ids = await service.ids(prompts, room=room, param="prompt")
    allow = await service.held(body.response_format)
    answer = service.answer(ids, params, body.n or 1, is_streamed=bool(body.stream), allow=allow)
    reply = TextReply(service, body, answer)
    return await send(answer, reply, bool(body.stream), http.receive, headers)


def _prompts(body: TextRequest) -> list[Prompt]:
    prompt = body.prompt
    if not prompt:
        raise ApiError(400, "prompt is empty; expected a text or token ids, at least one token.", param="prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt[0], int):
        return [tuple(prompt)]  # pyright: ignore[reportReturnType]
    prompts: list[Prompt] = [one if isinstance(one, str) else tuple(one) for one in prompt]  # pyright: ignore
    for place, one in enumerate(prompts):
        if not one:
            raise ApiError(400, f"prompt.{place} is empty; expected at least one token.", param=f"prompt.{place}")
    return prompts


class TextReply:
    """The answer in OpenAI's legacy shapes."""

    def __init__(self, service: Service, body: TextRequest, answer: Answer) -> None:
        self._body, self._answer = body, answer
        self._tokenizer = service.llm.tokenizer
        self._wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        self._places = [tokens.Places(self._tokenizer) for _ in answer.requests]
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.settings.name,
        }

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        """One object."""
        usage, timings = self._answer.usage(), self._answer.timings()
        choices = (self._choice(choice, one) for choice, one in enumerate(completions))
        return {**self._head, "choices": choices, "usage": usage, "timings": timings}

    def _choice(self, choice: int, one: Completion) -> dict[str, Any]:
        echoed, prompt = self._echo(choice) if self._body.echo else ("", None)
        said = self._logprobs(choice, one.tokens, one.logprobs, one.alternatives)
        return {
            "index": choice,
            "text": echoed + one.text,
            "logprobs": _joined(prompt, said),
            "finish_reason": one.finish_reason,
        }

    async def events(self) -> AsyncGenerator[bytes]:
        """Chunks; an echoed prompt is told when it has been read, before the first token."""
        untold = set(range(len(self._answer.requests))) if self._body.echo else set()
        async for news in with_pings(self._answer):
            if isinstance(news, bytes):
                yield news
                continue
            assert news.piece
            choice, piece = news.choice, news.piece
            if choice in untold:
                untold.remove(choice)
                yield self._chunk(choice, *self._echo(choice))
            said = self._logprobs(choice, piece.tokens, piece.logprobs, piece.alternatives)
            if piece.text or piece.finish_reason or (said and said["tokens"]):
                yield self._chunk(choice, piece.text, said, piece.finish_reason or None)
        if self._answer.is_left:
            return
        if self._wants_usage:
            yield event({**self._head, "choices": [], "usage": self._answer.usage(), "timings": self._answer.timings()})
        yield DONE

    def failure(self, error: ApiError) -> bytes:
        """OpenAI's error object as an event."""
        return event(error.body)

    def _chunk(self, choice: int, said: str, logprobs: dict[str, Any] | None, reason: str | None = None) -> bytes:
        one = {"index": choice, "text": said, "logprobs": logprobs, "finish_reason": reason}
        data: dict[str, Any] = {**self._head, "choices": [one]}
        if self._wants_usage:
            data["usage"] = None
        elif reason:
            data["timings"] = self._answer.timings()
        return event(data)

    def _echo(self, choice: int) -> tuple[str, dict[str, Any] | None]:
        """The prompt's text and, where they were asked for, its log-probabilities."""
        sequence = self._answer.requests[choice].sequence
        prompt = self._tokenizer.decode(sequence.prompt)
        if self._body.logprobs is None:
            return prompt, None
        logprobs: Sequence[float | None] = [None, *sequence.prompt_logprobs[: len(sequence.prompt) - 1]]
        alternatives = [None, *sequence.prompt_alternatives]
        places = tokens.Places(self._tokenizer, by_name=True)
        n_top = self._body.logprobs
        found = tokens.text_logprobs(self._tokenizer, sequence.prompt, logprobs, alternatives, n_top, places)
        self._places[choice] = tokens.Places(self._tokenizer, start=len(prompt))
        return prompt, found

    def _logprobs(self, choice: int, said: Any, logprobs: Any, alternatives: Any) -> dict[str, Any] | None:
        """The end token is among them, by name: who asks for one token expects one (lm-eval drops the last)."""
        if self._body.logprobs is None:
            return None
        places = self._places[choice]
        return tokens.text_logprobs(self._tokenizer, said, logprobs, alternatives, self._body.logprobs, places)


def _joined(prompt: dict[str, Any] | None, said: dict[str, Any] | None) -> dict[str, Any] | None:
    """The arrays of the prompt and of the answer behind each other."""
    if not (prompt and said):
        return prompt or said
    return {name: None if said[name] is None else prompt[name] + said[name] for name in said}
