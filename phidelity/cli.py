"""The `phi` command: one verb per stage of the road, and those that look at what a run has made.

Exit status 0 is done, 1 is failed with one clear line on standard error, 2 is wrong usage. `--json` prints one JSON
object on standard output and nothing else there. Whatever needs torch is imported inside the command that needs
it, so that help and status answer at once.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.config import UserError
from phidelity.pipeline import status as runs
from phidelity.pipeline.manifest import ROAD
from phidelity.records import Conversation, Message

FILE = click.Path(path_type=Path, dir_okay=False)
ANY = click.Path(path_type=Path)

# Threads that wait sleep soon instead of spinning: measured up to 1.8 times as fast (docs/log.md). It is
# read when torch is loaded, which no command has done yet.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

out_option = click.option("--out", type=ANY, help="Run directory [default: runs/<name of the recipe>].")
set_option = click.option("--set", "assignments", multiple=True, metavar="A.B=C", help="Override a key of the recipe.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


class _Phi(click.Group):
    """Lists the stages in order, and turns mistakes a person can mend into one line and exit status 1."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        others = [(name, self.commands[name]) for name in sorted(self.commands.keys() - ROAD.keys())]
        stages = [(name, self.commands[name]) for name in ROAD]
        for title, commands in (("Commands", others), ("Stages, in order", stages)):
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(70)) for name, command in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Failure(str(error)) from None
        except OSError as error:
            if error.filename is None:
                raise
            raise _Failure(f"Cannot read or write {error.filename}: {error.strerror}. Check path and rights.") from None


