"""Judge-guided pairs: whole answers to one question, ranked by a judge's marks (phi-4 report §4.2 and table 8).

Every answer is marked alone for accuracy, style and detail from 1 to 5, so no order of presentation can sway the
judge and swapping two answers swaps their label. Two sets are made, in the proportion of table 8: in `accuracy`
pairs the side with the higher accuracy is preferred, in `overall` pairs the side with the higher mean of the
three. Ties are dropped, replies that are no verdict are counted. Answers come from the policy and may come from
an older checkpoint too (the report mixed three models).
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from pydantic import Field

from phidelity.completion import Completer, Completion, SamplingParams
from phidelity.config import Config
from phidelity.grading.judge import Verdict, judge_prompt, parse_verdict
from phidelity.preference.pairs import make_pair
from phidelity.preference.rollouts import Prefix, Rollouts
from phidelity.records import Conversation, PreferencePair, Problem

Subset = Literal["accuracy", "overall"]


class JudgedConfig(Config):
    """Which pairs are made of judged answers."""

    responses: int = Field(default=4, ge=1)
    """Answers sampled per question from each model (ours)."""
    accuracy_share: float = Field(default=2 / 3, ge=0, le=1)
    """Share of pairs labelled by accuracy, the others by the overall mean (report, table 8: 532,000 to 266,000)."""
    pairs_per_question: int = Field(default=2, ge=1)
    """Most pairs kept per question, drawn from all combinations (ours)."""


class Response(NamedTuple):
    """One full answer: ids with the end token, its text, who gave it, and what the problem's own checker says."""

    problem: Problem
    tokens: tuple[int, ...]
    text: str
    model: str
    success: bool | None


class Judged(NamedTuple):
    """The pairs, and what became of the answers and combinations."""

    pairs: list[PreferencePair]
    counts: Counter[str]


def responses_of(
    questions: Sequence[str], sources: dict[str, Rollouts], n: int
) -> tuple[dict[str, list[Response]], Counter[str]]:
    """`n` answers per question from each source, equal ones once, only such as end with the end token."""
    responses: dict[str, list[Response]] = {question: [] for question in questions}
    counts: Counter[str] = Counter()
    for model, rollouts in sources.items():
        drawn = rollouts.draw([Prefix(question) for question in questions], "responses", 0, n)
        for question, answers in zip(questions, drawn, strict=True):
            known = {response.tokens for response in responses[question]}
            for answer in answers:
                reason = "repeated" if answer.tokens in known else _unfinished(answer.tokens, rollouts)
                counts[reason or "judged"] += 1
                if not reason:
                    known.add(answer.tokens)
                    problem, text = rollouts.questions[question].problem, rollouts.text(answer.tokens)
                    responses[question].append(Response(problem, answer.tokens, text, model, answer.success))
    return responses, counts


def judge_responses(
    responses: Sequence[Response],
    judge: Completer,
    params: SamplingParams,
    on_done: Callable[[int, Completion], None] | None = None,
) -> list[Verdict | None]:
    """The judge's marks of each answer, None where its reply is no verdict."""
    prompts = [_judge_prompt(response) for response in responses]
    return [parse_verdict(completion.text) for completion in judge.complete(prompts, params, on_done)]


def better(first: Verdict, second: Verdict, subset: Subset) -> int:
    """1 if the first is to be preferred, -1 if the second, 0 for a tie."""
    marks = [
        verdict.accuracy if subset == "accuracy" else verdict.accuracy + verdict.style + verdict.detail
        for verdict in (first, second)
    ]
    return (marks[0] > marks[1]) - (marks[0] < marks[1])


def pairs_of(
    responses: Sequence[Response],
    verdicts: Sequence[Verdict | None],
    *,
    config: JudgedConfig,
    tokenizer: str,
    seed: int,
) -> Judged:
    """Pairs among the answers to ONE question: combinations in random order, each labelled by one subset."""
    marked = [(r, verdict) for r, verdict in zip(responses, verdicts, strict=True) if verdict]
    pairs: list[PreferencePair] = []
    counts = Counter(undetermined=len(responses) - len(marked))
    if len(marked) < 2:
        return Judged(pairs, counts)
    rng = random.Random(f"{seed}/judged/{responses[0].problem.id}")
    couples = list(combinations(marked, 2))
    rng.shuffle(couples)
    for first, second in couples:
        subset: Subset = "accuracy" if rng.random() < config.accuracy_share else "overall"
        order = better(first[1], second[1], subset)
        if len(pairs) == config.pairs_per_question:
            counts["over the limit"] += 1
        elif not order:
            counts[f"tie in {subset}"] += 1
        else:
            chosen, rejected = (first, second) if order > 0 else (second, first)
            pairs.append(_pair(chosen, rejected, subset, tokenizer))
            counts[subset] += 1
    return Judged(pairs, counts)


def _pair(
    chosen: tuple[Response, Verdict], rejected: tuple[Response, Verdict], subset: Subset, tokenizer: str
) -> PreferencePair:
    sides = {"chosen": chosen, "rejected": rejected}
    meta = {
        side: {"model": response.model, "success": response.success, **verdict.model_dump()}
        for side, (response, verdict) in sides.items()
    }
    return make_pair(
        "full", chosen[0].problem, chosen[0].tokens, rejected[0].tokens,
        tokenizer=tokenizer, source=f"judged/{subset}", meta=meta,
    )  # fmt: skip


def _unfinished(tokens: tuple[int, ...], rollouts: Rollouts) -> str:
    """A full pair ends with the end token, so an answer cut short cannot stand in one."""
    return "" if tokens[-1:] == (rollouts.tokenizer.im_end,) else "unfinished"


def _judge_prompt(response: Response) -> Conversation:
    """What the judge sees; a program is judged by the code that was shown and the tests."""
    problem = response.problem
    if problem.checker == "code":
        return judge_prompt(problem.meta["code"], problem.meta["test"], "code", response.text)
    return judge_prompt(problem.prompt, problem.reference, problem.checker, response.text)
