"""Measuring and looking: benchmarks of speed, and data as a person reads it."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option
from phidelity.config import UserError


@click.command()
@click.argument("name", metavar="NAME", type=click.Choice(["train", "generate", "endpoint", "tokenizer"]))
@click.option("--peer", "peers", multiple=True, metavar="NAME=PATH", help="A checkout to measure against.")
@json_option
def bench(name: str, peers: Sequence[str], as_json: bool) -> None:
    """Measure speed against peers: `train`, `generate`, `tokenizer`, or how full `endpoint` keeps a server's slots."""
    from phidelity.bench import endpoint, generate, tokenizer, train
    from phidelity.device import describe_machine

    places = dict(_pair(peer) for peer in peers)
    runs = {"train": train.run, "generate": generate.run, "endpoint": endpoint.run, "tokenizer": tokenizer.run}
    rows = runs[name](places)
    result = {"bench": name, "machine": describe_machine(), "rows": rows}
    click.echo(json.dumps(result) if as_json else "\n".join(map(terminal.bench_row, rows)))


def _pair(peer: str) -> tuple[str, Path]:
    name, separator, path = peer.partition("=")
    if not separator:
        raise click.BadParameter(f"{peer!r}: expected NAME=PATH, such as nanogpt=../nanoGPT")
    if not Path(path).is_dir():
        raise UserError(f"--peer {name}: no folder {path}; expected a checkout of {name}. Clone it there first.")
    return name, Path(path)


@click.group()
def data() -> None:
    """Look at data."""


@data.command("look")
@click.argument("path", type=ANY)
@click.option("--n", type=click.IntRange(min=0), default=3, show_default=True, help="How many records to show.")
def look(path: Path, n: int) -> None:
    """Count the records under PATH, a file or a folder, and show some."""
    from phidelity.data.look import look as look_at

    click.echo("\n\n".join(look_at(path, n)))
