"""The mixture: token shares in, epochs out, and no group repeated beyond the limit.

Shares are shares of training tokens, not of documents; unique tokens are counted; epochs follow: share x budget /
unique (phi-4 §3.2, Table 5, whose epochs recompute from a budget of 10T). Repeating is what the report studies
and bounds by taste; here the bound is a number, and a mixture beyond it is refused with what is missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from phidelity.config import UserError

PHI4_SHARES = {"web": 0.15, "web_rewrites": 0.15, "synthetic": 0.40, "code": 0.20, "acquired": 0.10}
"""phi-4 §3.2, Table 5."""
GROUPS = (*PHI4_SHARES, "long", "longer")
"""The groups that documents can belong to (phi-4 §3.2, §3.3)."""
UNUSED = 0.5
"""Share of a group's unique tokens from which on it is told that they go unused (ours)."""


class Portion(NamedTuple):
    """What one group gives to a training run."""

    group: str
    share: float
    tokens: int
    """Training tokens taken from it."""
    unique: int
    """Tokens it holds."""
    epochs: float


def mixture(shares: Mapping[str, float], unique: Mapping[str, int], tokens: int) -> list[Portion]:
    """How a budget of training tokens divides into the groups, and how often each is repeated."""
    check_shares(shares)
    missing = [group for group, share in shares.items() if share and not unique.get(group)]
    if missing:
        raise UserError(
            f"The mixture wants {', '.join(missing)}, which has no tokens (found: {_listed(unique)}). "
            'Give it a source, or its share to others: shards.absent = "spread" does so.'
        )
    return [
        Portion(group, share, round(share * tokens), unique[group], share * tokens / unique[group])
        for group, share in shares.items()
        if share
    ]


def spread(shares: Mapping[str, float], unique: Mapping[str, int]) -> dict[str, float]:
    """The shares of the groups that hold tokens, in proportion, so that they sum to 1; the others' went to them."""
    here = {group: share for group, share in shares.items() if share and unique.get(group)}
    if not here:
        raise UserError(
            f"The mixture wants {', '.join(shares)}; none of them has tokens (found: {_listed(unique)}). "
            "Give one a source."
        )
    return {group: share / sum(here.values()) for group, share in here.items()}


def check_epochs(portions: list[Portion], max_epochs: float) -> None:
    """Refuse a mixture that repeats a group more than `max_epochs` times, and say how many tokens it lacks."""
    over = [portion for portion in portions if portion.epochs > max_epochs]
    if over:
        lines = [
            f"{portion.group}: {portion.epochs:.1f} epochs of {portion.unique:,} tokens; "
            f"{shortfall(portion, max_epochs):,} more unique tokens are needed"
            for portion in over
        ]
        raise UserError(
            f"The mixture repeats beyond max_epochs = {max_epochs:g}. " + "; ".join(lines) + ". "
            "Add data, lower the share or the token budget, or raise max_epochs."
        )


