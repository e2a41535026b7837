"""Stage `pivotal_pairs`: pairs of single tokens for the first DPO round (phi-4 report §4.3, table 7).

Questions of the training split are screened, their answers searched for pivotal tokens, and each confirmed
pivot becomes a pair with a sibling sampled at the same prefix. Some pairs on what the model knows are added
(appendix A.1). Every continuation lies in `rollouts/`; a killed search goes on from there.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any, Literal

from pydantic import Field, field_validator

from phidelity.completion import Completer, SamplingParams
from phidelity.config import Config
from phidelity.endpoint import HttpCompleter
from phidelity.grading.check import check
from phidelity.page.layout import render_page
from phidelity.preference.estimate import Confirmed, counting
from phidelity.preference.known import KnownConfig, known_pairs
from phidelity.preference.pairs import make_pair
from phidelity.preference.pivotal import SearchConfig, by_first_token, find_pivots, pair_at
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import Rollouts, derived_seed
from phidelity.preference.screen import answers_of, reusing, screen
from phidelity.preference.served import Served
from phidelity.preference.shown import show
from phidelity.progress import SILENT, Progress
from phidelity.records import PreferencePair, Problem, Record, atomic, read_records, write_records
from phidelity.tokenizer.bpe import Tokenizer

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parent / "templates"
Summary = dict[str, Any]


class ServedConfig(Config):
    """An endpoint that serves the very model, to sample from instead of the local engine."""

    url: str
    """Base address, such as http://localhost:8000/v1; without a key."""
    model: str
    """The model's name there."""
    prefix: Literal["ids", "text"] = "ids"
    """Whether it is sent token ids, or their text where it takes none."""
    parallel: int = Field(default=64, ge=1, le=1024)
    """Requests under way at a time."""


