"""The road of a recipe: walk it, one stage of it, see how far it is, plan what it needs."""

import json
import os
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, crew_options, json_option, out_option, part_option, set_option
from phidelity.config import UserError
from phidelity.data.mixture import described, mixture_page
from phidelity.data.scale import ALONE, Crew, Engine
from phidelity.pipeline import status as runs
from phidelity.pipeline.manifest import ROAD
from phidelity.progress import SILENT, readable_size

IN_SHARDS = ("corpus", "shards")
"""Stages that are cut into shards, which several processes or machines may do."""


@click.command()
@click.argument("recipe", default="tiny")
@out_option
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option("--force", multiple=True, metavar="STAGE", help="Redo this stage and what depends on it.")
@set_option
@crew_options
def run(
    recipe: str,
    out: Path | None,
    until: str | None,
    force: Sequence[str],
    assignments: Sequence[str],
    workers: int,
    engine: Engine,
) -> None:
    """Walk the whole road of RECIPE: a path or a packaged name."""
    where = _run(recipe, out, assignments, until=until, force=force, crew=Crew(engine, workers))
    if not until:
        has_model = any(where.glob("*/model/config.json"))
        click.echo(f"\nNext: phi {'chat' if has_model else 'data look'} {where}")


def stage_command(name: str) -> click.Command:
    """The command that runs the stage `name` alone."""

    def command(recipe: str, out: Path | None, assignments: Sequence[str], **crew: Any) -> None:
        if part := crew.pop("part", None):
            click.echo(_run_part(recipe, out, assignments, name, part))
        else:
            chosen = Crew(crew["engine"], crew["workers"]) if crew else ALONE
            _run(recipe, out, assignments, only=name, crew=chosen)

    for option in (*((crew_options, part_option) if name in IN_SHARDS else ()), set_option, out_option):
        command = option(command)
    described = click.command(
        name, help=f"Stage of RECIPE: {ROAD[name]}. What it reads must stand.", short_help=ROAD[name]
    )
    return described(click.argument("recipe")(command))


def _run_part(name: str, out: Path | None, assignments: Sequence[str], stage: str, part: tuple[int, int]) -> str:
    """Do one part of a stage as a task of an array, and say in a line what is left for the others."""
    from phidelity.pipeline.recipe import load_recipe
    from phidelity.pipeline.run import run_part

    recipe = load_recipe(name, assignments).recipe
    where = out or Path("runs") / recipe.name
    crew = Crew(part=part[0], n_parts=part[1])
    told = run_part(recipe, where, only=stage, crew=crew, environment=os.environ)
    if told.plan == "all":
        return f"{stage}: all shards are done. Next: phi {stage} {name} --out {where}"
    return (
        f"{stage}: part {part[0]} of {part[1]} did {told.n_done} shards of {told.plan!r}; {told.n_left} are left to "
        "others. When they have ended, the same array does what follows, or the command without --part all the rest."
    )


def _run(name: str, out: Path | None, assignments: Sequence[str], **choice: Any) -> Path:
    """Run a recipe with progress on the terminal, and close with a table of what each stage took.

    Under torchrun every rank is here, and the first of them speaks.
    """
    from phidelity.pipeline.recipe import load_recipe
    from phidelity.pipeline.run import run as run_recipe
    from phidelity.train.parallel import joined

    recipe, text = load_recipe(name, assignments)
    text = "".join(f"# --set {shlex.quote(one)}\n" for one in assignments) + text
    where = out or Path("runs") / recipe.name
    try:
        with joined() as world, terminal.watching() if world.is_first else nullcontext(SILENT) as progress:
            run_recipe(recipe, where, text=text, environment=os.environ, progress=progress, **choice)
    except KeyboardInterrupt:
        raise UserError("Stopped. Nothing is lost: the same command goes on where it stood.") from None
    if world.is_first:
        click.echo(_table(runs.status(where)))
    return where


