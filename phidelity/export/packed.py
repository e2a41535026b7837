"""A checkpoint as a packed folder: quantised tensor by tensor, in the order of the network, from any `Weights`.

Memory holds one packed tensor and one block of rows. Nothing stands at the destination before all of it does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phidelity.checkpoint.naming import foreign_config, generation_config
from phidelity.checkpoint.packed import (
    FORMAT,
    HEADER,
    LAYOUT,
    VERSION,
    WEIGHTS,
    Stored,
    aligned,
    checksum,
    kinds,
    packed_bytes,
    stored_bytes,
)
from phidelity.checkpoint.weights import BLOCK_VALUES, Weights, is_finite
from phidelity.config import UserError
from phidelity.export.huggingface import check_room
from phidelity.export.quantise import quantise
from phidelity.kernels.layout import BLOCK_BYTES, ROWS, Kind, pack_q4, pack_q8, padded
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import atomic, atomic_folder, write_json

Importance = Mapping[str, Tensor]
"""Mean square of each input of a matrix, by parameter name: [C] each."""


def write_packed(
    weights: Weights, out: Path, to: Kind, *, importance: Importance | None = None, progress: Progress = SILENT
) -> None:
    """Write `weights` as a new packed folder `out`; with `importance` columns weigh what a text showed them to."""

    def fill(name: str, kind: Stored, task: Task) -> np.ndarray:
        return _packed(weights, name, kind, (importance or {}).get(name), task)

    note = {"source": weights.form, "digest": weights.digest, "calibrated": importance is not None}
    write_folder(weights, out, to, fill, note, progress)


def write_folder(
    weights: Weights,
    out: Path,
    to: Kind,
    fill: Callable[[str, Stored, Task], np.ndarray],
    note: Mapping[str, Any],
    progress: Progress = SILENT,
) -> None:
    """Write a folder of the shape of `weights`, the bytes of each tensor as `fill` gives them."""
    check_room(out, packed_bytes(weights.config, to))
    tensors: dict[str, Any] = {}
    with atomic_folder(out) as folder:
        with (
            atomic(folder / WEIGHTS) as file,
            progress.task("quantise", census(weights.config).total, "values") as task,
        ):
            for name, kind in kinds(weights.config, to).items():
                data, shape = fill(name, kind, task), weights.shapes[name]
                assert len(data) == stored_bytes(kind, shape), name
                place = {"offset": file.tell(), "bytes": len(data), "checksum": checksum(data)}
                tensors[name] = {"kind": kind, "shape": list(shape), **place}
                file.write(data.data)
                file.write(bytes(aligned(len(data)) - len(data)))
        weights.tokenizer.save(folder)
        write_json(folder / "config.json", foreign_config(weights.config, weights.tokenizer))
        write_json(folder / "generation_config.json", generation_config(weights.tokenizer))
        header = {"format": FORMAT, "version": VERSION, "layout": LAYOUT, "to": to, "made_from": dict(note)}
        write_json(folder / HEADER, {**header, "tensors": tensors})


def _packed(weights: Weights, name: str, kind: Stored, importance: Tensor | None, task: Task) -> np.ndarray:
    """One tensor quantised in blocks of whole strips, in kernel order."""
    shape = weights.shapes[name]
    if kind == "f32":
        return _block(weights, name, 0, shape[0]).numpy().view(np.uint8)
    n_padded, wide = padded(*shape)
    strip, n_supers = wide // 128 * BLOCK_BYTES[kind], 2 if kind == "q4" else 1
    data = np.zeros(stored_bytes(kind, shape), dtype=np.uint8)
    supers = data[n_padded // ROWS * strip :].view(np.float32).reshape(n_supers, n_padded)
    step = max(BLOCK_VALUES // 4 // shape[1] // ROWS, 1) * ROWS
    for start in range(0, shape[0], step):
        block = _block(weights, name, start, min(start + step, shape[0]))
        q, s, m, D, M = quantise(kind, block, importance)
        if not (np.isfinite(D).all() and (M is None or np.isfinite(M).all())):
            raise UserError(f"{weights.label(name)} holds values too large to quantise. Check the model it is from.")
        packed = pack_q4(q, s, m, D, M) if m is not None and M is not None else pack_q8(q, s, D)
        end = -(-len(block) // ROWS) * strip
        data[start // ROWS * strip :][:end] = packed[:end]
        for row, values in zip(supers, (D, M), strict=False):
            row[start : start + len(block)] = values
        task.advance(block.numel())
    return data


def _block(weights: Weights, name: str, start: int, stop: int) -> Tensor:
    block = weights.rows(name, start, stop).to(torch.float32)
    if not is_finite(block):
        raise UserError(
            f"{weights.label(name)}: rows {start} to {stop - 1} hold values that are not finite. Make the file again."
        )
    return block
