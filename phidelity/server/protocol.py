"""OpenAI's requests as they come, and what they ask of the engine: the only file that knows both sets of names.

A field that is not known is taken and named in a `Warning` header; one that asks for what cannot be done here is
refused by name. Fields beyond OpenAI's (top_k, min_p, repetition_penalty, ...) are spelled as vLLM spells them.
"""

import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from phidelity.completion import SamplingParams, check
from phidelity.config import UserError
from phidelity.server.errors import ApiError

MOST_ALTERNATIVES = 20
"""`top_logprobs` and `logprobs` at most, as OpenAI has it for chats."""
MOST_CHOICES = 128
"""`n` at most, as OpenAI has it."""
TEXT_TOKENS = 16
"""`max_tokens` of /v1/completions where it is not given, as OpenAI has it."""

MOST_BIASES = 20_000
"""Entries of `logit_bias` at most (*ours*)."""

Item = TypeVar("Item")
List = Annotated[list[Item], Field(fail_fast=True)]
"""Told of its first wrong element alone, so that a list of a million wrong ones costs as much as one."""
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Token = Annotated[int, Field(ge=0, lt=2**31)]


def _numbers(bias: Any) -> Any:
    if isinstance(bias, dict):
        if len(bias) > MOST_BIASES:
            raise ValueError(f"it has {len(bias):,} entries; at most {MOST_BIASES:,} are read")
        if wrong := [value for value in bias.values() if type(value) not in (int, float)]:
            raise ValueError(f"one of its values is {wrong[0]!r:.80}; expected numbers")
    return bias


def _kind_of(prompt: Any) -> str | None:
    """Which of its four forms a prompt has, by its first element."""
    first = prompt[0] if isinstance(prompt, list) and prompt else 0
    kinds = {str: "texts", list: "many", int: "ids"}
    return "text" if isinstance(prompt, str) else kinds.get(type(first)) if isinstance(prompt, list) else None


TextPrompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[List[Token], Tag("ids")]
    | Annotated[List[str], Tag("texts")]
    | Annotated[List[List[Token]], Tag("many")],
    Discriminator(
        _kind_of,
        custom_error_type="prompt_type",
        custom_error_message="expected a text, token ids, or a list of either",
    ),
]


class Body(BaseModel):
    """Base of every request: unknown fields are kept apart, numbers are finite."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True, protected_namespaces=())

    def unknown(self, where: str = "") -> Iterator[str]:
        """Names of fields that mean nothing here, by their place; those that are null or empty are passed over."""
        for name, value in (self.model_extra or {}).items():
            if value is not None and value != [] and value != {}:
                yield where + name
        for name, value in self.__dict__.items():
            for at, one in enumerate(value) if isinstance(value, list) else ((-1, value),):
                if not isinstance(one, Body):
                    break
                yield from one.unknown(f"{where}{name}." + (f"{at}." if at >= 0 else ""))


class StreamOptions(Body):
    """How a stream ends."""

    include_usage: bool | None = None


class Sampling(Body):
    """What /v1/chat/completions and /v1/completions have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stop: str | List[str] | None = None
    stop_token_ids: List[Token] | None = None
    seed: Seed | None = None
    max_tokens: int | None = Field(None, ge=0, lt=2**31)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=1000)
    logit_bias: Annotated[dict[str, float] | None, BeforeValidator(_numbers)] = None
    ignore_eos: bool | None = None
    user: str | None = None
    response_format: dict[str, Any] | None = None

    def params(self, context_len: int, usual: int, alternatives: int | None, scored: int | None) -> SamplingParams:
        """For the engine; `usual` is the length where none is given."""
        given = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p,
            "top_k": max(self.top_k or 0, 0),
            "min_p": self.min_p,
            "max_tokens": min(usual if self.max_tokens is None else self.max_tokens, context_len),
            "seed": secrets.randbits(62) if self.seed is None else self.seed,
            "stop": _stops(self.stop),
            "stop_ids": None if self.stop_token_ids is None else tuple(self.stop_token_ids),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "logit_bias": _bias(self.logit_bias or {}),
            "ignore_end": self.ignore_eos,
            "logprobs": alternatives,
            "prompt_logprobs": scored,
        }
        params = SamplingParams.model_construct(**{name: value for name, value in given.items() if value is not None})
        try:
            check(params)
        except UserError as error:
            raise wrong_value(error) from None
        return params