class PivotalPairsConfig(Config):
    """Pivotal token search. The report gives window and method; sampling, sizes and gaps are ours."""

    questions: int = Field(default=96, ge=1)
    """Questions screened."""
    screen_rollouts: int = Field(default=16, ge=1)
    """Answers sampled per question while screening; as many again where they do not decide."""
    window: tuple[float, float] = (0.2, 0.8)
    """p(success) of the questions kept (report §4.3)."""
    searches: int = Field(default=12, ge=1)
    """Questions searched, at most; of each one right and one wrong answer."""
    search: SearchConfig = SearchConfig()
    """The search itself."""
    temperature: float = Field(default=1.0, gt=0)
    """Of all sampling (ours): pivots are those of the model as it is."""
    max_tokens: int = Field(default=160, ge=1)
    """Longest continuation."""
    shown: int = Field(default=2, ge=0)
    """Answers that pivots.html shows with p(success) after every token."""
    shown_rollouts: int = Field(default=24, ge=1)
    """Continuations at each token shown (the report's figure took 529)."""
    allow_code: bool = False
    """Use programming problems too; their answers are run in the sandbox."""
    new_rollouts: bool = True
    """Draw what is missing; false decides by what the store holds, so that a new threshold costs nothing."""
    served: ServedConfig | None = None
    """Where the model is served; None for the local engine."""
    known: KnownConfig = KnownConfig()
    """Pairs on what the model knows."""

    @field_validator("window")
    @classmethod
    def _ordered(cls, window: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= window[0] < window[1] <= 1:
            raise ValueError("expected two probabilities, the lower one first, such as [0.2, 0.8]")
        return window


class Pivot(Record):
    """A confirmed pivotal token; p(success) before and after it from fresh samples."""

    question: str
    prefix: tuple[int, ...]
    token: int
    p_before: float
    n_before: int
    p_after: float
    n_after: int
    siblings: dict[int, tuple[int, int]]
    """Of the continuations at the prefix that began with a token: how many succeeded, and how many there were."""
    pair: str | None
    """Id of the pair made of it; None if no sibling was sampled often enough and far enough away."""


def pivotal_pairs(
    config: PivotalPairsConfig,
    *,
    synthetic: Path,
    model: Path,
    open_model: Callable[[Path], Completer],
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> Summary:
    """Search the policy `model` for pivotal tokens on training problems; write pairs, pivots and a page."""
    tokenizer = Tokenizer.load(model)
    asked = ask(
        read_records(synthetic / "problems.jsonl", Problem),
        tokenizer,
        n_reasoning=config.questions,
        n_facts=config.known.questions,
        allow_code=config.allow_code,
        rng=random.Random(f"{seed}/pivotal/questions"),
    )
    rollouts = Rollouts(
        out / "rollouts",
        questions=asked.questions,
        completer=_completer(config, model, open_model, tokenizer),
        params=SamplingParams(
            temperature=config.temperature, max_tokens=config.max_tokens, seed=derived_seed(seed, "pivotal")
        ),
        oracle=partial(check, allow_code=config.allow_code),
        tokenizer=tokenizer,
        progress=progress,
        frozen=not config.new_rollouts,
    )
    screened = screen(asked.reasoning, rollouts, window=config.window, n=config.screen_rollouts)
    log.info("%d of %d questions lie inside the window %s", len(screened.roots), len(asked.reasoning), config.window)
    searched = list(screened.roots)[: config.searches]
    answers = [answer for question in searched for answer in answers_of(question, rollouts)]
    found = find_pivots(answers, screened.roots, counting(rollouts), config.search, reusing(answers, rollouts))
    pivots, pairs = _pairs(found.pivots, rollouts, config.search)
    if not pairs:
        log.warning("No pivotal pairs: %d questions inside the window, %d pivots", len(screened.roots), len(pivots))
    known = known_pairs(asked.facts, rollouts, config.known)
    write_records(out / "pivots.jsonl", pivots)
    shown = show(answers, found.pivots, rollouts, n=config.shown_rollouts, n_answers=config.shown)
    prompts = {one.answer.question: rollouts.questions[one.answer.question].problem.prompt for one in shown}
    with atomic(out / "pivots.html", "w") as file:
        file.write(render_page(TEMPLATES, "pivots.html", shown=shown, prompts=prompts, n=config.shown_rollouts))
    write_records(out / "pairs.jsonl.zst", pairs + known.pairs)
    return {
        "questions_screened": len(asked.reasoning),
        "questions_in_window": len(screened.roots),
        "questions_dropped": dict(sorted(screened.dropped.items())),
        "questions_searched": len(searched),
        "answers_searched": len(answers),
        "suspects": len(found.suspects),
        **_census(pivots),
        "pairs": len(pairs) + len(known.pairs),
        "pairs_by_kind": dict(sorted(Counter(pair.kind for pair in pairs + known.pairs).items())),
        "known": dict(sorted(known.counts.items())),
        "sampling": rollouts.census(),
    }


def _completer(
    config: PivotalPairsConfig, model: Path, open_model: Callable[[Path], Completer], tokenizer: Tokenizer
) -> Completer:
    served = config.served
    if not served:
        return open_model(model)
    return Served(HttpCompleter(served.url, served.model, n_parallel=served.parallel), tokenizer, served.prefix)


def _pairs(
    confirmed: Sequence[Confirmed], rollouts: Rollouts, config: SearchConfig
) -> tuple[list[Pivot], list[PreferencePair]]:
    """Each pivot with the pair made of it; a pair that two answers lead to is kept once."""
    pivots: list[Pivot] = []
    pairs: dict[str, PreferencePair] = {}
    for pivot in confirmed:
        pair = _pair(pivot, rollouts, config)
        if pair:
            pairs[pair.id] = pair
        pivots.append(_pivot(pivot, pair, rollouts))
    return pivots, list(pairs.values())


def _pair(pivot: Confirmed, rollouts: Rollouts, config: SearchConfig) -> PreferencePair | None:
    prefix = pivot.candidate.before
    found = pair_at(pivot, rollouts.at(prefix), config)
    if found is None:
        return None
    return make_pair(
        "token",
        rollouts.questions[prefix.question].problem,
        (found.chosen,),
        (found.rejected,),
        prefix=prefix.tokens,
        tokenizer=rollouts.tokenizer.digest,
        source="pivotal",
        meta={
            "pivot": "chosen" if pivot.candidate.raises else "rejected",
            "p_before": pivot.before.rate,
            "p_after": pivot.after.rate,
            "n": pivot.before.n,
            "p_chosen": found.p_chosen,
            "p_rejected": found.p_rejected,
        },
    )


def _pivot(pivot: Confirmed, pair: PreferencePair | None, rollouts: Rollouts) -> Pivot:
    prefix = pivot.candidate.before
    first_tokens = by_first_token(rollouts.at(prefix))
    return Pivot(
        question=prefix.question,
        prefix=prefix.tokens,
        token=pivot.candidate.after.tokens[-1],
        p_before=pivot.before.rate,
        n_before=pivot.before.n,
        p_after=pivot.after.rate,
        n_after=pivot.after.n,
        siblings={token: (int(counted.successes), counted.n) for token, counted in sorted(first_tokens.items())},
        pair=pair.id if pair else None,
    )


def _census(pivots: Sequence[Pivot]) -> Summary:
    """How many pivots, in which direction, and least, quartiles and greatest of p(success) on both sides."""
    return {
        "pivots": len(pivots),
        "pivots_raising": sum(pivot.p_after > pivot.p_before for pivot in pivots),
        "pivots_without_pair": sum(pivot.pair is None for pivot in pivots),
        "p_before": _spread([pivot.p_before for pivot in pivots]),
        "p_after": _spread([pivot.p_after for pivot in pivots]),
    }


def _spread(values: Sequence[float]) -> list[float]:
    if len(values) < 2:
        return list(values)
    return [round(v, 4) for v in (min(values), *quantiles(values, n=4, method="inclusive"), max(values))]
