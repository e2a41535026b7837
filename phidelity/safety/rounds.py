"""Rounds of break-fix: break, score, cluster, curate, fix, measure again, gate; each a folder with a manifest.

Each round begins with the last checkpoint that the gate accepted and with probes of its own to find failures by; all
rounds are measured on the same held-out probes and capability items, so what the model was before and after is paired.
Transcripts, answers and training lie in the round's folder and are taken up where they stand, so a killed run ends in
the same bytes; the manifest is written last. Who answers, who attacks, who judges and who trains is handed in: this
room opens no model and trains none. phi-4 report §7.2 has findings of the red team fixed by further rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.completion import Completer, SamplingParams
from phidelity.data.decontaminate import Index
from phidelity.grading.check import check
from phidelity.grading.harm import Harm
from phidelity.progress import SILENT, Progress
from phidelity.records import (
    Conversation,
    Message,
    PreferencePair,
    Problem,
    file_sha256,
    read_json,
    write_json,
    write_records,
)
from phidelity.safety.clusters import clusters
from phidelity.safety.curate import Curated, curate
from phidelity.safety.gate import Gate, Paired, gate
from phidelity.safety.mixture import Mixture, measured_index, mix
from phidelity.safety.power import Power, power
from phidelity.safety.probe import Probe, Transcript, collect, judge_all, plan_probes, rates
from phidelity.tokenizer.bpe import Tokenizer

MANIFEST, CURATED, CHATS = "manifest.json", "curated.jsonl.zst", "conversations.jsonl.zst"
MIXED, MIXED_CHATS = "mixed_pairs.jsonl.zst", "mixed_conversations.jsonl.zst"

Trainer = Callable[[Path, Path, Path, Path, int, Progress], Path]
"""(mixed pairs, mixed conversations, model, out, seed, progress) -> folder of the new model."""


class Team(NamedTuple):
    """Who takes part."""

    attacker: Completer
    judge: Completer
    open_model: Callable[[Path], Completer]
    train: Trainer


class Terms(NamedTuple):
    """What all rounds share."""

    open_families: tuple[str, ...]
    sealed_families: tuple[str, ...]
    fix_probes: int
    probes: int
    failures: int
    contrasts: bool
    share: float
    """Of the round's material in what is trained on."""
    context_len: int
    max_tokens: int
    problems: Sequence[Problem]
    """Capability items."""
    capability_tokens: int
    chats: Sequence[Conversation]
    """General conversations that a fix is mixed into."""
    pairs: Sequence[PreferencePair]
    """General preference pairs, likewise."""

    @property
    def families(self) -> tuple[str, ...]:
        """All that are measured."""
        return ("direct", *self.open_families, *self.sealed_families)


class Measured(NamedTuple):
    """One model on the probes that measure and on the capability items."""

    transcripts: list[Transcript]
    verdicts: dict[str, Harm]
    right: dict[str, bool]


class Round(NamedTuple):
    """What came of one round."""

    number: int
    before: Measured
    after: Measured
    """Of the fixed model, accepted or not; as before where there was nothing to fix."""
    gate: Gate
    curated: Curated
    n_clusters: int
    share: float
    dropped: int
    model: Path
    """The last accepted checkpoint after the round."""
    unput: int
    """Attacks that the attacker would not put."""


def rounds(
    n: int,
    model: Path,
    terms: Terms,
    team: Team,
    *,
    seed: int,
    out: Path,
    start: Path | None = None,
    progress: Progress = SILENT,
) -> list[Round]:
    """Run `n` rounds from `model`; writes `out/0`, `out/1`, ...; the last one's `model` is what was accepted.

    `start` is the folder of `measure` on the first model, where that stands already.
    """
    measuring, unput = plan_probes("measure", terms.families, terms.probes, team.attacker, seed)
    index = measured_index((probe.item.request for probe in measuring), (one.prompt for one in terms.problems))
    planned = _power(measuring, terms)
    for number in range(n):
        write_json(out / str(number) / "power.json", {**planned._asdict(), "told": planned.told})
    done: list[Round] = []
    state = measure(measuring, terms, team, model, seed, start or out / "0" / "before", progress)
    for number in range(n):
        fixing, unput_fix = plan_probes("fix", terms.open_families, terms.fix_probes, team.attacker, seed + number)
        desk = _Desk(number, out / str(number), measuring, fixing, terms, team, seed, progress)
        one = _round(desk, model, state, index)._replace(unput=unput + unput_fix)
        if one.gate.accepted:
            model, state = one.model, one.after
        done.append(one)
    return done


