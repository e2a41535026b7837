"""What the server has: the model (when it is loaded), its limits, and the requests under way.

States are `loading`, `ready` and `draining`; only a ready one takes requests. Waiting is bounded: more sequences than
the engine runs and `queue` may wait are refused with 429, so memory is bounded by the limits, not by the clients.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from phidelity.completion import Prompt, SamplingParams
from phidelity.config import UserError
from phidelity.engine import sampling
from phidelity.engine.llm import LLM
from phidelity.server.answer import Answer, Bell
from phidelity.server.auth import Keys
from phidelity.server.errors import ApiError
from phidelity.server.grammar import Allow, Grammars, schema_of
from phidelity.server.metrics import Metrics
from phidelity.server.protocol import wrong_value

LONG = 20_000
"""Characters from which on a prompt is encoded on a thread of its own (*ours*)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server is run; every limit is *ours*."""

    name: str = "phi"
    adapters: tuple[str, ...] = ()
    """Names under which adapters of the same base are asked for."""
    notice: str = ""
    """What the model is, in plain words."""
    keys: Keys = field(default_factory=Keys)
    origins: tuple[str, ...] = ()
    """Other sites whose pages may call the server."""
    hosts: tuple[str, ...] = ()
    """Names under which the server may be addressed, beside addresses; none: any."""
    queue: int = 256
    """Sequences that may wait beyond those that run."""
    body_bytes: int = 8 << 20
    held_bytes: int = 64 << 20
    """Bodies in memory, of all requests under way."""
    timeout: float = 1800.0
    """Seconds for a whole request; 0: no limit."""
    body_timeout: float = 30.0
    """Seconds in which a body has to arrive."""


class Service:
    """Everything that requests share; lives on the event loop that makes it."""

    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.state = "loading"
        self.metrics = metrics or Metrics()
        self.adapted = {
            name: Service(replace(settings, name=name, adapters=()), self.metrics) for name in settings.adapters
        }
        """A service for each adapter, by the model name that asks for it."""
        self.created = int(time.time())
        self.n_open = 0
        """Sequences under way."""
        self._llm: LLM | None = None
        self._bell: Bell | None = None

    @property
    def llm(self) -> LLM:
        """The model; a 503 while there is none to ask."""
        if self.state == "draining":
            raise ApiError(503, "The server is shutting down.", code="draining", headers={"Retry-After": "10"})
        if not self._llm:
            told = "The model is being loaded; ask again in a moment (GET /health tells when)."
            raise ApiError(503, told, code="loading", headers={"Retry-After": "2"})
        return self._llm

    def use(self, llm: LLM) -> None:
        """The model is there."""
        self._llm = llm
        self.grammars = Grammars(llm.tokenizer, min(llm.tokenizer.vocab_size, llm.model.config.vocab_size))
        self.state = "ready"
        for name, service in self.adapted.items():
            service.use(llm.adapted[name])

    def of(self, name: str | None) -> "Service":
        """The service of the model that a request names: an adapter's, or this one."""
        return self.adapted.get(name or "", self)

    async def held(self, response_format: Mapping[str, Any] | None, param: str = "response_format") -> Allow | None:
        """What holds answers to a `response_format`; None where any text will do."""
        schema = schema_of(response_format, param)
        if schema is None:
            return None
        return await asyncio.to_thread(self.grammars.of_schema, schema, param)

    def stats(self) -> dict[str, int]:
        """Of the engine, as far as there is one."""
        return self._llm.stats() if self._llm else {}

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not here; none named is the one that is."""
        if name is not None and name != self.settings.name:
            served = ", ".join(map(repr, (self.settings.name, *self.adapted)))
            told = f"The model {name[:100]!r} is not served here; expected {served} (GET /v1/models)."
            raise ApiError(404, told, param="model", code="model_not_found")

    async def ids(self, prompts: Sequence[Prompt], *, room: int, param: str) -> list[tuple[int, ...]]:
        """The ids of prompts; refused with the numbers where the context has no room for one and `room` more."""
        llm = self.llm

        def encode() -> list[tuple[int, ...]]:
            found = []
            for prompt in prompts:
                try:
                    found.append(llm.prompt_ids(prompt))
                except UserError as error:
                    raise ApiError(400, str(error), param=param, code="invalid_value") from None
            return found

        ids = await asyncio.to_thread(encode) if sum(map(_size, prompts)) > LONG else encode()
        for one in ids:
            if len(one) + room > llm.context_len:
                found = f"This model's maximum context length is {llm.context_len} tokens, the answer included"
                told = f"{found}; the prompt has {len(one)} tokens. Shorten it."
                raise ApiError(400, told, param=param, code="context_length_exceeded")
        return ids

    def check_room(self, n_new: int) -> None:
        """Refuse `n_new` more answers where so many cannot even wait: a 400 where they never can, else a 429."""
        most = self.llm.n_running + self.settings.queue
        if n_new > most:
            raise ApiError(400, f"{n_new} answers were asked for at once; at most {most} are taken.", param="n")
        if self.n_open + n_new > most:
            told = f"{self.n_open} answers are under way and no more can wait. Ask again later."
            raise ApiError(429, told, code="rate_limit_exceeded", headers={"Retry-After": self._wait()})

    def answer(
        self,
        prompts: Sequence[tuple[int, ...]],
        params: SamplingParams,
        n: int,
        *,
        is_streamed: bool,
        allow: Callable[[], Any] | None = None,
    ) -> Answer:
        """Begin `n` choices for each prompt; a grammar's end is the answer's end, whatever `ignore_eos` says."""
        llm, n_new = self.llm, n * len(prompts)
        self.check_room(n_new)
        try:
            sampling.check_ids(params, min(llm.tokenizer.vocab_size, llm.model.config.vocab_size))
        except UserError as error:
            raise wrong_value(error) from None
        if allow:
            params = params.model_copy(update={"ignore_end": False})
        self._bell = self._bell or Bell(asyncio.get_running_loop())
        self.n_open += n_new

        def closed() -> None:
            self.n_open -= n_new

        seconds = self.settings.timeout
        answer = Answer(llm, self._bell, self.metrics, n_new, is_streamed=is_streamed, seconds=seconds, on_close=closed)
        try:
            answer.submit([(ids, repeat) for ids in prompts for repeat in range(n)], params, allow)
        except BaseException:
            answer.close()
            raise
        return answer

    def _wait(self) -> str:
        """Seconds after which a place may be free: the waiting ones over the rate at which answers ended."""
        times = self.metrics.times["vllm:e2e_request_latency_seconds"]
        return str(max(1, min(60, round(times.mean * self.n_open / max(self.llm.n_running, 1)))))

    async def drain(self, seconds: float) -> None:
        """Take no more, let what runs end, and after `seconds` cancel it."""
        everyone = (self, *self.adapted.values())
        for service in everyone:
            service.state = "draining"
        end = time.monotonic() + seconds
        while any(service.n_open for service in everyone) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        if self._llm:
            await asyncio.to_thread(self._llm.close)


def _size(prompt: Prompt) -> int:
    """About how long it takes to encode, in characters."""
    return len(prompt) if isinstance(prompt, str | tuple) else sum(20 + len(one.content) for one in prompt.messages)
