"""Scores as lines for a terminal: the profiles side by side, their difference, and what was not scored."""

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = f"{'benchmark':<16}{'n':>7}{'corrected':>18}{'parity':>18}{'difference':>12}  notes"
COUNTS = {
    "undetermined": "undetermined",
    "context_exceeded": "over the context",
    "cut_off": "cut off",
    "null_content": "without content",
    "missing": "missing",
    "absent": "problems not in the file",
}


def score_lines(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A head and a line a benchmark; scores are per cent with their standard error."""
    yield HEAD
    for name, profiles in rows.items():
        corrected, parity = profiles.get("corrected"), profiles.get("parity")
        first = corrected or next(iter(profiles.values()))
        difference = _difference(corrected, parity)
        shows = [f"can show {first['detectable']:.1f}"] if 0 < (first.get("detectable") or 0) <= 100 else []
        told = "; ".join([*notes(first), *shows, *_further(profiles)])
        line = f"{name:<16}{first['n']:>7}{_score(corrected):>18}{_score(parity):>18}{difference:>12}  {told}"
        yield line.rstrip()
    for name, profiles in rows.items():
        if unlike := next(iter(profiles.values())).get("departures"):
            yield f"{name}: not the official data ({'; '.join(unlike)})"
    yield (
        "per cent ± standard error, or the 95 % interval where all answers score alike; difference: corrected less "
        "parity, of the same answers"
    )


def notes(row: Mapping[str, Any]) -> list[str]:
    """How many answers were not decided, or are no whole answers, in words."""
    return [f"{row[key]} {title}" for key, title in COUNTS.items() if row.get(key)]


def difference_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `compare_runs` found: a head, a line a benchmark and profile, and what was not compared."""
    yield (
        f"{'benchmark':<16}{'profile':<13}{'n':>7}{'before':>8}{'after':>8}{'change':>8}  {'95 % interval':<20}"
        f"{'gained':>6}{'lost':>6}{'p':>9}{'can show':>10}"
    )
    for row in found["rows"]:
        low, high = row["interval"]
        p = "-" if row["p"] is None else f"{row['p']:.4f}" if row["p"] >= 1e-4 else "< 1e-4"
        interval = f"[{low:+.2f}, {high:+.2f}]"
        shows = "-" if row["detectable"] is None else f"{row['detectable']:.2f}"
        yield (
            f"{row['benchmark']:<16}{row['profile']:<13}{row['n']:>7}{row['before']:8.2f}{row['after']:8.2f}{row['difference']:+8.2f}"
            f"  {interval:<20}{row['gained']:>6}{row['lost']:>6}{p:>9}{shows:>10}"
        )
    if found["unpaired"]:
        yield f"only in one of them: {', '.join(found['unpaired'])}"
    yield from (f"asked differently: {line}" for line in found["unlike"])


def traffic_line(traffic: Mapping[str, Any]) -> str:
    """What passed between us and an endpoint."""
    cost = f", cost {traffic['cost']:.4f}" if traffic["cost"] else ""
    return (
        f"{traffic['requests']:,} requests, {traffic['retries']:,} of them again; {traffic['prompt_tokens']:,} tokens "
        f"read, {traffic['completion_tokens']:,} written{cost}"
    )


def _score(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["score"] is None:
        return "withheld" if "withheld" in row else "undetermined"
    if not row["stderr"] and row.get("interval"):
        low, high = row["interval"]
        return f"{row['score']:.2f} ({low:.0f} to {high:.0f})"
    return f"{row['score']:.2f} ± {row['stderr']:.2f}"


def _difference(corrected: Mapping[str, Any] | None, parity: Mapping[str, Any] | None) -> str:
    if not corrected or not parity or corrected["score"] is None or parity["score"] is None:
        return "-"
    return f"{corrected['score'] - parity['score']:+.2f}"


def _further(profiles: Mapping[str, Any]) -> list[str]:
    """Other profiles' scores, and the reason for a withheld one."""
    other = [f"{name} {_score(row)}" for name, row in profiles.items() if name not in ("corrected", "parity")]
    return other + list(dict.fromkeys(row["withheld"] for row in profiles.values() if "withheld" in row))
