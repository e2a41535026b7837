"""The engine's front door: a model and its tokenizer as a Completer, for any number of threads at once.

A Conversation is rendered as a chat and gets a new assistant turn. A plain text is the beginning of a document, with
nothing before it: the end of text is only ever a target in our training (data/batch.py). Ids are taken as they are,
so continuing inside a turn is done with ids. A prompt too long for the context is refused with the numbers (by
`complete` as `context_exceeded`), never cut; generation that fills the context ends with `length` (phi-4 report §3:
16,384 positions after midtraining).
"""

import operator
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, get_args

import torch

from phidelity.checkpoint.adapter import base_digest, read_adapter
from phidelity.checkpoint.open import load_whole, open_checkpoint, open_weights
from phidelity.completion import Asked, Capabilities, Completion, Prompt, SamplingParams, Usage, asked, check
from phidelity.config import UserError
from phidelity.device import check_device
from phidelity.engine import sampling
from phidelity.engine.blocks import BLOCK
from phidelity.engine.compact import CacheFormat
from phidelity.engine.drawing import stream_key
from phidelity.engine.engine import Engine
from phidelity.engine.lowered import Lowered, lower
from phidelity.engine.runner import Runner
from phidelity.engine.sequence import Sequence
from phidelity.engine.speculation import Speculator, measure
from phidelity.engine.spill import BUDGET, Spill
from phidelity.engine.stream import TextStream, said_text
from phidelity.engine.worker import Request, Worker
from phidelity.model.dense import dense
from phidelity.model.lora import adapt, placed
from phidelity.model.transformer import Transformer
from phidelity.records import Conversation
from phidelity.tokenizer import chat
from phidelity.tokenizer.bpe import Tokenizer

CACHE_BYTES = 2 << 30
"""Most that keys and values take in memory unless told otherwise (*ours*); rows at full context may need less."""


