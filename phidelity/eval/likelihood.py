"""What a base model knows without being asked to talk: bits per byte, and multiple choice by log-probability.

A choice is the continuation of the question that the model finds most probable: raw (`sum`), per byte of the
continuation (`per_byte`, which does not favour short options), and the letter after a list of options (`letter`, the
form of MMLU's authors). Ties go to the first option. A text is scored token by token given all before it; its first
token is not counted, neither are the bytes of that token. Works with any Completer that scores prompts.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from phidelity.completion import Completer
from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.evaluate import TOO_LONG, choose
from phidelity.eval.folder import load
from phidelity.eval.run import publish
from phidelity.eval.store import Graded, cluster_of, write_graded
from phidelity.eval.summary import scored
from phidelity.progress import SILENT, Progress
from phidelity.records import Problem, Score, write_json

BATCH = 64
"""Problems whose options are scored in one call (*ours*)."""
METHODS = ("letter", "per_byte", "sum")
LETTERS = "ABCDEFGHIJ"


class Encodes(Protocol):
    """What turns text into the ids that a Completer scores."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        ...


class BitsPerByte(NamedTuple):
    """How well texts are predicted; the error is over texts."""

    bits_per_byte: float
    stderr: float
    bits_per_token: float
    n_texts: int
    n_tokens: int
    n_bytes: int


def bits_per_byte(completer: Completer, tokenizer: Encodes, texts: Sequence[str]) -> BitsPerByte:
    """Bits per byte over whole texts; those of one token or none say nothing and are left out."""
    ids = [tuple(tokenizer.encode(text)) for text in texts]
    kept = [one for one in ids if len(one) > 1]
    if not kept:
        raise UserError("No text of two tokens or more was given; expected some to score.")
    rows = completer.logprobs(kept)
    bits = [-sum(row) / math.log(2) for row in rows]
    sizes = [len(tokenizer.decode(one[1:]).encode()) for one in kept]
    total, n_bytes, n_tokens = sum(bits), sum(sizes), sum(len(one) - 1 for one in kept)
    ratio = total / n_bytes
    spread = [(b - ratio * size) ** 2 for b, size in zip(bits, sizes, strict=True)]
    n = len(kept)
    stderr = math.sqrt(n / (n - 1) * sum(spread)) / n_bytes if n > 1 else 0.0
    return BitsPerByte(ratio, stderr, total / n_tokens, n, n_tokens, n_bytes)


