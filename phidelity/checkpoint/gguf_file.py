"""The GGUF container: metadata and the directory of tensors, from a file that is not trusted.

A file is a header, typed key-value pairs, a list of tensors, and their bytes at aligned offsets. Only what precedes
the weights is mapped; every count, length and offset is checked against the file before it is used, so a hostile file
costs one clear error, not memory or time. Weights are read row by row into memory of their own (mapped pages would
count as resident). Format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from phidelity.checkpoint.blocks import BY_CODE, BlockFormat, decode
from phidelity.config import UserError

LARGEST_HEAD = 1 << 28
"""Bytes before the weights (*ours*); phi-4's tokenizer and directory take 8 MB."""
_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "|b1",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
_NOT_READ = {3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 10: "Q2_K", 11: "Q3_K", 20: "IQ4_NL", 23: "IQ4_XS"}


class StoredTensor(NamedTuple):
    """One tensor in a file."""

    path: Path
    name: str
    form: BlockFormat
    shape: tuple[int, ...]
    """Slowest first: [rows, columns], or [values]."""
    offset: int
    """Of its first byte in the file."""

    @property
    def n_bytes(self) -> int:
        """Bytes it takes."""
        return math.prod(self.shape) // self.form.values * self.form.bytes

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` (values, of one dimension) as values, in memory of their own."""
        n_columns = math.prod(self.shape[1:])
        row_bytes = n_columns // self.form.values * self.form.bytes
        raw = np.empty((stop - start) * row_bytes, dtype=np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset + start * row_bytes)
            view = raw.data
            while view:
                n = file.readinto(view)
                if not n:
                    raise UserError(
                        f"{self.path} ended inside {self.name}: it was cut while being read. Fetch it again."
                    )
                view = view[n:]
        return decode(self.form, raw, n_columns).view(stop - start, *self.shape[1:])


class Contents(NamedTuple):
    """What a file says before its weights."""

    metadata: dict[str, Any]
    """Numbers, truth values, strings, and lists of one of these."""
    tensors: dict[str, StoredTensor]


def read_contents(path: Path) -> Contents:
    """Metadata and tensor directory of a GGUF file; whatever is wrong with it is one `UserError`."""
    if not path.is_file():
        raise UserError(f"No file {path}; expected a model in GGUF. Check the path.")
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if size < 24:
            raise UserError(f"{path} is no GGUF file: {size} bytes. Expected a model in GGUF; fetch it again.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Head(path, data, size).contents()


class _Head:
    """A place in the mapped head of a file, and how to read on from there."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self.path, self.data, self.size = path, data, size
        self.at, self.end = 0, min(size, LARGEST_HEAD)

    def contents(self) -> Contents:
        self._check_magic()
        n_tensors, n_pairs = self._count("tensors", 24), self._count("metadata entries", 13)
        metadata: dict[str, Any] = {}
        for _ in range(n_pairs):
            key = self._string()
            if key in metadata:
                raise self._damaged(f"metadata {key!r:.80} stands there twice")
            metadata[key] = self._value(self._number("<u4"))
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise self._damaged(f"alignment is {alignment!r:.40}; expected a power of two up to 65536")
        entries = [self._tensor() for _ in range(n_tensors)]
        data = -(-self.at // alignment) * alignment
        tensors = [entry._replace(offset=data + entry.offset) for entry in entries]
        self._check_places(tensors, alignment)
        return Contents(metadata, {tensor.name: tensor for tensor in tensors})

    def _check_magic(self) -> None:
        magic = self._bytes(4)
        if magic != b"GGUF":
            raise UserError(f"{self.path} is no GGUF file: it begins with {magic!r}. Give a file in GGUF.")
        version = self._number("<u4")
        if version not in (2, 3):
            found = "big-endian" if version in (2 << 24, 3 << 24) else f"version {version}"
            raise UserError(
                f"{self.path}: GGUF of {found}; versions 2 and 3, little-endian, are read. Convert it again."
            )

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged: {what} (byte {self.at}). Fetch or make it again.")

    def _bytes(self, n: int) -> bytes:
        if n > self.end - self.at:
            where = "its head is longer than any model's" if self.end < self.size else "it is truncated"
            raise self._damaged(f"{n} bytes are announced, {self.end - self.at} follow: {where}")
        self.at += n
        return self.data[self.at - n : self.at]

    def _number(self, kind: str) -> Any:
        return np.frombuffer(self._bytes(np.dtype(kind).itemsize), kind)[0].item()

    def _count(self, what: str, least: int) -> int:
        """A count of things that take at least `least` bytes each."""
        n = self._number("<u8")
        if n > (self.end - self.at) // least:
            raise self._damaged(f"{n} {what} are announced, more than the file has room for")
        return n

    def _string(self) -> str:
        (n,) = struct.unpack("<Q", self._bytes(8))
        try:
            return self._bytes(n).decode()
        except UnicodeDecodeError:
            raise self._damaged("a text is not UTF-8") from None

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._number("<u4"))
        return self._number(self._scalar(kind))

    def _array(self, kind: int) -> list[Any]:
        if kind == _STRING:
            return [self._string() for _ in range(self._count("texts", 8))]
        dtype = np.dtype(self._scalar(kind))
        n = self._count("values", dtype.itemsize)
        return np.frombuffer(self._bytes(n * dtype.itemsize), dtype).tolist()

    def _scalar(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise self._damaged(f"a value has type {kind}, which does not exist or cannot stand here")
        return _SCALARS[kind]

    def _tensor(self) -> StoredTensor:
        """An entry of the directory, its offset still relative to the first weight."""
        name = self._string()
        n_dimensions = self._number("<u4")
        if not 1 <= n_dimensions <= 4:
            raise self._damaged(f"tensor {name!r:.80} has {n_dimensions} dimensions")
        shape = tuple(self._number("<u8") for _ in range(n_dimensions))[::-1]
        code, offset = self._number("<u4"), self._number("<u8")
        form = BY_CODE.get(code)
        if form is None:
            kind = _NOT_READ.get(code, f"type {code}")
            known = ", ".join(form.name for form in BY_CODE.values())
            raise UserError(
                f"{self.path}: {name!r:.80} is stored as {kind}; read are {known}. Quantise it to one of these."
            )
        if min(shape) < 1 or math.prod(shape) > 8 * self.size or shape[-1] % form.values:
            raise self._damaged(f"tensor {name!r:.80} has shape {shape}, which {form.name} cannot hold in this file")
        return StoredTensor(self.path, name, form, shape, offset)

    def _check_places(self, tensors: list[StoredTensor], alignment: int) -> None:
        """Tensors must be aligned, lie within the file, and share neither bytes nor names."""
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise self._damaged("two tensors have one name")
        end = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            if tensor.offset % alignment:
                raise self._damaged(f"tensor {tensor.name!r:.80} begins at byte {tensor.offset}, off the alignment")
            if tensor.offset < end:
                raise self._damaged(f"tensor {tensor.name!r:.80} overlaps another")
            end = tensor.offset + tensor.n_bytes
            if end > self.size:
                raise self._damaged(f"tensor {tensor.name!r:.80} ends at byte {end}; the file has {self.size}")
