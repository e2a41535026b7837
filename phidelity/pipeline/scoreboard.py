"""The evaluation of a run as tables: scores with errors, strata, what each stage changed, and transcripts.

Rows stand in the order of the road, baselines first. Two neighbours are compared item by item (phi-4 report §4,
table 9 shows stages side by side), so a fall shows as clearly as a rise. Transcripts are chosen by order alone.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple

from phidelity.eval.compare import Difference, difference
from phidelity.eval.store import Graded, Response
from phidelity.eval.suite import MINIATURE, benchmark
from phidelity.page.figures import Dot
from phidelity.pipeline.evidence import Run
from phidelity.pipeline.manifest import ROAD
from phidelity.records import read_records
from phidelity.statistics import Z95, Estimate

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> benchmark -> what `summarise` said of it."""

LABELS = {
    "random": "random answer",
    "commonest answer": "commonest answer",
    "pretrain": "base (pretrain)",
    "midtrain": "base (midtrain)",
    "sft": "SFT",
    "pivotal_dpo": "after pivotal DPO",
    "judged_dpo": "after judged DPO",
    "rounds": "after further rounds",
    "last": "last of the run",
    "breakfix": "final",
}
BASELINES = ("random", "commonest answer")
STRATA = {"seen": "seen", "range": "unseen range", "template": "unseen template", "both": "both unseen"}
N_TRANSCRIPTS = 3


class Row(NamedTuple):
    """One model or baseline: its score on each benchmark, and their mean with its standard error."""

    name: str
    label: str
    cells: list[Mapping[str, Any] | None]
    mean: float | None
    stderr: float
    n_decided: int
    """Benchmarks that the mean is over."""

    @property
    def is_model(self) -> bool:
        """Whether it is no baseline."""
        return self.name not in BASELINES


class Stratum(NamedTuple):
    """The problems of a benchmark in which the same is new, with the cell of each row."""

    title: str
    n: int
    cells: list[Mapping[str, Any] | None]


class Change(NamedTuple):
    """What one stage changed, by benchmark, over the same problems."""

    label: str
    cells: list[Estimate | None]


class Transcript(NamedTuple):
    """One problem and what the final model said."""

    prompt: str
    reference: str
    response: str
    verdict: str
    explanation: str


class Scoreboard(NamedTuple):
    """All that the report shows of the evaluation."""

    benchmarks: list[str]
    titles: list[str]
    rows: list[Row]
    strata: list[tuple[str, list[Stratum]]]
    """By benchmark's title; the cells are those of the rows that are not `random`."""
    n_problems: list[int]
    panels: list[tuple[str, list[Dot]]]
    """The dots of each benchmark that was decided for some model."""
    changes: list[Change]
    attempts: list[tuple[str, Mapping[str, Any]]]
    notes: list[tuple[str, str]]
    """(models, how they were asked as plain text, and which answers were not answers)."""
    transcripts: list[tuple[str, list[Transcript]]]

    @property
    def final(self) -> Row:
        """The last model of the road."""
        return self.rows[-1]


def scoreboard(run: Run) -> Scoreboard | None:
    """The tables of the stage `evaluate`; None where it is not done."""
    found = run.json("evaluate", "scores.json")
    if not found:
        return None
    scores = _in_order(found)
    names = list(dict.fromkeys(name for rows in scores.values() for name in rows))
    models = [model for model in scores if model not in BASELINES]
    titles = [mini(name) for name in names]
    rows = [_row(model, scores[model], names) for model in scores]
    drawn = [(name, _dots(scores, name)) for name in names]
    return Scoreboard(
        benchmarks=names,
        titles=titles,
        rows=rows,
        strata=_strata(scores, names),
        n_problems=[max(rows[name]["n"] for rows in scores.values() if name in rows) for name in names],
        panels=[(mini(name), dots) for name, dots in drawn if not all(dot.hollow for dot in dots)],
        changes=[_change(run, old, new, names) for old, new in pairwise(models)],
        attempts=[(label(model), rows["simpleqa"]) for model, rows in scores.items() if _has_attempts(rows)],
        notes=_notes(scores, models),
        transcripts=[(mini(name), _transcripts(run, models[-1], name)) for name in names if models],
    )


def mini(name: str) -> str:
    """What a miniature is called: never by the official name alone."""
    return f"mini-{benchmark(name).title}"


def label(model: str) -> str:
    """A model's or baseline's name for people."""
    return LABELS.get(model, model)