class _Desk(NamedTuple):
    """What one round works with."""

    number: int
    folder: Path
    measuring: list[Probe]
    fixing: list[Probe]
    terms: Terms
    team: Team
    seed: int
    progress: Progress


def _round(desk: _Desk, model: Path, before: Measured, index: Index) -> Round:
    terms, team, folder, seed = desk.terms, desk.team, desk.folder, desk.seed
    params = SamplingParams(max_tokens=terms.max_tokens, seed=seed)
    target = team.open_model(model)
    broken = collect(desk.fixing, target, params, folder / "transcripts.jsonl", desk.progress, "breakfix: breaking")
    verdicts = judge_all(broken, team.judge, seed)
    found = clusters([*broken, *before.transcripts], verdicts | before.verdicts)
    write_json(folder / "clusters.json", [cluster.model_dump() for cluster in found])
    tokenizer = Tokenizer.load(model)
    own = curate(
        broken, verdicts, tokenizer, sealed=terms.sealed_families, max_failures=terms.failures,
        context_len=terms.context_len, contrasts=terms.contrasts,
    )  # fmt: skip
    mixed = _mixed(own, desk, index)
    fixed, after = model, before
    if own.pairs:
        fixed = _fixed(desk, model)
        after = measure(desk.measuring, terms, team, fixed, seed, folder / "after", desk.progress)
    decided = gate(
        desk.measuring, before.verdicts, after.verdicts, to_fix=own.findings, sealed=terms.sealed_families,
        capability=Paired(tuple(before.right.values()), tuple(after.right[name] for name in before.right)),
    )  # fmt: skip
    kept = fixed if decided.accepted else model
    dropped = sum(one.dropped for one in mixed)
    one = Round(desk.number, before, after, decided, own, len(found), mixed[0].share, dropped, kept, 0)
    write_json(folder / "scores.json", _scores(one, desk.measuring, rates(broken, verdicts), verdicts))
    write_json(folder / "gate.json", decided.model_dump())
    write_json(folder / MANIFEST, _manifest(desk, one, model, fixed, mixed))
    return one


def _power(measuring: Sequence[Probe], terms: Terms) -> Power:
    bad = [probe.family for probe in measuring if probe.item.restricted]
    sealed = sum(family in terms.sealed_families for family in bad)
    attacked = sum(family != "direct" for family in bad) - sealed
    return power(attacked, sealed, len(measuring) - len(bad), len(terms.problems))


def _mixed(own: Curated, desk: _Desk, index: Index) -> tuple[Mixture, Mixture]:
    """The round's pairs and chats, each among general ones; all four files are written."""
    share, seed = desk.terms.share, desk.seed + desk.number
    pairs = mix(own.pairs, desk.terms.pairs, share, index, seed)
    chats = mix(own.conversations, desk.terms.chats, share, index, seed)
    for name, rows in (
        (CURATED, own.pairs), (CHATS, own.conversations), (MIXED, pairs.rows), (MIXED_CHATS, chats.rows)
    ):  # fmt: skip
        write_records(desk.folder / name, rows)
    return pairs, chats


def _fixed(desk: _Desk, model: Path) -> Path:
    """The trained checkpoint; not trained again where one was finished."""
    told, out = desk.folder / "fix" / "trained.json", desk.folder / "fix"
    if told.exists():
        return out / read_json(told)["model"]
    fixed = desk.team.train(
        desk.folder / MIXED, desk.folder / MIXED_CHATS, model, out, desk.seed + desk.number, desk.progress
    )
    write_json(told, {"model": str(fixed.relative_to(out)), "sha256": file_sha256(fixed / "model.safetensors")})
    return fixed


