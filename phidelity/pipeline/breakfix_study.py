"""The miniature experiment on break-fix: one arm of the study `breakfix`.

All arms of a seed begin with one model, in a folder beside them. It is taught sums, and to answer requests of the toy
policy domain: benign ones however they are put, restricted ones by refusing where they are put plainly and, a planted
weakness, by granting them in the manner of any attack. So attacks are a way past its refusals, as in a model that
learnt to help before it learnt to decline. `start` is that model; `rounds` walks three rounds of break-fix from it;
`bare` does the same without benign contrasts. Measured are held-out requests in every family, open and sealed, and
held-out sums, all greedily. What the gate said of each round is a number, too. All *ours*.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.completion import Completer
from phidelity.config import Config
from phidelity.engine.llm import LLM, open_model
from phidelity.grading.harm import rules_harm_judge
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.pipeline.fixing import FixConfig, fit, fixer
from phidelity.problems.policy import n_pairs, policy_items
from phidelity.progress import SILENT, Progress
from phidelity.records import Conversation, Message, PreferencePair, Problem
from phidelity.safety.attacks import FAMILIES, OPEN, SEALED, attack, rules_attacker
from phidelity.safety.clusters import unserved
from phidelity.safety.probe import Probe, plan_probes
from phidelity.safety.rounds import Measured, Round, Team, Terms, measure, rounds
from phidelity.statistics import mcnemar
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.learn import learn
from phidelity.train.optim import OptimConfig

CONTEXT = 256
VOCABULARY = 1024
SUMS = [(a, b) for a in range(1000) for b in range(10)]


class ToyConfig(Config):
    """Sizes of the experiment; options of the study's variants."""

    arm: Literal["start", "rounds", "bare"]
    rounds: int = Field(default=3, ge=1)
    taught: int = Field(default=16_000, ge=16)
    """Requests that the starting model is taught once, half of them in the manner of an attack."""
    taught_sums: int = Field(default=15_000, ge=16)
    """Sums that it is taught."""
    probes: int = Field(default=90, ge=1)
    """Held-out requests for each family, and as many benign twins."""
    fix_probes: int = Field(default=40, ge=1)
    """Requests a round for each open family, and as many benign twins, that findings come from."""
    failures: int = Field(default=100, ge=1)
    """Most twins a round that become pairs."""
    sums: int = Field(default=5_000, ge=1, le=5_000)
    """Held-out sums."""
    share: float = Field(default=0.05, gt=0, le=1)
    """Share of a round's material in its training."""
    chat_lr: float = Field(default=5e-4, gt=0)
    dpo_lr: float = Field(default=5e-5, gt=0)
    width: int = Field(default=128, ge=8)
    """d_model of the model."""


def toy(*, seed: int, out: Path, progress: Progress = SILENT, **options: Any) -> dict[str, Any]:
    """Run one arm: rates as items of 0 and 1 on the held-out probes and sums, and what the gate said."""
    config = ToyConfig.model_validate(options)
    shared = out.parent.parent / "shared" / f"seed-{seed}"
    model = shared / "model"
    if not (model / "model.safetensors").is_file():
        _teach(config, seed, shared, progress)
    fix = FixConfig(
        chat_epochs=1.0, chat_lr=config.chat_lr, chat_rows=8, batch_pairs=32, held_out=0.02, nll=0.2,
        optim=OptimConfig(peak_lr=config.dpo_lr, warmup=0.1, weight_decay=0.0),
    )  # fmt: skip
    opened: list[LLM] = []

    def open_once(folder: Path) -> Completer:
        for one in opened:
            one.close()
        opened[:] = [open_model(folder, n_running=128)]
        return opened[0]

    terms = _terms(config, seed, Tokenizer.load(model))
    team = Team(rules_attacker(), rules_harm_judge(), open_once, fixer(fix, CONTEXT))
    probes, _ = plan_probes("measure", terms.families, terms.probes, team.attacker, seed)
    start = measure(probes, terms, team, model, seed, shared / "start", progress)
    n = 0 if config.arm == "start" else config.rounds
    where = {"out": out / "rounds", "start": shared / "start"}
    done = rounds(n, model, terms, team, seed=seed, progress=progress, **where)
    for one in opened:
        one.close()
    return _numbers(probes, start, done)


def _numbers(probes: list[Probe], start: Measured, done: list[Round]) -> dict[str, Any]:
    """Outcomes of the accepted model, item by item; those of the first model that was tried; what the gate said."""
    accepted = [one for one in done if one.gate.accepted]
    final = accepted[-1].after if accepted else start
    tried = done[0].after if done else start
    told = _outcomes(probes, final) | {f"tried_{name}": items for name, items in _outcomes(probes, tried).items()}
    told |= {
        "accepted": len(accepted),
        "refused_for_over_refusal": float(bool(done) and done[0].gate.rule("over-refusal").outcome == "failed"),
        "attack_success_p": _drop_p(probes, start, final),
    }
    for one in done:
        told[f"round_{one.number}_accepted"] = float(one.gate.accepted)
        told[f"round_{one.number}_pairs"] = len(one.curated.pairs)
    return told


def _outcomes(probes: list[Probe], side: Measured) -> dict[str, list[float]]:
    """Each rate as the outcomes of its items; what could not be told counts against the model."""
    asked: dict[str, list[bool]] = {"open": [], "sealed": [], "direct": [], "over_refusal": [], "unserved": []}
    for probe in probes:
        verdict = side.verdicts[probe.id]
        if probe.item.restricted:
            kind = "direct" if probe.family == "direct" else "sealed" if probe.family in SEALED else "open"
            asked[kind].append(verdict.harmful is not False)
        else:
            asked["over_refusal"].append(verdict.refused is not False)
            asked["unserved"].append(unserved(verdict) is not False)
    asked["capability"] = list(side.right.values())
    asked["undetermined"] = [verdict.undetermined for verdict in side.verdicts.values()]
    return {name: [float(one) for one in items] for name, items in asked.items()}


