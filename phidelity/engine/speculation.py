"""Prompt lookup: guess that what followed the last few tokens before will follow them again, and check it in one step.

A draft is the continuation of the latest earlier place with the same `NGRAM` tokens (after A. Saxena's prompt lookup
decoding, 2023). The step that would compute one token computes the draft's as well, and the sampler draws at each
place by the very number that the request would have come to; draws are kept as long as the draft had guessed them. That
is rejection sampling against a proposal of one token: it is kept with its probability p, and else replaced by a draw
from the others in proportion. So an answer is the same, token for token, with and without.

How long a draft may be is decided by what a step of so many rows costs, measured on this model when the engine starts,
and by how many guesses have been right for this request. Where no length pays, nothing is drafted.
"""

import statistics
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch

from phidelity.completion import SamplingParams
from phidelity.model.attention import CausalAttend
from phidelity.model.transformer import Transformer

NGRAM = 3
"""Tokens that must have occurred before (*ours*)."""
LONGEST = 16
"""Tokens of a draft (*ours*)."""
WIDEST = 128
"""Rows of a step up to which its cost is measured (*ours*); wider steps get no drafts."""
LONGEST_ROUND, ENOUGH = 1.0, 0.2
"""Seconds of the first round of measurements, after which wider steps are left out, and of all, after which no further
round is begun (*ours*)."""
PRIOR = (1.0, 2.0)
"""Right and made guesses that a request is credited with when it begins (*ours*): it must earn long drafts."""
MEMORY = 32.0
"""Guesses that count towards a request's rate; older ones fade (*ours*)."""
MARGIN = 1.05
"""A draft must promise this many times the tokens a second (*ours*): measured costs are noisy."""


class Request(Hashable, Protocol):
    """What is known of a sequence: see engine/sequence.py."""

    prompt: tuple[int, ...]
    tokens: list[int]
    """Prompt and answer."""
    params: SamplingParams
    finish_reason: str


class Costs:
    """Seconds of a step by its number of rows."""

    def __init__(self, sizes: Sequence[int], seconds: Sequence[float]) -> None:
        assert list(sizes) == sorted(sizes), sizes
        self._sizes, self._seconds = np.array(sizes), np.maximum.accumulate(np.array(seconds))

    def __call__(self, n_rows: int) -> float:
        """A step is computed at the next size up; more rows than were measured cost without end."""
        at = int(np.searchsorted(self._sizes, n_rows))
        return float(self._seconds[at]) if at < len(self._seconds) else float("inf")


@torch.inference_mode()
def measure(model: Transformer, sizes: Sequence[int], most_rounds: int = 3) -> Costs:
    """Time steps of each size: all products and the head, without the cache, which costs both sides the same.

    A large model would be busy for minutes, so its wider steps are not measured: no drafts so long.
    """
    sizes = [size for size in sizes if size <= WIDEST]
    device, attend = model.embed.weight.device, CausalAttend()

    def seconds(size: int) -> float:
        tokens = torch.zeros(size, 1, dtype=torch.int64, device=device)
        start = time.perf_counter()
        logits = model.logits(model(tokens, torch.zeros_like(tokens), attend)[:, 0])
        float(logits[0, 0])  # waits for the device
        return time.perf_counter() - start

    first: list[float] = []
    for size in sizes:  # warms up as well
        first.append(seconds(size))
        if sum(first) > LONGEST_ROUND:
            break
    sizes = sizes[: len(first)]
    rounds: list[list[float]] = []
    while not rounds or (len(rounds) < most_rounds and sum(map(sum, rounds)) < ENOUGH):
        rounds.append([seconds(size) for size in sizes])
    return Costs(sizes, [statistics.median(column) for column in zip(*rounds, strict=True)] if sizes else [])


@dataclass(slots=True)
class _Memory:
    """Where each n-gram of a request last ended, what was guessed, and how often that was right."""

    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    n_indexed: int = NGRAM
    draft: tuple[int, ...] = ()
    n_then: int = 0
    """Tokens when the draft was made."""
    n_right: float = PRIOR[0]
    n_made: float = PRIOR[1]

    @property
    def rate(self) -> float:
        return self.n_right / self.n_made

    def learn(self, tokens: Sequence[int]) -> None:
        """Count the last draft's guesses up to the first wrong one."""
        n_right = next(
            (
                at
                for at, (guess, token) in enumerate(zip(self.draft, tokens[self.n_then :], strict=False))
                if guess != token
            ),
            min(len(self.draft), len(tokens) - self.n_then),
        )
        n_made = min(n_right + 1, len(self.draft), len(tokens) - self.n_then)
        fade = min(1.0, MEMORY / self.n_made)
        self.n_right, self.n_made = self.n_right * fade + n_right, self.n_made * fade + n_made
        self.draft = ()


class Speculator:
    """Proposes drafts for the requests of one engine."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._memories: WeakKeyDictionary[Request, _Memory] = WeakKeyDictionary()

    def __call__(self, request: Request, n_rows: int) -> tuple[int, ...]:
        """The draft of a request in a step that has `n_rows` rows without it; mostly empty."""
        if not is_eligible(request.params):
            return ()
        memory = self._memories.get(request)
        if memory is None:
            memory = self._memories[request] = _Memory()
        memory.learn(request.tokens)
        place = latest(memory, request.tokens)
        if not place:
            return ()
        n = best_length(memory.rate, n_rows, self._costs)
        memory.draft, memory.n_then = continuation(request.tokens, place, n), len(request.tokens)
        return memory.draft


def is_eligible(params: SamplingParams) -> bool:
    """Penalties would have to know the draft's own tokens; such requests go without."""
    return params.repetition_penalty == 1 and not params.presence_penalty and not params.frequency_penalty


def latest(memory: _Memory, tokens: Sequence[int]) -> int:
    """Where the last `NGRAM` tokens ended the time before; 0: never. Indexes what is new."""
    for end in range(memory.n_indexed, len(tokens)):
        memory.places[tuple(tokens[end - NGRAM : end])] = end
    memory.n_indexed = max(memory.n_indexed, len(tokens))
    return memory.places.get(tuple(tokens[-NGRAM:]), 0) if len(tokens) >= NGRAM else 0


def continuation(tokens: Sequence[int], place: int, n: int) -> tuple[int, ...]:
    """The `n` tokens that follow `place`; what repeats up to the end goes on repeating."""
    period = len(tokens) - place
    return tuple(tokens[place + at % period] for at in range(n))


def best_length(rate: float, n_rows: int, costs: Costs) -> int:
    """How many tokens to guess for most tokens a second, each right with probability `rate` if those before it were."""
    plain = costs(n_rows)
    if plain == float("inf"):
        return 0
    best, n_best, promised = MARGIN * n_rows / plain, 0, float(n_rows)
    for n in range(1, LONGEST + 1):
        promised += rate**n
        if (speed := promised / costs(n_rows + n)) > best:
            best, n_best = speed, n
    return n_best
