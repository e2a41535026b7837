"""Which texts repeat an evaluation problem: phi-4's rule over word n-grams (report App. B).

A 13-gram shared with a problem contaminates, unless it stands in the allow-list (option lists and other
boilerplate). Otherwise the 7-grams decide: shared / min(those of the text, those of the problem), at its
largest over the problems; at or above `hard` the text is contaminated, from `info` on it is partial, which is
counted and kept. The report publishes neither the thresholds nor the normalisation: 0.5, 0.25 and lower-case
words without punctuation are ours. A 7-gram that more than `COMMON` problems share ("which of the following is not
a") belongs to none of them, and a share of fewer than `FEW` 7-grams decides only where the problem or the text has no
more (ours). Where blanks part no words a character stands for one (ours): a 13-gram of
characters condemns only inside a passage as long as thirteen words are, at two characters of Chinese or Japanese a
word and four of Thai, Lao, Khmer or Burmese. A problem of fewer than seven words cannot be found this way, nor can one
in other words (the report says so itself, §5), nor one that consists of such common 7-grams.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from phidelity.data.words import Words, grams, is_unspaced
from phidelity.data.words import words as hashed

LONG, SHORT = 13, 7
SAYING = {LONG: 3, SHORT: 2}
"""Words of three letters or more that an n-gram needs to contaminate (ours)."""
COMMON = 4
"""Problems that may share a 7-gram before it is how problems are put rather than what one asks (ours)."""
FEW = 3
"""Shared 7-grams below which their share is weak evidence (ours)."""
SIEVE = 24
AROUND = 60
"""Words shown before and after a match (ours)."""
_TOGETHER = 256
"""Problems that are hashed at once."""

_INSIDE = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))|['’](?<=\w['’])(?=\w)")
"""Separators of thousands and apostrophes: 80,000 is 80000 and don't is dont."""


class Item(NamedTuple):
    """An evaluation problem: the set that it is of, its name there, and its text."""

    benchmark: str
    id: str
    text: str


class Hit(NamedTuple):
    """Why a text was found: the problem it repeats, and the words or the share that decided."""

    verdict: Literal["contaminated", "partial"]
    rule: Literal["13-gram", "7-gram"]
    item: int
    """Number of the problem in the index."""
    ratio: float
    """Shared 7-grams over the smaller count; 1.0 for a 13-gram."""
    match: str
    """The shared 13-gram, or one of the shared 7-grams."""
    context: str
    """The match with some words of the text around it."""


@dataclass(frozen=True, slots=True)
class Index:
    """The n-grams of the evaluation problems, as sorted hashes."""

    items: tuple[Item, ...]
    long: np.ndarray
    """13-grams outside the allow-list."""
    long_item: np.ndarray
    """The first problem that has each."""
    short: np.ndarray
    """7-grams, one entry for each problem that has it; none that are common."""
    short_item: np.ndarray
    common: np.ndarray
    """7-grams of more than `COMMON` problems."""
    sieve: np.ndarray
    """Whether any 7-gram begins with these `SIEVE` bits: most of a clean text's need no search."""
    sizes: np.ndarray
    """How many different 7-grams each problem has."""
    hard: float
    info: float


def words(text: str) -> list[str]:
    """Lower-case words and numbers in Unicode's compatibility form, without punctuation."""
    plain = _plain(text)
    return [plain[start:end].lower() for start, end in zip(*_hashed(plain)[1:], strict=True)]


def build_index(
    items: Iterable[Item | str], allowed: Iterable[str] = (), *, hard: float = 0.5, info: float = 0.25
) -> Index:
    """Index evaluation problems; the 13-grams of the texts in `allowed` contaminate nobody."""
    items = tuple(Item("", "", one) if isinstance(one, str) else one for one in items)
    allow, _ = _table(list(allowed), [LONG])[0]
    (long, long_item), (short, short_item) = _table([item.text for item in items], [LONG, SHORT])
    first = np.concatenate([[True], long[1:] != long[:-1]])[: len(long)] & ~np.isin(long, allow)
    sieve, rare = _sieve(short), _owners(short) <= COMMON
    common, short, short_item = np.unique(short[~rare]), short[rare], short_item[rare]
    sizes = np.bincount(short_item, minlength=len(items))
    return Index(items, long[first], long_item[first], short, short_item, common, sieve, sizes, hard, info)


def contaminated(index: Index, text: str) -> Hit | None:
    """The hit for which `text` must go, else None (partial overlaps are let through)."""
    hit = overlap(index, text)
    return hit if hit and hit.verdict == "contaminated" else None


def overlap(index: Index, text: str) -> Hit | None:
    """The deciding hit of `text`, partial ones included; None for a clean text."""
    plain = _plain(text)
    found = _hashed(plain)
    short = grams(found.hashes, SHORT)
    perhaps = np.flatnonzero(index.sieve[short >> np.uint64(64 - SIEVE)])
    starts, counts = np.zeros((2, len(short)), dtype=np.int64)
    starts[perhaps] = np.searchsorted(index.short, short[perhaps], "left")
    counts[perhaps] = np.searchsorted(index.short, short[perhaps], "right") - starts[perhaps]
    if not counts.any() and not np.isin(short[perhaps], index.common).any():
        return None
    long = grams(found.hashes, LONG)
    places = np.minimum(np.searchsorted(index.long, long), max(0, len(index.long) - 1))
    equal = np.flatnonzero(index.long[places] == long) if len(index.long) else np.zeros(0, np.int64)
    if len(at := _passages(equal, plain, found)):
        item = int(index.long_item[places[at[0]]])
        return Hit("contaminated", "13-gram", item, 1.0, *_shown(plain, found, int(at[0]), LONG))
    _, firsts = np.unique(short, return_index=True)
    shared = firsts[counts[firsts] > 0]
    if not len(shared):
        return None
    owners = np.concatenate([index.short_item[starts[n] : starts[n] + counts[n]] for n in shared])
    candidates, n_shared = np.unique(owners, return_counts=True)
    smaller = np.minimum(index.sizes[candidates], len(firsts))
    ratios = np.where(n_shared >= np.minimum(FEW, smaller), n_shared / smaller, 0.0)
    best = int(np.argmax(ratios))
    item, ratio = int(candidates[best]), float(ratios[best])
    if ratio < index.info:
        return None
    at = min(n for n in shared if item in index.short_item[starts[n] : starts[n] + counts[n]])
    verdict = "contaminated" if ratio >= index.hard else "partial"
    return Hit(verdict, "7-gram", item, ratio, *_shown(plain, found, int(at), SHORT))


