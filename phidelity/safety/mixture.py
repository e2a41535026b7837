"""What a fix is trained on: a round's material, cleaned of what measures, among general data.

phi-4 mixes 1 to 5 % of safety data into its general preference data (report §4.2, tables 6 and 7). Here the round's
rows set the size: as many general rows join them as make them that share, each once. Where there are fewer the share
comes out larger, and the round's manifest says which it was. Whatever repeats a measured request or a capability item
(`data.decontaminate`: a 13-gram, or all of the shorter one's 7-grams, since requests of one domain share phrases) goes,
general rows included.
"""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from phidelity.data.decontaminate import Index, build_index, contaminated
from phidelity.records import Conversation, PreferencePair

R = TypeVar("R", Conversation, PreferencePair)

VERBATIM = 1.0
"""Share of the 7-grams of the shorter text that must be shared (*ours*)."""


class Mixture(NamedTuple):
    """Rows to train on, in order."""

    rows: list[Conversation] | list[PreferencePair]
    n_own: int
    """Of the round."""
    dropped: int
    """Rows that repeated what measures."""

    @property
    def share(self) -> float:
        """The round's rows among all."""
        return self.n_own / len(self.rows) if self.rows else 0.0


def measured_index(requests: Iterable[str], problems: Iterable[str]) -> Index:
    """What no row may repeat."""
    return build_index([*requests, *problems], hard=VERBATIM)


def mix(own: Sequence[R], general: Sequence[R], share: float, index: Index, seed: int) -> Mixture:
    """The round's rows and general ones until the former are `share` of all; a function of its arguments."""
    clean = [row for row in own if not repeats(row, index)]
    wanted = round(len(clean) * (1 / share - 1)) if clean else 0
    rng = random.Random(f"{seed}/mixture")
    order = rng.sample(range(len(general)), len(general)) if wanted else []
    chosen, dropped = [], len(own) - len(clean)
    for at in order:
        if len(chosen) == wanted:
            break
        if repeats(general[at], index):
            dropped += 1
        else:
            chosen.append(general[at])
    rows = [*clean, *chosen]
    rng.shuffle(rows)
    return Mixture(rows, len(clean), dropped)


def repeats(row: Conversation | PreferencePair, index: Index) -> bool:
    """Whether what users say in a row repeats something that measures."""
    messages = row.messages if isinstance(row, Conversation) else row.prompt
    return any(contaminated(index, message.content) for message in messages if message.role == "user")
