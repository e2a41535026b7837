"""A whole evaluation: benchmarks in turn, each asked, stored, graded under every profile and written down.

`OUT/<model>/<benchmark>/` holds `responses.jsonl`, `graded.jsonl` and `asked.json` (how it was asked);
`OUT/scores.json` is {model: {benchmark: {profile: row}}} and is written after every benchmark, so a run that ends
early leaves what it has. `grade_file` does the second half alone, for answers from anywhere.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.completion import Completer, SamplingParams, Usage
from phidelity.config import UserError
from phidelity.eval.benchmark import PROFILES, Benchmark, GradingContext, Profile, Texts, check_wording
from phidelity.eval.evaluate import ask_official, choose, grade_responses, respond
from phidelity.eval.folder import departures, load
from phidelity.eval.store import Response, read_scores, write_graded
from phidelity.eval.summary import Answers, summarise
from phidelity.progress import SILENT, Progress
from phidelity.records import Problem, whole_characters, write_json

Rows = dict[str, dict[str, Any]]
"""Benchmark -> profile -> row."""


MOST_REPEATS = 1_000_000
"""Answers to one problem are numbered below this (*ours*)."""


class Setting(NamedTuple):
    """How benchmarks are asked; None leaves it to the benchmark."""

    limit: int | None = None
    repeats: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int = 0
    texts: Texts | None = None
    """The official words to ask in; None asks in ours."""


def evaluate_model(
    completer: Completer,
    benchmarks: Sequence[Benchmark],
    data: Path,
    setting: Setting,
    context: GradingContext,
    out: Path,
    model: str,
    progress: Progress = SILENT,
) -> Rows:
    """Ask, grade and score; every file is under `out`. Missing data is found before anything is asked."""
    loaded = [(one, load(one, data)) for one in benchmarks]
    for one, _ in loaded:
        check_wording(one, setting.texts)
    rows: Rows = {}
    for one, whole in loaded:
        folder, problems = out / model / one.name, choose(whole, setting.limit)
        unlike = departures(one, data, len(whole))
        rows[one.name] = _evaluate(completer, one, problems, setting, context, folder, unlike, progress)
        publish(out / "scores.json", model, one.name, rows[one.name])
    return rows


def grade_file(one: Benchmark, data: Path, path: Path, context: GradingContext) -> dict[str, Any]:
    """Grade answers that stand in a file, without a model: {profile: row}. `absent` counts problems without one."""
    problems = {problem.id: problem for problem in load(one, data)}
    responses = read_responses(path)
    if unknown := [response.id for response in responses if response.id not in problems]:
        raise UserError(
            f"{path} answers {unknown[0]!r}, which {one.title} has not (and {len(unknown) - 1} more); expected ids "
            f"such as {next(iter(problems))!r}. Is it the right benchmark, and the whole data file?"
        )
    answered = {response.id for response in responses}
    kept = [problem for name, problem in problems.items() if name in answered]
    repeats = max(Counter(response.id for response in responses).values())
    whole = [response for response in responses if response.finish_reason != "error"]
    grading = grade_responses(one, kept, whole, profiles_of(one), context)
    answers = Answers(kept, whole, grading.graded, repeats, missing=len(responses) - len(whole))
    absent = {"absent": len(problems) - len(kept), "departures": departures(one, data, len(problems))}
    return {
        profile: summarise(one, profile, answers, n_shown=grading.n_shown[profile]) | absent
        for profile in profiles_of(one)
    }


def read_responses(path: Path) -> list[Response]:
    """Lines with `id`, `response` and optionally `repeat`; a null response is one without content."""
    responses: dict[tuple[str, int], Response] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise UserError(f"No file {path}; expected JSON lines with id and response.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            response = _bare(path, number, line)
            if (response.id, response.repeat) in responses:
                raise UserError(
                    f"{path}, line {number}: {response.id!r} is answered twice in repeat {response.repeat}; expected "
                    "each once. Number further answers by `repeat`."
                )
            responses[response.id, response.repeat] = response
    if not responses:
        raise UserError(f"{path} is empty; expected JSON lines with id and response.")
    return list(responses.values())


def profiles_of(one: Benchmark) -> tuple[Profile, ...]:
    """The profiles that a benchmark has, in the order of every table."""
    return tuple(profile for profile in PROFILES if profile in one.graders)


def publish(path: Path, model: str, name: str, row: Mapping[str, Any]) -> None:
    """Put one row into scores.json, beside what other models and benchmarks have there."""
    scores = read_scores(path) if path.is_file() else {}
    scores.setdefault(model, {})[name] = dict(row)
    write_json(path, scores)


def folder_name(name: str) -> str:
    """A model's name as a folder's: without slashes and what shells mind."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model"


