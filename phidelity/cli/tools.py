"""Measuring and looking: benchmarks of speed, and data as a person reads it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option
from phidelity.config import UserError

BENCHES = ("train", "data", "generate", "endpoint", "tokenizer", "decode", "prefill", "make-checkpoint", "convert")


@click.command()
@click.argument("name", metavar="NAME", type=click.Choice(BENCHES))
@click.argument("model", type=ANY, required=False)
@click.option("--peer", "peers", multiple=True, metavar="NAME=PATH", help="A checkout to measure against.")
@click.option(
    "--shape",
    default="phi-4",
    show_default=True,
    help="For make-checkpoint, decode, prefill; or what differs: n_layers=4,...",
)
@json_option
def bench(name: str, model: Path | None, peers: Sequence[str], shape: str, as_json: bool) -> None:
    """Measure speed: `train`, `data`, `generate`, `tokenizer`, or how full `endpoint` keeps a server's slots.

    `decode` and `prefill` measure quantised weights of phi-4's shape against `--peer llama.cpp=BIN`.
    `make-checkpoint` writes a random checkpoint at MODEL, and `convert` streams the one at MODEL into GGUF.
    """
    from phidelity.bench import convert, data, decode, endpoint, generate, make_checkpoint, prefill, tokenizer, train
    from phidelity.device import describe_machine

    if (name in ("make-checkpoint", "convert")) != (model is not None):
        raise click.UsageError("make-checkpoint and convert take a MODEL, the others none.")

    places = dict(_pair(peer) for peer in peers)
    runs = {
        "train": train.run,
        "data": data.run,
        "generate": generate.run,
        "endpoint": endpoint.run,
        "tokenizer": tokenizer.run,
        "decode": lambda places: decode.run(places, shape),
        "prefill": lambda places: prefill.run(places, shape),
    }
    if model:
        with terminal.watching(sys.stderr) as progress:
            is_new = name == "make-checkpoint"
            rows = make_checkpoint.run(model, shape, progress) if is_new else convert.run(model, progress)
    else:
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


@data.command("trace")
@click.argument("run", type=ANY)
@click.argument("what")
@click.option("--held-out", is_flag=True, help="Look among the held-out shards.")
@json_option
def trace(run: Path, what: str, held_out: bool, as_json: bool) -> None:
    """Lead a token of the run RUN back to its source and every decision.

    WHAT is GROUP:OFFSET (a token of the shard), GROUP:ROW/POSITION (of the packed rows), or the id of a document.
    """
    from phidelity.pipeline.trace import trace as trace_back

    told = trace_back(run, what, held_out=held_out)
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else "\n".join(terminal.outline(told)))
