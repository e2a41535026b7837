"""One request while it lives: what was asked, what it has said, and where its keys and values lie.

Prompt and answer are one list of tokens; how many of them the cache holds is one number. So prefill, decode, a
prefix hit, a restart after preemption and the check of a draft are the same thing: tokens beyond `n_cached` that are
still to be computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phidelity.completion import Completion, SamplingParams, Usage

if TYPE_CHECKING:
    from phidelity.engine.sampling import Allowed
    from phidelity.engine.stream import TextStream


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """A prompt being continued."""

    prompt: tuple[int, ...]
    """Token ids, at least one."""
    params: SamplingParams
    key: int
    """Of its random stream: see drawing.stream_key."""
    limit: int
    """Tokens it may generate; 0 where only the prompt is scored."""
    text: "TextStream | None" = None
    """Watches for stop strings and gives text at whole characters, where either is wanted."""
    end_ids: frozenset[int] = frozenset()
    """Tokens that end the answer."""
    allowed: "Allowed | None" = None
    """What may be said, where a grammar has a word in it."""

    is_streamed: bool = False
    """Whether somebody reads its tokens as they come; prompts beside it are then read at its pace (pace.py)."""

    tokens: list[int] = field(default_factory=list)
    """Prompt and answer."""
    shown: str = ""
    """Text that `text` has released."""
    logprobs: list[float] = field(default_factory=list)
    """Of the tokens of the answer."""
    alternatives: list[Any] = field(default_factory=list)
    """For each token of the answer the most probable ones, where they were asked for."""
    prompt_logprobs: list[float] = field(default_factory=list)
    """Of the prompt's tokens after the first, where they were asked for."""
    prompt_alternatives: list[Any] = field(default_factory=list)
    finish_reason: str = ""
    """Empty while it lives."""
    error: str = ""
    """What went wrong, where the reason is error."""
    failure: BaseException | None = None
    """The engine's own failure that ended it."""
    is_cancelled: bool = False
    """Set by any thread; seen before the next step, while it waits where the engine has `has_cancelled`."""
    on_token: Callable[[], None] | None = None
    """Called on the engine's thread after every token."""
    on_end: Callable[[], None] | None = None
    """Called there when it has ended."""

    row: int = -1
    """Its row in the table of blocks, while it runs."""
    blocks: list[int] = field(default_factory=list)
    """Where its keys and values lie, in order."""
    n_cached: int = 0
    """Tokens whose keys and values lie there."""
    n_published: int = 0
    """Full blocks that others can find."""
    parent: int = 0
    """Serial number of the last of these; 0: none."""
    chain: bytes = b""
    """Name of the last of these on disk."""
    draft: tuple[int, ...] = ()
    """Guessed tokens to be checked in the next step."""
    n_reused: int = 0
    """Prompt tokens that were found in the cache when it began."""
    is_known: bool = False
    """Whether it was counted when it began; a sequence that goes on after preemption is not counted again."""

    def __post_init__(self) -> None:
        self.tokens = self.tokens or list(self.prompt)

    @property
    def n_said(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - len(self.prompt)

    @property
    def said(self) -> list[int]:
        """Tokens of the answer so far."""
        return self.tokens[len(self.prompt) :]

    @property
    def n_missing(self) -> int:
        """Tokens still to be computed before the next can be drawn: 1 in decode."""
        return len(self.tokens) - self.n_cached

    def completion(self, choice: int, decode: Callable[[list[int]], str]) -> Completion:
        """The whole of it, once it has ended, as the `choice`-th of its prompt."""
        tokens = self.said
        said = tokens[:-1] if tokens and tokens[-1] in self.end_ids else tokens
        asks = self.params
        return Completion(
            text=self.shown if self.text else decode(said),
            tokens=tuple(tokens),
            logprobs=tuple(self.logprobs),
            finish_reason=self.finish_reason,
            usage=Usage(prompt_tokens=len(self.prompt), completion_tokens=len(tokens)),
            error=self.error,
            index=choice,
            alternatives=tuple(self.alternatives) if asks.logprobs else (),
            prompt_logprobs=tuple(self.prompt_logprobs) if asks.prompt_logprobs is not None else (),
            prompt_alternatives=tuple(self.prompt_alternatives) if asks.prompt_logprobs else (),
        )
