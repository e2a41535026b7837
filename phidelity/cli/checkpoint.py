"""One checkpoint: what it is, and the same in another form. Whether it is whole and behaves is asked in check.py."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from phidelity import terminal
from phidelity.cli.options import ANY, json_option
from phidelity.config import UserError
from phidelity.pipeline import status as runs
from phidelity.progress import Progress, readable_size

if TYPE_CHECKING:
    from phidelity.checkpoint.open import Seen

TYPES = {
    "huggingface": ("f32", "f16", "bf16"),
    "split": ("f32", "f16", "bf16"),
    "gguf": ("f32", "f16", "bf16", "q8_0", "q4_0"),
}
"""The number formats that each form can be written in."""


@click.command()
@click.argument("model", type=ANY)
@json_option
def inspect(model: Path, as_json: bool) -> None:
    """What MODEL is, what was normalised, and the memory it takes; reads no weights."""
    from phidelity.checkpoint.open import look

    facts = _facts(look(runs.resolve_model(model)))
    click.echo(json.dumps(facts) if as_json else terminal.aligned(_readable(facts)))


@click.command()
@click.argument("model", type=ANY)
@click.argument("out", type=ANY)
@click.option("--to", "form", type=click.Choice(list(TYPES)), required=True, help="split: as Llama's class names it.")
@click.option("--type", "kind", type=click.Choice(sorted({kind for kinds in TYPES.values() for kind in kinds})))
@json_option
def convert(model: Path, out: Path, form: str, kind: str | None, as_json: bool) -> None:
    """Write MODEL as OUT in another form. Without --type the numbers stay as they are stored."""
    if kind and kind not in TYPES[form]:
        raise click.UsageError(f"--to {form} takes --type {', '.join(TYPES[form])}.")
    if form == "gguf" and (out.exists() or out.is_symlink()):
        raise UserError(f"{out} is there already; expected a new file. Give another name or remove it.")
    from phidelity.checkpoint.open import open_weights

    with terminal.watching(sys.stderr) as progress:
        weights = open_weights(runs.resolve_model(model), progress)
        kind = _write(weights, out, form, kind, progress)
    size = sum(path.stat().st_size for path in out.rglob("*")) if out.is_dir() else out.stat().st_size
    facts = {"model": weights.source, "form": weights.form, "out": str(out), "to": form, "type": kind, "bytes": size}
    click.echo(json.dumps(facts) if as_json else f"{out}: {form}, {kind}, {readable_size(size)}")


def _write(weights: Any, out: Path, form: str, kind: str | None, progress: Progress) -> str:
    """Write one form; returns the number format, which is the stored one where none is asked for."""
    import torch

    from phidelity.export.gguf import write_gguf
    from phidelity.export.huggingface import stored_dtype, write_huggingface

    dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    stored = stored_dtype(weights)
    kind = kind or next(kind for kind, dtype in dtypes.items() if dtype == stored)
    if form == "gguf":
        write_gguf(weights, out, cast(Any, kind), progress)
    else:
        layout = "split" if form == "split" else "fused"
        write_huggingface(weights, out, layout=layout, dtype=dtypes[kind], progress=progress)
    return kind


def _facts(seen: "Seen") -> dict[str, Any]:
    from phidelity.model.config import BITS, cache_bytes_per_token, census, memory_bytes

    config = seen.config
    parts = census(config)
    contexts = sorted({min(tokens, config.context_len) for tokens in (4096, 16384)})
    return {
        "path": seen.source,
        "form": seen.form,
        "normalised": list(seen.notes),
        "shape": config.model_dump(),
        "parameters": {"total": parts.total, **parts._asdict()},
        "tokenizer": seen.tokenizer.vocab_size,
        "cache_bytes_per_token": cache_bytes_per_token(config),
        "memory": {
            form: {str(tokens): memory_bytes(config, bits, tokens) for tokens in contexts}
            for form, bits in BITS.items()
        },
    }


def _readable(facts: dict[str, Any]) -> dict[str, Any]:
    memory = {
        f"{form}, context {int(tokens):,}": readable_size(size)
        for form, sizes in facts["memory"].items()
        for tokens, size in sizes.items()
    }
    return facts | {
        "normalised": ("\n" + " " * 27).join(facts["normalised"]) or "nothing",
        "cache_bytes_per_token": f"{facts['cache_bytes_per_token']:,}",
        "memory": memory,
    }
