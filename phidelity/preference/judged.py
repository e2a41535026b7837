"""Judge-guided pairs: whole answers to one question, ranked by a judge (phi-4 report §4.2, appendix A.2 and table 8).

A couple of answers is judged twice, each standing first once: the judge lists faults by kind, discusses, and marks
accuracy, style and detail from 1 to 5 (grading/judge.py). Only what both orders agree on counts; a verdict that flips
is dropped, a tie too, and a reply that is no verdict, all counted. Two sets are made, in the proportion of table 8: in
`accuracy` pairs the side with the higher accuracy is preferred, in `overall` pairs the side with the higher mean of the
three. Answers come from the policy, from older checkpoints and from other models (the report mixed three).
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

from pydantic import Field

from phidelity.completion import Completer, Completion, SamplingParams
from phidelity.config import Config
from phidelity.grading.judge import Duel, Verdict, duel_prompt, parse_duel
from phidelity.preference.pairs import make_pair
from phidelity.preference.rollouts import Prefix, Rollouts
from phidelity.records import Conversation, PreferencePair, Problem

Subset = Literal["accuracy", "overall"]


class JudgedConfig(Config):
    """Which pairs are made of judged answers."""

    responses: int = Field(default=4, ge=1)
    """Answers sampled per question from each model (ours)."""
    accuracy_share: float = Field(default=2 / 3, ge=0, le=1)
    """Share of couples labelled by accuracy, the others by the overall mean (report, table 8: 532,000 to 266,000)."""
    pairs_per_question: int = Field(default=2, ge=1)
    """Most pairs kept per question, drawn from all combinations (ours)."""
    couples_per_question: int = Field(default=12, ge=1)
    """Most couples judged per question until it has its pairs; each is asked about twice (ours)."""


class Response(NamedTuple):
    """One full answer: ids with the end token, its text, who gave it, and what the problem's own checker says."""

    problem: Problem
    tokens: tuple[int, ...]
    text: str
    model: str
    success: bool | None


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


class Both(NamedTuple):
    """What a judge said of a couple in the order given and in the other; None where its reply was no verdict."""

    forward: Duel | None
    swapped: Duel | None


class Couple(NamedTuple):
    """Two answers to one question, and by which marks they will be told apart."""

    first: Response
    second: Response
    subset: Subset


class Judged(NamedTuple):
    """The pairs, what became of all couples, which place the judge preferred, and couples of known correctness."""

    pairs: list[PreferencePair]
    counts: Counter[str]
    places: Counter[str]
    """Of all verdicts: the answer that stood first was the better one, the second was, neither."""
    known: Counter[str]
    """Of couples of which one is right by the problem's own checker and one wrong: what the judge made of them."""


def judge_couples(
    asked: Sequence[tuple[Problem, str, str]],
    judge: Completer,
    params: SamplingParams,
    on_done: Callable[[int, Completion], None] | None = None,
) -> list[Both]:
    """The judge's verdicts on couples of answers, in both orders, asked for in one call."""
    prompts = [_prompt(problem, *sides) for problem, one, other in asked for sides in ((one, other), (other, one))]
    replies = [parse_duel(completion.text) for completion in judge.complete(prompts, params, on_done)]
    return [Both(*replies[at : at + 2]) for at in range(0, len(replies), 2)]


def better(first: Verdict, second: Verdict, subset: Subset) -> int:
    """1 if the first is to be preferred, -1 if the second, 0 for a tie."""
    marks = [
        verdict.accuracy if subset == "accuracy" else verdict.accuracy + verdict.style + verdict.detail
        for verdict in (first, second)
    ]
    return (marks[0] > marks[1]) - (marks[0] < marks[1])


def settle(both: Both, subset: Subset) -> str:
    """`first` or `second` where both orders agree; else `tie`, `tie in one order`, `flipped` or `off format`."""
    if both.forward is None or both.swapped is None:
        return "off format"
    one = better(both.forward.first, both.forward.second, subset)
    other = better(both.swapped.second, both.swapped.first, subset)
    if one != other:
        return "flipped" if one * other else "tie in one order"
    return {1: "first", -1: "second", 0: "tie"}[one]


