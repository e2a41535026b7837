"""How good a model is: evaluate, grade again, compare two evaluations, import the official prompts."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, FILE, json_option
from phidelity.config import UserError

data_option = click.option(
    "--data", type=ANY, default="data", show_default=True, help="Folder with the official files, by benchmark."
)
judge_options = (
    click.option("--judge", metavar="URL|MODEL", help="Who decides what rules cannot."),
    click.option("--judge-name", metavar="NAME", help="The judge's model name, where --judge is a URL."),
    click.option("--judge-key-env", metavar="NAME", help="Environment variable that holds the judge's key."),
    click.option("--allow-code", is_flag=True, help="Run programs in answers, in the sandbox."),
)
wording_option = click.option(
    "--profile",
    type=click.Choice(["parity", "corrected"]),
    help="Ask in the official words (parity) or in ours; graded under every profile either way.",
)
profile_option = click.option("--profile", metavar="NAME", help="Print this profile alone: corrected, parity, ...")


def _with(options: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command("eval")
@click.argument("benchmarks", metavar="BENCHMARK[,...]")
@click.option("--model", type=ANY, help="MODEL to evaluate.")
@click.option("--url", help="OpenAI-style endpoint to evaluate, such as http://localhost:8000/v1.")
@click.option("--model-name", metavar="NAME", help="The endpoint's name of the model.")
@click.option("--key-env", metavar="NAME", help="Environment variable that holds the endpoint's key.")
@data_option
@wording_option
@_with(judge_options)
@click.option("--limit", type=click.IntRange(min=1), help="Ask only so many problems, the same ones each time.")
@click.option("--repeats", type=click.IntRange(min=1), help="Answers per problem [default: the benchmark's own].")
@click.option("--temperature", type=click.FloatRange(min=0), help="0 is greedy [default: the benchmark's own].")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer [default: the benchmark's own].")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--parallel", type=click.IntRange(min=1), default=64, show_default=True, help="Requests under way.")
@click.option("--per-minute", type=click.FloatRange(min=0, min_open=True), help="Most requests a minute.")
@click.option("--tokens-per-minute", type=click.FloatRange(min=0, min_open=True), help="Most tokens a minute.")
@click.option("--price", type=(float, float), default=(0.0, 0.0), help="Per million tokens read and written.")
@click.option("--likelihood", is_flag=True, help="Score options by log-probability, for base models.")
@click.option("--out", type=ANY, required=True, help="Folder for responses, grades, scores.json and index.html.")
@json_option
def evaluate(benchmarks: str, out: Path, as_json: bool, **options: Any) -> None:
    """Ask a model the problems of BENCHMARK and score its answers under every profile."""
    if (options["model"] is None) == (options["url"] is None):
        raise click.UsageError("Give either --model MODEL or --url URL.")
    if options["url"] and not options["model_name"]:
        raise click.UsageError("--url URL needs --model-name NAME, the model that the endpoint is asked for.")
    from phidelity.eval import likelihood
    from phidelity.eval.pages import write_run_page
    from phidelity.eval.run import Setting, evaluate_model, folder_name, withheld

    _benchmarks(benchmarks)
    completer, model = _model(options, out)
    chosen = _benchmarks(benchmarks, completer=completer)
    context = _context(options, out)
    texts = _texts(options["data"]) if options["profile"] == "parity" else None
    taken = ("limit", "repeats", "temperature", "max_tokens", "seed")
    setting = Setting(**{name: options[name] for name in taken}, texts=texts)
    data, name = options["data"], folder_name(model)
    try:
        with terminal.watching(sys.stderr) as progress:
            if options["likelihood"]:
                rows = likelihood.evaluate_model(completer, chosen, data, options["limit"], out, name, progress)
            else:
                rows = evaluate_model(completer, chosen, data, setting, context, out, name, progress)
            write_run_page(out)
    except KeyboardInterrupt:
        raise UserError("Stopped. No answer is lost: the same command goes on where it stood.") from None
    _report({"model": model, "benchmarks": rows, "traffic": _traffic(completer)}, rows, as_json)
    if not as_json:
        click.echo(f"\nAnswers and grades: {out / 'index.html'}")
    if why := withheld(rows):
        raise UserError("No score is given for " + "; ".join(why) + ". The same command asks for what is missing.")


@click.command()
@click.argument("benchmark")
@click.option("--responses", type=FILE, required=True, help="JSON lines with `id`, `response`, optionally `repeat`.")
@data_option
@profile_option
@_with(judge_options)
@json_option
def grade(benchmark: str, responses: Path, profile: str | None, as_json: bool, **options: Any) -> None:
    """Grade answers that stand in a file; needs no model."""
    from phidelity.eval.run import grade_file, withheld

    (one,) = _benchmarks(benchmark, only_one=True)
    row = grade_file(one, options["data"], responses, _context(options, responses.parent))
    if profile:
        if profile not in row:
            raise UserError(f"{one.title} has no profile {profile}; expected one of {', '.join(row)}. Leave it out.")
        row = {profile: row[profile]}
    if as_json:
        click.echo(json.dumps(row))
    else:
        _report({}, {one.name: row}, as_json)
    if why := withheld({one.name: row}):
        raise UserError("No score is given for " + "; ".join(why) + ".")


@click.command()
@click.argument("before", type=ANY)
@click.argument("after", type=ANY)
@click.option("--page", type=FILE, help="Write both runs' answers side by side as one HTML file.")
@json_option
def compare(before: Path, after: Path, page: Path | None, as_json: bool) -> None:
    """What changed from one evaluation to another, problem by problem."""
    from phidelity.eval.compare import compare_runs
    from phidelity.eval.pages import write_comparison_page
    from phidelity.eval.tables import difference_lines

    found = compare_runs(before, after)
    if page:
        write_comparison_page(before, after, page)
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in difference_lines(found):
        click.echo(line)


@click.command("import-prompts")
@click.argument("checkout", type=ANY)
@data_option
def import_prompts(checkout: Path, data: Path) -> None:
    """Take the official prompts from a CHECKOUT of openai/simple-evals into the data folder, checked by hash."""
    from phidelity.eval.prompts import import_prompts as take

    report = take(checkout, data)
    click.echo(f"{report.n_texts} texts in {report.path}, {report.n_checked} checked by their hash")


def _benchmarks(names: str, only_one: bool = False, completer: Any = None) -> list[Any]:
    """The benchmarks of those names; texts of a set length are measured with the model's tokenizer where it has one."""
    from phidelity.eval.suite import benchmark

    tokenizer = getattr(completer, "tokenizer", None)

    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted or (only_one and len(wanted) != 1):
        raise click.UsageError("Give a benchmark" + (", one." if only_one else ", or several with commas between."))
    count = None if tokenizer is None else lambda text: len(tokenizer.encode(text))
    return [benchmark(name, count) for name in wanted]