class _Failure(click.ClickException):
    """Shown as `phi: ...`; exit status 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"phi: {self.message}", err=True, file=file)


@click.group(cls=_Phi, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("phidelity"), prog_name="phi")
def main() -> None:
    """phi-4 as one program: from raw documents to a model you can chat with."""


@main.command()
@click.argument("recipe", default="tiny")
@out_option
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--force", multiple=True, metavar="STAGE", help="Redo this stage and what depends on it.")
@set_option
def run(recipe: str, out: Path | None, until: str | None, force: Sequence[str], assignments: Sequence[str]) -> None:
    """Walk the whole road of RECIPE: a path or a packaged name."""
    where = _run(recipe, out, assignments, until=until, force=force)
    if not until:
        click.echo(f"\nNext: phi chat {where}")


def _stage_command(name: str) -> click.Command:
    @click.command(name, help=f"Stage of RECIPE: {ROAD[name]}. What it reads must stand.", short_help=ROAD[name])
    @click.argument("recipe")
    @out_option
    @set_option
    def command(recipe: str, out: Path | None, assignments: Sequence[str]) -> None:
        _run(recipe, out, assignments, only=name)

    return command


for _name in ROAD:
    main.add_command(_stage_command(_name))


def _run(name: str, out: Path | None, assignments: Sequence[str], **choice: Any) -> Path:
    """Run a recipe with progress on the terminal, and close with a table of what each stage took."""
    from phidelity.pipeline.recipe import load_recipe
    from phidelity.pipeline.run import run as run_recipe

    recipe, text = load_recipe(name, assignments)
    where = out or Path("runs") / recipe.name
    try:
        with terminal.watching() as progress:
            run_recipe(recipe, where, text=text, environment=os.environ, progress=progress, **choice)
    except KeyboardInterrupt:
        raise UserError("Stopped. Nothing is lost: the same command goes on where it stood.") from None
    click.echo(_table(runs.status(where)))
    return where


@main.command()
@click.argument("directory", type=ANY)
@json_option
def status(directory: Path, as_json: bool) -> None:
    """What is done in the run DIRECTORY, what runs, and how long it will take."""
    stages = runs.status(directory)
    click.echo(json.dumps({"stages": [stage._asdict() for stage in stages]}) if as_json else _table(stages))


def _table(stages: Sequence[runs.StageStatus]) -> str:
    rows = [f"{stage.name:<15}{stage.state:<9}{_figures(stage)}".rstrip() for stage in stages]
    total = sum(stage.seconds for stage in stages)
    memory = max((stage.peak_memory for stage in stages), default=0)
    peak = f"   peak memory {runs.readable_size(memory)}" if memory else ""
    return "\n".join([*rows, f"{'in all':<24}{terminal.clock_time(total):>8}{peak}"])


def _figures(stage: runs.StageStatus) -> str:
    if stage.state == "to do":
        return ""
    line = f"{terminal.clock_time(stage.seconds):>8}  {runs.readable_size(stage.size):>9}"
    if stage.fraction is not None:
        line += f"  {stage.task} {stage.fraction:.0%}"
    return line + (f", {terminal.clock_time(stage.seconds_left)} left" if stage.seconds_left is not None else "")


@main.command()
@click.argument("model", type=ANY)
@click.option("--prompt", help="One prompt; the answer goes to standard output.")
@click.option("--input", "source", type=FILE, help="JSON lines with `prompt` or `messages`, and optionally `id`.")
@click.option("--out", type=ANY, help="Where the answers to --input go, as JSON lines.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--raw", is_flag=True, help="Take the prompt as plain text, without the chat template.")
@json_option
def generate(
    model: Path,
    prompt: str | None,
    source: Path | None,
    out: Path | None,
    max_tokens: int,
    temperature: float,
    seed: int,
    raw: bool,
    as_json: bool,
) -> None:
    """Let MODEL answer a prompt, or a file of them."""
    if (prompt is None) == (source is None):
        raise click.UsageError("Give either --prompt TEXT or --input FILE.")
    if (source is None) != (out is None):
        raise click.UsageError("--input FILE and --out FILE belong together.")
    from phidelity.completion import SamplingParams
    from phidelity.engine.llm import open_model
    from phidelity.engine.offline import answer_file, as_prompt

    llm = open_model(runs.resolve_model(model))
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed)
    if source and out:
        with terminal.watching(sys.stderr) as progress:
            n = answer_file(llm, source, out, params, raw=raw, progress=progress)
        click.echo(json.dumps({"answers": n, "out": str(out)}) if as_json else f"{n} answers in {out}")
        return
    (completion,) = llm.complete([as_prompt(prompt or "", raw=raw)], params)
    if completion.finish_reason == "context_exceeded":
        raise UserError(f"The prompt has {completion.usage.prompt_tokens} tokens; {model} reads {llm.context_len}.")
    click.echo(completion.model_dump_json() if as_json else completion.text)


@main.command()
@click.argument("model", type=ANY)
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--seed", type=int, default=0, show_default=True)
def chat(model: Path, max_tokens: int, temperature: float, seed: int) -> None:
    """Talk with MODEL. An empty line starts afresh, Ctrl-D ends."""
    from phidelity.completion import SamplingParams
    from phidelity.engine.llm import open_model
    from phidelity.model.config import census

    where = runs.resolve_model(model)
    llm, params = open_model(where), SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed)
    is_ours = any((parent / runs.RECIPE_JSON).is_file() for parent in where.resolve().parents)
    kind = "-parameter miniature trained by Phidelity; not phi-4" if is_ours else " parameters"
    click.echo(f"{census(llm.model.config).total:,}{kind} ({where}, context {llm.context_len} tokens).")
    click.echo("An empty line starts afresh, a line that ends in \\ goes on, Ctrl-D ends.")
    turns: list[Message] = []
    for line in terminal.ask("> "):
        turns = [*turns, Message(role="user", content=line)] if line.strip() else []
        while len(turns) > 2 and not _fits(llm, turns, max_tokens):
            turns = turns[2:]
        if turns:
            turns.append(Message(role="assistant", content=_say(llm.stream(_conversation(turns), params))))


def _conversation(turns: Sequence[Message]) -> Conversation:
    return Conversation(id="chat", messages=tuple(turns))


def _fits(llm: Any, turns: Sequence[Message], max_tokens: int) -> bool:
    """Whether an answer of usual length fits after these turns; what does not is forgotten from the front."""
    return len(llm.prompt_ids(_conversation(turns))) + min(max_tokens, llm.context_len // 4) <= llm.context_len


def _say(pieces: Iterator[str]) -> str:
    """Print an answer as it grows; Ctrl-C ends it early, and a prompt that cannot be read does not end the chat."""
    said = ""
    try:
        for piece in pieces:
            click.echo(piece, nl=False)
            said += piece
    except KeyboardInterrupt:
        click.echo(" (stopped)", nl=False)
    except UserError as error:
        click.echo(f"({error})", nl=False)
    click.echo()
    return said


@main.command()
@click.argument("model", type=ANY)
@json_option
def inspect(model: Path, as_json: bool) -> None:
    """What MODEL is: its shape, its parameters by part, its vocabulary."""
    from phidelity.checkpoint.huggingface import open_checkpoint
    from phidelity.model.config import cache_bytes_per_token, census

    folder = runs.resolve_model(model)
    weights, tokenizer, digest = open_checkpoint(folder)
    config = weights.config
    parts = census(config)
    facts = {
        "path": str(folder),
        "digest": digest,
        "shape": config.model_dump(),
        "parameters": {"total": parts.total, **parts._asdict()},
        "tokenizer": tokenizer.vocab_size,
        "cache_bytes_per_token": cache_bytes_per_token(config, bytes_per_value=4),
    }
    click.echo(json.dumps(facts) if as_json else terminal.aligned(facts))


@main.command()
@click.argument("recipe")
@click.option("--gpus", type=click.IntRange(min=1), help="How many GPUs.")
@click.option("--gpu", help="Which: a100, h100 or h200.")
@set_option
@json_option
def plan(recipe: str, gpus: int | None, gpu: str | None, assignments: Sequence[str], as_json: bool) -> None:
    """What pretraining by RECIPE needs: parameters, FLOP, memory, days. Allocates nothing."""
    from phidelity.pipeline.recipe import load_recipe
    from phidelity.train.plan import plan as plan_training

    loaded = load_recipe(recipe, assignments).recipe
    if loaded.model is None or loaded.pretrain is None:
        raise UserError(f"{recipe} trains no model from the start; expected the tables [model] and [pretrain].")
    budget = loaded.pretrain
    facts = plan_training(
        loaded.model,
        tokens=budget.tokens,
        context_len=budget.context_len,
        batch_tokens=budget.batch_tokens,
        gpus=gpus,
        gpu=gpu,
    )
    click.echo(json.dumps(facts) if as_json else terminal.aligned(facts))


@main.command()
@click.argument("name", metavar="NAME", type=click.Choice(["train", "generate"]))
@click.option("--peer", "peers", multiple=True, metavar="NAME=PATH", help="A checkout to measure against.")
@json_option
def bench(name: str, peers: Sequence[str], as_json: bool) -> None:
    """Measure speed: `train` against the machine's matrix product, `generate` against transformers."""
    from phidelity.bench import generate, train
    from phidelity.device import describe_machine

    places = dict(_pair(peer) for peer in peers)
    rows = {"train": train.run, "generate": generate.run}[name](places)
    result = {"bench": name, "machine": describe_machine(), "rows": rows}
    click.echo(json.dumps(result) if as_json else "\n".join(map(terminal.bench_row, rows)))


def _pair(peer: str) -> tuple[str, Path]:
    name, separator, path = peer.partition("=")
    if not separator:
        raise click.BadParameter(f"{peer!r}: expected NAME=PATH, such as nanogpt=../nanoGPT")
    if not Path(path).is_dir():
        raise UserError(f"--peer {name}: no folder {path}; expected a checkout of {name}. Clone it there first.")
    return name, Path(path)


@main.group()
def data() -> None:
    """Look at data."""


@data.command("look")
@click.argument("path", type=ANY)
@click.option("--n", type=click.IntRange(min=0), default=3, show_default=True, help="How many records to show.")
def look(path: Path, n: int) -> None:
    """Count the records under PATH, a file or a folder, and show some."""
    from phidelity.data.look import look as look_at

    click.echo("\n\n".join(look_at(path, n)))


if __name__ == "__main__":
    main()
