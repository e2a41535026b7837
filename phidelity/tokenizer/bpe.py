"""Byte-level BPE with phi-4's pre-tokenizer and its 96 special tokens, for any vocabulary size.

tiktoken encodes; text that spells a special token stays text unless the caller says otherwise. Lone surrogates
become U+FFFD and pairs are joined, as tiktoken does. Its regex engine gives up on a million characters of whitespace,
so longer runs than 100,000 (*ours*) are cut out and encoded as the pieces that the pattern makes of them: same ids.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import tiktoken

from phidelity.tokenizer import readers, writers
from phidelity.tokenizer.layout import CHAT_TEMPLATE, PATTERN, SPECIALS, WHITESPACE, digest
from phidelity.tokenizer.learn import learn

__all__ = ["CHAT_TEMPLATE", "PATTERN", "SPECIALS", "Tokenizer", "train"]

LONG_RUN = 100_000
"""Characters of whitespace from which on a run is encoded by hand."""


class Tokenizer:
    """Text to ids and back. `ranks` maps each mergeable token's bytes to its id, 0 to n - 1.

    `notes` says what was put right when it was read, one sentence each.
    """

    def __init__(self, ranks: dict[bytes, int], notes: Iterable[str] = ()) -> None:
        self.ranks = ranks
        self.notes = tuple(notes)
        n = len(ranks)
        self.special_ids = {token: n + offset for offset, token in enumerate(SPECIALS)}
        self.vocab_size = n + len(SPECIALS)
        self.endoftext = self.special_ids["<|endoftext|>"]
        self.im_start = self.special_ids["<|im_start|>"]
        self.im_end = self.special_ids["<|im_end|>"]
        self.im_sep = self.special_ids["<|im_sep|>"]
        self.pad = self.special_ids["<|dummy_85|>"]
        self._encoding = raw_encoding(PATTERN, ranks, self.special_ids)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; strings that look like special tokens are encoded as plain text."""
        if len(text) >= LONG_RUN and (runs := list(_long_runs(text))):
            return self._encode_around(text, runs)
        return self._encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` over many texts, on one thread."""
        return [self.encode(text) for text in texts]

    def encode_with_specials(self, text: str, *, strip: bool = False) -> list[int]:
        """Ids of `text` where names of special tokens become those tokens: never for text that others wrote.

        `strip` drops the whitespace beside special tokens, as transformers does with the published files.
        """
        ids: list[int] = []
        parts = _SPECIAL.split(text)
        for i, part in enumerate(parts):
            if i % 2:
                ids.append(self.special_ids[part])
                continue
            if strip and i > 0:
                part = part.lstrip(WHITESPACE)
            if strip and i < len(parts) - 1:
                part = part.rstrip(WHITESPACE)
            ids += self.encode(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens appear by name, broken UTF-8 as replacement characters."""
        return self._encoding.decode(list(ids))

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one token; a special token's name in ASCII."""
        return self._encoding.decode_single_token_bytes(token)

    @cached_property
    def digest(self) -> str:
        """Hash of vocabulary and order: two tokenizers with one digest give the same ids."""
        return digest(self.ranks)

    def save(self, folder: Path, class_name: str = "GPT2Tokenizer") -> None:
        """Write the tokenizer files of the published release: tokenizer.json, its config and the special tokens map.

        `class_name` is the release's, by which llama.cpp's converter knows phi-4. Beside a `llama` configuration
        transformers takes that name for GPT-2's own pre-tokenizer, so a split folder names a generic class.
        """
        writers.write(folder, self.ranks, class_name)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Open the tokenizer of a folder, or one file of the forms that `readers.read` knows."""
        return cls(*readers.read(Path(path)))

    def _encode_around(self, text: str, runs: Iterable[tuple[int, int]]) -> list[int]:
        """Ids of a text with long runs of whitespace at the places `runs`, cut where the pattern cuts.

        Of a run, line ends belong to a sign before it; the rest up to its last line end is one piece; what follows
        is one piece but for its last character, which belongs to what comes after the run.
        """
        ids: list[int] = []
        start = 0
        for first, last in runs:
            if _SIGN.encode_ordinary(text[max(start, first - 1) : first]):
                first = _LINE_ENDS.match(text, first).end()  # pyright: ignore[reportOptionalMemberAccess]
            ids += self._encoding.encode_ordinary(text[start:first])
            line = 1 + max(text.rfind("\r", first, last), text.rfind("\n", first, last), first - 1)
            start = last if last in (line, len(text)) else last - 1
            ids += self._unsplit.encode_ordinary(text[first:line]) + self._unsplit.encode_ordinary(text[line:start])
        return ids + self._encoding.encode_ordinary(text[start:])

    @cached_property
    def _unsplit(self) -> tiktoken.Encoding:
        """Takes any text as one piece."""
        return raw_encoding(r"(?s:.+)", self.ranks)


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of `vocab_size` ids learnt from `texts`; no merge contains a digit."""
    return Tokenizer(learn(texts, vocab_size))


def raw_encoding(pattern: str, ranks: dict[bytes, int], specials: dict[str, int] | None = None) -> tiktoken.Encoding:
    """tiktoken's own encoder of `ranks`, which splits text by `pattern`."""
    return tiktoken.Encoding("phidelity", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials or {})


_SIGN = raw_encoding(r"[^\s\p{L}\p{N}]", {bytes([byte]): byte for byte in range(256)})
"""Gives ids for what is neither whitespace, letter nor number, by the very engine that splits text."""

_LINE_ENDS = re.compile(r"[\r\n]*")
_WHITESPACE_RUN = re.compile(f"[{WHITESPACE}]*")
_SPECIAL = re.compile("(" + "|".join(map(re.escape, sorted(SPECIALS, key=len, reverse=True))) + ")")


def _long_runs(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of at least LONG_RUN characters of whitespace; each holds a multiple of LONG_RUN."""
    last = 0
    for probe in range(0, len(text), LONG_RUN):
        if probe < last or text[probe] not in WHITESPACE:
            continue
        first = last + len(text[last:probe].rstrip(WHITESPACE))
        last = _WHITESPACE_RUN.match(text, probe).end()  # pyright: ignore[reportOptionalMemberAccess]
        if last - first >= LONG_RUN:
            yield first, last