def _key(name: str | None) -> str:
    if name is None:
        return ""
    key = os.environ.get(name, "")
    if not key:
        raise UserError(f"The environment variable {name} is not set; expected the endpoint's key in it. Set it.")
    return key


def _model(options: Mapping[str, Any], out: Path) -> tuple[Any, str]:
    """Whoever is evaluated, and its name."""
    if options["url"] is None:
        from phidelity.engine.llm import open_model
        from phidelity.pipeline.status import resolve_model

        where = Path(options["model"])
        named = where.resolve()
        return open_model(resolve_model(where)), named.parent.name if named.name == "model" else named.name
    from phidelity.endpoint import HttpCompleter
    from phidelity.traffic import Limits

    completer = HttpCompleter(
        options["url"],
        options["model_name"],
        _key(options["key_env"]),
        n_parallel=options["parallel"],
        limits=Limits(options["per_minute"], options["tokens_per_minute"]),
        prices=options["price"],
        log=out / "requests.jsonl",
    )
    return completer, options["model_name"]


def _context(options: Mapping[str, Any], out: Path) -> Any:
    """What graders may use: code, a judge with its memory beside the results, and the official texts if imported."""
    from phidelity.eval.benchmark import GradingContext
    from phidelity.eval.prompts import CACHE, read_prompts
    from phidelity.grading.referee import Referee

    judge = _judge(options)
    texts = read_prompts(options["data"]) if (options["data"] / CACHE).is_file() else {}
    referee = Referee(judge, path=out / "judge.jsonl") if judge else None
    return GradingContext(allow_code=options["allow_code"], judge=referee, texts=texts)


def _judge(options: Mapping[str, Any]) -> Any:
    if options["judge"] is None:
        return None
    return completer_of(options["judge"], options["judge_name"], options["judge_key_env"], role="judge")


def completer_of(where: str, name: str | None, key_env: str | None, role: str = "model", **endpoint: Any) -> Any:
    """A local MODEL, or the model `name` at a URL; `endpoint` are further options of `HttpCompleter`."""
    if not where.startswith(("http://", "https://")):
        from phidelity.engine.llm import open_model
        from phidelity.pipeline.status import resolve_model

        return open_model(resolve_model(Path(where)))
    if not name:
        raise click.UsageError(f"--{role} URL needs --{role}-name NAME, the model that the endpoint is asked for.")
    from phidelity.endpoint import HttpCompleter

    return HttpCompleter(where, name, _key(key_env), **endpoint)


def _texts(data: Path) -> dict[str, str]:
    from phidelity.eval.prompts import read_prompts

    return read_prompts(data)


def _traffic(completer: Any) -> dict[str, Any] | None:
    from dataclasses import asdict

    return asdict(completer.totals) if hasattr(completer, "totals") else None


def _report(found: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    """One JSON object, or the profiles side by side with their difference and what was not scored."""
    if as_json:
        click.echo(json.dumps(found))
        return
    from phidelity.eval.tables import score_lines, traffic_line

    for line in score_lines(rows):
        click.echo(line)
    if traffic := found.get("traffic"):
        click.echo(traffic_line(traffic))