def continuation_logprobs(completer: Completer, tokenizer: Encodes, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """For each (context, continuation) the log-probability of the continuation.

    Both are encoded together; the continuation is what follows the ids that it shares with the context alone.
    """
    spans = [_span(tokenizer, context, continuation) for context, continuation in pairs]
    rows = completer.logprobs([ids for ids, _ in spans])
    return [sum(row[start - 1 :]) for row, (_, start) in zip(rows, spans, strict=True)]


def choice_scores(
    completer: Completer, tokenizer: Encodes, problems: Sequence[Problem]
) -> list[dict[str, list[float]]]:
    """For each problem and method a number per option; the largest is the choice."""
    pairs: list[tuple[str, str]] = []
    for problem in problems:
        options = options_of(problem)
        listed = _listed(problem)
        pairs += [(listed, f" {LETTERS[place]}") for place in range(len(options))]
        pairs += [(_bare(problem), f" {option}") for option in options]
    found = continuation_logprobs(completer, tokenizer, pairs)
    result, at = [], 0
    for problem in problems:
        options = options_of(problem)
        n = len(options)
        letters, texts = found[at : at + n], found[at + n : at + 2 * n]
        at += 2 * n
        sizes = [len(f" {option}".encode()) for option in options]
        per_byte = [value / size for value, size in zip(texts, sizes, strict=True)]
        result.append({"letter": letters, "per_byte": per_byte, "sum": texts})
    return result


def evaluate_model(
    completer: Any,
    benchmarks: Sequence[Benchmark],
    data: Path,
    limit: int | None,
    out: Path,
    model: str,
    progress: Progress = SILENT,
) -> dict[str, dict[str, Any]]:
    """Benchmarks with options, by each method; files as in `run.evaluate_model`, under `<benchmark>-likelihood`."""
    tokenizer = _tokenizer(completer)
    rows: dict[str, dict[str, Any]] = {}
    for one in benchmarks:
        problems = choose(load(one, data), limit)
        if not all("options" in problem.meta for problem in problems):
            raise UserError(f"{one.title} has no options to choose from; --likelihood is for MMLU, GPQA and MMLU-Pro.")
        name = f"{one.name}-likelihood"
        with progress.task(f"{one.title}: options", len(problems), "problems") as task:
            graded = _grade(completer, tokenizer, problems, task.advance)
        write_graded(out / model / name, graded)
        write_json(out / model / name / "asked.json", {"model": completer.name, "methods": METHODS})
        n_long = sum(one.scores[METHODS[0]].explanation == TOO_LONG for one in graded)
        told = {"chance": 100 * one.chance, "context_exceeded": n_long}
        rows[name] = {method: scored(graded, method) | told for method in METHODS}
        publish(out / "scores.json", model, name, rows[name])
    return rows


def options_of(problem: Problem) -> list[str]:
    """The options of a problem of multiple choice."""
    return list(problem.meta["options"])


def _grade(
    completer: Any, tokenizer: Encodes, problems: Sequence[Problem], on_done: Callable[[int], None]
) -> list[Graded]:
    """The grades of all problems; one that does not fit into the context is wrong under every method."""
    room = getattr(completer, "context_len", None)
    graded = []
    for start in range(0, len(problems), BATCH):
        part = problems[start : start + BATCH]
        fitting = [one for one in part if room is None or _length(tokenizer, one) <= room]
        scores = iter(choice_scores(completer, tokenizer, fitting))
        for problem in part:
            fits = any(problem is one for one in fitting)
            by_method = {
                name: _score(problem, values)
                for name, values in (next(scores) if fits else dict.fromkeys(METHODS, ())).items()
            }
            cluster = cluster_of(problem.meta)
            graded.append(Graded(id=problem.id, reference=problem.reference, cluster=cluster, scores=by_method))
        on_done(len(part))
    return graded


def _length(tokenizer: Encodes, problem: Problem) -> int:
    """Tokens of the longest text that is scored for a problem."""
    texts = [_listed(problem) + " A", *(f"{_bare(problem)} {option}" for option in options_of(problem))]
    return max(len(tokenizer.encode(text)) for text in texts)


def _score(problem: Problem, values: Sequence[float]) -> Score:
    if not values:
        return Score(value=0.0, explanation=TOO_LONG)
    chosen = LETTERS[max(range(len(values)), key=values.__getitem__)]
    told = ", ".join(f"{letter} {value:.3f}" for letter, value in zip(LETTERS, values, strict=False))
    return Score(value=float(chosen == problem.reference), extracted=chosen, explanation=told)


def _listed(problem: Problem) -> str:
    """The question with its options, up to the letter."""
    lines = [f"{LETTERS[place]}. {option}" for place, option in enumerate(options_of(problem))]
    return "\n".join([str(problem.meta["question"]), *lines, "Answer:"])


def _bare(problem: Problem) -> str:
    """The question alone, up to the answer."""
    return f"Question: {problem.meta['question']}\nAnswer:"


def _span(tokenizer: Encodes, context: str, continuation: str) -> tuple[tuple[int, ...], int]:
    """The ids of both and where the continuation begins: at least after one token, at most before the last."""
    before, whole = tokenizer.encode(context), tokenizer.encode(context + continuation)
    shared = 0
    while shared < min(len(before), len(whole) - 1) and before[shared] == whole[shared]:
        shared += 1
    return tuple(whole), max(shared, 1)


def _tokenizer(completer: Any) -> Encodes:
    tokenizer = getattr(completer, "tokenizer", None)
    if tokenizer is None:
        raise UserError(
            "Scoring by likelihood needs the model's own tokenizer; an endpoint does not give one. Use --model MODEL."
        )
    return tokenizer
