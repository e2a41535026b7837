"""Exact and near duplicates among documents; of each cluster the first document stays.

Near duplicates by MinHash as in FineWeb: word 5-grams, 112 hashes in 14 bands of 8, a 50 % chance at a similarity
near 0.72. The same hashes are laid out a second time, across (ours): 0.64, at no further hashing. Candidates are then
verified by their true Jaccard similarity, so that no document goes by bad luck, and none for a chain of likenesses:
what it goes for stays, and is that similar itself. Operators and relations are compared too: of code all, of prose
those of mathematics.
The work has three parts that can lie on three machines: a `Signature` depends on one text alone, a partition of the
bands gives its verified pairs alone, and clusters are joined by their least member; the outcome is the same for any
number of partitions. Passages that repeat are for data/substrings.py.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from phidelity.data.words import grams, mix, words

BANDS, ROWS, WORDS = 14, 8, 5
MOST = 32
"""How many earlier members of its bucket a document is compared with (ours): linear even among a million pages."""
_STEP, _FUNCTIONS = 4096, 16
"""Shingles and functions that are taken at once, so that they stay in the cache."""


class Duplicate(NamedTuple):
    """A document that goes: what it repeats, and how alike they are."""

    kind: Literal["exact", "near"]
    of: int
    """Number of the document that stays."""
    jaccard: float
    """Its greatest verified similarity within the cluster; 1.0 for an exact copy."""


class Signature(NamedTuple):
    """What finding duplicates needs to know of one text: 240 bytes."""

    exact: bytes
    """Equal for texts of equal words and operators, whatever case, blanks and punctuation; of signs alone, if equal."""
    bands: np.ndarray
    """A 64-bit hash of the rows of each band, in order and across, `[2 * BANDS]`; zeros for a text without words."""


class Edge(NamedTuple):
    """Two documents that are verified to be alike."""

    earlier: int
    later: int
    jaccard: float


def duplicates(texts: Sequence[str], *, min_jaccard: float = 0.65, n_partitions: int = 1) -> list[Duplicate | None]:
    """For each text the earlier one that it repeats, or None for a text to keep.

    `min_jaccard` (ours) is the least share of common 5-grams of words at which a candidate is one.
    """
    signed = [sign(text) for text in texts]
    firsts = first_copies(signature.exact for signature, _ in signed)
    bands = np.stack([signature.bands for signature, _ in signed]) if signed else np.zeros((0, 2 * BANDS), np.uint64)
    edges = [
        edge
        for partition in range(n_partitions)
        for edge in alike(bands, firsts, lambda number: signed[number][1], min_jaccard, partition, n_partitions)
    ]
    return outcome(firsts, edges, lambda a, b: similarity(signed[a][1], signed[b][1]), min_jaccard)


def sign(text: str, *, code: bool = False) -> tuple[Signature, np.ndarray]:
    """The signature of one text and its set of shingles, pure functions of its words and operators."""
    hashes = words(text, signs="code" if code else "prose").hashes
    told = hashes.tobytes() or "".join(text.split()).encode(errors="surrogatepass")
    exact = hashlib.blake2b(told, digest_size=16).digest()
    if not len(hashes):
        return Signature(exact, np.zeros(2 * BANDS, np.uint64)), hashes
    shingle_set = _shingles(hashes)
    least = minhash(shingle_set).astype(np.uint64)
    rows = np.concatenate([least.reshape(BANDS, ROWS), least.reshape(ROWS, BANDS).T])
    return Signature(exact, mix(_row_hashes(rows) + np.arange(2 * BANDS, dtype=np.uint64))), shingle_set


def first_copies(exact: Iterable[bytes]) -> list[int]:
    """For each document the number of the first with equal words; its own where it is that."""
    first: dict[bytes, int] = {}
    return [first.setdefault(digest, number) for number, digest in enumerate(exact)]


def alike(
    bands: np.ndarray,
    firsts: Sequence[int],
    shingles_of: Callable[[int], np.ndarray],
    min_jaccard: float = 0.65,
    partition: int = 0,
    n_partitions: int = 1,
) -> list[Edge]:
    """The verified pairs among first copies whose bands `[N, 2 * BANDS]` agree in this partition; all of them together
    are the same for any number of partitions."""
    distinct = np.array([n for n, of in enumerate(firsts) if of == n and bands[n].any()], dtype=np.int64)
    pairs = sorted(set(candidates(bands[distinct], partition, n_partitions)))
    kept = lru_cache(maxsize=4096)(lambda number: shingles_of(int(distinct[number])))
    verified = ((a, b, round(similarity(kept(a), kept(b)), 4)) for a, b in pairs)
    return [Edge(int(distinct[a]), int(distinct[b]), j) for a, b, j in verified if j >= min_jaccard]


def outcome(
    firsts: Sequence[int], edges: Iterable[Edge], likeness: Callable[[int, int], float], min_jaccard: float = 0.65
) -> list[Duplicate | None]:
    """What becomes of each document, in order: it goes when one that stays is near it.

    What stays is looked for among its earlier neighbours and among those for which they went; `likeness` verifies.
    """
    neighbours: dict[int, dict[int, float]] = defaultdict(dict)
    for a, b, jaccard in edges:
        neighbours[b][a] = jaccard
    found: list[Duplicate | None] = []
    for number, first in enumerate(firsts):
        if first != number:
            found.append(found[first] or Duplicate("exact", first, 1.0))
            continue
        direct = neighbours.get(number, {})
        kept = sorted({one.of if (one := found[earlier]) else earlier for earlier in direct})
        verified = ((other, direct.get(other) or round(likeness(number, other), 4)) for other in kept)
        found.append(next((Duplicate("near", other, j) for other, j in verified if j >= min_jaccard), None))
    return found


def shingles(text: str) -> np.ndarray:
    """The set of a text's word 5-grams as sorted hashes; a shorter text is one shingle."""
    return _shingles(words(text, signs="prose").hashes)


