"""A checkpoint as a folder that other tools open: the published layout, or its split re-expression as Llama.

Weights are streamed from any source into shards of at most five gigabytes, in the order that the release was saved in:
phi-4 in bf16 gives its six files again. Nothing stands at the destination before all of it does. The numbers are
carried over as they are; only a narrower dtype rounds them.
"""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from phidelity.checkpoint.huggingface import INDEX, WEIGHTS
from phidelity.checkpoint.naming import Layout, foreign_config, generation_config, pieces
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.tensors import write_tensors
from phidelity.checkpoint.weights import Weights, cast, stream
from phidelity.config import UserError
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress
from phidelity.records import atomic, atomic_folder, write_json

SHARD_BYTES = 5_000_000_000
"""Largest shard, as in the release."""

README = """---
library_name: transformers
license: mit
---

{parameters:,}-parameter miniature trained by Phidelity; not phi-4; not affiliated with Microsoft.

`Phi3ForCausalLM` with fused projections, context {context_len}, vocabulary {vocab_size}, chat layout
`<|im_start|>role<|im_sep|>content<|im_end|>`. Weights digest {digest}.
"""

_SAVED_ORDER = ("attention.out", "attention.qkv", "feed_forward.gate_up", "feed_forward.down", "attention_norm")
"""Of a block's parameters in the published shards; the second norm comes last."""


class Part(NamedTuple):
    """A foreign tensor to be written: rows of one of our parameters."""

    name: str
    start: int
    shape: tuple[int, ...]


Shard = dict[str, Part]
"""Foreign tensors by name."""


TOKENIZER_CLASS: dict[Layout, str] = {"fused": "GPT2Tokenizer", "split": "PreTrainedTokenizerFast"}
"""What tokenizer_config.json says, so that transformers and llama.cpp both split by the file's own pattern."""


def write_huggingface(
    weights: Weights,
    out: Path,
    *,
    layout: Layout = "fused",
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = SILENT,
) -> None:
    """Write `weights` as a new folder `out`, in `dtype` (as stored, if None: the widest of its dtypes)."""
    dtype = dtype or stored_dtype(weights)
    shards = plan_shards(weights, layout, dtype, shard_bytes)
    names = _file_names(len(shards))
    check_room(out, dtype.itemsize * census(weights.config).total)
    with atomic_folder(out) as folder:
        weights.tokenizer.save(folder, TOKENIZER_CLASS[layout])
        config = foreign_config(weights.config, weights.tokenizer, layout, str(dtype).removeprefix("torch."))
        write_json(folder / "config.json", config)
        write_json(folder / "generation_config.json", generation_config(weights.tokenizer))
        if len(shards) > 1:
            total = dtype.itemsize * census(weights.config).total
            weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
            write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
        for file, shard in zip(names, shards, strict=True):
            _write_shard(weights, folder / file, shard, dtype, progress)


def export_huggingface(model: Path, out: Path, progress: Progress = SILENT) -> int:
    """Write a trained `model` at `out` in fp32 with a README that says what it is; returns the parameter count.

    What an earlier try left at `out` is replaced.
    """
    weights = open_weights(model)
    shutil.rmtree(out, ignore_errors=True)
    write_huggingface(weights, out, dtype=torch.float32, progress=progress)
    config = weights.config
    parameters = census(config).total
    values = {"parameters": parameters, "context_len": config.context_len, "vocab_size": config.vocab_size}
    with atomic(out / "README.md", "w") as file:
        file.write(README.format(**values, digest=weights.digest))
    return parameters


def stored_dtype(weights: Weights) -> torch.dtype:
    """The dtype that holds all stored values exactly: the one they have, or float32 where they differ."""
    dtypes = {weights.dtype_of(name) for name in weights.shapes}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def plan_shards(weights: Weights, layout: Layout, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Which tensors go into which file: in the order of the release, a new file where the next would not fit."""
    shards: list[Shard] = [{}]
    filled = 0
    for foreign, part in _parts(weights, layout):
        size = dtype.itemsize * math.prod(part.shape)
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][foreign] = part
        filled += size
    return shards


def check_room(out: Path, size: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    folder = next(parent for parent in out.absolute().parents if parent.is_dir())
    if size > (free := shutil.disk_usage(folder).free):
        raise UserError(f"{out} needs {size:,} bytes; {free:,} are free there. Make room or choose another place.")


def _write_shard(weights: Weights, path: Path, shard: Shard, dtype: torch.dtype, progress: Progress) -> None:
    shapes = {name: part.shape for name, part in shard.items()}
    with progress.task(f"write {path.name}", sum(map(math.prod, shapes.values())), "values") as task:

        def blocks(name: str) -> Iterator[Tensor]:
            part = shard[name]
            for _, block in stream(weights, part.name, part.start, part.start + part.shape[0]):
                yield cast(block, dtype, weights.label(part.name))
                task.advance(block.numel())

        write_tensors(path, shapes, dtype, blocks)


def _parts(weights: Weights, layout: Layout) -> Iterator[tuple[str, Part]]:
    foreign = pieces(weights.config, weights.shapes, layout)
    for name in sorted(weights.shapes, key=_saved_place):
        start = 0
        for piece in foreign[name]:
            yield piece.name, Part(name, start, (piece.n_rows, *weights.shapes[name][1:]))
            start += piece.n_rows


def _saved_place(name: str) -> tuple[int, int]:
    """Embedding, then blocks by number, then final norm and head."""
    if not name.startswith("blocks."):
        return (-1, 0) if name.startswith("embed") else (1 << 30, name.startswith("head"))
    _, layer, part = name.removesuffix(".weight").split(".", 2)
    return int(layer), _SAVED_ORDER.index(part) if part in _SAVED_ORDER else len(_SAVED_ORDER)


def _file_names(n: int) -> list[str]:
    return [WEIGHTS] if n == 1 else [f"model-{k:05}-of-{n:05}.safetensors" for k in range(1, n + 1)]
