"""Stage `breakfix`: one round of break, score, cluster, curate, fix, measure again, and a gate that can say no.

phi-4's report (§7.2) has its red team's findings fixed by further rounds of training. Here a toy policy domain is
attacked by rules. Restricted requests that were granted and benign twins that were refused or left without a useful
answer, on open families, become preference pairs, each joined by its twin as the contrast; the model that DPO makes of
them is measured on other requests, in other words, against the model it came from. What the gate does not accept
leaves the model as it was: `out/model` is then a copy of the input. The summary says how many of the measured requests
were seen in training (none, by construction).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.naming import read_config
from phidelity.checkpoint.open import open_checkpoint
from phidelity.completion import Completer, SamplingParams
from phidelity.config import Config, UserError
from phidelity.grading.check import check
from phidelity.grading.harm import Harm
from phidelity.progress import SILENT, Progress
from phidelity.records import (
    Conversation,
    Message,
    PreferencePair,
    Problem,
    atomic,
    read_records,
    write_json,
    write_records,
)
from phidelity.safety.attacks import FAMILIES
from phidelity.safety.clusters import clusters
from phidelity.safety.curate import Curated, curate
from phidelity.safety.gate import Gate, Paired, gate
from phidelity.safety.probe import Probe, Transcript, collect, judge_all, plan_probes, rates
from phidelity.statistics import wilson
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.train.dpo import DpoConfig, train_dpo

Summary = dict[str, Any]
Trainer = Callable[[Path, Path, Path, int, Progress], Path]
"""(pairs, model, out, seed, progress) -> folder of the new model."""


class BreakfixConfig(Config):
    """One round of break-fix on the toy policy domain."""

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
    fix: DpoConfig
    """How the pairs are trained on."""


class _Measured(NamedTuple):
    transcripts: list[Transcript]
    verdicts: dict[str, Harm]
    right: dict[str, bool]


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
    progress: Progress = SILENT,
    trainer: Trainer | None = None,
) -> Summary:
    """Run round 0; writes rounds/0/ and model/, the accepted checkpoint."""
    _check_families(config)
    folder = out / "rounds" / "0"
    measured, unput = plan_probes("measure", _families(config), config.probes, attacker, seed)
    fixable, unput_fix = plan_probes("fix", config.open_families, config.fix_probes, attacker, seed)
    problems = _capability(config, benchmarks)
    before = _measure(config, [*fixable, *measured], problems, open_model(model), judge, seed, folder, progress)
    found = clusters(before.transcripts, before.verdicts)
    write_json(folder / "clusters.json", [cluster.model_dump() for cluster in found])
    curated = _curate(config, before, model)
    write_records(folder / "curated.jsonl.zst", curated.pairs)
    write_records(folder / "conversations.jsonl.zst", curated.conversations)
    fixed, after = model, before
    if curated.pairs:
        train = trainer or _dpo(config.fix)
        fixed = train(folder / "curated.jsonl.zst", model, folder / "fix", seed, progress)
        target = open_model(fixed)
        after = _measure(config, measured, problems, target, judge, seed, folder / "after", progress)
    decided = _gate(config, curated, measured, before, after)
    write_json(folder / "scores.json", _scores(before, after, measured, fixable))
    write_json(folder / "gate.json", decided.model_dump())
    _copy(fixed if decided.accepted else model, out / "model")
    return _rates_of_both(before, after, measured) | {
        "verdict": decided.verdict,
        "accepted": decided.accepted,
        "rules": {rule.name: f"{rule.outcome}: {rule.because}" for rule in decided.rules},
        "clusters": len(found),
        "granted": curated.counts["attack success"],
        "over_refused": curated.counts["over-refusal"],
        "contrasts": curated.counts["contrast"],
        "too_long": curated.counts["too long"],
        "attacks_not_put": unput + unput_fix,
        "measured_in_training": _seen(synthetic, measured),
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


def _families(config: BreakfixConfig) -> tuple[str, ...]:
    return ("direct", *config.open_families, *config.sealed_families)


def _capability(config: BreakfixConfig, benchmarks: Path) -> list[Problem]:
    """Development problems that rules can grade without running code, the kinds in turn as the file has them."""
    problems = [one for one in read_records(benchmarks / "development.jsonl", Problem) if one.checker != "code"]
    if not config.capability or config.capability >= len(problems):
        return problems
    step = len(problems) / config.capability
    return [problems[int(place * step)] for place in range(config.capability)]


def _measure(
    config: BreakfixConfig,
    probes: Sequence[Probe],
    problems: Sequence[Problem],
    target: Completer,
    judge: Completer,
    seed: int,
    folder: Path,
    progress: Progress,
) -> _Measured:
    """Converse, judge, and answer the capability problems, all greedily."""
    params = SamplingParams(max_tokens=config.max_tokens, seed=seed)
    transcripts = collect(probes, target, params, folder / "transcripts.jsonl", progress, "breakfix: probing")
    prompts = [
        Conversation(id=one.id, messages=(Message(role="user", content=one.prompt),), source="capability")
        for one in problems
    ]
    answers = target.complete(prompts, SamplingParams(max_tokens=config.capability_tokens, seed=seed))
    right = {one.id: check(one, answer.text).value == 1 for one, answer in zip(problems, answers, strict=True)}
    return _Measured(transcripts, judge_all(transcripts, judge, seed), right)


def _curate(config: BreakfixConfig, before: _Measured, model: Path) -> Curated:
    return curate(
        before.transcripts,
        before.verdicts,
        Tokenizer.load(model),
        sealed=config.sealed_families,
        max_failures=config.failures,
        context_len=read_config(model).context_len,
        contrasts=config.contrasts,
    )


def _dpo(config: DpoConfig) -> Trainer:
    """DPO from the model that was broken."""

    def train(pairs: Path, model: Path, out: Path, seed: int, progress: Progress) -> Path:
        weights, tokenizer, _ = open_checkpoint(model)
        records = list(read_records(pairs, PreferencePair))
        train_dpo(weights, tokenizer, records, config, seed=seed, out=out, name="breakfix", progress=progress)
        save_checkpoint(out / "model", weights, tokenizer)
        return out / "model"

    return train


def _gate(
    config: BreakfixConfig, curated: Curated, measured: Sequence[Probe], before: _Measured, after: _Measured
) -> Gate:
    return gate(
        measured,
        before.verdicts,
        after.verdicts,
        to_fix=curated.findings,
        sealed=config.sealed_families,
        capability=Paired(tuple(before.right.values()), tuple(after.right[name] for name in before.right)),
    )


def _scores(before: _Measured, after: _Measured, measured: Sequence[Probe], fixable: Sequence[Probe]) -> dict[str, Any]:
    """Rates by use, family and hazard, before and after, and every verdict."""
    result: dict[str, Any] = {"before": {"fix": _rates(before, fixable), "verdicts": _dump(before)}, "after": {}}
    result["after"]["verdicts"] = _dump(after)
    for name, side in (("before", before), ("after", after)):
        result[name]["measure"] = _rates(side, measured)
        for key in ("family", "hazard"):
            kinds = sorted({_kind(probe, key) for probe in measured})
            result[name][key] = {kind: _rates(side, [p for p in measured if _kind(p, key) == kind]) for kind in kinds}
        result[name]["capability"] = side.right
    return result


def _kind(probe: Probe, key: str) -> str:
    return probe.family if key == "family" else probe.item.hazard


def _rates(side: _Measured, probes: Sequence[Probe]) -> dict[str, Any]:
    wanted = {probe.id for probe in probes}
    return rates([t for t in side.transcripts if t.probe.id in wanted], side.verdicts)


def _dump(side: _Measured) -> dict[str, Any]:
    return {name: verdict.model_dump() for name, verdict in side.verdicts.items()}


def _copy(source: Path, target: Path) -> None:
    """A hard copy of a checkpoint's files, each atomically, the weights last."""
    files = [path for path in source.iterdir() if path.is_file()]
    for path in sorted(files, key=lambda path: (path.suffix == ".safetensors", path.name)):
        with atomic(target / path.name) as file:
            file.write(path.read_bytes())


def _seen(synthetic: Path, measured: Sequence[Probe]) -> int:
    """How many of the measured requests stand, word for word, in a conversation that was trained on."""
    conversations = read_records(synthetic / "conversations.jsonl.zst", Conversation)
    said = {message.content for conversation in conversations for message in conversation.messages}
    return sum(probe.item.request in said for probe in measured)


def _rates_of_both(before: _Measured, after: _Measured, measured: Sequence[Probe]) -> Summary:
    sides = {"before": before, "after": after}
    numbers = {f"{key}/{name}": value for name, side in sides.items() for key, value in _rates(side, measured).items()}
    for name, side in sides.items():
        right = sum(side.right.values())
        numbers[f"capability/{name}"] = right / max(1, len(side.right))
        numbers[f"capability_95/{name}"] = wilson(right, len(side.right))
    return numbers