@click.command()
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
    peak = f"   peak memory {readable_size(memory)}" if memory else ""
    return "\n".join([*rows, f"{'in all':<24}{terminal.clock_time(total):>8}{peak}"])


def _figures(stage: runs.StageStatus) -> str:
    if stage.state == "to do":
        return ""
    line = f"{terminal.clock_time(stage.seconds):>8}  {readable_size(stage.size):>9}"
    if stage.fraction is not None:
        line += f"  {stage.task} {stage.fraction:.0%}"
    return line + (f", {terminal.clock_time(stage.seconds_left)} left" if stage.seconds_left is not None else "")


@click.command()
@click.argument("recipe", required=False)
@click.option("--finetune", type=ANY, metavar="MODEL", help="What fine-tuning MODEL needs, instead of a RECIPE.")
@click.option(
    "--rank", type=click.IntRange(min=1), help="Of --finetune's adapter; by default what `phi finetune` takes."
)
@click.option("--context", type=click.IntRange(min=9), default=1024, show_default=True, help="Of --finetune's rows.")
@click.option("--gpus", type=click.IntRange(min=1), help="How many GPUs.")
@click.option("--gpu", help="Which: a100, h100 or h200.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days that such a run is said to have taken.")
@click.option("--tp", type=click.IntRange(min=1), default=1, help="Degree of tensor parallelism that is thought of.")
@click.option("--mtbf", default=50_700.0, show_default=True, help="Mean hours between failures of one GPU.")
@click.option("--save-seconds", default=30.0, show_default=True, help="Training time that a snapshot takes.")
@click.option("--restart-minutes", default=10.0, show_default=True, help="From a failure to the next step.")
@set_option
@json_option
def plan(
    recipe: str | None,
    finetune: Path | None,
    rank: int | None,
    context: int,
    gpus: int | None,
    gpu: str | None,
    days: float | None,
    tp: int,
    mtbf: float,
    save_seconds: float,
    restart_minutes: float,
    assignments: Sequence[str],
    as_json: bool,
) -> None:
    """What pretraining by RECIPE needs: parameters, FLOP, memory, days. Allocates nothing."""
    if (recipe is None) == (finetune is None):
        raise click.UsageError("Give either a RECIPE or --finetune MODEL.")
    if finetune:
        _plan_finetune(finetune, rank, context, as_json)
        return
    recipe = recipe or ""
    from phidelity.pipeline.recipe import load_recipe
    from phidelity.train.failures import Assumptions
    from phidelity.train.plan import plan as plan_training

    loaded = load_recipe(recipe, assignments).recipe
    if loaded.pretrain is None and loaded.shards:
        from phidelity.pipeline.shards import expected_mixture

        mixture = expected_mixture(loaded.shards)
        click.echo(json.dumps({"mixture": mixture}) if as_json else _plan_of_data(recipe, mixture))
        return
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
        days=days,
        tp=tp,
        assumed=Assumptions(mtbf, save_seconds, restart_minutes),
    )
    expected = loaded.shards.expected if loaded.shards else {}
    facts["mixture"] = described(budget.shares, expected, budget.tokens, budget.max_epochs)
    click.echo(json.dumps(facts) if as_json else _plan_page(facts))


def _plan_finetune(model: Path, rank: int | None, context: int, as_json: bool) -> None:
    from phidelity.checkpoint.open import look
    from phidelity.engine.memory import available_memory
    from phidelity.train.choices import usual_rank
    from phidelity.train.finetune_plan import page, plan_finetune

    config = look(runs.resolve_model(model)).config
    threads = len(os.sched_getaffinity(0))
    length = min(context, config.context_len)
    rank = rank or usual_rank(config)
    facts = plan_finetune(config, rank=rank, context_len=length, cpu_bytes=available_memory(), threads=threads)
    click.echo(json.dumps(facts) if as_json else "\n".join(page(facts)))


