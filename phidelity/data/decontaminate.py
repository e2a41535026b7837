"""Which texts repeat an evaluation problem: phi-4's rule over word n-grams (report App. B).

A 13-gram shared with a problem contaminates, unless it stands in the allow-list (option lists and other
boilerplate). Otherwise the 7-grams decide: shared / min(those of the text, those of the problem), at its
largest over the problems; at or above `hard` the text is contaminated, from `info` on it is partial, which is
counted and kept. The report publishes neither the thresholds nor the normalisation: 0.5, 0.25 and lower-case
words without punctuation are ours. A problem of fewer than seven words cannot be found this way.
"""

import csv
import gzip
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from phidelity.config import UserError

Gram = tuple[str, ...]
LONG, SHORT = 13, 7

_WORD = re.compile(r"\w+")
_INSIDE = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|(?<=\w)['’](?=\w)")
"""Separators of thousands and apostrophes: 80,000 is 80000 and don't is dont."""


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


@dataclass(frozen=True, slots=True)
class Index:
    """The n-grams of the evaluation problems."""

    items: tuple[str, ...]
    long: dict[Gram, int]
    """Each 13-gram outside the allow-list and the first problem that has it."""
    short: dict[Gram, tuple[int, ...]]
    """Each 7-gram and the problems that have it."""
    sizes: tuple[int, ...]
    """How many different 7-grams each problem has."""
    hard: float
    info: float


def words(text: str) -> list[str]:
    """Lower-case words and numbers in Unicode's compatibility form, without punctuation."""
    return _WORD.findall(_INSIDE.sub("", unicodedata.normalize("NFKC", text).lower()))


def build_index(texts: Iterable[str], allowed: Iterable[str] = (), *, hard: float = 0.5, info: float = 0.25) -> Index:
    """Index evaluation problems; the 13-grams of the texts in `allowed` contaminate nobody."""
    items = tuple(texts)
    allow = {gram for text in allowed for gram in _grams(words(text), LONG)}
    long: dict[Gram, int] = {}
    short: dict[Gram, tuple[int, ...]] = {}
    sizes = []
    for number, text in enumerate(items):
        item_words = words(text)
        for gram in _grams(item_words, LONG):
            if gram not in allow:
                long.setdefault(gram, number)
        grams = set(_grams(item_words, SHORT))
        sizes.append(len(grams))
        for gram in grams:
            short[gram] = (*short.get(gram, ()), number)
    return Index(items, long, short, tuple(sizes), hard, info)


def contaminated(index: Index, text: str) -> Hit | None:
    """The hit for which `text` must go, else None (partial overlaps are let through)."""
    hit = overlap(index, text)
    return hit if hit and hit.verdict == "contaminated" else None


def overlap(index: Index, text: str) -> Hit | None:
    """The deciding hit of `text`, partial ones included; None for a clean text."""
    text_words = words(text)
    for gram in _grams(text_words, LONG):
        if gram in index.long:
            return Hit("contaminated", "13-gram", index.long[gram], 1.0, " ".join(gram))
    grams = dict.fromkeys(_grams(text_words, SHORT))
    shared = Counter(item for gram in grams for item in index.short.get(gram, ()))
    if not shared:
        return None
    ratios = {item: count / min(len(grams), index.sizes[item]) for item, count in shared.items()}
    item = min(ratios, key=lambda number: (-ratios[number], number))
    if ratios[item] < index.info:
        return None
    verdict = "contaminated" if ratios[item] >= index.hard else "partial"
    first = next(gram for gram in grams if item in index.short.get(gram, ()))
    return Hit(verdict, "7-gram", item, ratios[item], " ".join(first))


def benchmark_texts(folder: Path) -> list[str]:
    """The problems of the evaluation files in `folder`: official formats, those that are there, in order.

    For code it is the prompt with its canonical solution; for reading comprehension passage and question.
    """
    texts = [text for name, read in _FORMATS.items() if (folder / name).exists() for text in read(folder / name)]
    if not texts:
        raise UserError(
            f"No evaluation problems in {folder}; expected files such as {', '.join(list(_FORMATS)[:3])}. "
            "Run the benchmarks stage first."
        )
    return texts


def _grams(sequence: list[str], n: int) -> Iterator[Gram]:
    return zip(*(sequence[start:] for start in range(n)), strict=False)


def _csv_column(*columns: str) -> Callable[[Path], list[str]]:
    def read(path: Path) -> list[str]:
        with open(path, encoding="utf-8", newline="") as file:
            return [_joined(row, columns, path) for row in csv.DictReader(file)]

    return read


def _json_fields(*columns: str) -> Callable[[Path], list[str]]:
    def read(path: Path) -> list[str]:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [_joined(json.loads(line), columns, path) for line in file]

    return read


def _first_of_tsv(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.rsplit("\t", 1)[0] for line in lines if line.strip()]


def _joined(row: dict[str, str], columns: tuple[str, ...], path: Path) -> str:
    missing = [name for name in columns if row.get(name) is None]
    if missing:
        raise UserError(f"{path} has a row without {missing[0]!r}; expected {', '.join(columns)}. Make it again.")
    return "\n".join(row[name] for name in columns)


_FORMATS: dict[str, Callable[[Path], list[str]]] = {
    "mmlu.csv": _csv_column("Question"),
    "math_test.csv": _csv_column("Question"),
    "gpqa_diamond.csv": _csv_column("Question"),
    "mgsm_en.tsv": _first_of_tsv,
    "mgsm_de.tsv": _first_of_tsv,
    "drop_v0_dev.jsonl.gz": _json_fields("context"),
    "HumanEval.jsonl.gz": _json_fields("prompt", "canonical_solution"),
    "simple_qa_test_set.csv": _csv_column("problem"),
}