def side_by_side(index: Index, hit: Hit, document_id: str, source: str) -> dict[str, Any]:
    """A hit for the record: the two texts, the rule, the deciding share and its thresholds."""
    item = index.items[hit.item]
    return {
        "id": document_id,
        "source": source,
        "verdict": hit.verdict,
        "rule": hit.rule,
        "ratio": round(hit.ratio, 4),
        "hard": index.hard,
        "info": index.info,
        "match": hit.match,
        "document": hit.context,
        "benchmark": item.benchmark,
        "item": item.id,
        "problem": item.text,
    }


def _plain(text: str) -> str:
    return _INSIDE.sub("", unicodedata.normalize("NFKC", text))


def _hashed(plain: str) -> Words:
    return hashed(plain)


def _passages(at: np.ndarray, plain: str, found: Words) -> np.ndarray:
    """Where those runs of shared 13-grams begin that are thirteen words long, characters taken for parts of words."""
    if not len(at) or plain.isascii():
        return at
    ends = np.flatnonzero(np.diff(at, append=at[-1] + 2) > 1)
    firsts, lasts = at[np.concatenate([[0], ends[:-1] + 1])], at[ends]
    sums = np.concatenate([[0.0], np.cumsum(_weights(plain, found))])
    return firsts[sums[lasts + LONG] - sums[firsts] >= LONG]


def _weights(plain: str, found: Words) -> np.ndarray:
    """How much of a word each is: 1, but of a character of an unspaced script a half or a quarter."""
    first = np.array([ord(plain[start]) for start in found.starts], dtype=np.int64)
    alone = found.ends - found.starts == 1
    quarter = alone & (first >= 0x0E00) & (first <= 0x17FF) & is_unspaced(first)
    half = alone & (first >= 0x3040) & is_unspaced(first)
    return np.where(quarter, 0.25, np.where(half, 0.5, 1.0))


def _table(texts: list[str], lengths: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each length n: the different n-grams of each text, sorted over all, and beside each its text's number."""
    parts = [_owned_grams(texts[k : k + _TOGETHER], k, lengths) for k in range(0, len(texts), _TOGETHER)]
    return [_distinct([part[place] for part in parts]) for place in range(len(lengths))]


def _distinct(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part for part, _ in parts)])
    owners = np.concatenate([np.zeros(0, np.int64), *(part for _, part in parts)])
    order = np.argsort(hashes, kind="stable")
    hashes, owners = hashes[order], owners[order]
    new = np.concatenate([[True], (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])])[: len(hashes)]
    return hashes[new], owners[new]


def _owners(hashes: np.ndarray) -> np.ndarray:
    """How often each of some sorted hashes occurs among them."""
    return np.searchsorted(hashes, hashes, "right") - np.searchsorted(hashes, hashes, "left")


def _owned_grams(texts: list[str], first: int, lengths: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """All n-grams of some texts, none across two, and the number of the text of each, counted from `first`."""
    plain = [_plain(text) for text in texts]
    joined = "\n".join(plain)
    found = _hashed(joined)
    owners = first + np.searchsorted(np.cumsum([len(text) + 1 for text in plain]), found.starts, "right")
    several = []
    for n in lengths:
        hashes = grams(found.hashes, n)
        wanted = owners[: len(hashes)] == owners[n - 1 :][: len(hashes)]
        wanted &= _says_something(joined, found, n)
        several.append((hashes[wanted], owners[: len(hashes)][wanted]))
    return several


def _says_something(text: str, found: Words, n: int) -> np.ndarray:
    """For each n-gram whether enough of its words have three letters: counting to thirteen is nobody's problem."""
    lettered = np.array([text[start].isalpha() for start in found.starts], dtype=bool)
    alone = is_unspaced(np.array([ord(text[start]) for start in found.starts], dtype=np.int64))
    long = ((found.ends - found.starts > 2) | alone) & lettered
    sums = np.concatenate([[0], np.cumsum(long)])
    return sums[n:] - sums[:-n] >= SAYING[n]


def _sieve(hashes: np.ndarray) -> np.ndarray:
    sieve = np.zeros(1 << SIEVE, dtype=bool)
    sieve[hashes >> np.uint64(64 - SIEVE)] = True
    return sieve


def _shown(plain: str, found: Words, at: int, n: int) -> tuple[str, str]:
    """The matching words, and the text around them."""
    first, last = max(0, at - AROUND), min(len(found.ends), at + n + AROUND) - 1
    match = (plain[s:e].lower() for s, e in zip(found.starts[at : at + n], found.ends[at : at + n], strict=True))
    return " ".join(match), plain[found.starts[first] : found.ends[last]]
