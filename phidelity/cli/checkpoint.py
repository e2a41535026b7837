"""One checkpoint: what it is, and the same in another form. Whether it is whole and behaves is asked in check.py."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from phidelity import terminal
from phidelity.cli.options import ANY, FILE, json_option
from phidelity.config import UserError
from phidelity.pipeline import status as runs
from phidelity.progress import Progress, readable_size

if TYPE_CHECKING:
    from phidelity.checkpoint.open import Seen
    from phidelity.checkpoint.weights import Weights
    from phidelity.kernels.layout import Kind

TYPES = {
    "huggingface": ("f32", "f16", "bf16"),
    "split": ("f32", "f16", "bf16"),
    "gguf": ("f32", "f16", "bf16", "q8_0", "q4_0"),
    "q4": (),
    "q8": (),
}
"""The number formats that each form can be written in; q4 and q8 are packed folders."""


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
@click.option("--calibrate", type=FILE, help="For q4: a text like those to come; columns weigh what it shows of them.")
@click.option("--text", type=FILE, help="For q4 and q8: a held-out text to compare the result with MODEL on.")
@click.option("--adapter", type=ANY, help="Folder of an adapter, which is merged; f32 then, unless --type says else.")
@json_option
def convert(
    model: Path,
    out: Path,
    form: str,
    kind: str | None,
    calibrate: Path | None,
    text: Path | None,
    adapter: Path | None,
    as_json: bool,
) -> None:
    """Write MODEL as OUT in another form. Without --type the numbers stay as they are stored.

    q4 and q8 are packed folders, quantised for the engine's own kernels.
    """
    if kind and kind not in TYPES[form]:
        raise click.UsageError(
            f"--to {form} takes {'--type ' + ', '.join(TYPES[form]) if TYPES[form] else 'no --type'}."
        )
    if (calibrate and form != "q4") or (text and form not in ("q4", "q8")):
        raise click.UsageError("--calibrate belongs to --to q4, --text to --to q4 and q8.")
    if form == "gguf" and (out.exists() or out.is_symlink()):
        raise UserError(f"{out} is there already; expected a new file. Give another name or remove it.")
    from phidelity.checkpoint.open import open_weights

    with terminal.watching(sys.stderr) as progress:
        weights = open_weights(runs.resolve_model(model), progress)
        if adapter:
            from phidelity.checkpoint.adapter import MergedWeights, base_digest, read_adapter

            weights = MergedWeights(weights, read_adapter(adapter, weights.config, base_digest(weights)))
        quality: dict[str, Any] = {}
        if form in ("q4", "q8"):
            quality = _pack(weights, out, cast(Any, form), calibrate, text, progress)
        else:
            kind = _write(weights, out, form, kind, progress)
    size = sum(path.stat().st_size for path in out.rglob("*")) if out.is_dir() else out.stat().st_size
    facts = {"model": weights.source, "form": weights.form, "out": str(out), "to": form, "type": kind, "bytes": size}
    told = f"{out}: {form}, {f'{kind}, ' if kind else ''}{readable_size(size)}"
    click.echo(json.dumps(facts | quality) if as_json else "\n".join([told, *_quality_lines(quality)]))


def _pack(
    weights: "Weights", out: Path, to: "Kind", calibrate: Path | None, text: Path | None, progress: Progress
) -> dict[str, Any]:
    """Write a packed folder; what is known of it then: bits a weight, and on a text how far it is from its source."""
    from phidelity.checkpoint.packed import PackedWeights
    from phidelity.eval.divergence import by_blocks, divergence, served, text_windows
    from phidelity.export.calibrate import importance
    from phidelity.export.packed import write_packed

    shown = importance(weights, text_windows(calibrate, weights), progress) if calibrate else None
    windows = text_windows(text, weights) if text else []
    write_packed(weights, out, to, importance=shown, progress=progress)
    packed = PackedWeights(out)
    facts: dict[str, Any] = {"bits_per_weight": packed.bits_per_weight, "calibrated": calibrate is not None}
    if windows:
        source = by_blocks(weights, windows, progress)
        facts["quality"] = divergence(source, served(packed, windows, progress), windows, progress)._asdict()
    return facts


def _quality_lines(facts: dict[str, Any]) -> list[str]:
    if not facts:
        return []
    lines = [f"{facts['bits_per_weight']:.3f} bits a weight{', calibrated' if facts['calibrated'] else ''}"]
    if found := facts.get("quality"):
        lines.append(f"perplexity {found['perplexity']:.4f}, of the source {found['source_perplexity']:.4f}")
        kl = f"{found['kl']:.5f} +- {found['kl_error']:.5f} nats a token"
        lines.append(
            f"KL divergence {kl}, same best token {100 * found['same_top']:.2f} %, {found['n_tokens']:,} tokens"
        )
    return lines


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
    from phidelity.checkpoint.packed import packed_bytes
    from phidelity.model.config import BITS, cache_bytes_per_token, census, memory_bytes

    config = seen.config
    weights = {form: memory_bytes(config, bits, 0) for form, bits in BITS.items()}
    weights |= {form: packed_bytes(config, form) for form in ("q8", "q4")}
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
            form: {str(tokens): size + tokens * cache_bytes_per_token(config) for tokens in contexts}
            for form, size in weights.items()
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
