"""The engine's front door: a model and its tokenizer as a Completer.

A Conversation is rendered as a chat and gets a new assistant turn. A plain text is the beginning of a document, with
nothing before it: the end of text is only ever a target in our training (data/batch.py). Ids are taken as they are,
so continuing inside a turn is done with ids. A prompt too long for the context is answered `context_exceeded`, never
cut; generation that fills the context ends with `length` (phi-4 report §3: 16,384 positions after midtraining).
"""

from collections import abc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from phidelity.checkpoint.open import open_checkpoint
from phidelity.completion import Capabilities, Completion, Prompt, SamplingParams, Usage, asked, check
from phidelity.config import UserError
from phidelity.engine import sampling
from phidelity.engine.runner import Runner
from phidelity.engine.scheduler import Scheduler
from phidelity.engine.sequence import Finished, Sequence
from phidelity.engine.stream import TextStream
from phidelity.model.attention import CausalAttend
from phidelity.model.transformer import Transformer
from phidelity.records import Conversation
from phidelity.tokenizer import chat
from phidelity.tokenizer.bpe import Tokenizer

SCORED_TOKENS = 4096
"""Tokens in one forward pass of `logprobs` (*ours*)."""
SCORED_LOGITS = 1 << 24
"""Logits held at once while scoring (*ours*): 64 MiB."""


class LLM:
    """A Completer over a local model. One call at a time."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, name: str, *, n_slots: int = 64) -> None:
        self.name = name
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.context_len = model.config.context_len
        self._runner = Runner(model, n_slots)
        self._is_end = np.zeros(min(tokenizer.vocab_size, model.config.vocab_size), dtype=bool)
        self._is_end[list(chat.stop_ids(tokenizer))] = True

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
        check(params)
        completions: dict[int, Completion] = {}

        def done(index: int, completion: Completion) -> None:
            completions[index] = completion
            if on_done:
                on_done(index, completion)

        asks = asked(prompts, params)
        ids = [self.prompt_ids(one.prompt) for one in asks]
        for index, prompt in enumerate(ids):
            if len(prompt) >= self.context_len:
                done(index, _refused(prompt).model_copy(update={"index": asks[index].choice}))
        sequences = self._sequences(ids, [one.repeat for one in asks], params)
        scheduler = Scheduler(self._runner, params, sequences, self._is_end)
        while scheduler.is_busy:
            for finished in scheduler.step():
                index = finished.sequence.index
                done(index, self._completion(finished).model_copy(update={"index": asks[index].choice}))
        return [completions[index] for index in range(len(asks))]

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str]:
        """The text of one completion as it grows, at whole characters; together it is `complete`'s text."""
        check(params)
        ids = self.prompt_ids(prompt)
        if len(ids) >= self.context_len:
            raise UserError(f"The prompt has {len(ids)} tokens; the context holds {self.context_len}. Shorten it.")
        sequence = self._sequences([ids], [params.first_repeat], params)[0]
        sequence.text = TextStream(self.tokenizer, params.stop)
        scheduler = Scheduler(self._runner, params, [sequence], self._is_end)
        n_sent = 0
        while scheduler.is_busy:
            scheduler.step()
            if len(sequence.shown) > n_sent:
                yield sequence.shown[n_sent:]
                n_sent = len(sequence.shown)
        if rest := sequence.text.finish():
            yield rest

    @torch.inference_mode()
    def logprobs(self, prompts: abc.Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Log-probability of each token after the first given those before it, by plain forward passes."""
        ids = [self.prompt_ids(prompt) for prompt in prompts]
        for prompt in ids:
            if len(prompt) > self.context_len:
                raise UserError(f"{len(prompt)} tokens were given to score; the context holds {self.context_len}.")
        scores: dict[int, tuple[float, ...]] = {}
        for batch in _batches([len(prompt) for prompt in ids]):
            for index, row in zip(batch, self._score([ids[index] for index in batch]), strict=True):
                scores[index] = tuple(row[: len(ids[index]) - 1])
        return [scores[index] for index in range(len(prompts))]

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The ids a prompt is read as."""
        if isinstance(prompt, Conversation):
            return tuple(chat.render(prompt.messages, self.tokenizer, generation_prompt=True).ids)
        if isinstance(prompt, str):
            prompt = tuple(self.tokenizer.encode(prompt))
        if not prompt:
            raise UserError("A prompt of no tokens was given; expected at least one. Give a text or a conversation.")
        if not (min(prompt) >= 0 and max(prompt) < self.model.config.vocab_size):
            found = f"Token ids from {min(prompt)} to {max(prompt)} were given"
            raise UserError(f"{found}; the model knows 0 to {self.model.config.vocab_size - 1}. Check the tokenizer.")
        return tuple(prompt)

    def _sequences(
        self, ids: abc.Sequence[tuple[int, ...]], repeats: abc.Sequence[int], params: SamplingParams
    ) -> list[Sequence]:
        result = []
        for index, (prompt, repeat) in enumerate(zip(ids, repeats, strict=True)):
            if len(prompt) < self.context_len:
                key = sampling.stream_key(params.seed, prompt, repeat)
                limit = min(params.max_tokens, self.context_len - len(prompt))
                text = TextStream(self.tokenizer, params.stop) if params.stop else None
                result.append(Sequence(index, np.array(prompt, dtype=np.int64), key, limit, text))
        return result

    def _completion(self, finished: Finished) -> Completion:
        sequence, tokens = finished.sequence, finished.tokens
        said = tokens[:-1] if tokens and self._is_end[tokens[-1]] else tokens
        text = sequence.shown + sequence.text.finish() if sequence.text else self.tokenizer.decode(said)
        usage = Usage(prompt_tokens=len(sequence.prompt), completion_tokens=len(tokens))
        return Completion(
            text=text, tokens=tokens, logprobs=finished.logprobs, finish_reason=finished.reason, usage=usage
        )

    def _score(self, ids: abc.Sequence[tuple[int, ...]]) -> list[list[float]]:
        longest = max(map(len, ids))
        tokens = torch.zeros(len(ids), longest, dtype=torch.int64)
        for row, prompt in enumerate(ids):
            tokens[row, : len(prompt)] = torch.tensor(prompt)
        x = self.model(tokens, torch.arange(longest).expand_as(tokens), CausalAttend())[:, :-1].flatten(0, 1)
        targets = tokens[:, 1:].flatten()
        step = max(SCORED_LOGITS // self.model.config.vocab_size, 1)
        chosen = [
            self.model.logits(part).float().log_softmax(-1).gather(-1, target[:, None])[:, 0]
            for part, target in zip(x.split(step), targets.split(step), strict=True)
        ]
        return torch.cat(chosen).view(len(ids), longest - 1).tolist()


def open_model(folder: Path) -> LLM:
    """The model of a checkpoint folder, named by the hash of its weights.

    Its matrices are laid out by columns: products of few rows then skip a transposition (measured: 15 % of their
    time at 64 rows, 40 % at 16).
    """
    checkpoint = open_checkpoint(folder)
    for module in checkpoint.model.requires_grad_(False).modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()
    return LLM(checkpoint.model, checkpoint.tokenizer, checkpoint.digest)


def _refused(prompt: tuple[int, ...]) -> Completion:
    usage = Usage(prompt_tokens=len(prompt), completion_tokens=0)
    return Completion(text="", finish_reason="context_exceeded", usage=usage)


def _batches(lengths: abc.Sequence[int]) -> Iterator[list[int]]:
    """Indices of like lengths together, at most `SCORED_TOKENS` padded tokens or one prompt a batch."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > SCORED_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