def _plan_of_data(recipe: str, mixture: dict[str, Any]) -> str:
    """The mixture of a recipe that trains nothing; without any count of tokens its shares alone."""
    if mixture["tokens"]:
        return "\n".join(mixture_page(mixture))
    shares = [f"{row['group']:<14}{row['share']:>7.1%}" for row in mixture["groups"]]
    return "\n".join(
        [
            f"{'group':<14}{'share':>7}",
            *shares,
            f"no group more than {mixture['max_epochs']:g} times",
            f"{recipe} trains no model. Tokens and epochs are known once the stage shards has counted (phi data look "
            "RUN), or are computed from --set 'shards.expected={ GROUP = TOKENS }'.",
        ]
    )


def _plan_page(facts: dict[str, Any]) -> str:
    parts = facts["parameters_by_part"]
    shares = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in parts.items())
    flops = (
        f"{f['full'] / 1e9:.3g} ({f['causal'] / 1e9:.3g}) in rows of {length:,}"
        for length, f in facts["flop_per_token_by_context"].items()
    )
    memory = {name.replace("_", " "): readable_size(n_bytes) for name, n_bytes in facts["memory"].items()}
    lines = [
        f"parameters    {facts['parameters']:,}: {shares}",
        f"tokens        {facts['tokens']:,} in {facts['steps']:,} steps of {facts['batch_tokens']:,}, rows of "
        f"{facts['context_len']:,}",
        f"GFLOP a token {', '.join(flops)}; full credit for attention (causal credit)",
        f"FLOP in all   {facts['training_flop']:.4g}, causal credit",
        f"memory, fp32  {', '.join(f'{name} {size}' for name, size in memory.items())}",
    ]
    lines += ["", *mixture_page(facts["mixture"])]
    return "\n".join(lines + (_plan_on_gpus(facts) if "assumed" in facts else []))


def _plan_on_gpus(facts: dict[str, Any]) -> list[str]:
    assumed, best = facts["assumed"], facts["failures"][0]
    machine = f"{assumed['gpus']:,} {assumed['gpu']}"
    lines = ["", f"memory on each of {machine}, and how many tokens of activations then fit (computed again in full):"]
    for name, row in facts["memory_by_choice"].items():
        fits = row["tokens_that_fit"]
        lines.append(
            f"  {name:<34}{row['bytes_per_parameter']:>6.2f} bytes a parameter  "
            f"{readable_size(row['bytes_per_gpu']):>9}  {fits['all kept']:>9,} ({fits['recomputed']:,})"
        )
    lines += [
        "",
        f"predicted on {machine}, assuming {assumed['mfu_full_credit']:.0%} of a peak of "
        f"{assumed['peak_flops'] / 1e12:,.0f} TFLOP/s (full credit):",
        _plan_speed(facts),
        f"  with failures {facts['days_with_failures']:,.1f} days: {best['failures']:.1f} failures, {best['lost']:.1%} "
        f"of the time lost ({best['low']:.1%} to {best['high']:.1%}), saving every {best['interval_minutes']:.0f} min,",
        f"  simulated with {assumed['mtbf_hours']:,.0f} h between failures of a GPU, {assumed['save_seconds']:.0f} s a "
        f"snapshot, {assumed['restart_minutes']:.0f} min to restart",
    ]
    if given := facts.get("given"):
        lines += ["", f"given, not predicted: {given['days']:g} days on {machine}, whole run:", _plan_speed(given)]
    return lines


def _plan_speed(facts: dict[str, Any]) -> str:
    mfu = facts["mfu"]
    return (
        f"  {facts['tokens_per_second_per_gpu']:,.0f} tokens/s a GPU, {facts['days']:,.1f} days, "
        f"{facts['gpu_hours']:,.0f} GPU-hours, MFU {mfu['full']:.1%} full credit, {mfu['causal']:.1%} causal"
    )
