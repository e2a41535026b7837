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
from phidelity.data.scale import SUMMARY

_REASONS = 4
"""Reasons shown of a language (ours); the line of its source has all."""
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
        if told := _told(path.parent / SUMMARY):
            yield told
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
    shown = len(ranked) if language == "all" else _REASONS
    told = [f"{reason} {count['documents']:,}" for reason, count in ranked[:shown]]
    if len(ranked) > shown:
        told.append(f"{len(ranked) - _REASONS} more reasons")
    read, kept = counts["read"], counts["kept"]
    return (
        f"{name[-27:]:<28}{language:<10}{read['documents']:>8,}{kept['documents']:>8,}{kept['bytes']:>14,}  "
        + ", ".join(told)
    ).rstrip()


def _told(path: Path) -> str:
    """What the summary of the stage tells besides: personal data, and sources held out; "" before it is there."""
    if not path.is_file():
        return ""
    summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
    replaced = ", ".join(f"{kind} {n:,}" for kind, n in summary["personal"].items())
    held_out = [
        f"held out of {name}, which nothing else counts: an excerpt from the middle of each of {n:,} documents"
        for name, n in summary["held_out"].items()
    ]
    return "\n".join([f"personal data replaced: {replaced or 'none'}", *held_out])


def _decided(sample: dict[str, Any]) -> str:
    """The value that decided and the threshold; of an evaluation problem the words that are common."""
    if sample["value"] is None:
        return ""
    if sample["step"] == "contamination":
        return f" {sample['threshold']} in common: {sample['value']}"
    if isinstance(sample["value"], str) and sample["threshold"] is None:
        return f" {sample['value']}"
    return f" value {sample['value']}" + ("" if sample["threshold"] is None else f", threshold {sample['threshold']}")


def _rejects(reason: str, drawn: list[dict[str, Any]], report: dict[str, Any]) -> str:
    lines = [f"--- {reason}: {report['dropped_by_reason'][reason]:,} documents"]
    for sample in drawn:
        decided = _decided(sample)
        also = f"; also {', '.join(sample['also'])}" if sample["also"] else ""
        against = f"; against {sample['against'][:_EXCERPT]}" if sample["against"] else ""
        lines.append(f"{sample['id']} ({sample['language'] or 'no language'}){decided}{also}{against}")
        if sample["excerpt"]:
            lines.append("    " + " ".join(sample["excerpt"][:_EXCERPT].split()))
    return "\n".join(lines)
