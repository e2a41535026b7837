"""Put a benchmark's problems to a Completer, store the answers, grade them and score them with their errors.

A chat model gets the benchmark's messages (our words, or the official ones); a base model gets examples as plain text
(`few_shot`). Asking knows no grades and grading knows no model: `respond` fills the store, `grade_responses` reads it
under every profile. Whatever an endpoint would not answer is missing, never a zero; a prompt that was too long is
wrong and counted, a null content is an empty answer and counted.
"""

import logging
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from phidelity.completion import Completer, Completion, Prompt, SamplingParams
from phidelity.eval import few_shot
from phidelity.eval.benchmark import Benchmark, GradingContext, Profile, Texts, grade, grade_all, messages
from phidelity.eval.few_shot import Format
from phidelity.eval.store import Asked, Graded, Response, ResponseStore, cluster_of, response_key
from phidelity.records import Conversation, Message, Problem, Score
from phidelity.statistics import estimate

_log = logging.getLogger(__name__)

Ask = Callable[[Problem], Prompt]
OnDone = Callable[[int], None]
T = TypeVar("T")

LABELS = ("subject", "category", "language", "topic", "family", "kind")
"""What of a problem's meta is kept beside its grades, where it is there."""
TOO_LONG = "the prompt is longer than the context"


class Trial(NamedTuple):
    """A prompt format for a base model and its score on development problems, in per cent."""

    form: Format
    shots: int
    score: float
    fits: bool
    """Whether every prompt was within the context."""


def ask_chat(problem: Problem) -> Conversation:
    """The problem as a chat of one message, in our words."""
    return Conversation(id=problem.id, messages=(Message(role="user", content=problem.prompt),))


def ask_official(one: Benchmark, texts: Texts | None) -> Ask:
    """The problem as a chat in the official words where `texts` are given, else in ours."""
    return lambda problem: Conversation(id=problem.id, messages=messages(one, problem, texts))


def ask_text(form: Format, exemplars: Sequence[Problem], shots: int) -> Ask:
    """The problem after at most `shots` solved examples; those of its own language where there are any."""

    def ask(problem: Problem) -> str:
        language = problem.meta.get("language", "en")
        own = [one for one in exemplars if one.meta.get("language", "en") == language]
        return few_shot.render(form, (own or exemplars)[:shots], problem)

    return ask


def choose(items: Sequence[T], limit: int | None) -> list[T]:
    """The first `limit` of one fixed shuffle, in their own order: the same each time, and part of any larger choice."""
    if limit is None or limit >= len(items):
        return list(items)
    order = list(range(len(items)))
    random.Random(0).shuffle(order)
    return [items[place] for place in sorted(order[:limit])]


def try_formats(
    completer: Completer,
    benchmark: Benchmark,
    exemplars: Sequence[Problem],
    trials: Sequence[Problem],
    params: SamplingParams,
    shots: int,
    context: GradingContext | None = None,
) -> list[Trial]:
    """Score each format on development problems; the best comes first, the bare one wins ties.

    Examples are left out, one at a time, until the trials fit into the context.
    """
    context = context or GradingContext()
    tried = [_try(completer, benchmark, form, exemplars, trials, params, shots, context) for form in few_shot.FORMATS]
    if shots and not all(trial.fits for trial in tried):
        return try_formats(completer, benchmark, exemplars, trials, params, shots - 1, context)
    return sorted(tried, key=lambda trial: -trial.score)


def respond(
    completer: Completer,
    benchmark: Benchmark,
    problems: Sequence[Problem],
    ask: Ask,
    params: SamplingParams,
    path: Path,
    on_done: OnDone = lambda n: None,
    repeats: int = 1,
) -> list[Response]:
    """The answers to all problems in all repeats, those in `path` first; each new one is appended as it comes.

    What ended in an error is told to the log and left out, so the list may be shorter than problems times repeats: the
    run is then incomplete, and the same call asks again for what is missing.
    """
    rounds = [_round(completer.name, benchmark, problems, ask, params, repeat) for repeat in range(repeats)]
    asked = [one.asked for each in rounds for one in each]
    with ResponseStore(path) as store:
        on_done(len(store.find(asked)))
        for repeat, each in enumerate(rounds):
            _fill(store, completer, each, params.model_copy(update={"first_repeat": repeat}), on_done)
        return store.settle(asked)


class Grading(NamedTuple):
    """The grades of answers, and how many of them a judge was shown under each profile."""

    graded: list[Graded]
    n_shown: dict[str, int]