OURS = {"stop_ids": "stop_token_ids", "ignore_end": "ignore_eos"}
"""Fields of the engine that a client knows by other names."""


def wrong_value(error: UserError) -> ApiError:
    """What the engine says of a field, under the name that the client gave it."""
    name, _, rest = str(error).partition(" ")
    return ApiError(400, f"{OURS.get(name, name)} {rest}", param=OURS.get(name, name), code="invalid_value")


class Part(Body):
    """A piece of a message's content."""

    type: str
    text: str | None = None


class Called(Body):
    """A call's function, its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Body):
    """A call that the assistant made."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: Called


class ChatMessage(Body):
    """One turn: `developer` is read as `system`, a tool's result as the user's."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | List[Part] | None = None
    tool_calls: List[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class Function(Body):
    """What can be called: its arguments by a JSON schema."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A function on offer."""

    type: Literal["function"]
    function: Function


class ChatRequest(Sampling):
    """POST /v1/chat/completions."""

    messages: List[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    tools: List[Tool] | None = Field(None, max_length=MOST_CHOICES)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class TextRequest(Sampling):
    """POST /v1/completions: a text, token ids, or several of either."""

    prompt: TextPrompt
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    best_of: int | None = Field(None, ge=1, le=MOST_CHOICES)
    suffix: str | None = None


class TokenizeRequest(Body):
    """POST /tokenize: a text (`prompt` or `content`) or a chat."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None
    messages: List[ChatMessage] | None = None
    add_generation_prompt: bool = True


class DetokenizeRequest(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: List[Token]


class TemplateRequest(Body):
    """POST /apply-template."""

    model: str | None = None
    messages: List[ChatMessage] = Field(min_length=1)
    add_generation_prompt: bool = True


REFUSED: Mapping[str, str] = {
    "functions": "Functions of that form are not served; give them as tools",
    "function_call": "Function calls of that form are not served; give tools and tool_choice",
    "audio": "This model reads and writes text alone; leave audio out",
    "prompt_embeds": "Prompts are texts or token ids; embeddings are not taken",
    "best_of": "Only what is asked for is generated; leave best_of out or make it equal to n",
    "suffix": "This model was not trained to fill in; leave suffix out",
}
"""Fields that change what an answer means and cannot be done here."""


def refuse(body: Sampling) -> None:
    """A precise 400 for what cannot be done; fields without effect are left to the warning."""
    extra = body.model_extra or {}
    for name, told in REFUSED.items():
        value = extra.get(name, getattr(body, name, None))
        if value is not None and not (name == "best_of" and value == (body.n or 1)) and value != "":
            raise ApiError(400, f"{name}: {told[0].lower()}{told[1:]}.", param=name, code="unsupported_parameter")
    modalities = extra.get("modalities")
    if modalities not in (None, ["text"]):
        raise ApiError(400, f"modalities is {modalities!r}; this model has text alone.", param="modalities")
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options belongs to stream: true. Set it or leave them out.", param="stream_options")


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > 64:
        raise ApiError(400, f"{len(stops)} stop strings were given; at most 64 are looked for.", param="stop")
    return tuple(one for one in stops if one)


def _bias(bias: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    pairs = []
    for token, value in bias.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise ApiError(400, f'logit_bias names {token!r}; expected token ids such as "42".', param="logit_bias")
        pairs.append((int(token), value))
    return tuple(pairs)
