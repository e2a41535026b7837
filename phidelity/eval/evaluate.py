"""Put a benchmark's problems to a Completer, store the answers, and score them with their errors.

A chat model gets the user's message; a base model gets examples as plain text (`few_shot`). Scores are per cent
with standard errors (clustered where problems share a passage or an item) and 95 % intervals, and each
stratum of novelty stands apart. What could not be decided is counted, not scored; an answer that never
came because the prompt was too long is wrong, and counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.completion import Completer, Completion, Prompt, SamplingParams
from phidelity.eval import few_shot
from phidelity.eval.benchmark import Benchmark, GradingContext, grade
from phidelity.eval.few_shot import Format
from phidelity.eval.store import Response, append, resume
from phidelity.records import Conversation, Message, Problem, Score
from phidelity.statistics import Z95, estimate

Ask = Callable[[Problem], Prompt]
OnDone = Callable[[int], None]


class Setting(NamedTuple):
    """How answers are sampled, stored and graded."""

    params: SamplingParams
    chunk: int = 64
    allow_code: bool = False


class Trial(NamedTuple):
    """A prompt format for a base model and its score on development problems, in per cent."""

    form: Format
    shots: int
    score: float
    fits: bool
    """Whether every prompt was within the context."""


def ask_chat(problem: Problem) -> Conversation:
    """The problem as a chat of one message."""
    return Conversation(id=problem.id, messages=(Message(role="user", content=problem.prompt),))


def ask_text(form: Format, exemplars: Sequence[Problem], shots: int) -> Ask:
    """The problem after at most `shots` solved examples; those of its own language where there are any."""

    def ask(problem: Problem) -> str:
        language = problem.meta.get("language", "en")
        own = [one for one in exemplars if one.meta.get("language", "en") == language]
        return few_shot.render(form, (own or exemplars)[:shots], problem)

    return ask


def try_formats(
    completer: Completer,
    benchmark: Benchmark,
    exemplars: Sequence[Problem],
    trials: Sequence[Problem],
    setting: Setting,
    shots: int,
) -> list[Trial]:
    """Score each format on development problems; the best comes first, the bare one wins ties.

    Examples are left out, one at a time, until the trials fit into the context.
    """
    tried = [_try(completer, benchmark, form, exemplars, trials, setting, shots) for form in few_shot.FORMATS]
    if shots and not all(trial.fits for trial in tried):
        return try_formats(completer, benchmark, exemplars, trials, setting, shots - 1)
    return sorted(tried, key=lambda trial: -trial.score)


def respond(
    completer: Completer,
    benchmark: Benchmark,
    problems: Sequence[Problem],
    ask: Ask,
    setting: Setting,
    path: Path,
    on_done: OnDone = lambda n: None,
) -> list[Response]:
    """Answers to all problems, those in `path` first; every finished chunk is appended to it."""
    prompts = [ask(problem) for problem in problems]
    texts = [prompt.messages[-1].content if isinstance(prompt, Conversation) else str(prompt) for prompt in prompts]
    asked = list(zip((problem.id for problem in problems), texts, strict=True))
    responses = resume(path, asked, setting.chunk)
    on_done(len(responses))
    for start in range(len(responses), len(problems), setting.chunk):
        part = slice(start, start + setting.chunk)
        completions = completer.complete(prompts[part], setting.params, lambda *_: on_done(1))
        rows = zip(problems[part], texts[part], completions, strict=True)
        chunk = [_response(benchmark, problem, text, one, setting.allow_code) for problem, text, one in rows]
        append(path, chunk)
        responses += chunk
    return responses


def summarise(
    benchmark: Benchmark, problems: Sequence[Problem], responses: Sequence[Response], strata: Mapping[str, str]
) -> dict[str, Any]:
    """The scores of one benchmark in per cent: over all, by stratum, and the counts that explain them."""
    rows = list(zip(problems, responses, strict=True))
    named = {name: [row for row in rows if strata.get(row[0].id) == name] for name in sorted(set(strata.values()))}
    reasons = Counter(response.finish_reason for response in responses)
    return {
        **_scores(rows),
        "strata": {name: _scores(part) for name, part in named.items() if part},
        "chance": _percent(benchmark.chance),
        "undetermined": sum(response.score is None for response in responses),
        "context_exceeded": reasons["context_exceeded"],
        "cut_off": reasons["length"],
        **(_attempts(responses) if benchmark.name == "simpleqa" else {}),
    }


def expected(benchmark: Benchmark, n: int) -> dict[str, Any]:
    """What answering at random is expected to score, with the error of `n` such answers."""
    share = benchmark.chance
    stderr = (share * (1 - share) / n) ** 0.5
    low, high = max(0.0, share - Z95 * stderr), share + Z95 * stderr
    return {"score": _percent(share), "stderr": _percent(stderr), "n": n, "interval": [_percent(low), _percent(high)]}


def _try(
    completer: Completer,
    benchmark: Benchmark,
    form: Format,
    exemplars: Sequence[Problem],
    trials: Sequence[Problem],
    setting: Setting,
    shots: int,
) -> Trial:
    ask = ask_text(form, exemplars, shots)
    completions = completer.complete([ask(problem) for problem in trials], setting.params)
    pairs = zip(trials, completions, strict=True)
    values = [_grade(benchmark, problem, one, setting.allow_code).value or 0.0 for problem, one in pairs]
    fits = all(one.finish_reason != "context_exceeded" for one in completions)
    return Trial(form, shots, _percent(estimate(values).mean), fits)


def _response(benchmark: Benchmark, problem: Problem, text: str, completion: Completion, allow_code: bool) -> Response:
    score = _grade(benchmark, problem, completion, allow_code)
    return Response(
        id=problem.id,
        prompt=text,
        response=completion.text,
        finish_reason=completion.finish_reason,
        usage=completion.usage,
        score=score.value,
        extracted=score.extracted,
        explanation=score.explanation,
    )


def _grade(benchmark: Benchmark, problem: Problem, completion: Completion, allow_code: bool) -> Score:
    if completion.finish_reason == "error":
        return Score(value=None, explanation="undetermined: the endpoint failed")
    if completion.finish_reason == "context_exceeded":
        return Score(value=0.0, explanation="the prompt is longer than the context")
    return grade(benchmark, "corrected", problem, completion.text, GradingContext(allow_code=allow_code))


def _scores(rows: Sequence[tuple[Problem, Response]]) -> dict[str, Any]:
    """Score, standard error, number and interval over the decided answers; no score without any."""
    decided = [(problem, response.score) for problem, response in rows if response.score is not None]
    if not decided:
        return {"score": None, "stderr": None, "n": 0, "interval": None}
    shared = any("cluster" in problem.meta for problem, _ in decided)
    clusters = [problem.meta.get("cluster", problem.id) for problem, _ in decided] if shared else None
    found = estimate([score for _, score in decided], clusters)
    interval = [_percent(found.low), _percent(found.high)]
    return {"score": _percent(found.mean), "stderr": _percent(found.stderr), "n": found.n, "interval": interval}


def _attempts(responses: Sequence[Response]) -> dict[str, float]:
    """SimpleQA's shares, and F1: the harmonic mean of the share correct and the share correct of what was attempted."""
    counts = Counter(response.explanation for response in responses)
    n, attempted = len(responses), counts["correct"] + counts["incorrect"]
    return {
        "correct": _percent(counts["correct"] / n),
        "incorrect": _percent(counts["incorrect"] / n),
        "not_attempted": _percent(1 - attempted / n),
        "f1": _percent(2 * counts["correct"] / (n + attempted)),
    }


def _percent(share: float) -> float:
    return round(100 * share, 4)
