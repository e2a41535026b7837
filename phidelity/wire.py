"""OpenAI's wire format: a prompt as a request body, a reply as a completion, and what a refusal means.

A null content is an empty answer with finish_reason `null`; a prompt over the context is `context_exceeded`, by the
words of vLLM, llama.cpp and OpenAI. What cannot be read may be asked again; what no other request can do better
(wrong key, wrong model, wrong path) is fatal.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from phidelity.completion import Completion, Prompt, SamplingParams, Usage
from phidelity.config import UserError
from phidelity.records import Conversation, whole_characters

_TOO_LONG = re.compile(r"context[ _](length|size|window)|maximum context|exceed_context|too many tokens", re.IGNORECASE)

_NAMES = {"stop_ids": "stop_token_ids", "ignore_end": "ignore_eos"}
"""What vLLM and SGLang call fields that OpenAI does not have."""


class Failure(NamedTuple):
    """Why a request got no completion; `is_fatal` if no other request can do better."""

    found: str
    is_fatal: bool


class Retry(NamedTuple):
    """What went wrong, where another try may do better."""

    found: str


class Scored(NamedTuple):
    """A text as the endpoint's tokens, with the log-probability of each (None for the first)."""

    tokens: list[str]
    logprobs: list[float | None]


class UnreadableError(Exception):
    """A reply that is no completion."""


def request_body(prompt: Prompt, params: SamplingParams, occurrence: int) -> dict[str, Any]:
    """The body of a request, without the model; its seed is a function of the parameters' seed and the occurrence."""
    body: dict[str, Any] = {"temperature": params.temperature, "top_p": params.top_p, "max_tokens": params.max_tokens}
    if isinstance(prompt, Conversation):
        body["messages"] = [message.model_dump() for message in prompt.messages]
    else:
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
    digest = hashlib.sha256(f"{params.seed}/{occurrence}".encode()).digest()
    body["seed"] = int.from_bytes(digest[:4], "big") >> 1
    return body | {_NAMES.get(name, name): value for name, value in _set_here(params, "messages" in body)}


def _set_here(params: SamplingParams, is_chat: bool) -> Iterator[tuple[str, Any]]:
    """Fields that differ from their defaults, so that an endpoint meets only what is asked of it."""
    for name in ("stop", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"):
        if (value := getattr(params, name)) != SamplingParams.model_fields[name].default:
            yield name, list(value) if name == "stop" else value
    if params.logit_bias:
        yield "logit_bias", {str(token): bias for token, bias in params.logit_bias}
    if params.stop_ids:
        yield "stop_ids", list(params.stop_ids)
    if params.ignore_end:
        yield "ignore_end", True
    if params.logprobs is not None:
        yield "logprobs", True if is_chat else params.logprobs
        if is_chat:
            yield "top_logprobs", params.logprobs


def judge(status: int, reply: str, read: Callable[[Any, str], Any], url: str) -> Any:
    """The result, or whether to try again."""
    told = " ".join(reply[:300].split())
    if status == 200:
        try:
            return read(json.loads(reply), url)
        except (ValueError, UnreadableError, RecursionError):
            return Retry(f"it sent no completion: {told[:200]!r}")
    if status == 0:
        return Retry(told)
    found = f"status {status}: {told}"
    if status in (400, 413, 422) and _TOO_LONG.search(reply):
        return Completion(text="", finish_reason="context_exceeded", usage=Usage(prompt_tokens=0, completion_tokens=0))
    if status in (408, 409, 425, 429) or status >= 500:
        return Retry(found)
    return Failure(found, is_fatal=status in (301, 302, 307, 308, 401, 402, 403, 404, 405))


def read_completion(reply: Any, url: str) -> Completion:
    """The first choice of an OpenAI-style reply."""
    try:
        choice, used = reply["choices"][0], reply.get("usage") or {}
        text = _whole_text(choice["message"]["content"] if "message" in choice else choice["text"])
        usage = Usage(prompt_tokens=_count(used, "prompt_tokens"), completion_tokens=_count(used, "completion_tokens"))
        reason = str(choice.get("finish_reason") or "stop")
        return Completion(
            text=text or "",
            logprobs=_own_logprobs(choice),
            finish_reason=reason if text is not None else "null",
            usage=usage,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableError(str(error)) from None


def _whole_text(content: Any) -> str | None:
    """A content, also one sent in parts; halves of surrogate pairs, which UTF-8 cannot hold, are replaced."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type", "text") == "text")
    return whole_characters(content) if isinstance(content, str) else content


def _count(used: dict[str, Any], name: str) -> int:
    """A count of tokens; what is none is not worth losing an answer for."""
    count = used.get(name)
    return count if type(count) is int and count >= 0 else 0


def _own_logprobs(choice: dict[str, Any]) -> tuple[float, ...]:
    """Log-probabilities of the answer's tokens, where the endpoint sent them."""
    sent = choice.get("logprobs") or {}
    if "content" in sent:
        return tuple(one["logprob"] for one in sent["content"] or ())
    return tuple(sent.get("token_logprobs") or ())


def read_scored(reply: Any, url: str) -> Scored:
    """Tokens and log-probabilities of an echoed prompt, without the token that was generated after it."""
    try:
        sent = reply["choices"][0]["logprobs"]
        tokens, logprobs = list(sent["tokens"]), list(sent["token_logprobs"])
        n = (reply.get("usage") or {}).get("prompt_tokens") or len(tokens) - 1
    except (LookupError, TypeError, AttributeError):
        raise cannot_score(url, "a reply without token_logprobs") from None
    if n < 2 or len(logprobs) < n:
        raise cannot_score(url, f"{len(logprobs)} log-probabilities for a prompt of {n} tokens")
    return Scored(tokens[:n], logprobs[:n])


def cannot_score(url: str, found: str) -> UserError:
    """What is said of an endpoint that does not score prompts."""
    return UserError(
        f"The endpoint {url} gives no log-probabilities of prompts ({found}). Expected /completions to honour echo "
        "with logprobs, as vLLM does; use such an endpoint or a local MODEL."
    )
