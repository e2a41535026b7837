"""The road of a recipe: walk it, one stage of it, see how far it is, plan what it needs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, crew_options, json_option, out_option, part_option, set_option
from phidelity.config import UserError
from phidelity.data.scale import ALONE, Crew, Engine
from phidelity.pipeline import status as runs
from phidelity.pipeline.manifest import ROAD
from phidelity.progress import readable_size

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
