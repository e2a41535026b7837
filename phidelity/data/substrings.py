"""Exact passages that repeat within a small set of texts, however these are cut into documents.

What MinHash does not see: a long passage in two documents that else differ, or twice in one. Every passage of at least
`least` units that stood earlier in the set, and does not overlap where it stood, is found (Lee et al. 2022, arXiv
2107.06499, take 50 tokens); the first occurrence stays. The places are sorted by what begins there, as in a suffix
array, by doubling, but only to the depth of `least`: that is all it takes to know which windows are equal. Memory is
at most `PER_UNIT` bytes for each byte or token, checked before it begins, so this is for sets of up to some tens of
megabytes; at scale the road is MinHash.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from phidelity.config import UserError

LEAST = 200
"""Bytes of a passage that counts as a repeat (ours; about 50 tokens)."""
MOST = 64 << 20
"""Bytes or tokens that are taken together at most: 4.8 GB of memory (ours)."""
PER_UNIT = 72
"""Bytes of memory for each byte or token, at most."""


class Place(NamedTuple):
    """Units `[start, end)` of sequence number `text`."""

    text: int
    start: int
    end: int


class Cut(NamedTuple):
    """A text of which something was cut out."""

    text: str
    removed: list[tuple[int, int]]
    """Where in it something stood, and how many characters that were."""


class Cluster(NamedTuple):
    """A passage, where it stays, and where else it stands."""

    kept: Place
    dropped: tuple[Place, ...]


def repeated_passages(texts: Sequence[str], least: int = LEAST, most: int = MOST) -> list[Cluster]:
    """`repeats` of texts, in bytes of UTF-8."""
    return repeats([np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) for text in texts], least, most)


def repeats(sequences: Sequence[np.ndarray], least: int, most: int = MOST) -> list[Cluster]:
    """The passages of at least `least` whole numbers that stand in several places, none across two sequences.

    What is dropped covers exactly what some earlier, equal passage of `least` units covers that ends before it.
    """
    joined, starts = _joined(sequences, most)
    shifts = _shifts(joined, least)
    clusters: dict[Place, list[Place]] = {}
    for first, last in _runs(shifts):
        kept = _place(starts, first - int(shifts[first]), last - int(shifts[first]))
        clusters.setdefault(kept, []).append(_place(starts, first, last))
    return [Cluster(kept, tuple(dropped)) for kept, dropped in sorted(clusters.items())]


def without_repeats(texts: Sequence[str], clusters: Sequence[Cluster]) -> list[str]:
    """The texts without what the clusters drop; of a character that is cut in part nothing stays."""
    cuts: dict[int, list[Place]] = {}
    for place in (place for cluster in clusters for place in cluster.dropped):
        cuts.setdefault(place.text, []).append(place)
    return [cut(text, cuts[number]).text if number in cuts else text for number, text in enumerate(texts)]


def told(clusters: Sequence[Cluster], ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each cluster for the record, by the ids of the texts."""
    for cluster in clusters:
        kept, *dropped = (
            {"id": ids[one.text], "start": one.start, "end": one.end} for one in (cluster.kept, *cluster.dropped)
        )
        yield {"kept": kept, "dropped": dropped}


def _joined(sequences: Sequence[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences, each followed by a number that no other place has; and where each begins."""
    total = sum(map(len, sequences)) + len(sequences)
    if total > most:
        raise UserError(
            f"{total:,} bytes or tokens are more than the {most:,} whose repeats are sought together, in {PER_UNIT} "
            "times as many bytes of memory. Give less at once; near duplicates of larger sets are found by MinHash."
        )
    highest = max((int(one.max(initial=0)) for one in sequences), default=0)
    starts = np.cumsum([0, *(len(one) + 1 for one in sequences)])
    joined = np.zeros(total, np.int64)
    for number, one in enumerate(sequences):
        joined[starts[number] : starts[number + 1] - 1] = one
        joined[starts[number + 1] - 1] = highest + 1 + number
    return joined, starts


def _windows(joined: np.ndarray, least: int) -> np.ndarray:
    """A number for what stands in `least` units from each place: equal where, and only where, they are equal."""
    names, length = _ranks(joined), 1
    while length < least:
        step = min(length, least - length)
        names = names[: len(names) - step] * (int(names.max(initial=0)) + 1) + names[step:]
        names, length = _ranks(names), length + step
    return names


def _ranks(keys: np.ndarray) -> np.ndarray:
    """The rank of each key among the different ones."""
    order = np.argsort(keys, kind="stable")
    ranks = np.empty(len(keys), np.int64)
    if len(keys):
        ordered = keys[order]
        ranks[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    return ranks


def _shifts(joined: np.ndarray, least: int) -> np.ndarray:
    """How far before each place the passage that covers it stood first; 0 where it is no repeat."""
    shifts = np.zeros(len(joined), np.int64)
    if len(joined) < least:
        return shifts
    windows = _windows(joined, least)
    first = np.full(int(windows.max()) + 1, len(joined), np.int64)
    np.minimum.at(first, windows, np.arange(len(windows)))
    back = np.arange(len(windows)) - first[windows]
    begins = np.flatnonzero(back >= least)
    reached = 0
    for begin in begins.tolist():
        shifts[max(begin, reached) : begin + least] = back[begin]
        reached = begin + least
    return shifts


def _runs(shifts: np.ndarray) -> Iterator[tuple[int, int]]:
    """[first, last) of each stretch that repeats with one shift."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shifts, [0]])))
    return ((a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True) if shifts[a])


def _place(starts: np.ndarray, first: int, last: int) -> Place:
    text = int(np.searchsorted(starts, first, "right")) - 1
    return Place(text, first - int(starts[text]), last - int(starts[text]))


def cut(text: str, places: Sequence[Place]) -> Cut:
    """A text without these places of it; of a character that they hold in part nothing stays."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    leads = np.append((data & 0xC0) != 0x80, True)
    before = np.concatenate([[0], np.cumsum(leads[:-1])])
    parts, removed, last = [], [], 0
    for place in sorted(places):
        first = max(last, int(before[place.start]) - (not leads[place.start]))
        end = max(first, int(before[place.end]))
        parts.append(text[last:first])
        removed.append((sum(map(len, parts)), end - first))
        last = end
    return Cut("".join([*parts, text[last:]]), removed)
