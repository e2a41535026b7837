"""How much a text teaches, from 0 to 5, and which subject it is of: two small linear models over one set of features.

phi-4 selects web documents by small classifiers that are no language models, distilled from a teacher's annotations,
and lifts other subjects than science with a second one (report §2.3). Features, sizes and method are ours: hashed
words and pairs of words, and how the text is built (lengths, marks, digits), which holds in every language. Both are
ridge regressions, solved exactly over the documents' inner products, so that trying them on sources they never saw
costs one matrix for all folds. A language of which too little was marked gets no mark at all.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from phidelity.config import UserError
from phidelity.data.words import Words, grams, mix, words
from phidelity.records import atomic

HIGHEST = 5.0
READ = 4000
"""Characters that are read of a document, half from its head and half from its middle (ours)."""
BUCKETS = 1 << 16
RIDGE = 0.5
"""Penalty on the squared weights (ours, by held-out error on the test corpus)."""
LEAST = 30
"""Marked documents of a language that it takes to judge that language (ours)."""
SUBJECT_SURENESS = 0.15
"""How much likelier the best subject must be than the average of all to be named (ours)."""
_BLOCK = 1 << 13
"""Buckets whose products are summed at once: memory stays at this many numbers a document."""
_SHAPE_WEIGHT = 0.5

_ENDS = ".!?。！？।؟"
_SHAPE = (
    ("words a sentence", (4, 8, 12, 16, 20, 26, 35, 60)),
    ("characters a word", (2, 3, 4, 4.5, 5, 5.5, 6, 8)),
    ("characters a line", (20, 40, 60, 90, 150, 300, 600)),
    ("lines that end a sentence", (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)),
    ("different words", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)),
    ("digits", (0.001, 0.005, 0.01, 0.03, 0.08, 0.2)),
    ("signs of formulas", (0.0005, 0.002, 0.01, 0.03, 0.08)),
    ("questions", (0.01, 0.05, 0.1, 0.3)),
    ("commas a word", (0.01, 0.03, 0.05, 0.08, 0.12)),
    ("signs of lists and code", (0.003, 0.01, 0.02, 0.04, 0.08)),
)
"""What is measured of a text's build, and the edges of its bins (ours)."""


class Features(NamedTuple):
    """A text as a sparse vector of length about 1.5: buckets (some may repeat) and their values."""

    buckets: np.ndarray
    values: np.ndarray


class Grade(NamedTuple):
    """What the two models say of a document."""

    mark: float | None
    """0 to 5; None where its language is not judged."""
    subject: str
    """"" where it is not told."""


class Grader(NamedTuple):
    """Both models."""

    weights: np.ndarray
    """`[BUCKETS, 1 + subjects]`, float32: the mark's first."""
    means: np.ndarray
    """What is said of a text without features, `[1 + subjects]`."""
    subjects: tuple[str, ...]
    languages: frozenset[str]
    """Those that get marks."""
    subject_languages: frozenset[str]

    def grade(self, text: str, language: str) -> Grade:
        """The mark and the subject of a text."""
        if language not in self.languages | self.subject_languages:
            return Grade(None, "")
        found = features(text)
        said = self.means + found.values @ self.weights[found.buckets]
        mark = round(float(np.clip(said[0], 0, HIGHEST)), 3) if language in self.languages else None
        best = int(np.argmax(said[1:])) if language in self.subject_languages else -1
        sure = best >= 0 and said[1 + best] - said[1:].mean() >= SUBJECT_SURENESS
        return Grade(mark, self.subjects[best] if sure else "")


def read_part(text: str) -> str:
    """What is read of a text: all of a short one, else its head and as much from its middle."""
    if len(text) <= READ:
        return text
    half = (READ - 1) // 2
    middle = (len(text) - half) // 2
    return f"{text[:half]}\n{text[middle : middle + half]}"


def features(text: str) -> Features:
    """The features of a text, a pure function of what `read_part` leaves of it."""
    part = read_part(text)
    found = words(part)
    several = [_counted(found.hashes), _counted(grams(found.hashes, 2)), _shape(part, found)]
    hashes = np.concatenate([hashes for hashes, _ in several])
    values = np.concatenate([values for _, values in several])
    signs = 1 - 2 * (hashes >> np.uint64(63)).astype(np.float32)  # so that collisions cancel on average
    return Features((hashes >> np.uint64(20)).astype(np.int64) & (BUCKETS - 1), values * signs)


def products(several: Sequence[Features]) -> np.ndarray:
    """Inner products of all pairs of documents, `[N, N]`."""
    total = np.zeros((len(several), len(several)), dtype=np.float32)
    if not several:
        return total.astype(np.float64)
    owners = np.repeat(np.arange(len(several)), [len(one.buckets) for one in several])
    buckets, values = (np.concatenate(parts) for parts in zip(*several, strict=True))
    for first in range(0, BUCKETS, _BLOCK):
        here = (buckets >= first) & (buckets < first + _BLOCK)
        part = np.zeros((len(several), _BLOCK), dtype=np.float32)
        np.add.at(part, (owners[here], buckets[here] - first), values[here])
        total += part @ part.T
    return total.astype(np.float64)


