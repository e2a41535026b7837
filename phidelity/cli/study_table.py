"""A study on the terminal: what is said before it starts, and the one table at its end."""

from collections.abc import Mapping
from typing import Any

from phidelity.pipeline.study_file import StudyConfig
from phidelity.pipeline.verdict import shown


def beforehand(study: StudyConfig, expected: Mapping[str, Any]) -> str:
    """What is said before the work begins: how much there is, and what it can find."""
    minutes = expected["minutes"]
    time = f", about {minutes:g} minutes" if minutes is not None else ", time unknown"
    lines = [
        f"{study.title or study.name}: {len(study.variants)} variants x {len(study.seeds)} seeds, "
        f"{expected['to_do']} of {expected['arms']} runs to do{time}",
        f"Claims were written beforehand: {study.registered}",
    ]
    for name, measure in study.measures.items():
        least = expected["detectable"][name]
        if least is None:
            why = "one seed says nothing of others" if len(study.seeds) < 2 else "no spread from a rehearsal is given"
            lines.append(f"  {measure.title}: smallest difference unknown ({why})")
        else:
            lines.append(
                f"  {measure.title}: smallest difference {shown(least, measure.digits + 1)} {measure.unit}".rstrip()
                + f", found in 4 of 5 studies (paired over {len(study.seeds)} seeds that differ by {measure.spread:g})"
            )
    return "\n".join(lines) + "\n"


def table(told: Mapping[str, Any]) -> str:
    """Means of all variants, differences from the baseline, and the claims."""
    measures = told["measures"]
    head = ["", "seeds", *(f"{one['title']}{' ↓' if one['better'] == 'lower' else ''}" for one in measures.values())]
    rows = [head]
    for variant, row in told["table"].items():
        cells = [_with_error(row[name], measures[name]["digits"]) for name in measures]
        rows.append([variant, str(len(next(iter(row.values()))["seeds"])), *cells])
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines += ["", f"paired differences from {told['baseline']}, with 95 % intervals over seeds and items"]
    lines += [_compared(one, measures[one["measure"]]) for one in told["differences"]]
    if told["claims"]:
        lines += [
            "",
            "claims" if told["whole"] else f"claims: undecided, {told['done']} of {told['arms']} runs are done",
        ]
        lines += [line for one in told["claims"] for line in _claim(one, measures[one["measure"]])]
    return "\n".join(lines)


def _with_error(one: Mapping[str, Any], digits: int) -> str:
    return shown(one["mean"], digits) + ("" if one["stderr"] is None else f" ± {shown(one['stderr'], digits)}")


def _compared(one: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    digits = measure["digits"]
    low, high = one["low"], one["high"]
    interval = "" if low is None else f" [{shown(low, digits, True)}, {shown(high, digits, True)}]"
    return f"  {one['variant']}, {measure['title']}: {shown(one['mean'], digits, True)}{interval}"


def _claim(one: Mapping[str, Any], measure: Mapping[str, Any]) -> list[str]:
    threshold = f"above {one['above']:g}" if "above" in one else f"below {one['below']:g}"
    against = f" minus {one['against']}" if one["against"] else ""
    found = _compared(one, measure).split(": ", 1)[1] if "mean" in one else "nothing yet"
    verdict = one["verdict"] or "undecided"
    return [
        f"  {verdict.upper():<10} {one['says']}",
        f"             {measure['title']}, {one['variant']}{against}: {found}, wanted {threshold}",
    ]