def minhash(shingle_set: np.ndarray) -> np.ndarray:
    """The least value of each of the 112 hash functions over a set of shingles, `[BANDS * ROWS]`, 32 bits each."""
    high = (shingle_set >> np.uint64(32)).astype(np.uint32)
    least = np.full(BANDS * ROWS, np.iinfo(np.uint32).max)
    for start in range(0, len(high), _STEP):
        part = high[None, start : start + _STEP]
        for first in range(0, len(least), _FUNCTIONS):
            some = slice(first, first + _FUNCTIONS)
            np.minimum(least[some], ((part ^ _MASKS[some]) * _FACTORS[some]).min(axis=1), out=least[some])
    return least


def candidates(bands: np.ndarray, partition: int = 0, n_partitions: int = 1) -> Iterator[tuple[int, int]]:
    """Pairs (earlier, later) that agree in a band whose hash falls to this partition; one pair may come twice."""
    for band in bands.T:
        mine = np.flatnonzero(band % np.uint64(n_partitions) == partition)
        mine = mine[np.argsort(band[mine], kind="stable")]
        equal = band[mine][1:] == band[mine][:-1]
        for start, end in _runs(equal):
            members = mine[start : end + 1].tolist()
            yield from ((a, b) for i, b in enumerate(members) for a in members[max(0, i - MOST) : i])


def clusters(found: Sequence[Duplicate | None], ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each cluster for the record: which document stays, why, and which go with what likeness."""
    members: dict[int, list[int]] = defaultdict(list)
    for number, duplicate in enumerate(found):
        if duplicate:
            members[duplicate.of].append(number)
    for kept, gone in sorted(members.items()):
        yield {
            "kept": ids[kept],
            "why": "the first in the order of reading",
            "dropped": [{"id": ids[n], "kind": d.kind, "jaccard": d.jaccard} for n in gone if (d := found[n])],
        }


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """The Jaccard similarity of two sets."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _shingles(hashes: np.ndarray) -> np.ndarray:
    ordered = np.sort(grams(hashes, min(WORDS, max(1, len(hashes)))))
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _row_hashes(rows: np.ndarray) -> np.ndarray:
    """One hash for each line of `[N, ROWS]` values."""
    total = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        total = mix(total + column + np.uint64(1))
    return total


def _runs(equal: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of neighbours that are equal."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


_RANDOM = np.random.Generator(np.random.Philox(key=0)).integers(0, 2**32, size=(2, BANDS * ROWS, 1), dtype=np.uint32)
_MASKS, _FACTORS = _RANDOM[0], _RANDOM[1] | np.uint32(1)
