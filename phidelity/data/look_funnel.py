"""The funnel of a corpus for a reader in a terminal: what came in, what went for which reason, and what it looked like.

Reads the `dropped.json` that stage `corpus` leaves: steps, sources by language, and for each reason a few of the
drawn rejects with the value that decided, the threshold, and the other rules that would have dropped them too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.data.funnel import DROPPED

_REASONS = 4
"""Reasons shown of a source and language (ours); dropped.json has all."""
_EXCERPT = 160
"""Characters shown of a reject (ours)."""


def funnel_file(path: Path) -> Path | None:
    """The `dropped.json` of a stage or a run, though the stage ended in an error; None where there is none."""
    folders = (path, path / "corpus", path / "corpus.partial")
    places = [path] if path.name == DROPPED else [folder / DROPPED for folder in folders]
    return next((place for place in places if place.is_file()), None)


def show_funnel(path: Path, n: int) -> Iterator[str]:
    """A table of steps, one of sources and languages, then `n` rejects of each reason."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        yield _steps(report)
        yield _sources(report["sources"])
        yield from (_rejects(reason, drawn[:n], report) for reason, drawn in report["samples"].items() if drawn[:n])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged or of another version. Make it again with --force corpus.") from None


def _steps(report: dict[str, Any]) -> str:
    lines = [f"{'step':<16}{'documents in':>14}{'dropped':>10}{'kept':>10}{'bytes in':>16}{'bytes kept':>16}"]
    for row in report["steps"]:
        lines.append(
            f"{row['step']:<16}{row['read']['documents']:>14,}{row['dropped']['documents']:>10,}"
            f"{row['kept']['documents']:>10,}{row['read']['bytes']:>16,}{row['kept']['bytes']:>16,}"
        )
    return "\n".join(lines)


def _sources(sources: dict[str, Any]) -> str:
    lines = [f"{'source':<28}{'language':<10}{'read':>8}{'kept':>8}{'bytes kept':>14}  dropped for"]
    for name, source in sources.items():
        lines.append(_source_line(name, "all", source))
        inner = sorted(source["languages"].items(), key=lambda pair: -pair[1]["read"]["documents"])
        lines += [_source_line("", language or "unread", counts) for language, counts in inner if len(inner) > 1]
    return "\n".join(lines)


def _source_line(name: str, language: str, counts: dict[str, Any]) -> str:
    ranked = sorted(counts["dropped"].items(), key=lambda pair: -pair[1]["documents"])
    told = [f"{reason} {count['documents']:,}" for reason, count in ranked[:_REASONS]]
    if len(ranked) > _REASONS:
        told.append(f"{len(ranked) - _REASONS} more reasons")
    read, kept = counts["read"], counts["kept"]
    return (
        f"{name[-27:]:<28}{language:<10}{read['documents']:>8,}{kept['documents']:>8,}{kept['bytes']:>14,}  "
        + ", ".join(told)
    ).rstrip()


def _rejects(reason: str, drawn: list[dict[str, Any]], report: dict[str, Any]) -> str:
    lines = [f"--- {reason}: {report['dropped_by_reason'][reason]:,} documents"]
    for sample in drawn:
        decided = "" if sample["value"] is None else f" value {sample['value']}"
        decided += "" if sample["threshold"] is None else f", threshold {sample['threshold']}"
        also = f"; also {', '.join(sample['also'])}" if sample["also"] else ""
        against = f"; against {sample['against'][:_EXCERPT]}" if sample["against"] else ""
        lines.append(f"{sample['id']} ({sample['language'] or 'no language'}){decided}{also}{against}")
        if sample["excerpt"]:
            lines.append("    " + " ".join(sample["excerpt"][:_EXCERPT].split()))
    return "\n".join(lines)