class LLM:
    """A Completer over a local model. All methods are safe from several threads; one engine serves them together."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        name: str,
        *,
        n_running: int = 64,
        cache_bytes: int = CACHE_BYTES,
        context_len: int | None = None,
        spill: Path | None = None,
        spill_bytes: int = BUDGET,
        digest: str = "",
        speculate: bool = True,
        cache_format: CacheFormat = "f32",
    ) -> None:
        """`spill` is a folder for the prefix cache, and needs `digest`, a name that no other weights have.

        `context_len` may be less than the model's.
        """
        _check_options(n_running, cache_bytes, context_len, spill_bytes, cache_format)
        if spill and not digest:
            raise UserError(
                "A prefix cache on disk was asked for (spill), and nothing says which weights it is of. Open the model "
                "with open_model, or give digest=..., a name that changes with the weights."
            )
        self.name = name
        self.adapted: dict[str, LLM] = {}  # engines of adapters by name, over the same weights
        self.model, self.tokenizer = model.eval(), tokenizer
        self.context_len = min(context_len or model.config.context_len, model.config.context_len)
        self.n_running = n_running
        self._cache: tuple[int, CacheFormat] = (cache_bytes, cache_format)
        self._spill = (Path(spill), digest, spill_bytes) if spill else None
        self._speculate = speculate
        self._n_known = min(tokenizer.vocab_size, model.config.vocab_size)
        self._end_ids = chat.stop_ids(tokenizer)
        self._worker = Worker(self._make)

    @property
    def engine(self) -> Engine | None:
        """The engine, once it is made; its own thread uses it."""
        return self._worker.engine

    @property
    def capabilities(self) -> Capabilities:
        """Everything: prompts of any kind, and their scores."""
        return Capabilities(logprobs=True)

    def complete(
        self,
        prompts: abc.Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """`params.n` completions per prompt, in order. `on_done(index, completion)` is called as each one ends."""
        self.check(params)
        asks = asked([self.prompt_ids(prompt) for prompt in prompts], params)
        completions: dict[int, Completion] = {}
        ended: SimpleQueue[int] = SimpleQueue()
        requests: dict[int, Request] = {}
        for index, one in enumerate(asks):
            assert isinstance(one.prompt, tuple)
            if self._is_too_long(one.prompt, params):
                completions[index] = _refused(one.prompt, one)
            else:
                sequence = self._sequence(one.prompt, params, one.repeat)
                sequence.on_end = lambda index=index: ended.put(index)
                requests[index] = self._request(sequence, one.choice)
        try:
            self._worker.submit([request.sequence for request in requests.values()])
            for index in list(completions):
                if on_done:
                    on_done(index, completions[index])
            for _ in requests:
                index = ended.get()
                completions[index] = requests[index].result()
                if on_done:
                    on_done(index, completions[index])
        finally:
            for request in requests.values():
                if not request.is_done:
                    request.cancel()
        return [completions[index] for index in range(len(asks))]

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        repeat: int = 0,
        on_news: Callable[[], None] | None = None,
        allowed: sampling.Allowed | None = None,
    ) -> Request:
        """Begin one completion and return at once; `repeat` tells `n` of them apart.

        What is wrong with the request is raised here. `on_news` is called on the engine's thread after every token
        and at the end, and must be quick; then `take` gives what is new. `allowed` holds the answer to a grammar.
        """
        self.check(params)
        ids = self.prompt_ids(prompt)
        if self._is_too_long(ids, params):
            room = f"the context holds {self.context_len}, of which one is for the answer"
            raise UserError(f"The prompt has {len(ids)} tokens; {room}. Shorten it.")
        sequence = self._sequence(ids, params, params.first_repeat + repeat)
        sequence.text = sequence.text or TextStream(self.tokenizer, params.stop)
        sequence.on_token, sequence.allowed = on_news, allowed
        request = self._request(sequence, repeat)
        self._worker.submit([sequence])
        return request

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str]:
        """The text of one completion as it grows, at whole characters; together it is `complete`'s text."""
        request = self.submit(prompt, params)
        try:
            for piece in request:
                if piece.text:
                    yield piece.text
        finally:
            request.cancel()

    def check(self, params: SamplingParams) -> None:
        """Refuse parameters that no answer of this model could follow."""
        check(params)
        sampling.check_ids(params, self._n_known)

    def logprobs(self, prompts: abc.Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Log-probability of each token after the first given those before it.

        A `UserError` where the model gave logits that are not finite; RuntimeError where the engine was closed.
        """
        for prompt in prompts:
            if len(self.prompt_ids(prompt)) > self.context_len:
                raise UserError(f"{len(prompt)} tokens were given to score; the context holds {self.context_len}.")
        scored = self.complete(prompts, SamplingParams(max_tokens=0, prompt_logprobs=0))
        for number, one in enumerate(scored):
            if one.finish_reason == "error":
                raise UserError(f"Prompt {number} could not be scored: {one.error}. Check the model with `phi check`.")
            if len(one.prompt_logprobs) != one.usage.prompt_tokens - 1:
                raise RuntimeError("the engine was closed before all prompts were scored")
        return [one.prompt_logprobs for one in scored]

    def stats(self) -> dict[str, int]:
        """Requests that run and wait, blocks of the cache, and what was done so far."""
        engine = self._worker.engine
        if not engine:
            return {"running": 0, "waiting": self._worker.n_arriving}
        scheduler = engine.scheduler
        return {
            "running": len(scheduler.running),
            "waiting": len(scheduler.waiting) + self._worker.n_arriving,
            "blocks": scheduler.blocks.n_blocks - 1,
            "blocks_free": scheduler.blocks.n_available,
            "block_tokens": BLOCK,
            **asdict(engine.stats),
        }

    def warm(self) -> None:
        """Make the engine now: its cache, its trials and measurements. Else the first request waits for it."""
        for one in (self, *self.adapted.values()):
            one.complete([(0,)], SamplingParams(max_tokens=1))

    def close(self) -> None:
        """Cancel what runs, save the prefix cache where it has a folder, end the thread."""
        for one in (self, *self.adapted.values()):
            one._worker.close()

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The ids a prompt is read as."""
        if isinstance(prompt, Conversation):
            return tuple(chat.render(prompt.messages, self.tokenizer, generation_prompt=True).ids)
        return _ids(self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt, self.model.config.vocab_size)

    def _is_too_long(self, prompt: tuple[int, ...], params: SamplingParams) -> bool:
        return len(prompt) + min(params.max_tokens, 1) > self.context_len

    def _sequence(self, prompt: tuple[int, ...], params: SamplingParams, repeat: int) -> Sequence:
        return Sequence(
            prompt,
            params,
            key=stream_key(params.seed, prompt, repeat),
            limit=min(params.max_tokens, self.context_len - len(prompt)),
            text=TextStream(self.tokenizer, params.stop) if params.stop else None,
            end_ids=frozenset(params.stop_ids) | (frozenset() if params.ignore_end else self._end_ids),
        )

    def _request(self, sequence: Sequence, choice: int) -> Request:
        return Request(sequence, self._worker, lambda one: one.completion(choice, partial(said_text, self.tokenizer)))

    def _make(self) -> Engine:
        """The engine, made on its own thread when the first request comes."""
        n_bytes, form = self._cache
        runner = Runner(
            self.model, n_rows=self.n_running, cache_bytes=n_bytes, context_len=self.context_len, cache_format=form
        )
        spill = _spill(runner, *self._spill) if self._spill else None
        propose = Speculator(measure(runner.model, runner.sizes)) if self._speculate else None
        return Engine(runner, self._n_known, spill=spill, propose=propose)


def _check_options(
    n_running: int, cache_bytes: int, context_len: int | None, spill_bytes: int, cache_format: str
) -> None:
    limits = (
        ("n_running", n_running, n_running >= 1, "1 or more requests at once"),
        ("cache_bytes", cache_bytes, cache_bytes >= 0, "0 bytes (room for one request) or more"),
        ("context_len", context_len, context_len is None or context_len >= 2, "2 tokens or more"),
        ("spill_bytes", spill_bytes, spill_bytes >= 0, "0 bytes or more"),
        ("cache_format", cache_format, cache_format in get_args(CacheFormat), " or ".join(get_args(CacheFormat))),
    )
    for name, value, is_fine, expected in limits:
        if not is_fine:
            raise UserError(f"{name} is {value!r}; expected {expected}. Change it.")


def _ids(prompt: Any, vocab_size: int) -> tuple[int, ...]:
    """Ids as a tuple of integers, the very one that was given where it is one already."""
    try:
        is_plain = type(prompt) is tuple and set(map(type, prompt)) == {int}
        ids = prompt if is_plain else tuple(map(operator.index, prompt))
    except TypeError as error:
        raise UserError(f"A prompt is a conversation, a text or token ids; found {prompt!r:.60} ({error}).") from None
    if not ids:
        raise UserError("A prompt of no tokens was given; expected at least one. Give a text or a conversation.")
    if not (min(ids) >= 0 and max(ids) < vocab_size):
        found = f"Token ids from {min(ids)} to {max(ids)} were given"
        raise UserError(f"{found}; the model knows 0 to {vocab_size - 1}. Check the tokenizer.")
    return ids


def _spill(runner: Runner, folder: Path, digest: str, budget: int) -> Spill:
    block = runner.cache.get(0)
    kind = f"{'x'.join(map(str, block.shape))}-{str(block.dtype).removeprefix('torch.')}"
    return Spill(folder, f"{digest}-{kind}-{runner.arithmetic()}", block.shape, block.dtype, budget)


def open_model(
    folder: Path,
    *,
    device: str = "cpu",
    weights: Lowered | None = None,
    adapters: abc.Mapping[str, Path] | None = None,
    **options: Any,
) -> LLM:
    """The model of a checkpoint folder, named by the hash of its weights; options are those of LLM.

    `adapters` are folders by name: each gets an engine over the same weights, its share of the cache, and a place in
    `adapted`. On `device="cuda"` it computes in bf16, or with `weights` rounded to fp8, int8 or int4 (see lowered.py).
    """
    check_device(device)
    if adapters:
        return _open_adapted(folder, adapters, device, options)
    checkpoint = open_checkpoint(folder)
    if device == "cpu":
        if weights:
            raise UserError(f"{weights} weights are for a GPU; on a CPU take a packed model (`phi convert --to q4`).")
        model, name = lay_out(checkpoint.model), checkpoint.digest
        return LLM(model, checkpoint.tokenizer, name, digest=name, **options)
    model = checkpoint.model.requires_grad_(False).to(device, torch.bfloat16)
    name = f"{checkpoint.digest}-{weights or 'bf16'}"
    return LLM(lower(model, weights) if weights else model, checkpoint.tokenizer, name, digest=name, **options)


def _open_adapted(folder: Path, adapters: abc.Mapping[str, Path], device: str, options: dict[str, Any]) -> LLM:
    opened = open_weights(folder)
    base_hash = base_digest(opened)
    read = {name: read_adapter(path, opened.config, base_hash) for name, path in adapters.items()}
    model, tokenizer, digest = load_whole(opened)
    is_cpu = torch.device(device).type == "cpu"
    model = lay_out(model) if is_cpu else model.requires_grad_(False).to(device, torch.bfloat16)
    options["cache_bytes"] = options.get("cache_bytes", CACHE_BYTES) // (1 + len(read))
    llm = LLM(model, tokenizer, digest, digest=digest, **options)
    for name, adapter in read.items():
        model_with = adapt(model, placed(adapter.updates, device))
        both = f"{digest}-{adapter.digest}"
        llm.adapted[name] = LLM(model_with, tokenizer, both, digest=both, **options)
    return llm


def lay_out(model: Transformer) -> Transformer:
    """Matrices packed for the kernels; where torch serves, by columns: products of few rows then skip a transposition.

    Measured for torch: 15 % of their time at 64 rows, 40 % at 16; and fewer sizes of batch that disagree (tiles.py).
    """
    if packed := dense(model, release=True):
        return packed
    for module in model.requires_grad_(False).modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()
    return model


def _refused(prompt: tuple[int, ...], one: Asked) -> Completion:
    usage = Usage(prompt_tokens=len(prompt), completion_tokens=0)
    return Completion(text="", finish_reason="context_exceeded", usage=usage, index=one.choice)