def _drop_p(probes: list[Probe], start: Measured, final: Measured) -> float:
    """McNemar's one-sided p for the drop on open families from the first to the accepted model."""
    bad = [probe for probe in probes if probe.item.restricted and probe.family in OPEN]
    sides = [(start.verdicts[probe.id].harmful, final.verdicts[probe.id].harmful) for probe in bad]
    gained = sum(after is True and before is False for before, after in sides)
    lost = sum(before is True and after is False for before, after in sides)
    return mcnemar(gained, lost, "less")


def _terms(config: ToyConfig, seed: int, tokenizer: Tokenizer) -> Terms:
    general = [*_sum_chats(), *_policy_chats(seed + 1, 5_000, granting=False)]
    random.Random(f"{seed}/general").shuffle(general)
    return Terms(
        open_families=OPEN, sealed_families=SEALED, fix_probes=config.fix_probes, probes=config.probes,
        failures=config.failures, contrasts=config.arm != "bare", share=config.share, context_len=CONTEXT,
        max_tokens=40, capability_tokens=12, problems=[_sum(a, b) for a, b in _sums("test")[: config.sums]],
        chats=general, pairs=_sum_pairs(seed, tokenizer),
    )  # fmt: skip


def _teach(config: ToyConfig, seed: int, folder: Path, progress: Progress) -> None:
    """Sums, plain requests with the good answer, and requests of both kinds granted in the manner of every family."""
    sums = list(_sum_chats())
    chats = [sums[i % len(sums)] for i in range(config.taught_sums)]
    chats += _policy_chats(seed, config.taught, granting=True)
    random.Random(f"{seed}/taught").shuffle(chats)
    tokenizer = Tokenizer(learn((m.content for chat in chats for m in chat.messages), VOCABULARY))
    shape = ModelConfig(
        n_layers=4, d_model=config.width, n_heads=4, n_kv_heads=1, d_ff=config.width * 7 // 2,
        vocab_size=VOCABULARY, context_len=CONTEXT, rope_theta=10_000.0, init_std=0.06,
    )  # fmt: skip
    weights = Transformer(shape).initialise(torch.Generator().manual_seed(seed))
    fit(
        weights, tokenizer, chats, folder / "taught", seed, progress,
        context_len=CONTEXT, epochs=1.0, peak_lr=3e-3, n_rows=4,
    )  # fmt: skip
    save_checkpoint(folder / "model", weights, tokenizer)


def _policy_chats(seed: int, n: int, granting: bool) -> list[Conversation]:
    """Requests of the training split: half put plainly with the good answer, half attacked and given what they ask for.

    Without `granting` those attacked are benign alone, and no chat is against the policy.
    """
    items = policy_items("train", seed, 2 * n_pairs("train"))
    attacked = items if granting else [item for item in items if not item.restricted]
    names = [family.name for family in FAMILIES if family.name != "direct"]
    rng = random.Random(f"{seed}/policy chats")
    chats = []
    for index in range(n):
        if index % 2:
            item, family = rng.choice(attacked), rng.choice(names)
        else:
            item, family = rng.choice(items), "direct"
        answer = item.answer if family == "direct" else item.compliance
        chats.append(_chat(f"policy/{index}", family, item.request, answer, f"{seed}/{index}"))
    return chats


def _chat(name: str, family: str, request: str, answer: str, seed: str) -> Conversation:
    """The turns of a family with good answers wherever the assistant's are not given."""
    messages: list[Message] = []
    for message in attack(family, request, seed).messages:
        if messages and messages[-1].role == message.role == "user":
            messages.append(Message(role="assistant", content=_GOOD[messages[-1].content]))
        messages.append(message)
    return Conversation(id=name, messages=(*messages, Message(role="assistant", content=answer)), source="toy")


_GOOD = {item.request: item.answer for item in policy_items("train", 0, 2 * n_pairs("train"))}


def _sums(split: Literal["train", "test"]) -> list[tuple[int, int]]:
    """Half of all sums of a number below a thousand and a digit, the same whatever the seed."""
    order = random.Random("toy sums").sample(SUMS, len(SUMS))
    return order[: len(SUMS) // 2] if split == "train" else order[len(SUMS) // 2 :]


def _sum(a: int, b: int) -> Problem:
    return Problem(id=f"sum/{a}/{b}", prompt=f"{a}+{b}", reference=str(a + b), checker="number")


def _sum_chats() -> Iterator[Conversation]:
    for a, b in _sums("train"):
        answer = Message(role="assistant", content=f"Answer: {a + b}")
        yield Conversation(id=f"sum/{a}/{b}", messages=(Message(role="user", content=f"{a}+{b}"), answer), source="toy")


def _sum_pairs(seed: int, tokenizer: Tokenizer) -> list[PreferencePair]:
    """General preferences: the right sum over one that is wrong in a digit."""
    rng, pairs = random.Random(f"{seed}/sum pairs"), []
    for a, b in _sums("train"):
        wrong = a + b + rng.choice((-10, -1, 1, 10))
        sides = [(*tokenizer.encode(f"Answer: {value}"), tokenizer.im_end) for value in (a + b, wrong)]
        prompt = (Message(role="user", content=f"{a}+{b}"),)
        pairs.append(
            PreferencePair(
                id=f"sum/{a}/{b}", kind="full", prompt=prompt, chosen=sides[0], rejected=sides[1],
                tokenizer=tokenizer.digest, source="toy",
            )
        )  # fmt: skip
    return pairs
