"""Stage `evaluate`: every model of the run on the miniature benchmarks, in one table with errors.

Base models are asked by few-shot plain text in the better of two formats (chosen on development problems), the
others by chat. Two rows are no models: `random`, what chance gives, and `commonest answer`, the training split's
most frequent answer given to every question. Writes `<model>/<benchmark>/responses.jsonl` answer by answer,
`graded.jsonl` beside it, and `scores.json` as {model: {benchmark: {"corrected": {...}}}}, scores in per cent. The
miniatures are asked in our words, so only the corrected profile means anything here. Texts that the corpus kept apart
are scored besides: `texts.json` and `<model>/texts/`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, field_validator

from phidelity.completion import Completer, SamplingParams, Usage
from phidelity.config import Config, UserError
from phidelity.eval import few_shot
from phidelity.eval.benchmark import Benchmark, GradingContext
from phidelity.eval.evaluate import Ask, ask_chat, ask_text, grade_responses, respond, try_formats
from phidelity.eval.store import Response, write_graded
from phidelity.eval.suite import BENCHMARKS, MINIATURE, benchmark
from phidelity.eval.summary import Answers, expected, summarise
from phidelity.grading.code import isolation
from phidelity.pipeline.held_out import held_out_texts, score_texts
from phidelity.problems.families import BENCHMARK, assistant_message, item, problem
from phidelity.progress import SILENT, Progress
from phidelity.records import Problem, read_records, write_json

Summary = dict[str, Any]

TEXTS, LAST = "texts", "last"
N_COMMONEST = 300
"""Training problems of each family that are counted for the commonest answer (*ours*)."""


class EvaluateConfig(Config):
    """Which models are asked what, and how."""

    benchmarks: tuple[str, ...] = tuple(one.name for one in BENCHMARKS)
    """Names of the benchmarks."""
    models: tuple[str, ...] = ()
    """Stages whose models are evaluated, or `last` for that of the nearest stage before; none named means all."""
    base: tuple[str, ...] = ("base", "pretrain", "midtrain")
    """Models that know no chat and are asked by examples in plain text."""
    allow_code: bool = False
    """Whether programs in answers may run, in the sandbox; without it HumanEval is undetermined."""
    max_tokens: int = Field(default=192, ge=1)
    """Most tokens of an answer."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy; the phi-4 report used 0.5 (§5)."""
    few_shot: int = Field(default=2, ge=0)
    """Solved examples that a base model sees."""
    trials: int = Field(default=8, ge=1)
    """Development problems per benchmark on which a base model's prompt format is chosen."""

    @field_validator("benchmarks")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [one.name for one in MINIATURE]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"no benchmark {', '.join(unknown)}; expected some of {', '.join(known)}")
        return names


class _Files(NamedTuple):
    """What the stage `benchmarks` left."""

    problems: dict[str, list[Problem]]
    strata: dict[str, dict[str, str]]
    development: list[Problem]


def evaluate(
    config: EvaluateConfig,
    *,
    benchmarks: Path,
    models: Mapping[str, Path],
    open_model: Callable[[Path], Completer],
    seed: int,
    out: Path,
    corpus: Path | None = None,
    progress: Progress = SILENT,
) -> Summary:
    """Ask every model every problem, and score held-out texts of the corpus; write responses and scores.json."""
    files, texts, models = _read(config, benchmarks), held_out_texts(corpus, seed), _with_last(config, models)
    predicted: dict[str, dict[str, Any]] = {}
    scores = {"random": _chance(files), "commonest answer": _commonest(files, seed)}
    done: dict[tuple[str, bool], str] = {}
    for name in _chosen(config, models):
        completer = open_model(models[name])
        twin = done.setdefault((completer.name, name in config.base), name)
        if twin != name:
            shutil.copytree(out / twin, out / name, dirs_exist_ok=True)
        scores[name] = _evaluate_model(config, name, completer, files, seed, out / name, progress)
        predicted[name] = score_texts(completer, models[name], texts, out / name / TEXTS)
    write_json(out / "scores.json", scores)
    if texts:
        write_json(out / "texts.json", predicted)
    return _summary(config, scores) | {
        f"{model}/{TEXTS}/{source}": row["bits_per_byte"]
        for model, rows in predicted.items()
        for source, row in rows.items()
    }


def _read(config: EvaluateConfig, folder: Path) -> _Files:
    strata_file = folder / "strata.json"
    if not strata_file.is_file():
        raise UserError(f"No file {strata_file}; expected what the stage `benchmarks` writes. Run it first.")
    problems = {name: benchmark(name).load(folder) for name in config.benchmarks}
    development = list(read_records(folder / "development.jsonl", Problem))
    return _Files(problems, json.loads(strata_file.read_text(encoding="utf-8")), development)


def _with_last(config: EvaluateConfig, models: Mapping[str, Path]) -> Mapping[str, Path]:
    """The models, the last of them by that name too where it is asked for: a study compares roads of unlike ends."""
    return {**models, LAST: list(models.values())[-1]} if LAST in config.models else models


def _chosen(config: EvaluateConfig, models: Mapping[str, Path]) -> list[str]:
    if unknown := [name for name in config.models if name not in models]:
        raise UserError(
            f"evaluate.models names {', '.join(unknown)}, which made no model; expected some of {', '.join(models)}."
        )
    return [name for name in models if not config.models or name in config.models]


