"""`phi bench problems`: problems a second of every family on one core, worked steps included, checks apart.

No peer: reasoning-gym draws its items without worked steps. The ratio is against the target of 5,000 a second.
"""

import statistics
import time
from pathlib import Path
from typing import Any

from phidelity.problems.families import FAMILIES
from phidelity.problems.item import Family

TARGET = 5_000
N_ITEMS = 1_000
ROUNDS = 3


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """A row for each family: the median of three rounds of a thousand training problems."""
    return [_row(one) for one in FAMILIES]


def _row(one: Family) -> dict[str, Any]:
    rate = statistics.median(_rate(one) for _ in range(ROUNDS))
    shown = {"what": one.name, "ours": round(rate), "unit": "items/s"}
    return shown | {"peer": "target", "theirs": TARGET, "ratio": round(rate / TARGET, 2)}


def _rate(one: Family) -> float:
    start = time.process_time()
    for index in range(N_ITEMS):
        one.item("train", 0, index)
    return N_ITEMS / (time.process_time() - start)