def shortfall(portion: Portion, max_epochs: float) -> int:
    """Unique tokens that are missing for at most `max_epochs` epochs."""
    return max(0, -int(-portion.tokens // max_epochs) - portion.unique)


def largest_budget(shares: Mapping[str, float], unique: Mapping[str, int], max_epochs: float) -> int:
    """Training tokens until some group is repeated `max_epochs` times."""
    return int(min(unique.get(group, 0) * max_epochs / share for group, share in shares.items() if share))


def described(
    shares: Mapping[str, float],
    unique: Mapping[str, int],
    tokens: int,
    max_epochs: float,
    foreign: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The mixture as figures: for each group tokens, unique tokens, epochs, how many are needed, how many missing.

    Groups that `unique` does not count have None there, those without tokens no epochs; `foreign` counts those of
    their tokens that are not English.
    """
    check_shares(shares)
    rows = []
    for group, share in shares.items():
        n, needed = unique.get(group), -int(-share * tokens // max_epochs)
        epochs, lacking = round(share * tokens / n, 3) if n else None, None if n is None else max(0, needed - n)
        known = {"unique": n, "epochs": epochs, "shortfall": lacking}
        rows.append({"group": group, "share": share, "tokens": round(share * tokens), "needed": needed, **known})
    return {
        "tokens": tokens,
        "max_epochs": max_epochs,
        "groups": [row for row in rows if row["share"]],
        "multilingual_share": None if foreign is None else multilingual_share(shares, unique, foreign),
    }


def multilingual_share(shares: Mapping[str, float], unique: Mapping[str, int], foreign: Mapping[str, int]) -> float:
    """The share of training tokens that are not English: of each group as of its unique tokens (phi-4: about 8 %)."""
    return round(sum(s * foreign.get(group, 0) / unique[group] for group, s in shares.items() if unique.get(group)), 6)


def mixture_page(facts: Mapping[str, Any]) -> list[str]:
    """What `described` gives, for a terminal."""
    lines = [f"{'group':<14}{'share':>7}{'tokens':>20}{'unique':>20}{'epochs':>8}  {'shortfall':>18}"]
    for row in facts["groups"]:
        counted = row["unique"] is not None
        epochs = "–" if row["epochs"] is None else f"{row['epochs']:.2f}"
        lines.append(
            f"{row['group']:<14}{row['share']:>7.1%}{row['tokens']:>20,}"
            + (
                f"{row['unique']:>20,}{epochs:>8}  {row['shortfall']:>18,}"
                if counted
                else f"{'at least':>20}{'':>8}  {row['needed']:>18,}"
            )
        )
    lines.append(f"no group more than {facts['max_epochs']:g} times")
    if facts["multilingual_share"] is not None:
        lines.append(f"not English: {facts['multilingual_share']:.1%} of the tokens")
    return lines + remarks(facts)


def remarks(facts: Mapping[str, Any]) -> list[str]:
    """What is to be told of a mixture: groups without tokens, whose shares went to others, and groups mostly unused."""
    told = [
        f"{group} has no tokens: its share of {share:.1%} went to the others in proportion"
        for group, share in facts.get("absent", {}).items()
    ]
    told += [
        f"{group} holds {n:,} tokens and has no share (shards.shares): nothing is trained on them"
        for group, n in facts.get("unique_tokens", {}).items()
        if n and group in PHI4_SHARES and group not in [row["group"] for row in facts["groups"]]
    ]
    rows = [row for row in facts["groups"] if row["unique"]]
    n_before = len(told)
    for row in rows:
        if row["epochs"] < 1 - UNUSED:
            first = max(rows, key=lambda other: other["epochs"])
            spent = first["epochs"] > 0.99 * facts["max_epochs"]
            told.append(
                f"{1 - row['epochs']:.1%} of the {row['unique']:,} tokens of {row['group']} go unused: "
                + (
                    f"{first['group']} has only {first['unique']:,} for its share of {first['share']:.1%}, and is not "
                    f"repeated more than {facts['max_epochs']:g} times; lower that share or add to it"
                    if spent
                    else f"its share of {row['share']:.1%} of {facts['tokens']:,} tokens takes no more"
                )
            )
    if len(told) > n_before and len(rows) > 1:
        told.append(f"all groups are read equally often with --set 'shards.shares={{ {_even(rows)} }}' --force shards")
    return told


def _even(rows: Sequence[Mapping[str, Any]]) -> str:
    """The shares in thousandths that groups have by their tokens alone, as TOML; none has less than one."""
    total = sum(row["unique"] for row in rows)
    parts = {row["group"]: max(1, round(1000 * row["unique"] / total)) for row in rows}
    parts[max(parts, key=parts.__getitem__)] += 1000 - sum(parts.values())
    return ", ".join(f"{group} = {part / 1000:g}" for group, part in parts.items())


def check_groups(groups: Iterable[str]) -> None:
    """Refuse names of groups that no document can belong to."""
    if unknown := sorted(set(groups) - set(GROUPS)):
        raise UserError(f"No group named {', '.join(unknown)}; the groups are: {', '.join(GROUPS)}. Mend the name.")


def check_shares(shares: Mapping[str, float]) -> None:
    """Shares are not negative and sum to 1."""
    total = sum(shares.values())
    if not abs(total - 1) <= 1e-6 or any(share < 0 for share in shares.values()):
        listed = ", ".join(f"{group} {share:g}" for group, share in shares.items()) or "none"
        raise UserError(f"Mixture shares sum to {total:g} ({listed}); expected shares from 0 to 1 that sum to 1.")


def _listed(unique: Mapping[str, int]) -> str:
    return ", ".join(f"{group} {count:,}" for group, count in unique.items()) or "none"
