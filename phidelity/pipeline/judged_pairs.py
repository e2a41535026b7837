"""Stage `judged_pairs`: pairs of whole answers for the second DPO round (phi-4 report §4.2, table 8).

The policy answers training problems several times, and an older checkpoint too; a judge marks every answer; pairs
are labelled by accuracy or by the overall mean. Pairs on what the model knows are added (appendix A.1). How
often the problem's own checker sides with the judge is counted beside.
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
from phidelity.grading.check import check
from phidelity.preference.judged import JudgedConfig, judge_responses, pairs_of, responses_of
from phidelity.preference.known import KnownConfig, known_pairs
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import Rollouts, derived_seed
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair, Problem, read_records, write_records
from phidelity.tokenizer.bpe import Tokenizer

log = logging.getLogger(__name__)

Summary = dict[str, Any]


class JudgedPairsConfig(Config):
    """Judge-guided pairs. Labels and proportions are the report's, sampling and sizes ours."""

    questions: int = Field(default=96, ge=1)
    """Questions answered and judged."""
    pairs: JudgedConfig = JudgedConfig()
    """How answers are sampled and paired."""
    older: str = "sft"
    """Stage whose checkpoint answers beside the policy; empty for none."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the answers; the judge is asked at 0."""
    max_tokens: int = Field(default=160, ge=1)
    """Longest answer."""
    judge_tokens: int = Field(default=256, ge=1)
    """Longest reply of the judge."""
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
    """Have `judge` mark answers of `model` and of an older one of `models`; write pairs.jsonl.zst."""
    tokenizer = Tokenizer.load(model)
    asked = ask(
        read_records(synthetic / "problems.jsonl", Problem),
        tokenizer,
        n_reasoning=config.questions,
        n_facts=config.known.questions,
        allow_code=config.allow_code,
        rng=random.Random(f"{seed}/judged/questions"),
    )
    questions = asked.reasoning
    sources = {
        name: Rollouts(
            out / "rollouts" / name,
            questions=asked.questions,
            completer=open_model(path),
            params=SamplingParams(
                temperature=config.temperature, max_tokens=config.max_tokens, seed=derived_seed(seed, "judged", name)
            ),
            oracle=partial(check, allow_code=config.allow_code),
            tokenizer=tokenizer,
            progress=progress,
        )
        for name, path in _models(config, model, models).items()
    }
    responses, counts = responses_of(questions, sources, config.pairs.responses)
    every = [response for question in questions for response in responses[question]]
    params = SamplingParams(max_tokens=config.judge_tokens, seed=seed)
    with progress.task("Judging answers", len(every), "answers") as task:
        verdicts = iter(judge_responses(every, judge, params, lambda *_: task.advance(1)))
    pairs: list[PreferencePair] = []
    for question in questions:
        marks = [next(verdicts) for _ in responses[question]]
        made = pairs_of(responses[question], marks, config=config.pairs, tokenizer=tokenizer.digest, seed=seed)
        pairs += made.pairs
        counts.update(made.counts)
    if not pairs:
        log.warning("No judged pairs of %d answers: %s", len(every), dict(counts))
    known = known_pairs(asked.facts, sources["policy"], config.known)
    write_records(out / "pairs.jsonl.zst", pairs + known.pairs)
    return {
        "questions": len(questions),
        "models": list(sources),
        "judge": judge.name,
        "answers": dict(sorted(counts.items())),
        "pairs": len(pairs) + len(known.pairs),
        "pairs_by_source": dict(sorted(Counter(pair.source for pair in pairs + known.pairs).items())),
        "checker": _checker_agreement(pairs),
        "length": {side: _mean([len(getattr(pair, side)) for pair in pairs]) for side in ("chosen", "rejected")},
        "known": dict(sorted(known.counts.items())),
        "sampling": {name: rollouts.census() for name, rollouts in sources.items()},
    }


def _models(config: JudgedPairsConfig, model: Path, models: Mapping[str, Path]) -> dict[str, Path]:
    """The policy, and the older checkpoint if one is named that is not the policy itself."""
    if config.older and config.older not in models:
        raise UserError(
            f"judged_pairs.older names {config.older!r}, which made no model before; expected one of "
            f'{", ".join(models)}, or "" for none.'
        )
    older = models[config.older] if config.older else model
    return {"policy": model} | ({config.older: older} if older != model else {})


def _checker_agreement(pairs: Sequence[PreferencePair]) -> dict[str, int]:
    """What the problems' own checkers say of the pairs: is the chosen or the rejected answer right?"""
    counts = Counter(chosen_right=0, rejected_right=0)
    for pair in pairs:
        for side in ("chosen", "rejected"):
            counts[f"{side}_right"] += pair.meta[side]["success"] is True
    return dict(counts)


def _mean(values: Sequence[int]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