def known_outcome(both: Both, right: Literal["first", "second"]) -> str:
    """What a judge made of a couple of which the side `right` is right and the other wrong: `right`, `wrong`, ..."""
    outcome = settle(both, "accuracy")
    return {"first": "wrong", "second": "wrong", right: "right"}.get(outcome, outcome)


def judged_pairs_of(
    responses: Mapping[str, Sequence[Response]],
    judge: Completer,
    params: SamplingParams,
    *,
    config: JudgedConfig,
    tokenizer: str,
    seed: int,
    on_done: Callable[[int, Completion], None] | None = None,
) -> Judged:
    """Have couples of answers judged, round by round, until each question has its pairs or no couple left."""
    couples = {question: couples_of(answers, config, seed) for question, answers in responses.items()}
    told = Judged([], Counter(), Counter(), Counter())
    made: Counter[str] = Counter()
    while batch := _next_round(couples, made, config):
        asked = [(couple.first.problem, couple.first.text, couple.second.text) for _, couple in batch]
        for (question, couple), both in zip(batch, judge_couples(asked, judge, params, on_done), strict=True):
            pair = _note(told, couple, both, tokenizer)
            if pair:
                made[question] += 1
                told.pairs.append(pair)
    left = sum(map(len, couples.values()))
    if left:
        told.counts["not needed"] += left
    order = {question: place for place, question in enumerate(responses)}
    told.pairs.sort(key=lambda pair: order[pair.meta["question"]])
    return told


def couples_of(responses: Sequence[Response], config: JudgedConfig, seed: int) -> list[Couple]:
    """Combinations of the answers to ONE question in random order, each with the marks that decide by lot."""
    if len(responses) < 2:
        return []
    rng = random.Random(f"{seed}/judged/{responses[0].problem.id}")
    couples = list(combinations(responses, 2))
    rng.shuffle(couples)
    return [
        Couple(first, second, "accuracy" if rng.random() < config.accuracy_share else "overall")
        for first, second in couples[: config.couples_per_question]
    ]


def _next_round(
    couples: Mapping[str, list[Couple]], made: Mapping[str, int], config: JudgedConfig
) -> list[tuple[str, Couple]]:
    """As many couples of each question as it lacks pairs; they are taken out of `couples`."""
    batch = []
    for question, left in couples.items():
        n = config.pairs_per_question - made.get(question, 0)
        batch += [(question, couple) for couple in left[:n]]
        del left[:n]
    return batch


def _note(told: Judged, couple: Couple, both: Both, tokenizer: str) -> PreferencePair | None:
    """Count what was said of a couple; the pair where both orders agree on a winner."""
    for duel in both:
        if duel:
            place = better(duel.first, duel.second, couple.subset)
            told.places[{1: "first", -1: "second", 0: "neither"}[place]] += 1
    if {couple.first.success, couple.second.success} == {True, False}:
        told.known[known_outcome(both, "first" if couple.first.success else "second")] += 1
    outcome = settle(both, couple.subset)
    if outcome not in ("first", "second"):
        told.counts[f"tie in {couple.subset}" if outcome == "tie" else outcome] += 1
        return None
    told.counts[couple.subset] += 1
    duel = both.forward
    assert duel, "a winner has verdicts"
    sides = [(couple.first, duel.first), (couple.second, duel.second)]
    chosen, rejected = sides if outcome == "first" else reversed(sides)
    return _pair(chosen, rejected, couple.subset, tokenizer)


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


def _prompt(problem: Problem, first: str, second: str) -> Conversation:
    """What the judge sees; a program is judged by the code that was shown and the tests."""
    if problem.checker == "code":
        return duel_prompt(problem.meta["code"], problem.meta["test"], "code", first, second)
    return duel_prompt(problem.prompt, problem.reference, problem.checker, first, second)
