"""Stage `judged_pairs`: pairs of whole answers for the second DPO round (phi-4 report §4.2, table 8).

The policy answers training problems several times, and older checkpoints and other models too; a judge is shown
couples of answers in both orders; pairs are labelled by accuracy or by the overall mean. Pairs on what the model knows
are added (appendix A.1). How often the judge errs is measured on answers whose correctness is known, constructed ones
and those of the models by the problems' own checkers.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.completion import Completer, SamplingParams
from phidelity.config import Config, UserError
from phidelity.endpoint import HttpCompleter
from phidelity.grading.check import check
from phidelity.preference.audit import audit, error_rate, known_couples
from phidelity.preference.judged import JudgedConfig, judged_pairs_of, responses_of
from phidelity.preference.known import KnownConfig, known_pairs
from phidelity.preference.questions import Asked, ask
from phidelity.preference.rollouts import Rollouts, derived_seed
from phidelity.preference.served import Chatting
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair, Problem, read_records, write_records
from phidelity.tokenizer.bpe import Tokenizer

log = logging.getLogger(__name__)

Summary = dict[str, Any]


class OtherConfig(Config):
    """Another model, behind an endpoint, that answers beside the policy (the report took GPT-4o and GPT-4-turbo)."""

    url: str
    """Base address, such as http://localhost:8000/v1; without a key."""
    model: str
    """The model's name there, and in the pairs."""
    parallel: int = Field(default=64, ge=1, le=1024)
    """Requests under way at a time."""


class JudgedPairsConfig(Config):
    """Judge-guided pairs. Labels and proportions are the report's, sampling and sizes ours."""

    questions: int = Field(default=96, ge=1)
    """Questions answered and judged."""
    pairs: JudgedConfig = JudgedConfig()
    """How answers are sampled and paired."""
    older: tuple[str, ...] = ("sft",)
    """Stages whose checkpoints answer beside the policy."""
    others: tuple[OtherConfig, ...] = ()
    """Other models that do."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the answers; the judge is asked at 0."""
    max_tokens: int = Field(default=160, ge=1)
    """Longest answer."""
    judge_tokens: int = Field(default=1024, ge=1)
    """Longest reply of the judge."""
    audited: int = Field(default=64, ge=0)
    """Couples of known answers on which the judge's errors are measured (ours)."""
    allow_code: bool = False
    """Use programming problems too; their answers are run in the sandbox."""
    known: KnownConfig = KnownConfig(questions=16)
    """Pairs on what the model knows."""


def judged_pairs(
    config: JudgedPairsConfig,
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
    """Have `judge` compare answers of `model`, of older ones of `models` and of others; write pairs.jsonl.zst."""
    tokenizer = Tokenizer.load(model)
    problems = list(read_records(synthetic / "problems.jsonl", Problem))
    asked = ask(
        problems,
        tokenizer,
        n_reasoning=config.questions,
        n_facts=config.known.questions,
        allow_code=config.allow_code,
        rng=random.Random(f"{seed}/judged/questions"),
    )
    answering = _answering(config, model, models, open_model, asked, tokenizer)
    sources = {
        name: Rollouts(
            out / "rollouts" / name,
            questions=asked.questions,
            completer=completer,
            params=SamplingParams(
                temperature=config.temperature, max_tokens=config.max_tokens, seed=derived_seed(seed, "judged", name)
            ),
            oracle=partial(check, allow_code=config.allow_code),
            tokenizer=tokenizer,
            progress=progress,
        )
        for name, completer in answering.items()
    }
    responses, counts = responses_of(asked.reasoning, sources, config.pairs.responses)
    params = SamplingParams(max_tokens=config.judge_tokens, seed=seed)
    rng = random.Random(f"{seed}/judged/audit")
    with progress.task("Judging answers", None, "verdicts") as task:
        audited = audit(known_couples(problems, config.audited, rng), judge, params, rng)
        told = judged_pairs_of(
            responses, judge, params, config=config.pairs, tokenizer=tokenizer.digest, seed=seed,
            on_done=lambda *_: task.advance(1),
        )  # fmt: skip
    errors = {"constructed": error_rate(audited), "answers": error_rate(told.known)}
    for name, one in errors.items():
        low, high = one["error_95"]
        share = "an unknown share" if one["error"] is None else f"{one['error']:.1%}"
        log.info("%s: error %s, %.3f to %.3f, on %d couples (%s)", judge.name, share, low, high, one["couples"], name)
    if not told.pairs:
        log.warning("No judged pairs of %d answers: %s", counts["judged"], dict(told.counts))
    known = known_pairs(asked.facts, sources["policy"], config.known)
    pairs = told.pairs + known.pairs
    write_records(out / "pairs.jsonl.zst", pairs)
    return {
        "questions": len(asked.reasoning),
        "models": list(sources),
        "judge": judge.name,
        "answers": dict(sorted(counts.items())),
        "couples": dict(sorted(told.counts.items())),
        "places": dict(sorted(told.places.items())),
        "audit": errors,
        "pairs": len(pairs),
        "pairs_by_source": dict(sorted(Counter(pair.source for pair in pairs).items())),
        "checker": _checker_agreement(told.pairs),
        "length": {side: _mean([len(getattr(pair, side)) for pair in told.pairs]) for side in ("chosen", "rejected")},
        "known": dict(sorted(known.counts.items())),
        "sampling": {name: rollouts.census() for name, rollouts in sources.items()},
    }


def _answering(
    config: JudgedPairsConfig,
    model: Path,
    models: Mapping[str, Path],
    open_model: Callable[[Path], Completer],
    asked: Asked,
    tokenizer: Tokenizer,
) -> dict[str, Completer]:
    """The policy, the older checkpoints that are not the policy itself, and the other models."""
    for name in config.older:
        if name not in models:
            raise UserError(
                f"judged_pairs.older names {name!r}, which made no model before; expected some of "
                f"{', '.join(models)}, or none."
            )
    older = {name: models[name] for name in config.older if models[name] != model}
    found = {name: open_model(path) for name, path in ({"policy": model} | older).items()}
    for other in config.others:
        endpoint = HttpCompleter(other.url, other.model, n_parallel=other.parallel)
        found[other.model] = Chatting(endpoint, tokenizer, asked.questions)
    return found


def _checker_agreement(pairs: Sequence[PreferencePair]) -> dict[str, int]:
    """What the problems' own checkers say of the pairs: is the chosen or the rejected answer right?"""
    counts = Counter(chosen_right=0, rejected_right=0)
    for pair in pairs:
        for side in ("chosen", "rejected"):
            counts[f"{side}_right"] += pair.meta[side]["success"] is True
    return dict(counts)


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
