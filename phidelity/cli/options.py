"""What several commands take: kinds of argument, and the options that mean the same everywhere."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from phidelity.config import UserError

FILE = click.Path(path_type=Path, dir_okay=False)
ANY = click.Path(path_type=Path)

out_option = click.option("--out", type=ANY, help="Run directory [default: runs/<name of the recipe>].")
set_option = click.option("--set", "assignments", multiple=True, metavar="A.B=C", help="Override a key of the recipe.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
memory_option = click.option(
    "--memory",
    metavar="SIZE",
    help="Most memory to take, such as 11GB; context and batch follow. [default: what is usual]",
)
cache_option = click.option(
    "--cache",
    type=click.Choice(["f32", "int8"]),
    help="How keys and values are kept; int8 takes a quarter. [default: int8 for packed models where kernels serve]",
)
device_option = click.option(
    "--device", metavar="cpu|cuda", default="cpu", show_default=True, help="Where MODEL computes; on a GPU in bfloat16."
)
_adapters = click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="NAME=DIR",
    help="An adapter over MODEL, of phi finetune or PEFT; may be given several times.",
)


def adapter_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adapters by name: see `adapter_folders`."""
    return _adapters(command)


def adapter_folders(given: Sequence[str]) -> dict[str, Path]:
    """Folders of adapters by name."""
    found: dict[str, Path] = {}
    for one in given:
        name, separator, folder = one.partition("=")
        if not separator or not name or not folder:
            raise UserError(f"--adapter {one!r} was given; expected NAME=DIR, such as mine=./my-adapter.")
        if name in found:
            raise UserError(f"--adapter {name} was given twice; expected a name for each. Rename one.")
        found[name] = Path(folder)
    return found


_PREFIXES = (
    click.option(
        "--prefix-cache",
        type=ANY,
        envvar="PHI_PREFIX_CACHE",
        metavar="DIR|none",
        help="Folder where keys and values of prompts are kept for the next start, or none. "
        "[default: phidelity/prefixes in the user's cache]",
    ),
    click.option(
        "--prefix-cache-size",
        metavar="SIZE",
        default="4GiB",
        show_default=True,
        help="Most that it takes on disk, over all models; what was used longest ago goes first.",
    ),
)


def prefix_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Whether prompts are found again after a restart: see `kept_prefixes`."""
    for option in reversed(_PREFIXES):
        command = option(command)
    return command


def kept_prefixes(folder: Path | None, size: str) -> dict[str, Any]:
    """What these options say, as options of `open_model`."""
    from phidelity.engine.memory import parse_size
    from phidelity.engine.spill import default_folder

    budget = parse_size(size)
    where = folder or default_folder()
    if where.exists() and not where.is_dir():
        raise UserError(f"--prefix-cache {where} is no folder. Give a folder, or none.")
    return {"spill": None if str(folder) == "none" else where, "spill_bytes": budget}


_CREW = (
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=lambda: len(os.sched_getaffinity(0)),
        show_default="all cores",
        help="Processes for stages that are cut into shards.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who does the shards: processes here, or Ray's cluster.",
    ),
)


class _PartOf(click.ParamType):
    """K/N: task K of an array of N, from 0."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        part, _, n_parts = str(value).partition("/")
        if not (part.isdecimal() and n_parts.isdecimal() and int(part) < int(n_parts)):
            self.fail(f"{value!r}: expected K/N with K from 0 to N - 1, such as $SLURM_ARRAY_TASK_ID/64", param, ctx)
        return int(part), int(n_parts)


part_option = click.option(
    "--part", type=_PartOf(), help="Do only this share of the shards, as one task of a Slurm array of N."
)


def crew_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who does the shards; what comes out does not depend on it."""
    for option in reversed(_CREW):
        command = option(command)
    return command


_SAMPLING = (
    click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True),
    click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy."),
    click.option("--top-p", type=float, default=1.0, show_default=True, help="Fewest tokens that together reach this."),
    click.option("--top-k", type=int, default=0, show_default=True, help="The k best tokens; 0: all."),
    click.option("--min-p", type=float, default=0.0, show_default=True, help="Least share of the best token's."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be given several times."),
    click.option("--seed", type=int, default=0, show_default=True),
)


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How to sample: each option is a field of SamplingParams."""
    for option in reversed(_SAMPLING):
        command = option(command)
    return command
