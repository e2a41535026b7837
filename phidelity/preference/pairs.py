"""How a preference pair is written down, whoever found it: a stable id, ids as sampled, never two equal sides."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from phidelity.preference.questions import messages_of
from phidelity.records import PreferencePair, Problem


def make_pair(
    kind: Literal["token", "prefix", "full"],
    problem: Problem,
    chosen: Sequence[int],
    rejected: Sequence[int],
    *,
    prefix: Sequence[int] = (),
    tokenizer: str,
    source: str,
    meta: dict[str, Any],
) -> PreferencePair:
    """A pair of `kind` on the answer to `problem`; its id is made of the problem's and a hash of all token ids."""
    assert tuple(chosen) != tuple(rejected), "a pair needs two different sides"
    digest = hashlib.sha256(repr((kind, *map(tuple, (prefix, chosen, rejected)))).encode()).hexdigest()[:12]
    return PreferencePair(
        id=f"{problem.id}/{digest}",
        kind=kind,
        prompt=tuple(messages_of(problem)),
        prefix=tuple(prefix),
        chosen=tuple(chosen),
        rejected=tuple(rejected),
        tokenizer=tokenizer,
        source=source,
        meta={"question": problem.id} | meta,
    )
