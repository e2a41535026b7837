"""The road of a recipe: walk it, one stage of it, see how far it is, plan what it needs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option, out_option, set_option
from phidelity.config import UserError
from phidelity.pipeline import status as runs
from phidelity.pipeline.manifest import ROAD
from phidelity.progress import readable_size


@click.command()
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


def stage_command(name: str) -> click.Command:
    """The command that runs the stage `name` alone."""

    @click.command(name, help=f"Stage of RECIPE: {ROAD[name]}. What it reads must stand.", short_help=ROAD[name])
    @click.argument("recipe")
    @out_option
    @set_option
    def command(recipe: str, out: Path | None, assignments: Sequence[str]) -> None:
        _run(recipe, out, assignments, only=name)

    return command


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
