"""How well the two models of data/quality.py do on sources that they never saw.

Sources, not documents, are held out: a model that has learnt to know its sources by their words would look good on
their other documents and be good for nothing. Each fold's documents are judged by a model of the other folds'.
Figures: the mean error beside that of always saying the mean, the rank correlation, F1 at 3 (as FineWeb-Edu reports),
a table of what was said against what was marked, and the same by language.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phidelity.data.quality import HIGHEST, LEAST, chosen, marked, solve, told

FOLDS = 5
GOOD = 3.0


def folds(sources: Sequence[str]) -> np.ndarray:
    """The fold of each document: by its source, the sources dealt out in the order of their hashes."""
    order = sorted(set(sources), key=lambda name: hashlib.sha256(name.encode()).digest())
    place = {name: number % FOLDS for number, name in enumerate(order)}
    return np.array([place[name] for name in sources], dtype=np.int64)


def held_out_marks(
    inner: np.ndarray, marks: np.ndarray, sources: Sequence[str], languages: Sequence[str]
) -> dict[str, Any] | None:
    """Figures of the marks on unseen sources; None where there is only one source with marks."""
    rows, targets = marked(marks)
    said = _predictions(inner, rows, targets, folds(chosen(sources, rows)))
    if said is None:
        return None
    said, true = np.clip(said[:, 0], 0, HIGHEST), targets[:, 0]
    tongues = chosen(languages, rows)
    return {
        **_figures(said, true),
        "sources": len(set(chosen(sources, rows))),
        "calibration": _calibration(said, true),
        "languages": _grouped(tongues, said, true, lambda n: n >= LEAST),
        "by_source": _grouped(chosen(sources, rows), said, true, lambda n: n > 0),
    }


def held_out_subjects(
    inner: np.ndarray, subjects: Sequence[str], names: Sequence[str], sources: Sequence[str]
) -> dict[str, Any] | None:
    """How often the subject is named rightly on unseen sources, beside always naming the commonest; None as above."""
    rows, targets = told(subjects, names)
    said = _predictions(inner, rows, targets, folds(chosen(sources, rows)))
    if said is None:
        return None
    right = said.argmax(axis=1) == targets.argmax(axis=1)
    n = targets.sum(axis=0)
    recall = {name: round(float(right[targets[:, k] == 1].mean()), 4) for k, name in enumerate(names) if n[k]}
    return {
        "documents": len(rows),
        "accuracy": round(float(right.mean()), 4),
        "commonest": round(float(n.max() / len(rows)), 4),
        "macro_recall": round(float(np.mean(list(recall.values()))), 4),
        "subjects": {name: {"documents": int(n[names.index(name)]), "recall": one} for name, one in recall.items()},
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, ties sharing their mean rank; 0 where one of both does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _predictions(inner: np.ndarray, rows: np.ndarray, targets: np.ndarray, fold: np.ndarray) -> np.ndarray | None:
    """What models of the other folds say of each row, `[len(rows), K]`; None where all are of one fold."""
    if len(set(fold.tolist())) < 2:
        return None
    said = np.zeros(targets.shape)
    for number in set(fold.tolist()):
        known, unseen = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        coefficients, means = solve(inner, rows[known], targets[known])
        said[unseen] = means + inner[np.ix_(rows[unseen], rows[known])] @ coefficients
    return said


def _figures(said: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    right = int(((said >= GOOD) & (true >= GOOD)).sum())
    named = int((said >= GOOD).sum() + (true >= GOOD).sum())
    return {
        "documents": len(true),
        "error": round(float(np.abs(said - true).mean()), 4),
        "error_of_mean": round(float(np.abs(true - true.mean()).mean()), 4),
        "rank_correlation": round(rank_correlation(said, true), 4),
        "f1_at_3": round(2 * right / named, 4) if named else None,
    }


def _calibration(said: np.ndarray, true: np.ndarray) -> list[dict[str, Any]]:
    """For each whole mark how many documents were given about it, and what they were marked on average."""
    table = []
    for low in range(int(HIGHEST)):
        here = (said >= low) & ((said < low + 1) | (low + 1 == HIGHEST))
        n = int(here.sum())
        means = [round(float(values[here].mean()), 3) if n else None for values in (said, true)]
        table.append({"from": low, "to": low + 1, "documents": n, "said": means[0], "marked": means[1]})
    return table


def _grouped(
    names: Sequence[str], said: np.ndarray, true: np.ndarray, wanted: Callable[[int], bool]
) -> dict[str, dict[str, Any]]:
    """The figures within each group that is large enough, the largest first."""
    table = {}
    for name, n in Counter(names).most_common():
        if wanted(n):
            here = np.array([one == name for one in names])
            mean = {"said": round(float(said[here].mean()), 3), "marked": round(float(true[here].mean()), 3)}
            table[name] = _figures(said[here], true[here]) | mean
    return table


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
