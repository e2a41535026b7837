"""All strategies by name, and the two personas of the report's red team (§7.2): an average user and an adversary."""

from collections.abc import Collection

from phidelity.config import UserError
from phidelity.safety.simulate import SIMULATE
from phidelity.safety.strategies.crescendo import CRESCENDO
from phidelity.safety.strategies.history import HISTORY
from phidelity.safety.strategies.pair import PAIR
from phidelity.safety.strategies.single import SINGLE
from phidelity.safety.strategies.talk import Strategy
from phidelity.safety.strategies.tap import TAP

STRATEGIES = (*SINGLE, *HISTORY, CRESCENDO, PAIR, TAP, SIMULATE)

PERSONAS: dict[str, tuple[str, ...]] = {
    "average": ("direct", "persona", "authority", "fiction"),
    "adversarial": (
        "direct", "prefix", "base64", "rot13", "lookalike", "many_shot", "faked_history", "skeleton_key",
        "crescendo", "pair", "tap",
    ),
}  # fmt: skip
"""Who attacks by which strategies (*ours*)."""


def strategies(names: Collection[str]) -> list[Strategy]:
    """Those of these names."""
    known = {one.name: one for one in STRATEGIES}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"There is no attack {unknown[0]!r}; expected some of: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


def usable(chosen: Collection[Strategy], able: Collection[str]) -> tuple[list[Strategy], dict[str, str]]:
    """The strategies for which everything is at hand, and of the others what they lack."""
    lacking = {one.name: ", ".join(sorted(one.needs - set(able))) for one in chosen if one.needs - set(able)}
    return [one for one in chosen if one.name not in lacking], lacking
