"""Stage `rounds`: sample, judge, pair and train, again and again, each time from the model of the round before.

phi-4 did one round on judged pairs (report §4.2); more of them are *ours*. A round is a folder with a manifest, written
last: what it began from, its seed and settings, hashes of what it wrote, and its counts. A stage that was killed goes
on in the round it was in. By `dpo` a round is the stages `judged_pairs` and `judged_dpo`; by `rejection` the best of
several answers to each question is fine-tuned on, as §4.1 has it.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.completion import Completer, SamplingParams
from phidelity.config import Config, UserError
from phidelity.device import describe_device, peak_memory
from phidelity.grading.check import check
from phidelity.pipeline.judged_dpo import JudgedDpoConfig, judged_dpo
from phidelity.pipeline.judged_pairs import JudgedPairsConfig, judged_pairs
from phidelity.pipeline.manifest import (
    Cost,
    Ingredients,
    Manifest,
    hash_outputs,
    read_manifest,
    versions,
    write_manifest,
)
from phidelity.pipeline.sft import SftConfig, sft
from phidelity.preference.judged import responses_of
from phidelity.preference.questions import ask
from phidelity.preference.rejection import best_answers
from phidelity.preference.rollouts import Rollouts, derived_seed
from phidelity.progress import SILENT, Progress
from phidelity.records import Problem, file_sha256, read_records, write_records
from phidelity.tokenizer.bpe import Tokenizer

log = logging.getLogger(__name__)

Summary = dict[str, Any]


class RoundsConfig(Config):
    """Rounds of sampling, judging, pairing and training."""

    n: int = Field(default=2, ge=1)
    """Rounds (ours)."""
    method: Literal["dpo", "rejection"] = "dpo"
    """Train on pairs, or on the best of several answers."""
    pairs: JudgedPairsConfig = JudgedPairsConfig()
    """How questions are asked and judged; each round draws its own."""
    dpo: JudgedDpoConfig | None = None
    """Training of a round by `dpo`."""
    sft: SftConfig | None = None
    """Training of a round by `rejection`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"dpo": "dpo", "rejection": "sft"}[self.method]
        if getattr(self, needed) is None:
            raise ValueError(f'method = "{self.method}" trains by [rounds.{needed}], which is not there; give it')
        return self


class _Hands(NamedTuple):
    """What every round is handed."""

    synthetic: Path
    models: Mapping[str, Path]
    judge: Completer
    open_model: Callable[[Path], Completer]
    progress: Progress


def rounds(
    config: RoundsConfig,
    *,
    synthetic: Path,
    model: Path,
    models: Mapping[str, Path],
    judge: Completer,
    open_model: Callable[[Path], Completer],
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> Summary:
    """Do `config.n` rounds from `model`; writes 0/, 1/, ... and model/, the last round's."""
    hands = _Hands(synthetic, models, judge, open_model, progress)
    told: Summary = {"rounds": config.n, "method": config.method, "judge": judge.name}
    for number in range(config.n):
        manifest = _round(config, hands, model, derived_seed(seed, "round", number), out / str(number))
        told |= {f"{number}/{key}": value for key, value in manifest.summary.items()}
        model = out / str(number) / "trained" / "model"
    weights, tokenizer, _ = open_checkpoint(model)
    save_checkpoint(out / "model", weights, tokenizer)
    return told


def _round(config: RoundsConfig, hands: _Hands, model: Path, seed: int, folder: Path) -> Manifest:
    """One round, or its manifest where it is done."""
    ingredients = Ingredients(
        stage=f"rounds/{folder.name}",
        config=config.model_dump(mode="json"),
        tables={},
        seed=seed,
        inputs={"model": file_sha256(model / "model.safetensors"), "judge": hands.judge.name},
        sources={},
    )
    if manifest := read_manifest(folder):
        if manifest.fingerprint != ingredients.fingerprint:
            raise UserError(
                f"{folder} was made from another model, judge or settings. Redo the rounds with --force rounds."
            )
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    work = _by_dpo if config.method == "dpo" else _by_rejection
    summary = work(config, hands, model, seed, folder)
    manifest = Manifest(
        fingerprint=ingredients.fingerprint,
        ingredients=ingredients,
        outputs=hash_outputs(folder),
        versions=versions(),
        device=describe_device(),
        cost=Cost(seconds=round(time.monotonic() - start, 2), peak_memory=peak_memory()),
        summary=summary,
    )
    write_manifest(folder, manifest)
    log.info("round %s: done, %s", folder.name, {key: summary[key] for key in ("items", "steps") if key in summary})
    return manifest


def _by_dpo(config: RoundsConfig, hands: _Hands, model: Path, seed: int, folder: Path) -> Summary:
    assert config.dpo, "checked with the recipe"
    for part in ("pairs", "trained"):
        (folder / part).mkdir(exist_ok=True)
    told = judged_pairs(config.pairs, **hands._asdict(), model=model, seed=seed, out=folder / "pairs")
    trained = judged_dpo(
        config.dpo, judged_pairs=folder / "pairs", model=model, seed=seed, out=folder / "trained",
        progress=hands.progress,
    )  # fmt: skip
    error = told["audit"]["answers"]["error"]
    return {
        "items": told["pairs"],
        "judge_error": error,
        "chosen_right": told["checker"]["chosen_right"],
        "rejected_right": told["checker"]["rejected_right"],
        **{key: trained[key] for key in ("steps", "loss", "pairs/accuracy", "pairs/margin_gained") if key in trained},
    }


def _by_rejection(config: RoundsConfig, hands: _Hands, model: Path, seed: int, folder: Path) -> Summary:
    assert config.sft, "checked with the recipe"
    tokenizer = Tokenizer.load(model)
    asked = ask(
        read_records(hands.synthetic / "problems.jsonl", Problem),
        tokenizer,
        n_reasoning=config.pairs.questions,
        n_facts=0,
        allow_code=config.pairs.allow_code,
        rng=random.Random(f"{seed}/rejection/questions"),
    )
    rollouts = Rollouts(
        folder / "rollouts",
        questions=asked.questions,
        completer=hands.open_model(model),
        params=SamplingParams(
            temperature=config.pairs.temperature,
            max_tokens=config.pairs.max_tokens,
            seed=derived_seed(seed, "rejection"),
        ),
        oracle=partial(check, allow_code=config.pairs.allow_code),
        tokenizer=tokenizer,
        progress=hands.progress,
    )
    responses, counts = responses_of(asked.reasoning, {"policy": rollouts}, config.pairs.pairs.responses)
    best = best_answers(responses, hands.judge, SamplingParams(max_tokens=config.pairs.judge_tokens, seed=seed))
    if not best.chats:
        raise UserError(
            f"Round {folder.name} kept none of {counts['judged']} answers to {len(asked.reasoning)} questions: "
            f"{dict(best.counts)}. Expected some that the judge marks 4 or 5; ask more, or train the model further."
        )
    write_records(folder / "best" / "conversations.jsonl.zst", best.chats)
    (folder / "trained").mkdir(exist_ok=True)
    trained = sft(
        config.sft, synthetic=folder / "best", model=model, open_model=hands.open_model, seed=seed,
        out=folder / "trained", progress=hands.progress,
    )  # fmt: skip
    return {
        "items": len(best.chats),
        "answers": dict(sorted(counts.items())),
        "best": dict(sorted(best.counts.items())),
        **{key: trained[key] for key in ("steps", "loss", "validation")},
    }
