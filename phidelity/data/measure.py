"""A document as the rules see it: one tokenisation, each count made once and in bulk.

What is measured is prose: fenced code and rows of tables are left out, code is measured whole. Words are runs of
non-blanks; where a script parts no words by blanks, each of its characters is one (phidelity/language.py
says which). Words become numbers once, in a table that lives on from document to document and remembers what each is
made of, so that a word is looked at once in a run and not once a page. Characters become classes once, so that
capitals, digits and odd sequences are sums. An n-gram can only repeat where both (n-1)-grams inside it do, so from
each length to the next only the places that still repeat are looked at: on natural text all lengths together cost
about two sortings of the document, not nine.
"""

import ast
import re
import unicodedata
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import numpy as np
import zstandard

from phidelity.language import Language, language_of

BLANK, NEWLINE, LOWER, UPPER, LETTER, DIGIT, MARK, BAD = range(8)
"""Classes of characters; LETTER has no case, MARK is punctuation and symbols, BAD belongs into no text."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    "|[^\\s\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
SENTENCE_ENDS = frozenset(".!?:。！？：．｡।॥؟۔։።፧…။។៕།༎༏༑᠃᱾᱿")
"""Characters that end a sentence or introduce what follows."""
_CLOSING = frozenset("'\")]}”’»›」』*_`")
_SEVERAL = re.compile(r"[.!?۔։።](?=\s)|[。！？।။។༎](?=.)|\n")
_SENTENCE = 40
"""Characters of a cell from which on it may be a sentence (ours)."""
_ONLY_ROWS = 300
"""Characters beside its tables below which a page is told in them (ours)."""
LONGEST = 400_000
"""Words that are looked at: four times what any rule lets through (ours)."""
_COMPRESSED = 1 << 16
"""Bytes of a document that the compression ratio looks at (ours)."""


class WordTable(dict[str, int]):
    """Words by number, with what they are made of; a number means something within one document only."""

    SIZE = 1 << 20
    """Words to remember before beginning anew (ours)."""

    def __init__(self) -> None:
        self.lengths = np.zeros(self.SIZE, dtype=np.int64)
        """Characters."""
        self.lettered = np.zeros(self.SIZE, dtype=bool)
        """Whether there is a letter."""
        self.wordy = np.zeros(self.SIZE, dtype=bool)
        """Whether there is a letter or a digit."""
        self.ending = np.zeros(self.SIZE, dtype=bool)
        """Whether a sentence ends."""
        self.folded = np.zeros(self.SIZE, dtype=np.int64)
        """The number of the word in small letters."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.lengths[number] = len(word)
        self.lettered[number] = word.isalpha() or any(map(str.isalpha, word))
        self.wordy[number] = word.isalnum() or any(map(str.isalnum, word))
        self.ending[number] = ends_sentence(word)
        small = word.lower()
        self.folded[number] = number if small == word else self[small]
        return number

    def numbers(self, words: list[str]) -> np.ndarray:
        """The numbers of the words of one document."""
        if len(self) + 2 * len(words) > self.SIZE:
            self.clear()
        return np.fromiter(map(self.__getitem__, words), dtype=np.int64, count=len(words))


_WORDS = WordTable()


def ends_sentence(word: str) -> bool:
    """Whether a sentence, or what introduces a list, ends with this word; brackets and quotes may close after it."""
    return word[-1] in SENTENCE_ENDS or (word[-1] in _CLOSING and not SENTENCE_ENDS.isdisjoint(word[-3:-1]))


def prose(text: str) -> str:
    """A text without its fenced code and the rows of its tables, but for a page told in rows."""
    if "```" not in text and " | " not in text:
        return text
    kept, told, fenced = [], [], False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and " | " not in line:
            kept.append(line)
        elif not fenced and _is_told(line):
            told.append(line)
    return "\n".join(kept + told if told and sum(map(len, kept)) < _ONLY_ROWS else kept)


def _is_told(row: str) -> bool:
    """Whether the last cell of a row is a sentence."""
    cell = row.rstrip().rpartition(" | ")[2]
    return len(cell) >= _SENTENCE and ends_sentence(cell.split()[-1])


