"""`phi bench quality MODEL --text FILE`: what q4 and q8 lose of a model, beside llama.cpp's Q4_K_M and Q8_0.

KL divergence from the source in fp32 and perplexity, on a text that the model was not trained on; ours as it is served
(`q4`) and of its weights alone (`q4 weights`), the peer's weights as our reader of GGUF gives them, bit for bit as
llama.cpp. With `--calibrate FILE` q4 is measured calibrated as well. Bits count whole files of weights, scales and
norms included. Every conversion is made in a temporary folder beside the model, measured and deleted, and all is walked
a block at a time, so an owner of phi-4's weights can run it in 12 GB. Ratios: above one, ours is nearer.
"""

import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from phidelity.bench.packed_shape import KernelAttend
from phidelity.checkpoint.gguf import GGUFWeights
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import Weights
from phidelity.config import UserError
from phidelity.engine.compact import can_hold_bytes
from phidelity.eval.divergence import Divergence, Logits, by_blocks, divergence, served, text_windows
from phidelity.export.calibrate import importance
from phidelity.export.gguf import write_gguf
from phidelity.export.packed import write_packed
from phidelity.kernels.layout import Kind
from phidelity.kernels.library import kernels
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress

THEIRS: Mapping[Kind, str] = {"q4": "Q4_K_M", "q8": "Q8_0"}


def run(
    model: Path, places: Mapping[str, Path], text: Path, calibrate: Path | None = None, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Rows of the table."""
    weights = open_weights(model, progress)
    windows = text_windows(text, weights)
    source = by_blocks(weights, windows, progress)
    found = places.get("llama.cpp")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-quality-", dir=model.resolve().parent) as folder:
        for kind in THEIRS:
            theirs = _peer(found, weights, kind, Path(folder), source, windows, progress) if found else None
            rows += _rows(weights, kind, kind, None, Path(folder), source, windows, theirs, progress)
            if kind == "q4" and calibrate:
                shown = importance(weights, text_windows(calibrate, weights), progress)
                rows += _rows(weights, "q4 calibrated", kind, shown, Path(folder), source, windows, theirs, progress)
    return rows


def _rows(
    weights: Weights,
    what: str,
    kind: Kind,
    shown: Mapping[str, Tensor] | None,
    folder: Path,
    source: Logits,
    windows: Sequence[Tensor],
    theirs: tuple[Divergence, float, str] | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """One packed folder, written and measured both ways."""
    place = folder / what.replace(" ", "-")
    write_packed(weights, place, kind, importance=shown, progress=progress)
    packed = PackedWeights(place)
    as_served = divergence(source, served(packed, windows, progress), windows, progress)
    alone = divergence(source, by_blocks(packed, windows, progress), windows, progress)
    other, bits, types = theirs or (None, None, "")
    rows: list[dict[str, Any]] = []
    if (library := kernels()) and can_hold_bytes(weights.config):

        def in_bytes() -> KernelAttend:
            return KernelAttend(weights.config, len(windows[0]), library, as_bytes=True)

        rounded = divergence(source, served(packed, windows, progress, in_bytes), windows, progress)
        rows.append(_row(f"{what} int8 cache", rounded.kl, "nats", kind, other and other.kl, ""))
    rows += [
        _row(
            what, as_served.kl, "nats", kind, other and other.kl, f"+- {as_served.kl_error:.2g}; {packed.form}; {types}"
        ),
        _row(f"{what} weights", alone.kl, "nats", kind, other and other.kl, ""),
        _row(f"{what} perplexity", as_served.perplexity, "", kind, other and other.perplexity, _told(as_served)),
        _row(f"{what} bits", packed.bits_per_weight, "bits/weight", kind, bits, ""),
    ]
    for path in place.iterdir():
        path.unlink()
    return rows


def _peer(
    peer: Path,
    weights: Weights,
    kind: Kind,
    folder: Path,
    source: Logits,
    windows: Sequence[Tensor],
    progress: Progress,
) -> tuple[Divergence, float, str]:
    """What the peer's format loses, its bits a weight, and its types by tensor."""
    whole, made = folder / "whole.gguf", folder / "theirs.gguf"
    write_gguf(weights, whole, "f32" if census(weights.config).total < 1 << 30 else "bf16", progress)
    _quantise(peer, whole, made, THEIRS[kind])
    whole.unlink()
    found = GGUFWeights(made)
    size = sum(tensor.n_bytes for tensor in found.tensors.values())
    bits = 8 * size / sum(math.prod(shape) for shape in found.shapes.values())
    result = divergence(source, by_blocks(found, windows, progress), windows, progress)
    made.unlink()
    return result, bits, _types(found)


def _quantise(folder: Path, source: Path, out: Path, form: str) -> None:
    program = folder / "llama-quantize"
    if not program.is_file():
        raise UserError(f"--peer llama.cpp: no llama-quantize in {folder}; expected a build's bin folder.")
    done = subprocess.run([program, source, out, form], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{program} failed: {done.stderr.strip()[-300:]}. Check the build with --help.")


def _types(found: GGUFWeights) -> str:
    """`attn_qkv 4 Q5_K; ffn_down 2 Q4_K, 2 Q6_K; ...`."""
    counts: dict[str, Counter[str]] = {}
    for name, tensor in found.tensors.items():
        if len(tensor.shape) > 1:
            counts.setdefault(re.sub(r"^blk\.\d+\.|\.weight$", "", name), Counter())[tensor.form.name] += 1
    return "; ".join(f"{name} {', '.join(f'{n} {form}' for form, n in by.items())}" for name, by in counts.items())


def _told(found: Divergence) -> str:
    same = f"same best token {100 * found.same_top:.2f} %"
    return f"source {found.source_perplexity:.4f}, {same}, {found.n_tokens:,} tokens"


def _row(what: str, ours: float, unit: str, kind: Kind, theirs: float | None, note: str) -> dict[str, Any]:
    peer = None if theirs is None else f"llama.cpp {THEIRS[kind]}"
    ratio = None if theirs is None else round(theirs / ours, 3)
    figures = {
        "ours": round(ours, 6),
        "unit": unit,
        "peer": peer,
        "theirs": theirs and round(theirs, 6),
        "ratio": ratio,
    }
    return {"what": what, **figures, "note": note}