def withheld(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why scores are not given, one line each."""
    return [
        f"{name} ({profile}): {row['withheld']}"
        for name, profiles in rows.items()
        for profile, row in profiles.items()
        if "withheld" in row
    ]


def _evaluate(
    completer: Completer,
    one: Benchmark,
    problems: Sequence[Problem],
    setting: Setting,
    context: GradingContext,
    folder: Path,
    unlike: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    repeats = setting.repeats or one.repeats
    params = SamplingParams(
        temperature=one.temperature if setting.temperature is None else setting.temperature,
        max_tokens=setting.max_tokens or one.max_tokens,
        seed=setting.seed,
        stop=one.stop,
    )
    is_official = setting.texts is not None and one.official is not None
    asked = {
        "model": completer.name,
        "benchmark": one.title,
        "wording": "official" if is_official else "own",
        "params": params.model_dump(mode="json"),
        "repeats": repeats,
        "problems": len(problems),
        "source": one.source,
        "deviations": one.deviations,
        "departures": list(unlike),
    }
    write_json(folder / "asked.json", asked)
    ask = ask_official(one, setting.texts)
    with progress.task(f"{one.title}: answers", len(problems) * repeats, "answers") as task:
        responses = respond(
            completer, one, problems, ask, params, folder / "responses.jsonl", task.advance, repeats=repeats
        )
    with progress.task(f"{one.title}: grades", None, ""):
        grading = grade_responses(one, problems, responses, profiles_of(one), context)
    write_graded(folder, grading.graded)
    answers = Answers(problems, responses, grading.graded, repeats)
    told = {
        "departures": list(unlike),
        "wording": asked["wording"],
        "repeats": repeats,
        "temperature": params.temperature,
    }
    return {
        profile: summarise(one, profile, answers, n_shown=grading.n_shown[profile]) | told
        for profile in profiles_of(one)
    }


def _bare(path: Path, number: int, line: bytes) -> Response:
    try:
        row = json.loads(line)
        text, reason = row["response"], str(row.get("finish_reason", "stop"))
        repeat = row.get("repeat", 0)
        if not isinstance(text, str | None) or not isinstance(row["id"], str | int) or isinstance(row["id"], bool):
            raise TypeError("id must be a text or a number, response a text")
        if type(repeat) is not int or not 0 <= repeat < MOST_REPEATS:
            raise TypeError(f"repeat must be a whole number from 0 to {MOST_REPEATS - 1}")
        return Response(
            id=str(row["id"]),
            repeat=repeat,
            prompt=whole_characters(str(row.get("prompt", ""))),
            response=whole_characters(text or ""),
            finish_reason="null" if text is None else reason,
            usage=Usage.model_validate(row.get("usage") or {"prompt_tokens": 0, "completion_tokens": 0}),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        shown, why = line[:80].decode("utf-8", "replace"), " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}, line {number}: found {shown!r} ({type(error).__name__}: {why}); expected a JSON object with "
            "id, response and optionally repeat, in UTF-8. Mend that line."
        ) from None
