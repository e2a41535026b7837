"""One step of the engine: plan, compute, draw, and say what ended. No threads, no texts in, no clock.

Every token of a request is drawn from logits that depend on its own tokens alone, by a random number that depends on
(seed, prompt, repeat, place) alone: see runner.py and drawing.py. A draft is checked by drawing at each of its
places as if it were not there and keeping the draws as long as the draft had guessed them: exact, greedy or not.
"""

import logging
import math
from collections import deque

import numpy as np
from torch import Tensor

from phidelity.engine.blocks import BLOCK
from phidelity.engine.runner import Chunk, Runner
from phidelity.engine.sampling import Sampler, score
from phidelity.engine.scheduler import Propose, Scheduler, Stats
from phidelity.engine.sequence import Sequence
from phidelity.engine.spill import Spill

logger = logging.getLogger(__name__)

NOT_FINITE = "the model gave logits that are not finite numbers"


class Engine:
    """Runs sequences to their end. Used by one thread at a time."""

    def __init__(
        self, runner: Runner, n_known: int, *, spill: Spill | None = None, propose: Propose | None = None
    ) -> None:
        self.runner = runner
        self.scheduler = Scheduler(runner, spill, propose)
        self.spoke: list[Sequence] = []
        """Those that took a token in the last step and go on."""
        self.has_cancelled = False
        """Set by any thread when a sequence was cancelled: only then those that wait are looked through."""
        self._sample = Sampler(n_known)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits."""
        return bool(self.scheduler.running or self.scheduler.waiting)

    @property
    def stats(self) -> Stats:
        """What was done so far."""
        return self.scheduler.stats

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn."""
        self.scheduler.waiting.append(sequence)
        self.has_cancelled = self.has_cancelled or sequence.is_cancelled

    def step(self) -> list[Sequence]:
        """Compute what is next; the sequences that ended."""
        self.spoke = []
        ended = self._cancelled()
        chunks = self.scheduler.plan()
        if chunks:
            self.stats.steps += 1
            logits, is_finite = self.runner.forward(chunks)
            self._receive(chunks, logits, is_finite.tolist())
            ended += [chunk.sequence for chunk in chunks if chunk.sequence.finish_reason]
        self.spoke = [sequence for sequence in self.spoke if not sequence.finish_reason]
        if not self.is_busy:
            self._sample.forget()
        return ended

    def abandon(self) -> None:
        """Let everything go after a failure of the engine itself; why it ended is for the caller to say."""
        self.spoke = []
        self.scheduler.waiting.clear()
        for sequence in list(self.scheduler.running):
            self.scheduler.leave(sequence, is_broken=True)
        self._sample.forget()

    def _cancelled(self) -> list[Sequence]:
        scheduler = self.scheduler
        gone = [one for one in scheduler.running if one.is_cancelled]
        if self.has_cancelled:
            self.has_cancelled = False
            gone += [one for one in scheduler.waiting if one.is_cancelled]
            scheduler.waiting = deque(one for one in scheduler.waiting if not one.is_cancelled)
        for sequence in gone:
            self._end(sequence, "cancelled")
        return gone

    def _receive(self, chunks: list[Chunk], logits: Tensor, is_finite: list[bool]) -> None:
        """Note what is cached now, and draw for those that have all their tokens there."""
        drawing: list[tuple[Sequence, int]] = []
        rows: list[int] = []
        at = 0
        for (sequence, n, n_logits), is_fine in zip(chunks, is_finite, strict=True):
            first, at = at, at + n_logits
            sequence.n_cached = min(sequence.n_cached + n, len(sequence.tokens))
            if not is_fine:
                self._end(sequence, "error", NOT_FINITE)
                continue
            if sequence.params.prompt_logprobs is not None and not sequence.n_said:
                self._score(sequence, n, logits[first:at])
                first = at - 1
            if sequence.n_missing:
                self.scheduler.publish(sequence)
            else:
                drawing.append((sequence, at - first))
                rows.extend(range(first, at))
        if drawing:
            self._draw(drawing, logits if len(rows) == len(logits) else logits[rows])

    def _draw(self, drawing: list[tuple[Sequence, int]], logits: Tensor) -> None:
        """Draw at one place of each sequence, or at all places of its draft, and keep what follows."""
        self.spoke = [sequence for sequence, _ in drawing]
        sequences = [sequence for sequence, n in drawing for _ in range(n)]
        ahead = None
        if len(sequences) > len(drawing):
            ahead = np.concatenate([np.arange(n) for _, n in drawing])
        drawn = self._sample(logits, sequences, ahead)
        tokens, logprobs = drawn.tokens.tolist(), drawn.logprobs.tolist()
        row = 0
        for sequence, n in drawing:
            draft, sequence.draft = sequence.draft, ()
            for at in range(row, row + n):
                if failure := drawn.failures.get(at):
                    self._end(sequence, "error", failure)
                else:
                    self._accept(sequence, tokens[at], logprobs[at], drawn.alternatives.get(at))
                if sequence.finish_reason or at + 1 == row + n or tokens[at] != draft[at - row]:
                    break
                sequence.n_cached += 1
                self.stats.accepted_tokens += 1
            row += n
            if draft:
                self.stats.drafted_tokens += len(draft)
                self.scheduler.trim(sequence)

    def _score(self, sequence: Sequence, n: int, logits: Tensor) -> None:
        """Log-probabilities of the prompt's tokens that follow the last `n` computed ones."""
        start = sequence.n_cached - n
        targets = sequence.prompt[start + 1 : sequence.n_cached + 1]
        n_told = sequence.params.prompt_logprobs or 0
        values, alternatives = score(logits[: len(targets)], targets, n_told, self._sample.n_known)
        sequence.prompt_logprobs[start:] = values
        sequence.prompt_alternatives[start:] = alternatives

    def _accept(self, sequence: Sequence, token: int, logprob: float, alternatives: object) -> None:
        """Add a token, and end the sequence where it ends."""
        if not math.isfinite(logprob):
            self._end(sequence, "error", NOT_FINITE)
            return
        if sequence.n_cached // BLOCK > sequence.n_published or not sequence.n_said:
            self.scheduler.publish(sequence)
        if sequence.limit:
            self.stats.completion_tokens += 1
            sequence.tokens.append(token)
            sequence.alternatives.append(alternatives)
            sequence.logprobs.append(logprob)
            has_ended = token in sequence.end_ids
            if sequence.text and not has_ended:
                try:
                    sequence.shown += sequence.text.push(token)
                except Exception as error:
                    logger.exception("the text of a request could not be told; the others go on")
                    self._end(sequence, "error", f"its text could not be told: {error}")
                    return
                has_ended = sequence.text.is_stopped
            if has_ended:
                self._end(sequence, "stop")
                return
        if sequence.n_said >= sequence.limit:
            self._end(sequence, "length")

    def _end(self, sequence: Sequence, reason: str, error: str = "") -> None:
        """Take it off its row and say why. Text that was held back may yet turn out to be a stop string."""
        if reason != "error" and sequence.row >= 0:
            self.scheduler.publish(sequence)
        self.scheduler.leave(sequence, is_broken=reason == "error")
        if sequence.text:
            sequence.shown += sequence.text.finish()
            reason = "stop" if reason == "length" and sequence.text.is_stopped else reason
        sequence.error = error
        sequence.finish_reason = reason
