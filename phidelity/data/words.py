"""The words of a text as 64-bit hashes, by numpy alone: what shingles, n-grams and repeated passages are made of.

A word is a run of letters, digits, marks and underscores in lower case. In scripts that put no blank between words
(Han, kana, Thai, Lao, Khmer, Burmese) every character may count as one, so that an edit does not cost a whole
clause. Operators and relations may count as words too: x < 5 is not x > 5. The hash of a word is a polynomial over
its characters, mixed; that of an n-gram one over its words. Equal words have equal hashes; of unequal ones, two in
2^64.
"""

import sys
import unicodedata
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))
_OPERATORS = "+-*/%<>=!&|^~@?:"
_FRAMES, _BETWEEN = "|~", "*/\u00b7"
"""Signs of mathematics that prose draws tables and lines with, and others that it uses as operators (ours)."""
_GAP, _WORD, _ALONE, _PERHAPS = 0, 1, 2, 3
Signs = Literal["none", "prose", "code"]


class Words(NamedTuple):
    """Each word's hash and the characters of the text that it stands in, `[start, end)`."""

    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def words(text: str, *, characters: bool = True, signs: Signs = "none") -> Words:
    """The words of `text`; with `characters` each one of an unspaced script is one, with `signs` each operator."""
    codes = _codes(_lower(text))
    kinds = np.full(len(codes) + 2, _GAP, dtype=np.uint8)
    kinds[1:-1] = _kinds(signs)[codes if codes.dtype == np.uint8 else np.minimum(codes, 0xFFFF)]
    if signs == "prose":
        perhaps = np.flatnonzero(kinds[1:-1] == _PERHAPS)
        kinds[perhaps + 1] = np.where(_is_operator(codes, perhaps), _ALONE, _GAP)
    within = kinds != _GAP
    starts_here, ends_here = within[1:] & ~within[:-1], within[:-1] & ~within[1:]
    if signs != "none" or (characters and codes.dtype != np.uint8):
        alone = kinds == _ALONE
        cut = within[1:] & within[:-1] & (alone[1:] | alone[:-1])
        starts_here, ends_here = starts_here | cut, ends_here | cut
    starts, ends = np.flatnonzero(starts_here), np.flatnonzero(ends_here)
    powers, inverses = _powers(len(codes))
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    return Words(mix((sums[ends] - sums[starts]) * inverses[starts]), starts, ends)


def is_unspaced(codes: np.ndarray) -> np.ndarray:
    """Whether each character is of a script that puts no blank between words."""
    return np.logical_or.reduce([(codes >= first) & (codes <= last) for first, last in _UNSPACED])


def grams(hashes: np.ndarray, n: int) -> np.ndarray:
    """A hash for each run of `n` words, in order; none where there are fewer."""
    if len(hashes) < n:
        return np.zeros(0, np.uint64)
    total = np.zeros(len(hashes) - n + 1, np.uint64)
    for place in range(n):
        total = total * _BASE + hashes[place : place + len(total)]
    return mix(total)


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: spreads every bit over all."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _lower(text: str) -> str:
    """Lower case of the same length: the few characters whose lower case is two stay as they are."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _codes(text: str) -> np.ndarray:
    """The numbers of the characters: 8 bits each where that is enough."""
    if text.isascii():
        return np.frombuffer(text.encode(), dtype=np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _is_operator(codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Which of these signs of prose count: a minus before a digit, after no word; others between digits or blanks."""
    around = np.concatenate([[10], codes, [10]])
    before, here, after = around[at], around[at + 1], around[at + 2]
    digits = [(side >= ord("0")) & (side <= ord("9")) for side in (before, after)]
    free = _kinds("none")[np.minimum(before, 0xFFFF)] == _GAP
    between = (digits[0] & digits[1]) | ((before == ord(" ")) & (after == ord(" ")))
    return np.where(here == ord("-"), free & digits[1], between)


@lru_cache(maxsize=3)
def _kinds(signs: Signs) -> np.ndarray:
    """What each character of the basic plane is; those beyond it are words."""
    table = np.full(0x10000, _GAP, dtype=np.uint8)
    for code in range(0x10000):
        category = unicodedata.category(chr(code))
        if chr(code).isalnum() or code == ord("_") or category.startswith("M"):
            table[code] = _WORD
        elif signs != "none" and category == "Sm" and chr(code) not in _FRAMES:
            table[code] = _ALONE
    for first, last in _UNSPACED:
        part = table[first : last + 1]
        part[part == _WORD] = _ALONE
    if signs == "code":
        table[[ord(sign) for sign in _OPERATORS]] = _ALONE
    if signs == "prose":
        table[[ord(sign) for sign in ("-", *_BETWEEN)]] = _PERHAPS
    return table


@lru_cache(maxsize=1)
def _longest() -> list[np.ndarray]:
    return [np.ones(1, np.uint64), np.ones(1, np.uint64)]


def _powers(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of the base and of its inverse, kept for the longest text so far."""
    kept = _longest()
    if len(kept[0]) < n:
        size = max(n, 1 << 16)
        for place, base in enumerate((_BASE, _INVERSE)):
            factors = np.full(size, base, np.uint64)
            factors[0] = 1
            kept[place] = np.cumprod(factors)
    return kept[0], kept[1]


assert sys.byteorder == "little", "hashes are defined for little-endian machines"
