"""Which sequence runs in which slot: refilled at once, compacted at the tail, one token each a step.

State of the running sequences lies in arrays over slots, so that a step costs the same few numpy calls whatever
the batch; Python touches a single sequence only when it begins, ends, or watches for stop strings. Sequences
begin in the order of their token ids: equal prompts are prefilled once and nested ones extend each other.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np

from phidelity.completion import SamplingParams
from phidelity.engine.runner import Runner
from phidelity.engine.sampling import sample, uniforms
from phidelity.engine.sequence import Finished, Sequence


class Scheduler:
    """Runs sequences to their end; a new scheduler on the same runner takes its slots over."""

    def __init__(
        self, runner: Runner, params: SamplingParams, sequences: Iterable[Sequence], is_end: np.ndarray
    ) -> None:
        self.runner = runner
        self.params = params
        self.is_end = is_end
        """[V] whether a token ends the answer; as long as the vocabulary of the tokenizer."""
        self.waiting = deque(sorted(sequences, key=lambda sequence: sequence.prompt.tolist()))
        self.running: list[Sequence] = []
        self.holes: list[int] = []
        runner.reserve(max((len(s.prompt) + s.limit for s in self.waiting), default=0))
        self._watches = any(s.text for s in self.waiting)
        longest = max((s.limit for s in self.waiting), default=0)
        n = runner.n_slots
        self.tokens = np.zeros((n, longest), dtype=np.int64)
        self.logprobs = np.zeros((n, longest), dtype=np.float32)
        self.input, self.length, self.count, self.limit = (np.zeros(n, dtype=np.int64) for _ in range(4))
        self.key = np.zeros(n, dtype=np.uint64)
        runner.owner = self

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits."""
        return len(self.running) > len(self.holes) or bool(self.waiting)

    def step(self) -> list[Finished]:
        """One more token for every running sequence; those that ended, in the order of their slots."""
        assert self.runner.owner is self, "another call began on this engine; finish one before the next"
        self._refill()
        n = len(self.running)
        logits = self.runner.decode(self.input[:n], self.length[:n])
        tokens, logprobs, _ = sample(logits, self.params, uniforms(self.key[:n], self.count[:n]), len(self.is_end))
        rows = np.arange(n)
        self.tokens[rows, self.count[:n]] = tokens
        self.logprobs[rows, self.count[:n]] = logprobs
        self.input[:n] = tokens
        self.length[:n] += 1
        self.count[:n] += 1
        is_bad = ~np.isfinite(logprobs)
        has_ended = self.is_end[tokens]
        if self._watches:
            has_ended |= self._watch(tokens, has_ended | is_bad)
        self.holes = np.flatnonzero(has_ended | is_bad | (self.count[:n] >= self.limit[:n])).tolist()
        return [self._finish(slot, bool(is_bad[slot]), bool(has_ended[slot])) for slot in self.holes]

    def _refill(self) -> None:
        for slot in reversed(self.holes):
            if self.waiting:
                self._begin(slot, self.waiting.popleft())
            else:
                self._close(slot)
        self.holes = []
        while self.waiting and len(self.running) < self.runner.n_slots:
            self.running.append(self.waiting[0])
            self._begin(len(self.running) - 1, self.waiting.popleft())

    def _begin(self, slot: int, sequence: Sequence) -> None:
        """All but the last token are prefilled; the last is the first input of decode."""
        self.runner.prefill(slot, sequence.prompt[:-1])
        self.running[slot] = sequence
        self.input[slot] = sequence.prompt[-1]
        self.length[slot] = len(sequence.prompt) - 1
        self.count[slot] = 0
        self.limit[slot] = sequence.limit
        self.key[slot] = sequence.key

    def _close(self, slot: int) -> None:
        """Move the last sequence into an empty slot, so that those in use stay together."""
        last = len(self.running) - 1
        if slot != last:
            self.runner.cache.move(last, slot, int(self.length[last]))
            self.running[slot] = self.running[last]
            for state in (self.tokens, self.logprobs, self.input, self.length, self.count, self.limit, self.key):
                state[slot] = state[last]
        self.running.pop()

    def _watch(self, tokens: np.ndarray, has_ended: np.ndarray) -> np.ndarray:
        """Which sequences completed a stop string with their newest token."""
        for slot in np.flatnonzero(~has_ended):
            if text := self.running[slot].text:
                self.running[slot].shown += text.push(int(tokens[slot]))
                has_ended[slot] = text.is_stopped
        return has_ended

    def _finish(self, slot: int, is_bad: bool, has_ended: bool) -> Finished:
        if is_bad:
            self.runner.cache.clear(slot)
        n = int(self.count[slot]) - is_bad
        reason = "error" if is_bad else "stop" if has_ended else "length"
        tokens, logprobs = self.tokens[slot, :n].tolist(), self.logprobs[slot, :n].tolist()
        return Finished(self.running[slot], tuple(tokens), tuple(logprobs), reason)