def solve(inner: np.ndarray, rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a coefficient for each of `rows`, mean target) of the ridge regression of `targets` `[len(rows), K]`.

    Several columns are subjects, which weigh equally however many documents each has.
    """
    weights = np.ones(len(rows)) if targets.shape[1] == 1 else 1 / (targets @ targets.sum(axis=0))
    weights *= len(rows) / weights.sum()
    means = np.average(targets, axis=0, weights=weights)
    penalised = inner[np.ix_(rows, rows)] + np.diag(RIDGE / weights)
    return np.linalg.solve(penalised, targets - means), means


def fit(
    several: Sequence[Features],
    inner: np.ndarray,
    marks: np.ndarray,
    subjects: Sequence[str],
    names: Sequence[str],
    languages: Sequence[str],
) -> Grader:
    """Both models from marked documents: NaN is no mark, "" no subject; `names` are the subjects there may be."""
    columns = [np.zeros((BUCKETS, 1 + len(names))), np.zeros(1 + len(names))]
    for first, rows, targets in ((0, *marked(marks)), (1, *told(subjects, names))):
        if len(rows):
            places = slice(first, first + targets.shape[1])
            coefficients, columns[1][places] = solve(inner, rows, targets)
            columns[0][:, places] = _weights([several[row] for row in rows.tolist()], coefficients)
    judged = [_languages(chosen(languages, rows)) for rows in (marked(marks)[0], told(subjects, names)[0])]
    return Grader(columns[0].astype(np.float32), columns[1].astype(np.float32), tuple(names), *judged)


def marked(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the documents with a mark, and the marks `[n, 1]`."""
    rows = np.flatnonzero(~np.isnan(marks))
    return rows, marks[rows, None]


def told(subjects: Sequence[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the documents with a subject, and 1 in the column of it `[n, len(names)]`."""
    rows = np.array([row for row, subject in enumerate(subjects) if subject], dtype=np.int64)
    targets = np.zeros((len(rows), len(names)))
    targets[np.arange(len(rows)), [names.index(subjects[row]) for row in rows]] = 1
    return rows, targets


def chosen(values: Sequence[str], rows: np.ndarray) -> list[str]:
    """Those of some rows."""
    return [values[int(row)] for row in rows]


def save_grader(path: Path, grader: Grader) -> None:
    """Write both models as one .npz."""
    with atomic(path) as file:
        np.savez(
            file,
            weights=grader.weights,
            means=grader.means,
            subjects=list(grader.subjects),
            languages=sorted(grader.languages),
            subject_languages=sorted(grader.subject_languages),
        )


def load_grader(path: Path) -> Grader:
    """Read what `save_grader` wrote; a damaged file is a `UserError`."""
    try:
        with np.load(path) as file:
            names = [frozenset(map(str, file[key])) for key in ("languages", "subject_languages")]
            return Grader(file["weights"], file["means"], tuple(map(str, file["subjects"])), *names)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"Cannot read the classifier {path} ({error}). Make it again with --force corpus.") from None


def _counted(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each different hash with the root of its count, scaled to length 1."""
    different, counts = np.unique(hashes, return_counts=True)
    return different, np.sqrt(counts / max(1, len(hashes))).astype(np.float32)


def _shape(text: str, found: Words) -> tuple[np.ndarray, np.ndarray]:
    """One hash for the bin that each measure of the text's build falls into."""
    n_words, n_characters = max(1, len(found.hashes)), max(1, len(text))
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    sentences = max(1, sum(map(text.count, _ENDS)))
    measures = (
        n_words / sentences,
        float((found.ends - found.starts).sum()) / n_words,
        n_characters / max(1, len(lines)),
        sum(line[-1] in _ENDS for line in lines) / max(1, len(lines)),
        len(np.unique(found.hashes)) / n_words,
        sum(map(text.count, "0123456789")) / n_characters,
        sum(map(text.count, "$\\{}=<>^")) / n_characters,
        text.count("?") / sentences,
        text.count(",") / n_words,
        sum(map(text.count, "|*#-_/`")) / n_characters,
    )
    bins = [
        (place << 8) + int(np.searchsorted(edges, measure))
        for place, ((_, edges), measure) in enumerate(zip(_SHAPE, measures, strict=True))
    ]
    values = np.full(len(bins), _SHAPE_WEIGHT / np.sqrt(len(bins)), dtype=np.float32)
    return mix(np.array(bins, dtype=np.uint64) + np.uint64(1)), values


def _weights(several: Sequence[Features], coefficients: np.ndarray) -> np.ndarray:
    """The weight of every bucket: the documents, each times its coefficient, summed."""
    sizes = [len(one.buckets) for one in several]
    buckets, values = (np.concatenate(parts) for parts in zip(*several, strict=True))
    return np.stack(
        [np.bincount(buckets, values * np.repeat(column, sizes), minlength=BUCKETS) for column in coefficients.T],
        axis=1,
    )


def _languages(languages: Sequence[str]) -> frozenset[str]:
    return frozenset(language for language, n in Counter(languages).items() if n >= LEAST)
