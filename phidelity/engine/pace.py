"""How much of a prompt is read beside running streams: as much as their next token can bear.

A step is as slow as all its rows together. On a large model a whole chunk of 512 prompt tokens would hold every
running stream up for seconds, so a step that also decodes reads only so many that it takes `SLOWEST` times one that
does nothing else, or `UNNOTICED` seconds where that is more. How many these are is learnt from the steps themselves,
as they are timed (worker.py). Where nobody reads the tokens as they come, nothing is held back. No answer depends on
it: in whatever chunks a prompt is read, its bits are the same.
"""

SLOWEST = 2.5
"""Times a step of decode alone (*ours*; the aim is 3 at the 99th percentile, and steps vary)."""
UNNOTICED = 0.03
"""Seconds that nobody notices between two tokens (*ours*)."""
FIRST, LEAST = 32, 4
"""Tokens to begin with, and always (*ours*)."""
MEMORY = 0.2
"""Weight of the newest step of decode in the mean of all (*ours*)."""


class Pace:
    """Learns from each step; used by one engine."""

    def __init__(self) -> None:
        self.n_beside = FIRST
        """Prompt tokens that a step may have beside decode."""
        self._alone = 0.0
        self._n_decode = self._n_prefill = 0

    def limit(self, n_streams: int, budget: int) -> int:
        """Prompt tokens of a step in which so many decode whose tokens are read as they come."""
        return min(budget, self.n_beside) if n_streams else budget

    def plan(self, n_decode: int, n_prefill: int) -> None:
        """What the step that comes is made of."""
        self._n_decode, self._n_prefill = n_decode, n_prefill

    def learn(self, seconds: float) -> None:
        """How long it took."""
        if not self._n_decode:
            return
        if not self._n_prefill:
            self._alone += (seconds - self._alone) * (MEMORY if self._alone else 1.0)
            return
        goal = max(SLOWEST * self._alone, UNNOTICED)
        room, taken = goal - self._alone, seconds - self._alone
        fitting = int(self._n_prefill * min(2.0, room / taken if taken > 0 else 2.0))
        if taken > room or self._n_prefill == self.n_beside:
            self.n_beside = max(LEAST, fitting)