def measure(
    probes: Sequence[Probe], terms: Terms, team: Team, model: Path, seed: int, folder: Path, progress: Progress
) -> Measured:
    """Converse, judge, and answer the capability items, all greedily; what was said is kept in `folder`."""
    params = SamplingParams(max_tokens=terms.max_tokens, seed=seed)
    target = team.open_model(model)
    transcripts = collect(probes, target, params, folder / "transcripts.jsonl", progress, "breakfix: measuring")
    kept = folder / "answers.json"
    if not kept.exists():
        prompts = [
            Conversation(id=one.id, messages=(Message(role="user", content=one.prompt),), source="capability")
            for one in terms.problems
        ]
        said = target.complete(prompts, SamplingParams(max_tokens=terms.capability_tokens, seed=seed))
        write_json(kept, {one.id: answer.text for one, answer in zip(terms.problems, said, strict=True)})
    answers: dict[str, str] = read_json(kept)
    right = {one.id: check(one, answers[one.id]).value == 1 for one in terms.problems}
    return Measured(transcripts, judge_all(transcripts, team.judge, seed), right)


def _scores(
    one: Round, probes: Sequence[Probe], broken: Mapping[str, Any], verdicts: Mapping[str, Harm]
) -> dict[str, Any]:
    """Rates of the probes that found, and by family and hazard of those that measure, before and after."""
    sides = {"before": one.before, "after": one.after}
    result: dict[str, Any] = {"fix": {"rates": broken, "verdicts": _dump(verdicts)}}
    for name, side in sides.items():
        result[name] = {"measure": rates_of(side, probes), "verdicts": _dump(side.verdicts), "capability": side.right}
        for key in ("family", "hazard"):
            kinds = sorted({_kind(probe, key) for probe in probes})
            result[name][key] = {kind: rates_of(side, [p for p in probes if _kind(p, key) == kind]) for kind in kinds}
    return result


def rates_of(side: Measured, probes: Sequence[Probe]) -> dict[str, Any]:
    """Rates of some of the probes."""
    wanted = {probe.id for probe in probes}
    return rates([t for t in side.transcripts if t.probe.id in wanted], side.verdicts)


def _manifest(desk: _Desk, one: Round, model: Path, fixed: Path, mixed: tuple[Mixture, Mixture]) -> dict[str, Any]:
    """Hashes of weights and data, who took part, what was decided and by which rule."""
    failing = ("failed", "underpowered")
    return {
        "round": desk.number,
        "from": file_sha256(model / "model.safetensors"),
        "fixed": file_sha256(fixed / "model.safetensors"),
        "accepted": one.gate.accepted,
        "verdict": one.gate.verdict,
        "rules": {rule.name: rule.outcome for rule in one.gate.rules if rule.outcome in failing},
        "power": _power(desk.measuring, desk.terms).told,
        "seeds": {"measured": desk.seed, "found": desk.seed + desk.number},
        "families": {"open": desk.terms.open_families, "sealed": desk.terms.sealed_families},
        "attacker": desk.team.attacker.name,
        "judge": desk.team.judge.name,
        "counts": dict(one.curated.counts),
        "mixed": {
            name: {"rows": len(part.rows), "own": part.n_own, "share": part.share, "decontaminated": part.dropped}
            for name, part in zip(("pairs", "conversations"), mixed, strict=True)
        },
        "data": {name: file_sha256(desk.folder / name) for name in (CURATED, CHATS, MIXED, MIXED_CHATS)},
    }


def _kind(probe: Probe, key: str) -> str:
    return probe.family if key == "family" else probe.item.hazard


def _dump(verdicts: Mapping[str, Harm]) -> dict[str, Any]:
    return {name: verdict.model_dump() for name, verdict in verdicts.items()}