def _in_order(scores: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Baselines first, then models in the order of the road, then what neither knows."""
    road = [*BASELINES, *ROAD]
    order = sorted(scores, key=lambda model: (road.index(model) if model in road else len(road), model))
    names = [one.name for one in MINIATURE]
    return {
        model: {name: scores[model][name]["corrected"] for name in names if name in scores[model]} for model in order
    }


def _row(model: str, rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Row:
    cells = [rows.get(name) for name in names]
    decided = [cell for cell in cells if cell and cell["score"] is not None]
    mean = sum(cell["score"] for cell in decided) / len(decided) if decided else None
    stderr = sqrt(sum(cell["stderr"] ** 2 for cell in decided)) / max(1, len(decided))
    return Row(model, label(model), cells, mean, stderr, len(decided))


def _strata(scores: Scores, names: Sequence[str]) -> list[tuple[str, list[Stratum]]]:
    found = [(mini(name), [_stratum(scores, name, key) for key in STRATA]) for name in names]
    return [(title, asked) for title, strata in found if (asked := [one for one in strata if one.n])]


def _stratum(scores: Scores, name: str, key: str) -> Stratum:
    models = [model for model in scores if model != "random"]
    cells = [scores[model].get(name, {}).get("strata", {}).get(key) for model in models]
    return Stratum(STRATA[key], max((cell["n"] for cell in cells if cell), default=0), cells)


def _dots(scores: Scores, name: str) -> list[Dot]:
    dots = []
    for model, rows in scores.items():
        cell = rows.get(name)
        if cell and cell["score"] is not None:
            low, high = cell["interval"]
            dots.append(Dot(label(model), cell["score"], low, high, hollow=model in BASELINES))
    return dots


def _has_attempts(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    return "not_attempted" in rows.get("simpleqa", {})


def _notes(scores: Scores, models: Sequence[str]) -> list[tuple[str, str]]:
    """What there is to say of each model, once for all of which the same is said."""
    said: dict[str, list[str]] = {}
    for model in models:
        for text in (_format(scores[model]), _unanswered(scores[model])):
            if text:
                said.setdefault(text, []).append(label(model))
    return [(", ".join(labels), text) for text, labels in said.items()]


def _format(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """`2 solved examples as plain text, bare for mini-MMLU, ...`; empty for a model that was asked by chat."""
    forms: dict[str, list[str]] = {}
    for name, row in rows.items():
        if "format" in row:
            forms.setdefault(f"{row['few_shot']} solved examples as plain text, {row['format']},", []).append(
                mini(name)
            )
    return "; ".join(f"{form} for {', '.join(names)}" for form, names in forms.items())


def _unanswered(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """`mini-MATH: 3 cut off; ...`."""
    kinds = {"undetermined": "undetermined", "context_exceeded": "too long for the context", "cut_off": "cut off"}
    told = {
        mini(name): ", ".join(f"{row[key]} {title}" for key, title in kinds.items() if row.get(key))
        for name, row in rows.items()
    }
    return "; ".join(f"{name}: {text}" for name, text in told.items() if text)


def _responses(run: Run, model: str, name: str) -> list[Response]:
    path = run.file("evaluate", f"{model}/{name}/responses.jsonl")
    return list(read_records(path, Response)) if path else []


def _graded(run: Run, model: str, name: str) -> list[Graded]:
    path = run.file("evaluate", f"{model}/{name}/graded.jsonl")
    return list(read_records(path, Graded)) if path else []


def _change(run: Run, old: str, new: str, names: Sequence[str]) -> Change:
    pairs = [(_graded(run, old, name), _graded(run, new, name)) for name in names]
    return Change(f"{label(old)} → {label(new)}", [_points(difference(*pair, "corrected")) for pair in pairs])


def _points(found: Difference | None) -> Estimate | None:
    """After minus before in points, over the problems that both decided."""
    if found is None:
        return None
    mean, stderr, n, low, high = found.estimate
    return Estimate(100 * mean, 100 * stderr, n, 100 * low, 100 * high)


def direction(change: Estimate) -> str:
    """Whether the interval excludes no change; without spread, as when few items all move one way, it cannot."""
    if not change.stderr:
        return "unclear"
    return "rose" if change.low > 0 else "fell" if change.high < 0 else "unclear"


def mean_interval(row: Row) -> tuple[float, float] | None:
    """The 95 % interval of a row's mean."""
    return (
        None if row.mean is None else (max(0.0, row.mean - Z95 * row.stderr), min(100.0, row.mean + Z95 * row.stderr))
    )


def _transcripts(run: Run, model: str, name: str) -> list[Transcript]:
    """The first answers with their grades; none where either file is gone."""
    pairs = zip(_responses(run, model, name)[:N_TRANSCRIPTS], _graded(run, model, name), strict=False)
    return [
        Transcript(
            prompt=said.prompt,
            reference=graded.reference,
            response=said.response,
            verdict=_verdict(graded.scores["corrected"].value),
            explanation=graded.scores["corrected"].explanation,
        )
        for said, graded in pairs
    ]


def _verdict(score: float | None) -> str:
    if score is None:
        return "undetermined"
    return "right" if score == 1 else "wrong" if score == 0 else f"partly right ({100 * score:.0f} %)"
