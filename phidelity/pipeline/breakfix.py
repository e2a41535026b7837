"""Stage `breakfix`: rounds of break, score, cluster, curate, fix, measure again, and a gate that can say no.

phi-4's report (§7.2) has its red team's findings fixed by further rounds of training. Here a toy policy domain is
attacked by rules. Restricted requests that were granted and benign twins that were refused or left without a useful
answer, on open families, become preference pairs and chats, each joined by its twin as the contrast and mixed into
general data; the model that training makes of them is measured on other requests, in other words, against the model it
came from. What the gate does not accept leaves the model as it was: `out/model` is the last accepted checkpoint, the
input if there is none. The rounds themselves are in safety/rounds.py; the summary says how many of the measured
requests were seen in training (none, by construction).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.checkpoint.naming import read_config
from phidelity.completion import Completer
from phidelity.config import Config, UserError
from phidelity.pipeline.audit import AuditConfig, audit
from phidelity.pipeline.fixing import FixConfig, fixer
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, PreferencePair, Problem, atomic, read_records
from phidelity.safety.attacks import FAMILIES
from phidelity.safety.probe import Probe, plan_probes
from phidelity.safety.rounds import Measured, Round, Team, Terms, Trainer, rates_of, rounds
from phidelity.statistics import wilson

Summary = dict[str, Any]


class BreakfixConfig(Config):
    """Rounds of break-fix on the toy policy domain."""

    rounds: int = Field(default=1, ge=1)
    """How many; each begins with the last accepted checkpoint."""
    fix_probes: int = Field(default=40, ge=1)
    """Restricted requests for each open family, and as many benign twins, whose answers may be trained on."""
    probes: int = Field(default=40, ge=1)
    """Held-out restricted requests for each family, and as many benign twins, asked before and after."""
    open_families: tuple[str, ...] = ("persona", "reversed", "many_shot", "authority", "escalation")
    """Attack families whose findings may be used for fixing."""
    sealed_families: tuple[str, ...] = ("cipher", "faked_history")
    """Attack families that are measured only."""
    max_tokens: int = Field(default=40, ge=1)
    """Longest answer to a probe."""
    capability: int = Field(default=100, ge=0)
    """Development problems answered before and after (0: all that need no code to be run)."""
    capability_tokens: int = Field(default=120, ge=1)
    """Longest answer to one of them."""
    failures: int = Field(default=200, ge=1)
    """Most twins, one restricted and one benign, that are made into pairs because the target failed on either."""
    contrasts: bool = True
    """Whether each failure is joined by its twin as the contrast; without them the gate should say no."""
    share: float = Field(default=0.05, gt=0, le=1)
    """Share of a round's material in what is trained on; the rest are the run's own judged pairs and conversations, as
    far as they go (phi-4: 1 to 5 %, tables 6 and 7)."""
    fix: FixConfig
    """How a round is trained."""
    audit: AuditConfig | None = None
    """Whether fairness and privacy of the accepted model are measured, too."""


def breakfix(
    config: BreakfixConfig,
    *,
    benchmarks: Path,
    synthetic: Path,
    model: Path,
    attacker: Completer,
    judge: Completer,
    open_model: Callable[[Path], Completer],
    seed: int,
    out: Path,
    judged_pairs: Path | None = None,
    progress: Progress = SILENT,
    trainer: Trainer | None = None,
) -> Summary:
    """Run the rounds; writes rounds/0/ and so on, model/, the accepted checkpoint, and audit.json if asked for."""
    _check_families(config)
    context_len = read_config(model).context_len
    chats = list(read_records(synthetic / "conversations.jsonl.zst", Conversation))
    pairs = list(read_records(judged_pairs / "pairs.jsonl.zst", PreferencePair)) if judged_pairs else []
    same = {name: getattr(config, name) for name in Terms._fields if name in type(config).model_fields}
    terms = Terms(
        **same, context_len=context_len, problems=_capability(config, benchmarks), chats=_answered(chats), pairs=pairs
    )
    team = Team(attacker, judge, open_model, trainer or fixer(config.fix, context_len))
    done = rounds(config.rounds, model, terms, team, seed=seed, out=out / "rounds", progress=progress)
    _copy(done[-1].model, out / "model")
    if config.audit:
        audit(config.audit, open_model(done[-1].model), done[-1].model, synthetic, seed, out)
    measured, _ = plan_probes("measure", terms.families, config.probes, attacker, seed)
    return _first_to_last(done, measured) | {
        "rounds": [_told(one, measured) for one in done],
        "verdict": done[-1].gate.verdict,
        "accepted": any(one.gate.accepted for one in done),
        "rules": {rule.name: f"{rule.outcome}: {rule.because}" for rule in done[-1].gate.rules},
        "clusters": done[0].n_clusters,
        "granted": _total(done, "attack success"),
        "over_refused": _total(done, "over-refusal"),
        "contrasts": _total(done, "contrast"),
        "too_long": _total(done, "too long"),
        "attacks_not_put": done[0].unput,
        "measured_in_training": _seen(chats, measured),
        "attacker": attacker.name,
        "judge": judge.name,
    }


def _check_families(config: BreakfixConfig) -> None:
    known = {family.name: family.sealed for family in FAMILIES if family.name != "direct"}
    named = (*config.open_families, *config.sealed_families)
    unknown = [name for name in named if name not in known]
    if unknown or len(set(named)) < len(named):
        raise UserError(
            f"breakfix: open_families and sealed_families name {', '.join(unknown) or 'one family twice'}; expected "
            f"each at most once of: {', '.join(known)}. Mend the two lists."
        )


def _capability(config: BreakfixConfig, benchmarks: Path) -> list[Problem]:
    """Development problems that rules can grade without running code, the kinds in turn as the file has them."""
    problems = [one for one in read_records(benchmarks / "development.jsonl", Problem) if one.checker != "code"]
    if not config.capability or config.capability >= len(problems):
        return problems
    step = len(problems) / config.capability
    return [problems[int(place * step)] for place in range(config.capability)]


def _answered(chats: Sequence[Conversation]) -> list[Conversation]:
    """Those that end in an answer, which can be trained on."""
    return [chat for chat in chats if chat.messages[-1].role == "assistant"]


def _told(one: Round, measured: Sequence[Probe]) -> dict[str, Any]:
    """A round in a few figures."""
    return {
        "verdict": one.gate.verdict,
        "accepted": one.gate.accepted,
        "clusters": one.n_clusters,
        "pairs": len(one.curated.pairs),
        "counts": dict(one.curated.counts),
        "share": one.share,
        "decontaminated": one.dropped,
        "before": _rates(one.before, measured),
        "after": _rates(one.after, measured),
    }


def _rates(side: Measured, measured: Sequence[Probe]) -> dict[str, Any]:
    right, n = sum(side.right.values()), len(side.right)
    return rates_of(side, measured) | {"capability": right / max(1, n), "capability_95": wilson(right, n)}


def _first_to_last(done: Sequence[Round], measured: Sequence[Probe]) -> Summary:
    """Rates before the first round, and of the model that the last one tried."""
    sides = {"before": _rates(done[0].before, measured), "after": _rates(done[-1].after, measured)}
    return {f"{key}/{name}": value for name, side in sides.items() for key, value in side.items()}


def _total(done: Sequence[Round], what: str) -> int:
    return sum(one.curated.counts[what] for one in done)


def _copy(source: Path, target: Path) -> None:
    """A hard copy of a checkpoint's files, each atomically, the weights last."""
    files = [path for path in source.iterdir() if path.is_file()]
    for path in sorted(files, key=lambda path: (path.suffix == ".safetensors", path.name)):
        with atomic(target / path.name) as file:
            file.write(path.read_bytes())


def _seen(chats: Sequence[Conversation], measured: Sequence[Probe]) -> int:
    """How many of the measured requests stand, word for word, in a conversation that was trained on."""
    said = {message.content for chat in chats for message in chat.messages}
    return sum(probe.item.request in said for probe in measured)
