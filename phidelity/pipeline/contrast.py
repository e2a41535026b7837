"""What differs between two variants of a study, paired: over the seeds that both have, and over the items of each.

A number is made of items where the run kept them: graded problems, or the bits and bytes of held-out documents. The
bootstrap draws seeds, and items within them, the same of both variants; where all seeds have the same items, one draw
of items serves them all (the crossed bootstrap of Owen, arXiv 0712.1111, which errs on the wide side). Its percentiles
are expanded for few units (`statistics.expanded_level`). A number without items is one item.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from phidelity.eval.store import read_graded
from phidelity.statistics import expanded_level

RESAMPLES = 10_000
"""*Ours.*"""
SCORED = "scored.jsonl"
"""Held-out documents with `id`, `bytes` and `bits`, beside the answers."""


class Items(NamedTuple):
    """What one number is the weighted mean of."""

    ids: tuple[str, ...]
    values: np.ndarray
    weights: np.ndarray

    @property
    def mean(self) -> float:
        """The number."""
        return float((self.values * self.weights).sum() / self.weights.sum())

    @classmethod
    def of(cls, values: Sequence[float]) -> "Items":
        """Items by their place, which count alike."""
        return cls(tuple(map(str, range(len(values)))), np.array(values, dtype=float), np.ones(len(values)))

    def only(self, ids: Sequence[str]) -> "Items":
        """Those of these ids, in their order."""
        place = {name: at for at, name in enumerate(self.ids)}
        at = [place[name] for name in ids]
        return Items(tuple(ids), self.values[at], self.weights[at])


Sample = Mapping[int, Sequence[Items]]
"""Seed -> the numbers whose mean a measure is."""


class Contrast(NamedTuple):
    """The mean over seeds of a measure, or of what it differs by between two variants, with its 95 % interval."""

    mean: float
    low: float
    high: float
    spread: float | None
    """Standard deviation between seeds; None for one seed."""
    seeds: dict[int, float]
    n_items: int
    """Items in all numbers of one seed."""


def one_item(number: float) -> Items:
    """A number of which no items were kept."""
    return Items(("",), np.array([number]), np.ones(1))


def read_items(folder: Path, number: float) -> Items:
    """The items in a folder of a run, as far as their mean is the number; else the number as one."""
    found = None
    if (folder / SCORED).is_file():
        rows = [json.loads(line) for line in (folder / SCORED).read_text(encoding="utf-8").splitlines()]
        found = _items([(row["id"], row["bits"] / row["bytes"], row["bytes"]) for row in rows])
    elif (folder / "graded.jsonl").is_file():
        scores = [(f"{one.id}/{one.repeat}", one.scores["corrected"].value) for one in read_graded(folder)]
        found = _items([(name, 100 * value, 1.0) for name, value in scores if value is not None])
    if found is None or not found.ids or abs(found.mean - number) > 1e-3 * max(1.0, abs(number)):
        return one_item(number)
    return found


def contrast(after: Sample, before: Sample | None = None, *, resamples: int = RESAMPLES, seed: int = 0) -> Contrast:
    """`after` minus `before`, or `after` itself, over the seeds of both."""
    seeds = [one for one in after if before is None or one in before]
    paired = [_paired(after[one], None if before is None else before[one]) for one in seeds]
    single = [float(np.mean([_difference(*pair) for pair in pairs])) for pairs in paired]
    n_items = sum(len(new.ids) for new, _ in paired[0])
    n_units = len(seeds) if len(seeds) > 1 else max(n_items, 1)
    drawn = _drawn(paired, resamples, np.random.default_rng(seed))
    level = expanded_level(n_units)
    low, high = np.quantile(drawn, [level, 1 - level]) if n_units > 1 else (-np.inf, np.inf)
    spread = float(np.std(single, ddof=1)) if len(seeds) > 1 else None
    return Contrast(
        float(np.mean(single)), float(low), float(high), spread, dict(zip(seeds, single, strict=True)), n_items
    )


Pair = tuple[Items, Items | None]


def _items(rows: Sequence[tuple[str, float, float]]) -> Items:
    ids, values, weights = zip(*rows, strict=True) if rows else ((), (), ())
    return Items(tuple(ids), np.array(values, dtype=float), np.array(weights, dtype=float))


def _paired(after: Sequence[Items], before: Sequence[Items] | None) -> list[Pair]:
    """Each number with its counterpart over the items that both have."""
    if before is None:
        return [(one, None) for one in after]
    pairs: list[Pair] = []
    for new, old in zip(after, before, strict=True):
        known = set(old.ids)
        shared = [name for name in new.ids if name in known]
        pairs.append((new.only(shared), old.only(shared)) if shared else (one_item(new.mean), one_item(old.mean)))
    return pairs


def _difference(new: Items, old: Items | None) -> float:
    return new.mean - (old.mean if old else 0.0)


def _drawn(paired: Sequence[Sequence[Pair]], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The mean over drawn seeds and items, `[resamples]`."""
    by_seed = np.zeros((len(paired), resamples))
    for place in range(len(paired[0])):
        column = [pairs[place] for pairs in paired]
        same = len({new.ids for new, _ in column}) == 1
        chosen = _draw(len(column[0][0].ids), resamples, rng)
        for at, (new, old) in enumerate(column):
            chosen = chosen if same else _draw(len(new.ids), resamples, rng)
            by_seed[at] += _mean_of(new, chosen) - (_mean_of(old, chosen) if old else 0.0)
    by_seed /= len(paired[0])
    seeds = rng.integers(len(paired), size=(len(paired), resamples))
    return np.take_along_axis(by_seed, seeds, axis=0).mean(axis=0)


def _draw(n: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each item is drawn, `[resamples, n]`."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)


def _mean_of(items: Items, drawn: np.ndarray) -> np.ndarray:
    return (drawn @ (items.values * items.weights)) / (drawn @ items.weights)
