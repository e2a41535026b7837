"""Safetensors files by rows, read and written without ever mapping one or holding one whole.

The format is a length in eight bytes, a JSON header and the bytes of the tensors, so it is read with plain reads:
mapped pages would count as resident memory. A header is not believed: sizes, offsets and the length of the file must
agree to the byte, as the format demands. What is written equals the safetensors library's own output.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phidelity.config import UserError
from phidelity.records import atomic

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


class Stored(NamedTuple):
    """One tensor in a file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """Of its first byte in the file."""


class TensorFile:
    """The header of a safetensors file, checked, and its tensors by rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors = read_header(path)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of a tensor, as stored."""
        dtype, shape, offset = self.tensors[name]
        block = torch.empty(stop - start, *shape[1:], dtype=dtype)
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        with open(self.path, "rb", buffering=0) as file:
            file.seek(offset + start * row_bytes)
            view = block.view(torch.uint8).numpy().reshape(-1).data
            while view:
                n = file.readinto(view)
                if not n:
                    raise UserError(f"{self.path} ended inside {name}: it was cut while being read. Fetch it again.")
                view = view[n:]
        return block


def read_header(path: Path) -> dict[str, Stored]:
    """Names, dtypes, shapes and places of the tensors in a file; a damaged or foreign file is a `UserError`."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")):
            raise UserError(f"{path} holds pickled data, which can run code and is never loaded. Expected safetensors.")
        if size < 8 or length > LONGEST_HEADER:
            raise UserError(f"{path} is damaged or no safetensors file. Fetch or make it again.")
        if 8 + length > size:
            raise UserError(f"{path} is truncated or damaged: {size} bytes, not even its header. Fetch it again.")
        text = file.read(length)
    try:
        header = dict(json.loads(text))
        header.pop("__metadata__", None)
        ends = {name: 8 + length + int(entry["data_offsets"][1]) for name, entry in header.items()}
        tensors = {name: _stored(path, name, entry, 8 + length) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is truncated or damaged: its header is no list of tensors ({error!r}).") from None
    end = max(ends.values(), default=8 + length)
    if end != size:
        raise UserError(f"{path} is truncated or damaged: {size} bytes found, {end} expected. Fetch or make it again.")
    _check_places(path, tensors, 8 + length)
    return tensors


def write_tensors(
    path: Path,
    tensors: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    blocks: Callable[[str], Iterable[Tensor]],
) -> None:
    """Write tensors of given shapes in one dtype, each from its row blocks, atomically."""
    label = next(label for label, known in DTYPES.items() if known == dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in sorted(tensors):
        end = offset + math.prod(tensors[name]) * dtype.itemsize
        header[name] = {"dtype": label, "shape": list(tensors[name]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            for block in blocks(name):
                file.write(block.to(dtype).contiguous().view(torch.uint8).numpy().reshape(-1).data)
        assert file.tell() == 8 + len(text) + offset, "blocks and shapes disagree"


def _stored(path: Path, name: str, entry: Any, data: int) -> Stored:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:
        found = f"{name} has dtype {entry['dtype']}"
        raise UserError(f"{path}: {found}; expected F32, F16 or BF16. Quantised copies are read as GGUF.")
    shape = tuple(map(int, entry["shape"]))
    start, end = map(int, entry["data_offsets"])
    if start < 0 or not shape or min(shape) < 1 or end - start != math.prod(shape) * dtype.itemsize:
        raise UserError(f"{path} is damaged: {name} of shape {shape} does not fill its bytes {start} to {end}.")
    return Stored(dtype, shape, data + start)


def _check_places(path: Path, tensors: Mapping[str, Stored], data: int) -> None:
    at = data
    for name, stored in sorted(tensors.items(), key=lambda item: item[1].offset):
        if stored.offset != at:
            raise UserError(f"{path} is damaged: {name} begins at byte {stored.offset}; expected {at}.")
        at += math.prod(stored.shape) * stored.dtype.itemsize