def _evaluate_model(
    config: EvaluateConfig, name: str, completer: Completer, files: _Files, seed: int, out: Path, progress: Progress
) -> dict[str, Any]:
    """The scores of one model on all benchmarks."""
    scores: dict[str, Any] = {}
    with progress.task(f"evaluate {name}", sum(map(len, files.problems.values())), "problems") as task:
        for one, problems in ((benchmark(each), problems) for each, problems in files.problems.items()):
            params = _params(config, one, seed, stop=(few_shot.STOP,) if name in config.base else ())
            ask, told = ask_chat, {}
            if name in config.base:
                ask, told = _few_shot(config, completer, one, files, params, seed, out / one.name)
            path = out / one.name / "responses.jsonl"
            responses = respond(completer, one, problems, ask, params, path, task.advance)
            grading = grade_responses(one, problems, responses, ("corrected",), GradingContext(config.allow_code))
            write_graded(out / one.name, grading.graded)
            answers = Answers(problems, responses, grading.graded)
            strata = files.strata.get(one.name, {})
            scores[one.name] = {"corrected": summarise(one, "corrected", answers, strata) | told}
    return scores


def _params(config: EvaluateConfig, one: Benchmark, seed: int, stop: tuple[str, ...]) -> SamplingParams:
    max_tokens = min(config.max_tokens, one.max_tokens)
    return SamplingParams(temperature=config.temperature, max_tokens=max_tokens, seed=seed, stop=stop)


def _few_shot(
    config: EvaluateConfig,
    completer: Completer,
    one: Benchmark,
    files: _Files,
    params: SamplingParams,
    seed: int,
    out: Path,
) -> tuple[Ask, dict[str, Any]]:
    """How a base model is asked: in the format that stands in formats.json, or that does better now."""
    exemplars = _exemplars(one.name, seed, config.few_shot)
    path = out / "formats.json"
    if not path.exists():
        development = [problem for problem in files.development if problem.meta.get("benchmark") == one.name]
        trials = few_shot.in_turn(development, config.trials)
        context = GradingContext(config.allow_code)
        tried = try_formats(completer, one, exemplars, trials, params, config.few_shot, context)
        write_json(path, [trial._asdict() for trial in tried])
    best = json.loads(path.read_text(encoding="utf-8"))[0]
    return ask_text(best["form"], exemplars, best["shots"]), {"format": best["form"], "few_shot": best["shots"]}


def _exemplars(name: str, seed: int, n: int) -> list[Problem]:
    """Training problems with their solutions, `n` in each language, the families taking turns."""
    drawn = [item(family, "train", seed, index) for family in _families(name) for index in range(n)]
    solved = [
        made.model_copy(update={"meta": made.meta | {"solution": assistant_message(one)}})
        for one, made in ((one, problem(one)) for one in drawn)
    ]
    languages = sorted({one.meta["language"] for one in solved})
    own = [[one for one in solved if one.meta["language"] == language] for language in languages]
    return [one for problems in own for one in few_shot.in_turn(problems, n)]


def _chance(files: _Files) -> dict[str, Any]:
    return {name: {"corrected": expected(benchmark(name), len(problems))} for name, problems in files.problems.items()}


def _commonest(files: _Files, seed: int) -> dict[str, Any]:
    """Scores of giving the training split's commonest answer to all problems; programs have none."""
    rows = {}
    for name, problems in files.problems.items():
        if any(problem.checker == "code" for problem in problems):
            continue
        answer = _commonest_answer(name, seed)
        said = answer if name == "simpleqa" else f"Answer: {answer}"
        responses = [_said(problem, said) for problem in problems]
        grading = grade_responses(benchmark(name), problems, responses, ("corrected",), GradingContext())
        answers = Answers(problems, responses, grading.graded)
        row = summarise(benchmark(name), "corrected", answers, files.strata.get(name, {}))
        rows[name] = {"corrected": row | {"answer": answer}}
    return rows


def _commonest_answer(name: str, seed: int) -> str:
    """The most frequent reference of the training split; of equally frequent ones the first in order."""
    drawn = (item(family, "train", seed, index) for family in _families(name) for index in range(N_COMMONEST))
    counts = Counter(one.answer for one in drawn)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def _families(name: str) -> list[str]:
    return [family for family, stands_for in BENCHMARK.items() if stands_for == name]


def _said(problem: Problem, text: str) -> Response:
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    return Response(id=problem.id, prompt=problem.prompt, response=text, finish_reason="stop", usage=usage)


def _summary(config: EvaluateConfig, scores: Mapping[str, Mapping[str, Any]]) -> Summary:
    """Score of each model on each benchmark, what was not attempted or wrong, and what isolated the programs."""
    numbers = {
        f"{model}/{name}": row["corrected"]["score"] for model, rows in scores.items() for name, row in rows.items()
    }
    numbers |= {
        f"{model}/{name}/{key}": row["corrected"][key]
        for model, rows in scores.items()
        for name, row in rows.items()
        for key in ("not_attempted", "incorrect")
        if key in row["corrected"]
    }
    return numbers | {"isolation": isolation() if config.allow_code else "code was not run"}
