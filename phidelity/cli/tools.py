"""Measuring and looking: benchmarks of speed, and data as a person reads it."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import click

from phidelity import terminal
from phidelity.cli.options import ANY, FILE, json_option
from phidelity.config import UserError
from phidelity.pipeline import status as runs

ON_MODEL = ("family", "make-checkpoint", "convert", "make-packed", "packed", "quality", "sensitivity")
SPEED = ("train", "finetune", "data", "generate", "endpoint", "tokenizer", "decode", "prefill")
BENCHES = (*SPEED, *ON_MODEL, "problems", "serve", "pivotal", "pairs")


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
@click.option(
    "--text", type=FILE, help="For quality, sensitivity: a text that MODEL was not trained on, such as 100 KB."
)
@click.option("--calibrate", type=FILE, help="For quality: a text to calibrate q4 on, besides.")
@json_option
def bench(
    name: str,
    model: Path | None,
    peers: Sequence[str],
    shape: str,
    text: Path | None,
    calibrate: Path | None,
    as_json: bool,
) -> None:
    """Measure speed: `train`, `data`, `generate`, `tokenizer`, or how full `endpoint` keeps a server's slots.

    `decode` and `prefill` measure quantised weights of phi-4's shape against `--peer llama.cpp=BIN`; `serve` the
    server, beside the engine alone and llama.cpp's server.
    `pivotal` how true, complete and fast the search for pivotal tokens is.
    `finetune` takes steps of LoRA over frozen q4 at phi-4's shape, beside `--peer peft=ENV` (a virtual environment).
    `make-checkpoint` writes a random checkpoint at MODEL, and `convert` streams the one at MODEL into GGUF.
    `make-packed` writes a packed folder of arbitrary bytes at MODEL, `packed` measures what serving one takes,
    `family` trains small widths on the shards of a run MODEL of tiny, and predicts the widest.
    `quality` what q4 and q8 lose of MODEL on a text, beside `--peer llama.cpp=BIN`; `sensitivity` each kind of matrix.
    """
    from phidelity.bench import (
        convert,
        data,
        decode,
        endpoint,
        family,
        finetune,
        generate,
        make_checkpoint,
        packed,
        pairs,
        pivotal,
        prefill,
        problems,
        quality,
        sensitivity,
        serve,
        tokenizer,
        train,
    )  # fmt: skip
    from phidelity.device import describe_machine

    if (name in ON_MODEL) != (model is not None):
        raise click.UsageError(f"{', '.join(ON_MODEL)} take a MODEL, the others none.")
    if (name in ("quality", "sensitivity")) != (text is not None) or (calibrate and name != "quality"):
        raise click.UsageError(
            "quality and sensitivity take --text FILE, quality --calibrate FILE, the others neither."
        )

    places = dict(_pair(peer) for peer in peers)
    alone = {
        "train": train.run,
        "data": data.run,
        "generate": generate.run,
        "endpoint": endpoint.run,
        "tokenizer": tokenizer.run,
        "problems": problems.run,
        "pivotal": pivotal.run,
        "pairs": pairs.run,
        "serve": serve.run,
        "finetune": finetune.run,
        "decode": lambda places: decode.run(places, shape),
        "prefill": lambda places: prefill.run(places, shape),
    }
    if model:
        with terminal.watching(sys.stderr) as progress:
            rows = {
                "family": lambda: family.run(model, progress),
                "make-checkpoint": lambda: make_checkpoint.run(model, shape, progress),
                "convert": lambda: convert.run(model, progress),
                "make-packed": lambda: packed.make(model, shape, progress),
                "packed": lambda: packed.run(model),
                "quality": lambda: quality.run(
                    runs.resolve_model(model), places, cast(Path, text), calibrate, progress
                ),
                "sensitivity": lambda: sensitivity.run(runs.resolve_model(model), cast(Path, text), progress),
            }[name]()
    else:
        rows = alone[name](places)
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


@data.command("annotate")
@click.argument("path", type=ANY)
@click.option("--url", required=True, help="OpenAI-style endpoint of the teacher, such as http://localhost:8000/v1.")
@click.option("--model-name", required=True, help="The model that the endpoint is asked for.")
@click.option("--key-env", default="", metavar="NAME", help="Environment variable that holds the key.")
@click.option("--documents", type=click.IntRange(min=1), default=2000, show_default=True, help="How many to mark.")
@click.option("--out", type=FILE, required=True, help="File of marks, for corpus.quality.marks.")
def annotate(path: Path, url: str, model_name: str, key_env: str, documents: int, out: Path) -> None:
    """Have documents of PATH, a file of records or the folder of a stage, marked from 0 to 5 by a teacher.

    Its answers are kept in OUT.answers, so that the same command pays for none twice.
    """
    from phidelity.endpoint import HttpCompleter
    from phidelity.pipeline.teaching import annotate as have_marked
    from phidelity.records import Document, read_records

    if key_env and not os.environ.get(key_env):
        raise UserError(f"--key-env names the environment variable {key_env}, which is not set. Set it to the key.")
    places = [path] if path.is_file() else [path / "documents.jsonl.zst", path / "corpus/documents.jsonl.zst"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise UserError(f"No documents in {path}; expected a file of records, or a folder with documents.jsonl.zst.")
    teacher = HttpCompleter(url, model_name, os.environ.get(key_env, ""))
    out.parent.mkdir(parents=True, exist_ok=True)
    with terminal.watching(sys.stderr) as progress:
        n = have_marked(read_records(file, Document), teacher, documents, out, progress)
    click.echo(f"{n} documents are marked in {out}. Next: --set corpus.quality.marks={out}")


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
