"""Two evaluations of the same problems, side by side: paired differences, what was gained and lost, and a test.

Only problems that both decided count; answers in several repeats are averaged by problem first. The standard error is
that of the differences, clustered as the scores are (Miller, arXiv 2411.00640, section 4.2); McNemar's exact test is
for single answers that are right or wrong. `detectable` is what a true difference must be to be found in four of five
such comparisons.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.config import UserError
from phidelity.eval.benchmark import PROFILES
from phidelity.eval.store import Graded, read_graded, read_scores
from phidelity.statistics import Estimate, mcnemar, paired_difference, smallest_difference


class Difference(NamedTuple):
    """After minus before over shared problems, all between 0 and 1."""

    before: float
    after: float
    estimate: Estimate
    gained: int
    """Problems that the later run scores higher on."""
    lost: int
    p: float | None
    """McNemar's exact two-sided p; None where answers are graded or repeated."""
    detectable: float | None
    """None where no difference was seen at all, which says nothing of the spread."""


class Pair(NamedTuple):
    """One benchmark that both runs have answered."""

    models: tuple[str, str]
    benchmark: str
    folders: tuple[Path, Path]


def difference(before: Sequence[Graded], after: Sequence[Graded], profile: str) -> Difference | None:
    """What changed between two gradings; None where they share no decided problem."""
    old, new = _means(before, profile), _means(after, profile)
    shared = [name for name in old if name in new]
    if not shared:
        return None
    clusters = {one.id: one.cluster or one.id for one in before}
    pairs = [(old[name], new[name]) for name in shared]
    found = paired_difference([a for a, _ in pairs], [b for _, b in pairs], [clusters[name] for name in shared])
    gained, lost = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
    is_binary = all(value in (0, 1) for pair in pairs for value in pair)
    return Difference(
        before=sum(a for a, _ in pairs) / len(pairs),
        after=sum(b for _, b in pairs) / len(pairs),
        estimate=found,
        gained=gained,
        lost=lost,
        p=mcnemar(gained, lost) if is_binary else None,
        detectable=smallest_difference(found.stderr, paired=True) if found.stderr else None,
    )


def compare_runs(before: Path, after: Path) -> dict[str, Any]:
    """Rows for each benchmark and profile of two OUT folders, in per cent; `unpaired` names what only one has."""
    matched = list(pairs(before, after))
    rows = []
    for pair in matched:
        old, new = (read_graded(folder) for folder in pair.folders)
        for profile in PROFILES:
            if all(each and profile in each[0].scores for each in (old, new)):
                found = difference(old, new, profile)
                if found:
                    rows.append(_row(pair, profile, found))
    if not rows:
        raise UserError(
            f"{before} and {after} share no graded benchmark; expected two folders that `phi eval --out` wrote, over "
            "the same problems."
        )
    named = {pair.benchmark for pair in matched}
    unpaired = sorted({name for out in (before, after) for name in _benchmarks(out)} - named)
    unlike = [line for pair in matched for line in _asked_differently(pair)]
    return {"before": str(before), "after": str(after), "rows": rows, "unpaired": unpaired, "unlike": unlike}


def pairs(before: Path, after: Path) -> Iterator[Pair]:
    """Benchmarks that both have: by the model's name, or the only model of each."""
    old, new = _models(before), _models(after)
    named = (
        [(name, name) for name in old if name in new]
        if len(old) > 1 or len(new) > 1
        else [*zip(old, new, strict=False)]
    )
    for a, b in named:
        for name in old[a]:
            if name in new[b]:
                yield Pair((a, b), name, (before / a / name, after / b / name))


def _asked_differently(pair: Pair) -> Iterator[str]:
    """In what the two runs were asked otherwise, a line each."""
    old, new = (_asked(folder) for folder in pair.folders)
    for name in ("wording", "params", "repeats", "departures"):
        if old.get(name) != new.get(name):
            yield f"{pair.benchmark}: {name} {json.dumps(old.get(name))} before, {json.dumps(new.get(name))} after"


def _asked(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _models(out: Path) -> dict[str, list[str]]:
    scores = read_scores(out / "scores.json")
    graded = {
        model: [name for name in rows if (out / model / name / "graded.jsonl").is_file()]
        for model, rows in scores.items()
    }
    return {model: names for model, names in graded.items() if names}


def _benchmarks(out: Path) -> set[str]:
    return {name for names in _models(out).values() for name in names}


def _means(graded: Sequence[Graded], profile: str) -> dict[str, float]:
    """The mean of each problem's decided answers."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in graded:
        if (value := one.scores[profile].value) is not None:
            values[one.id].append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}


def _row(pair: Pair, profile: str, found: Difference) -> dict[str, Any]:
    mean, stderr, n, low, high = found.estimate
    return {
        "models": list(pair.models),
        "benchmark": pair.benchmark,
        "profile": profile,
        "before": _percent(found.before),
        "after": _percent(found.after),
        "difference": _percent(mean),
        "stderr": _percent(stderr),
        "interval": [_percent(low), _percent(high)],
        "n": n,
        "gained": found.gained,
        "lost": found.lost,
        "p": found.p,
        "detectable": None if found.detectable is None else _percent(found.detectable),
    }


def _percent(share: float) -> float:
    return round(100 * share, 4)
