"""Exact and near duplicates among documents; of each cluster the first document stays.

Near duplicates by MinHash as in FineWeb: word 5-grams, 112 hashes in 14 bands of 8, a 50 % chance at a similarity
near 0.72. Candidates are then verified by their true Jaccard similarity, so that no document goes by bad luck.
All hashes depend on a document's content alone and clusters are joined by their least member: the outcome is the
same however the signatures are partitioned.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

BANDS, ROWS, WORDS = 14, 8, 5

_WORD = re.compile(r"\w+")


class Duplicate(NamedTuple):
    """A document that goes: what it repeats, and how alike they are."""

    kind: Literal["exact", "near"]
    of: int
    """Number of the document that stays."""
    jaccard: float
    """Similarity to the document through which it joined the cluster."""


def duplicates(texts: Sequence[str], *, min_jaccard: float = 0.7) -> list[Duplicate | None]:
    """For each text the earlier one that it repeats, or None for a text to keep.

    `min_jaccard` (ours) is the least share of common 5-grams of words at which a candidate is one.
    """
    found: list[Duplicate | None] = [None] * len(texts)
    words = [_WORD.findall(text.lower()) for text in texts]
    distinct = []
    first: dict[bytes, int] = {}
    for number, sequence in enumerate(words):
        kept = first.setdefault(hashlib.sha256(" ".join(sequence).encode()).digest(), number)
        if kept == number:
            distinct.append(number)
        else:
            found[number] = Duplicate("exact", kept, 1.0)
    shingles = {number: _shingles(words[number]) for number in distinct}
    for number, duplicate in _near(shingles, min_jaccard).items():
        found[number] = duplicate
    return [_to_kept(found, duplicate) for duplicate in found]


def signature(shingles: np.ndarray) -> np.ndarray:
    """The 112 least hashes of a set of shingles (all ones for an empty set), `[BANDS, ROWS]`."""
    if not len(shingles):
        return np.full((BANDS, ROWS), np.iinfo(np.uint64).max)
    return (_FACTORS[:, None] * (shingles[None] ^ _MASKS[:, None])).min(axis=1).reshape(BANDS, ROWS)


def _near(shingles: dict[int, np.ndarray], min_jaccard: float) -> dict[int, Duplicate]:
    """Near duplicates among documents given by number, each with the least member of its cluster."""
    root = {number: number for number in shingles}
    alike: dict[int, float] = defaultdict(float)
    for a, b in _candidates(shingles):
        root_a, root_b = _find(root, a), _find(root, b)
        if root_a != root_b and (jaccard := _jaccard(shingles[a], shingles[b])) >= min_jaccard:
            root[max(root_a, root_b)] = min(root_a, root_b)
            alike[b] = max(alike[b], jaccard)
            alike[a] = max(alike[a], jaccard)
    roots = {number: _find(root, number) for number in shingles}
    return {
        number: Duplicate("near", kept, round(alike[number], 4)) for number, kept in roots.items() if kept != number
    }


def _candidates(shingles: dict[int, np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) that agree in all rows of some band, in order."""
    buckets: dict[bytes, list[int]] = defaultdict(list)
    for number in sorted(shingles):
        if len(shingles[number]):
            for band, row in enumerate(signature(shingles[number])):
                buckets[bytes([band]) + row.tobytes()].append(number)
    pairs = {(a, b) for bucket in buckets.values() for i, b in enumerate(bucket) for a in bucket[:i]}
    return iter(sorted(pairs))


def _find(root: dict[int, int], number: int) -> int:
    while root[number] != number:
        root[number] = root[root[number]]
        number = root[number]
    return number


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _shingles(words: Sequence[str]) -> np.ndarray:
    """The set of 64-bit hashes of a document's word 5-grams; a shorter document is one shingle."""
    if not words:
        return np.zeros(0, dtype=np.uint64)
    distinct = list(dict.fromkeys(words))
    digests = b"".join(hashlib.blake2b(word.encode(), digest_size=8).digest() for word in distinct)
    hashes = dict(zip(distinct, np.frombuffer(digests, dtype="<u8").tolist(), strict=True))
    sequence = np.fromiter((hashes[word] for word in words), dtype=np.uint64, count=len(words))
    n = min(WORDS, len(words))
    mixed = np.zeros(len(words) - n + 1, dtype=np.uint64)
    for place in range(n):
        mixed = _mix(mixed * np.uint64(0x9E3779B97F4A7C15) + sequence[place : len(words) - n + 1 + place])
    return np.unique(mixed)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: spreads every bit over all."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _to_kept(found: list[Duplicate | None], duplicate: Duplicate | None) -> Duplicate | None:
    """Lead an exact copy of a near duplicate to the document that stays."""
    if duplicate and (onward := found[duplicate.of]):
        return Duplicate(onward.kind, onward.of, onward.jaccard)
    return duplicate


_RANDOM = np.random.Generator(np.random.Philox(key=0)).integers(
    0, 2**64, size=(2, BANDS * ROWS), dtype=np.uint64, endpoint=False
)
_MASKS, _FACTORS = _RANDOM[0], _RANDOM[1] | np.uint64(1)
