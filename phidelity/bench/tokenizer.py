"""`phi bench tokenizer`: megabytes of text a second on one thread, against tiktoken alone and the tokenizers library.

All three hold one vocabulary and give the same ids, which is checked; they take turns text by text order. The
vocabulary is phi-4's and the Chinese is prose where `PHI_TEST_DATA` names a folder that has them; else a small
vocabulary learnt here and drawn characters. `bytes` are random ones read as Latin-1; `spaces` and `letters` are one
character 900,000 times, the most that tiktoken alone takes of whitespace being 999,999.
"""

import json
import os
import random
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Peer

from phidelity.data.sources import read_source
from phidelity.records import Document
from phidelity.tokenizer.bpe import PATTERN, Tokenizer, raw_encoding, train
from phidelity.tokenizer.writers import tokenizer_json

KIND_BYTES = 1_000_000
"""Text of each kind."""
TEXT_CHARACTERS = 8_000
"""Longest text that is handed over at once."""
VOCAB_SIZE = 8192
ROUNDS = 8
"""Turns of each side, in alternating order; medians are reported."""

Encode = Callable[[str], list[int]]


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table, one for each kind of text and peer: what, ours, unit, peer, theirs, ratio."""
    data = Path(os.environ.get("PHI_TEST_DATA", "absent"))
    kinds = _kinds(data)
    ranks = data / "cl100k_base.tiktoken"
    ours = Tokenizer.load(ranks) if ranks.exists() else train(kinds["english"] + kinds["chinese"], VOCAB_SIZE)
    library = Peer.from_str(json.dumps(tokenizer_json(ours.ranks)))
    sides: dict[str, Encode] = {
        "ours": ours.encode,
        "tiktoken": raw_encoding(PATTERN, ours.ranks).encode_ordinary,
        "tokenizers": lambda text: library.encode(text, add_special_tokens=False).ids,
    }
    return [row for kind, texts in kinds.items() for row in _rows(kind, texts, sides)]


def _kinds(data: Path) -> dict[str, list[str]]:
    rng = random.Random(0)
    return {
        "english": _some(_documents("python:docs")),
        "code": _some(_documents("python:code")),
        "chinese": _some(_chinese(data / "corpus" / "d2l_zh" / "d2l_zh.tar.gz", rng)),
        "bytes": _some(rng.randbytes(TEXT_CHARACTERS).decode("latin-1") for _ in range(1000)),
        "spaces": [" " * 900_000],
        "letters": ["a" * 900_000],
    }


def _documents(source: str) -> Iterator[str]:
    return (document.text for document in read_source(source) if isinstance(document, Document))


def _chinese(path: Path, rng: random.Random) -> Iterator[str]:
    if not path.exists():
        han = [chr(0x4E00 + n) for n in range(3000)]
        yield from ("".join(rng.choices([*han, "，", "。"], k=TEXT_CHARACTERS)) for _ in range(100))
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.endswith(".md") and (file := archive.extractfile(member)):
                yield file.read().decode("utf-8", "replace")


def _some(texts: Iterator[str]) -> list[str]:
    """The first KIND_BYTES of `texts`, cut into pieces."""
    taken: list[str] = []
    n_bytes = 0
    for text in texts:
        for start in range(0, len(text), TEXT_CHARACTERS):
            if n_bytes >= KIND_BYTES:
                return taken
            taken.append(text[start : start + TEXT_CHARACTERS])
            n_bytes += len(taken[-1].encode("utf-8", "replace"))
    return taken


def _rows(kind: str, texts: list[str], sides: dict[str, Encode]) -> list[dict[str, Any]]:
    ids = {name: [encode(text) for text in texts] for name, encode in sides.items()}
    assert ids["ours"] == ids["tiktoken"] == ids["tokenizers"]
    orders = [list(sides.items())[:: -1 if n % 2 else 1] for n in range(ROUNDS)]
    rounds = [{name: _seconds(encode, texts) for name, encode in order} for order in orders]
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6
    rate = {name: megabytes / statistics.median(seconds[name] for seconds in rounds) for name in sides}
    return [
        {
            "what": kind,
            "ours": round(rate["ours"], 2),
            "unit": "MB/s",
            "peer": peer,
            "theirs": round(rate[peer], 2),
            "ratio": round(statistics.median(seconds[peer] / seconds["ours"] for seconds in rounds), 3),
        }
        for peer in ("tiktoken", "tokenizers")
    ]


def _seconds(encode: Encode, texts: list[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        encode(text)
    return time.perf_counter() - start