class Measured:
    """A text and what the rules read of it, each computed once and only when a rule asks."""

    def __init__(self, text: str, meta: Mapping[str, Any] = {}) -> None:
        self.whole = text
        self.syntax: str = meta.get("syntax", "")
        """The language of code, such as `python`."""
        self.link_share: float = meta.get("link_share", 0.0)
        self.chrome_share: float = meta.get("chrome_share", 0.0)
        """Shares of a page in links, and in furniture that was left out, as its reader counted them."""
        self.quality: float | None = meta.get("quality")
        """The classifier's mark, where the document has one."""
        self.language: Language = language_of(meta.get("language", "en"))
        self.text = text if self.syntax else prose(text)
        """What is judged: the prose, outside of fenced code and of rows of tables; of code the whole."""
        text = self.text.replace("\u1361", " ")  # the Ethiopic word space
        words = (text.split() if self.language.spaced else _UNSPACED.findall(text))[:LONGEST]
        self.n_tokens = len(words)
        self.ids = _WORDS.numbers(words)
        self.table = _WORDS

    @property
    def n_words(self) -> float:
        """Words; where blanks part none, as many as the characters make."""
        return self.n_tokens / self.language.word

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of each word."""
        return self.table.lengths[self.ids]

    @cached_property
    def ends(self) -> np.ndarray:
        """Characters of all words before each place, and in the end of all."""
        ends = np.zeros(self.n_tokens + 1, dtype=np.int64)
        np.cumsum(self.lengths, out=ends[1:])
        return ends

    @cached_property
    def n_characters(self) -> int:
        """Characters of all words, at least 1."""
        return max(1, int(self.ends[-1]))

    @cached_property
    def lines(self) -> list[str]:
        """Lines with something on them, without the blanks around."""
        return [line for line in map(str.strip, self.text.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What blank lines part and has more than one sentence or line; what has one is a line."""
        return [part for part in map(str.strip, self.text.split("\n\n")) if _SEVERAL.search(part)]

    @cached_property
    def folded(self) -> str:
        """The text in small letters."""
        return self.text.lower()

    @cached_property
    def classes(self) -> np.ndarray:
        """The class of each character."""
        if self.text.isascii():
            return _table()[:128][np.frombuffer(self.text.encode(), dtype=np.uint8)]
        points = np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        return _table()[np.minimum(points, 0x10000)]

    @cached_property
    def class_counts(self) -> np.ndarray:
        """How many characters are of each class."""
        return np.bincount(self.classes, minlength=8)

    @cached_property
    def line_starts(self) -> np.ndarray:
        """Where each line begins, blank ones too."""
        breaks = np.flatnonzero(self.classes == NEWLINE) + 1
        starts = np.zeros(len(breaks) + 1, dtype=np.int64)
        starts[1:] = breaks
        return starts[:-1] if starts[-1] == len(self.classes) else starts

    @cached_property
    def repeats(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For n from 2 to 10 words the places where an n-gram begins that occurs twice, and a number for which.

        Keys are n times the language's tokens per word.
        """
        places, grams = np.arange(self.n_tokens), self.ids
        found = dict.fromkeys(lengths := range(2, 10 * self.language.word + 1), (places[:0], grams[:0]))
        for n in lengths:
            places, grams = _repeated(*_longer(places, grams, self.ids, n))
            if not len(grams):
                break
            found[n] = places, grams
        return found

    @cached_property
    def packed_share(self) -> float:
        """Bytes of the text's head after compression over bytes before; 0.4 for one too short to tell."""
        data = self.whole[:_COMPRESSED].encode("utf-8", "surrogatepass")[:_COMPRESSED]
        return len(_compressor().compress(data)) / len(data) if len(data) >= 1000 else 0.4

    @cached_property
    def python(self) -> ast.Module | None:
        """The parsed module; None when it is not valid Python, or no Python at all."""
        try:
            if self.syntax != "python":
                return None
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _longer(places: np.ndarray, grams: np.ndarray, ids: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """From repeated (n-1)-grams those n-grams that may repeat: the next place must begin a repeated one too."""
    if n == 2:
        places, grams = places[:-1], grams[:-1]
    else:
        follows = np.flatnonzero(places[1:] == places[:-1] + 1)
        places, grams = places[follows], grams[follows]
    return places, grams * WordTable.SIZE + ids[places + (n - 1)]


def _repeated(places: np.ndarray, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those that occur more than once, in order of their places; equal n-grams get equal numbers from 0."""
    if len(grams) < 2:
        return places[:0], grams[:0]
    order = grams.argsort()
    ordered = grams[order]
    same = ordered[1:] == ordered[:-1]
    if not same.any():
        return places[:0], grams[:0]
    again = np.zeros(len(grams) + 1, dtype=bool)
    again[1:-1] = same
    kept = again[1:] | again[:-1]
    numbers = np.cumsum(~again[:-1][kept]) - 1
    chosen = order[kept]
    back = chosen.argsort()
    return places[chosen[back]], numbers[back]


@cache
def _table() -> np.ndarray:
    """The class of every character of the basic plane; the last entry is for those beyond it, taken as letters."""
    kinds = {"Ll": LOWER, "Lu": UPPER, "Lt": UPPER, "Nd": DIGIT, "Zs": BLANK, "Zl": NEWLINE, "Zp": NEWLINE}
    kinds |= {"Cc": BAD, "Co": BAD, "Cs": BAD, "Cn": BAD, "Cf": BLANK}
    table = np.full(0x10001, LETTER, dtype=np.uint8)
    for point in range(0x10000):
        category = unicodedata.category(chr(point))
        table[point] = kinds.get(category, MARK if category[0] in "PS" else LETTER)
    table[[0x09, 0x0D]] = BLANK
    table[0x0A] = NEWLINE
    table[0xFFFD] = BAD
    return table


@cache
def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=1)