def grade_responses(
    one: Benchmark,
    problems: Sequence[Problem],
    responses: Sequence[Response],
    profiles: Sequence[Profile],
    context: GradingContext,
) -> Grading:
    """The grades of answers under each profile, in the order of the answers."""
    by_id = {problem.id: problem for problem in problems}
    asked = [one.vary(by_id[response.id], response.repeat) for response in responses]
    found = {profile: _scores(one, profile, asked, responses, context) for profile in profiles}
    graded = [
        Graded(
            id=response.id,
            repeat=response.repeat,
            reference=problem.reference,
            cluster=cluster_of(problem.meta),
            scores={profile: found[profile][0][place] for profile in profiles},
            meta={name: str(problem.meta[name]) for name in LABELS if name in problem.meta},
        )
        for place, (problem, response) in enumerate(zip(asked, responses, strict=True))
    ]
    return Grading(graded, {profile: n_shown for profile, (_, n_shown) in found.items()})


class _Question(NamedTuple):
    """One problem as it is put to the model in one repeat."""

    asked: Asked
    prompt: Prompt
    text: str


def _round(
    model: str, benchmark: Benchmark, problems: Sequence[Problem], ask: Ask, params: SamplingParams, repeat: int
) -> list[_Question]:
    questions = []
    for problem in problems:
        prompt = ask(benchmark.vary(problem, repeat))
        text = prompt.messages[-1].content if isinstance(prompt, Conversation) else str(prompt)
        key = response_key(model, prompt, params, repeat)
        questions.append(_Question(Asked(problem.id, repeat, key), prompt, text))
    return questions


def _fill(
    store: ResponseStore,
    completer: Completer,
    questions: Sequence[_Question],
    params: SamplingParams,
    on_done: OnDone,
) -> None:
    """Ask what is not in the store; of equal prompts all are asked if one is, so each keeps its random stream."""
    stands = store.find(one.asked for one in questions)
    groups: dict[str, list[_Question]] = defaultdict(list)
    for one in questions:
        groups[one.asked.key].append(one)
    open_keys = {key for key, group in groups.items() if any(one.asked not in stands for one in group)}
    wanted = [one for one in questions if one.asked.key in open_keys]

    failed: dict[int, str] = {}

    def done(place: int, completion: Completion) -> None:
        question = wanted[place]
        if completion.finish_reason == "error":
            failed[place] = completion.error
        elif question.asked not in stands:
            stands[question.asked] = _response(question, completion)
            store.append(stands[question.asked])
            on_done(1)

    if wanted:
        for place, completion in enumerate(completer.complete([one.prompt for one in wanted], params, done)):
            done(place, completion)
    if failed:
        place, why = next(iter(failed.items()))
        _log.warning("%d answers ended in an error; the first is %s (%s)", len(failed), wanted[place].asked.id, why)


def _response(question: _Question, completion: Completion) -> Response:
    return Response(
        id=question.asked.id,
        repeat=question.asked.repeat,
        key=question.asked.key,
        prompt=question.text,
        response=completion.text,
        finish_reason=completion.finish_reason,
        usage=completion.usage,
    )


def _scores(
    one: Benchmark,
    profile: Profile,
    asked: Sequence[Problem],
    responses: Sequence[Response],
    context: GradingContext,
) -> tuple[list[Score], int]:
    """The scores under one profile, and how many answers a judge was shown; what was never asked needs no grader."""
    graded = [place for place, one in enumerate(responses) if one.finish_reason != "context_exceeded"]
    answers = [(asked[place], responses[place].response) for place in graded]
    n_before = context.judge.n_shown if context.judge else 0
    found = grade_all(one, profile, answers, context)
    n_shown = context.judge.n_shown - n_before if context.judge else 0
    scores = [Score(value=0.0, explanation=TOO_LONG)] * len(responses)
    for place, score in zip(graded, found, strict=True):
        is_null = responses[place].finish_reason == "null"
        told = f"the endpoint sent no content; {score.explanation}" if is_null else score.explanation
        scores[place] = score.model_copy(update={"explanation": told})
    return scores, n_shown


def _try(
    completer: Completer,
    benchmark: Benchmark,
    form: Format,
    exemplars: Sequence[Problem],
    trials: Sequence[Problem],
    params: SamplingParams,
    shots: int,
    context: GradingContext,
) -> Trial:
    ask = ask_text(form, exemplars, shots)
    completions = completer.complete([ask(problem) for problem in trials], params)
    values = [
        grade(benchmark, "corrected", problem, completion.text, context).value or 0.0
        for problem, completion in zip(trials, completions, strict=True)
    ]
    fits = all(one.finish_reason != "context_exceeded" for one in completions)
    return Trial(form, shots, round(100 * estimate(values).mean, 4), fits)
