"""Which tokens are computed next: decode first, then prefill, under one budget of tokens a step.

A sequence is admitted when the cache has room for all it holds so far; in decode it takes a block at a time, and
where none is left the sequence admitted last gives its blocks back and waits (preemption: it is recomputed later,
most of it found in the cache). The one admitted first is never preempted and always fits alone, so every request
ends. Of sequences that begin alike one computes the beginning and the others wait for it, a step or a few.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from phidelity.engine.blocks import BLOCK, ROOT, Blocks, Match, chained, n_common
from phidelity.engine.pace import Pace
from phidelity.engine.runner import Chunk, Runner
from phidelity.engine.sequence import Sequence
from phidelity.engine.spill import Saver, Spill

WORTH_WAITING = 8
"""Tokens that another is about to compute, for which a sequence waits (*ours*)."""
LOOK_AHEAD = 64
"""Waiting sequences that are passed over in one step because they wait for another (*ours*)."""

Propose = Callable[[Sequence, int], tuple[int, ...]]
"""Guesses the next tokens of a sequence in a step of so many rows: see speculation.py."""


@dataclass(slots=True)
class Stats:
    """What an engine has done since it began."""

    steps: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    prefix_hit_tokens: int = 0
    """Prompt tokens that were found, in memory or on disk, when a sequence began."""
    restored_blocks: int = 0
    """Blocks that came back from disk."""
    completion_tokens: int = 0
    preemptions: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Scheduler:
    """Hands out rows and blocks. What it plans must be computed before it plans again."""

    def __init__(self, runner: Runner, spill: Spill | None = None, propose: Propose | None = None) -> None:
        self.stats = Stats()
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In the order of admission."""
        self.pace = Pace()
        self._saver = Saver(spill, runner.cache) if spill else None
        self.blocks = Blocks(runner.n_blocks, self._saver.save if self._saver else None)
        self._runner = runner
        self._spill = spill
        self._propose = propose
        self._rows = list(range(runner.n_rows - 1, -1, -1))

    def plan(self) -> list[Chunk]:
        """The chunks of the next step, those of a single token first."""
        chunks = self._decode()
        n_decode = sum(chunk.n for chunk in chunks)
        n_streams = sum(1 for chunk in chunks if chunk.sequence.is_streamed)
        budget = _Budget(self.pace.limit(n_streams, self._runner.budget - n_decode), self._runner.most_scored)
        for sequence in self.running:
            if sequence.n_missing > 1 and (chunk := budget.spend(sequence)):
                chunks.append(chunk)
        if self.waiting and budget.n_tokens:
            chunks += self._admit(budget)
        self.pace.plan(n_decode, sum(chunk.n for chunk in chunks) - n_decode)
        return sorted(chunks, key=lambda chunk: chunk.n > 1)

    def publish(self, sequence: Sequence) -> None:
        """Make what a sequence has computed findable, whole blocks and the beginning of one."""
        while sequence.n_published < -(-sequence.n_cached // BLOCK):
            start = sequence.n_published * BLOCK
            ids = tuple(sequence.tokens[start : min(start + BLOCK, sequence.n_cached)])
            block = sequence.blocks[sequence.n_published]
            entry = self.blocks.publish(block, sequence.parent, sequence.chain, ids)
            if self._saver and entry.serial > sequence.parent:
                self._saver.note(block, entry)
            if len(ids) < BLOCK:
                break
            sequence.parent, sequence.chain = entry.serial, entry.chain
            sequence.n_published += 1

    def trim(self, sequence: Sequence) -> None:
        """Give back blocks beyond what a sequence has computed."""
        n_kept = -(-sequence.n_cached // BLOCK)
        self.blocks.release(sequence.blocks[n_kept:])
        del sequence.blocks[n_kept:]

    def leave(self, sequence: Sequence, *, is_broken: bool = False) -> None:
        """Take a sequence off its row; blocks in which it may have left a NaN are zeroed."""
        if sequence.row < 0:
            return
        if is_broken:
            self._runner.cache.clear([block for block in sequence.blocks if self.blocks.forget_partial(block)])
        self.blocks.release(sequence.blocks)
        self.running.remove(sequence)
        self._rows.append(sequence.row)
        sequence.blocks, sequence.row, sequence.draft = [], -1, ()
        sequence.n_cached, sequence.n_published, sequence.parent, sequence.chain = 0, 0, ROOT, b""

    def save_one(self) -> bool:
        """Write one findable block that is not on disk yet, when nothing else is to be done; whether there was one."""
        return bool(self._saver and self._saver.save_one(self.blocks))

    def _decode(self) -> list[Chunk]:
        """One token of every sequence that has its prompt behind it, and its draft where there is room for it."""
        chunks: list[Chunk] = []
        n_rows = sum(1 for one in self.running if one.n_missing == 1)
        for sequence in list(self.running):
            if sequence.n_missing > 1 or sequence.row < 0:
                continue
            while not self._has_room(sequence, 1):
                self._preempt(self.running[-1])
                if sequence.row < 0:
                    break
            else:
                if self._propose and not sequence.allowed and not _is_scored(sequence):
                    sequence.draft = self._guess(sequence, n_rows, self._propose)
                    n_rows += len(sequence.draft)
                n = 1 + len(sequence.draft)
                chunks.append(Chunk(sequence, n, n))
        return chunks

    def _guess(self, sequence: Sequence, n_rows: int, propose: Propose) -> tuple[int, ...]:
        """A draft, where the step, the answer and the cache have room for it."""
        n_most = min(self._runner.budget - n_rows, sequence.limit - sequence.n_said - 1)
        draft = propose(sequence, n_rows)[: max(n_most, 0)]
        return draft if draft and self._has_room(sequence, 1 + len(draft)) else ()

    def _has_room(self, sequence: Sequence, n: int) -> bool:
        """Whether the blocks of a sequence hold `n` more tokens, after taking what is missing."""
        n_needed = -(-(sequence.n_cached + n) // BLOCK) - len(sequence.blocks)
        if n_needed > self.blocks.n_available:
            return False
        for _ in range(n_needed):
            self._append(sequence, self.blocks.take())
        return True

    def _append(self, sequence: Sequence, block: int) -> None:
        self._runner.tables[sequence.row, len(sequence.blocks)] = block
        sequence.blocks.append(block)

    def _preempt(self, sequence: Sequence) -> None:
        self.publish(sequence)
        self.leave(sequence)
        self.waiting.appendleft(sequence)
        self.stats.preemptions += 1

    def _admit(self, budget: "_Budget") -> list[Chunk]:
        """Begin waiting sequences, first come first served, but for those that wait for another's beginning."""
        chunks: list[Chunk] = []
        passed: list[Sequence] = []
        while self.waiting and budget.n_tokens and self._rows and len(passed) < LOOK_AHEAD:
            sequence = self.waiting.popleft()
            ids = () if sequence.params.prompt_logprobs is not None else tuple(sequence.tokens[:-1])
            match = self.blocks.match(ids)
            if _is_coming(match, ids, self.running):
                passed.append(sequence)
                continue
            if not self._begin(sequence, match, ids):
                self.waiting.appendleft(sequence)
                break
            if chunk := budget.spend(sequence):
                chunks.append(chunk)
        self.waiting.extendleft(reversed(passed))
        return chunks

    def _begin(self, sequence: Sequence, match: Match, ids: tuple[int, ...]) -> bool:
        """Give a sequence its row and all blocks it needs for what it holds; False where there is no room."""
        n_idle = sum(1 for block in match.blocks if not self.blocks.refs[block])
        n_new = -(-len(sequence.tokens) // BLOCK) - len(match.blocks)
        spare = 1 if self.running else 0
        if self.blocks.n_available - n_idle < n_new + spare:
            return False
        sequence.row = self._rows.pop()
        for block in match.blocks:
            self.blocks.share(block)
            self._append(sequence, block)
        sequence.n_published, sequence.parent, sequence.chain = len(match.blocks), match.parent, match.chain
        sequence.n_cached = len(match.blocks) * BLOCK
        self.running.append(sequence)
        n_restored = self._restore(sequence, ids, self._spill) if self._spill else 0
        if match.n_partial and not n_restored:
            self._copy_partial(sequence, match)
        elif self._spill:
            self._restore_tail(sequence, ids[sequence.n_cached :], self._spill)
        while len(sequence.blocks) * BLOCK < len(sequence.tokens):
            self._append(sequence, self.blocks.take())
        if not sequence.is_known:
            sequence.is_known, sequence.n_reused = True, sequence.n_cached
            self.stats.requests += 1
            self.stats.prompt_tokens += len(sequence.prompt)
            self.stats.prefix_hit_tokens += sequence.n_cached
        return True

    def _copy_partial(self, sequence: Sequence, match: Match) -> None:
        """Copy on write: the new holder will go on where the known beginning ends."""
        self.blocks.share(match.partial)  # so that taking a block does not evict it
        if not self.blocks.n_available:
            self.blocks.release([match.partial])
            return
        block = self.blocks.take()
        self._runner.cache.copy(match.partial, block)
        self.blocks.release([match.partial])
        self._append(sequence, block)
        sequence.n_cached += match.n_partial

    def _restore(self, sequence: Sequence, ids: tuple[int, ...], spill: Spill) -> int:
        """Take whole blocks back from disk as long as the chain goes on; how many."""
        n = 0
        while (start := sequence.n_cached) + BLOCK <= len(ids):
            part = ids[start : start + BLOCK]
            data = spill.read(chained(sequence.chain, part), part)
            if data is None:
                break
            block = self.blocks.take()
            self._runner.cache.put(block, data)
            self._append(sequence, block)
            sequence.n_cached += BLOCK
            self.publish(sequence)
            n += 1
        self.stats.restored_blocks += n
        return n

    def _restore_tail(self, sequence: Sequence, rest: tuple[int, ...], spill: Spill) -> None:
        """Take back the beginning of a block that was not full."""
        if rest and (found := spill.read_tail(chained(sequence.chain, ()), rest)):
            n, data = found
            block = self.blocks.take()
            self._runner.cache.put(block, data)
            self._append(sequence, block)
            sequence.n_cached += n


@dataclass(slots=True)
class _Budget:
    """What is left of a step for prompts."""

    n_tokens: int
    n_scored: int
    """Of these, such as score a prompt."""

    def spend(self, sequence: Sequence) -> Chunk | None:
        """As much of a sequence as there is room for; logits of its end, or of all where the prompt is scored."""
        is_scored = _is_scored(sequence)
        n = min(sequence.n_missing, self.n_tokens, self.n_scored if is_scored else self.n_tokens)
        self.n_tokens -= n
        self.n_scored -= n if is_scored else 0
        return Chunk(sequence, n, n if is_scored else int(n == sequence.n_missing)) if n else None


def _is_scored(sequence: Sequence) -> bool:
    return sequence.params.prompt_logprobs is not None and sequence.n_said == 0


def _is_coming(match: Match, ids: tuple[int, ...], running: list[Sequence]) -> bool:
    """Whether a running sequence is about to compute what a match lacks."""
    start = len(match.blocks) * BLOCK
    rest = ids[start : start + BLOCK]
    return any(
        n_common(tuple(one.tokens[start : start + BLOCK]), rest) >= match.n_partial + WORTH_WAITING
        for one in running
        if one.n_missing > 1 and one.parent == match.parent and one.n_published == len(match.blocks)
    )
