"""What came of a study: means with errors, paired differences, verdicts, as data, as a page, and what can be detected.

A claim holds where the whole 95 % interval lies beyond its threshold, is refuted where it lies on the other side, and
is open between. Nothing is decided before every variant has every seed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from phidelity.page.figures import Dot, dot_plot
from phidelity.page.layout import render_page
from phidelity.pipeline.contrast import RESAMPLES, Contrast, Items, contrast, one_item, read_items
from phidelity.pipeline.study import SCORES, Arm, arms, is_done
from phidelity.pipeline.study import scores as numbers_of
from phidelity.pipeline.study import seconds as seconds_of
from phidelity.pipeline.study_file import ClaimConfig, LoadedStudy, MeasureConfig, StudyConfig
from phidelity.records import atomic, write_json
from phidelity.statistics import detectable_over_seeds

RESULTS, PAGE = "results.json", "study.html"
TEMPLATES = Path(__file__).parent / "templates"

Samples = Mapping[str, Mapping[str, Mapping[int, Sequence[Items]]]]
"""Measure -> variant -> seed -> the items of its numbers."""


def results(study: StudyConfig, out: Path) -> dict[str, Any]:
    """All that is known so far; `verdict` of a claim is None until the study is whole."""
    every = arms(study, out)
    done = [arm for arm in every if is_done(study, arm)]
    samples = {name: _samples(measure, done) for name, measure in study.measures.items()}
    whole = len(done) == len(every)
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "registered": study.registered,
        "whole": whole,
        "done": len(done),
        "arms": len(every),
        "seeds": list(study.seeds),
        "seconds": round(sum(map(seconds_of, every)), 1),
        "baseline": study.baseline,
        "measures": {name: _measure(study, name, samples) for name in study.measures},
        "table": {
            variant: {name: _told(contrast(samples[name][variant])) for name in study.measures}
            for variant in study.variants
            if all(samples[name].get(variant) for name in study.measures)
        },
        "differences": _differences(study, samples),
        "claims": [_judged(claim, samples, whole) for claim in study.claims],
    }


def write_results(loaded: LoadedStudy, out: Path) -> dict[str, Any]:
    """Write results.json and study.html."""
    told = results(loaded.study, out)
    write_json(out / RESULTS, told)
    with atomic(out / PAGE, "w") as file:
        file.write(
            render_page(TEMPLATES, "study.html", study=loaded.study, told=told, charts=_charts(told), shown=shown)
        )
    return told


def expectation(study: StudyConfig, out: Path) -> dict[str, Any]:
    """What is said before the start: the arms to do, the time they take, and the smallest difference to be found."""
    every = arms(study, out)
    done = [arm for arm in every if is_done(study, arm)]
    taken = [seconds_of(arm) for arm in done]
    each = sum(taken) / len(taken) / 60 if taken else study.minutes
    return {
        "to_do": len(every) - len(done),
        "arms": len(every),
        "minutes": None if each is None else round(each * (len(every) - len(done)), 1),
        "detectable": {
            name: None if one.spread is None else detectable_over_seeds(one.spread, len(study.seeds))
            for name, one in study.measures.items()
        },
    }


def shown(value: float, digits: int, sign: bool = False) -> str:
    """A number as tables show it."""
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _samples(measure: MeasureConfig, done: Sequence[Arm]) -> dict[str, dict[int, list[Items]]]:
    found: dict[str, dict[int, list[Items]]] = {}
    for arm in done:
        numbers = numbers_of(arm)
        found.setdefault(arm.variant, {})[arm.seed] = [_items(arm, name, numbers[name]) for name in measure.numbers]
    return found


def _items(arm: Arm, name: str, number: float) -> Items:
    if not (arm.folder / SCORES).is_file():
        return read_items(arm.folder / name, number)
    values = json.loads((arm.folder / SCORES).read_text(encoding="utf-8"))["items"].get(name)
    return Items.of(values) if values else one_item(number)


def _measure(study: StudyConfig, name: str, samples: Samples) -> dict[str, Any]:
    """A measure with what it can detect: by the largest spread that was seen, else by that of the rehearsal."""
    measure = study.measures[name]
    seen = [
        one.spread
        for variant in study.variants
        if (one := _against(samples[name], variant, study.baseline)) is not None
    ]
    spread = max((one for one in seen if one is not None), default=measure.spread)
    return {
        **measure.model_dump(include={"title", "unit", "better", "digits", "numbers"}),
        "spread": spread,
        "detectable": None if spread is None else detectable_over_seeds(spread, len(study.seeds)),
    }


def _differences(study: StudyConfig, samples: Samples) -> list[dict[str, Any]]:
    """Every variant against the baseline on every measure."""
    found = []
    for name in study.measures:
        for variant in study.variants:
            if one := _against(samples[name], variant, study.baseline):
                found.append({"measure": name, "variant": variant, "against": study.baseline, **_told(one)})
    return found


def _against(
    sample: Mapping[str, Mapping[int, Sequence[Items]]], variant: str, against: str, resamples: int = RESAMPLES
) -> Contrast | None:
    """What a variant differs by; None where the two share no seed yet, or are one."""
    after, before = sample.get(variant, {}), sample.get(against, {})
    if variant == against or not after.keys() & before.keys():
        return None
    return contrast(after, before, resamples=resamples)


def _judged(claim: ClaimConfig, samples: Samples, whole: bool) -> dict[str, Any]:
    sample = samples[claim.measure]
    if claim.against:
        found = _against(sample, claim.variant, claim.against)
    else:
        found = contrast(sample[claim.variant]) if sample.get(claim.variant) else None
    told = {**claim.model_dump(exclude_none=True), **(_told(found) if found else {})}
    return {**told, "verdict": verdict(claim, found) if whole and found else None}


def verdict(claim: ClaimConfig, found: Contrast) -> str:
    """`holds`, `refuted` or `open`, from the whole interval."""
    if claim.above is not None:
        return "holds" if found.low > claim.above else "refuted" if found.high < claim.above else "open"
    assert claim.below is not None
    return "holds" if found.high < claim.below else "refuted" if found.low > claim.below else "open"


def _told(one: Contrast) -> dict[str, Any]:
    error = None if one.spread is None else one.spread / len(one.seeds) ** 0.5
    return {
        "mean": one.mean,
        "stderr": error,
        "low": one.low if abs(one.low) != float("inf") else None,
        "high": one.high if abs(one.high) != float("inf") else None,
        "seeds": {str(seed): value for seed, value in one.seeds.items()},
        "items": one.n_items,
    }


def _charts(told: Mapping[str, Any]) -> dict[str, Markup]:
    """For each measure the differences from the baseline, on a symmetric scale."""
    charts = {}
    for name, measure in told["measures"].items():
        rows = [one for one in told["differences"] if one["measure"] == name and one["low"] is not None]
        reach = max((abs(one[end]) for one in rows for end in ("low", "high")), default=0.0) or 1.0
        label = f"difference from {told['baseline']}, {measure['unit'] or 'as measured'}, with 95 % interval"
        dots = [Dot(one["variant"], one["mean"], one["low"], one["high"]) for one in rows]
        plot = dot_plot(measure["title"], dots, x_label=label, low=-reach, high=reach, zero=True)
        charts[name] = plot if dots else Markup("")
    return charts
