"""A packed folder: a quantised model in the very bytes that the kernels read, drawn in docs/packed.md.

packed.json says what lies where in model.packed; config.json and the tokenizer's files are those of every folder.
Matrices are q4 or q8 in kernel order (kernels/layout.py), norms float32. Every tensor has a checksum, which is held
against its bytes whenever they are read: a flipped bit is found and the tensor named. For serving the file is mapped,
so that nothing is copied; as `Weights` it gives float32 by rows, the path without a compiler and the oracle of the
kernels.
"""

import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from phidelity.checkpoint.naming import read_config, read_json
from phidelity.checkpoint.weights import Checkpoint, check_vocabulary, expected_shapes
from phidelity.config import UserError
from phidelity.kernels.layout import BLOCK_BYTES, ROWS, Kind, Quantised, n_bytes, padded, unpack
from phidelity.kernels.memory import mapped_file
from phidelity.model.config import ModelConfig
from phidelity.model.quantized import Packed, quantised_model
from phidelity.progress import SILENT, Progress
from phidelity.tokenizer.bpe import Tokenizer

HEADER, WEIGHTS = "packed.json", "model.packed"
FORMAT, VERSION, LAYOUT = "phidelity packed", 1, "16 rows x 128 columns"
ALIGNMENT = 64
"""Bytes that tensors begin at a multiple of: a cache line."""
PIECE = 1 << 20
"""Bytes that are read, and summed, at once."""
N_READERS = 2
"""Threads that sum (*ours*): one does not fill the memory's bandwidth."""

Stored = Literal["q4", "q8", "f32"]


class Entry(NamedTuple):
    """One tensor in model.packed."""

    kind: Stored
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    checksum: str


class PackedWeights:
    """The `Weights` of a packed folder; `read` gives what the kernels take."""

    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.source, self.folder = str(folder), folder
        self.path = folder / WEIGHTS
        self.header = _header(folder / HEADER)
        self.config = read_config(folder)
        self.tokenizer = Tokenizer.load(folder)
        check_vocabulary(self.source, self.config, self.tokenizer)
        self.shapes: Mapping[str, tuple[int, ...]] = expected_shapes(self.config)
        self.entries = _entries(folder / HEADER, self.header, self.shapes)
        self._check_size()
        self._verified: set[str] = set()

    @property
    def form(self) -> str:
        """For example `packed, q4, 4.90 bits a weight, 161 q4, 1 q8, 81 f32`."""
        kinds = [entry.kind for entry in self.entries.values()]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
        return f"packed, {self.header['to']}, {self.bits_per_weight:.2f} bits a weight, {counts}"

    @property
    def digest(self) -> str:
        """Hash of all checksums."""
        return hashlib.sha256("".join(entry.checksum for entry in self.entries.values()).encode()).hexdigest()[:16]

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors, which are what serving holds in memory."""
        return end_of(self.entries)

    @property
    def bits_per_weight(self) -> float:
        """Of the file, scales and norms included."""
        return 8 * self.n_bytes / sum(math.prod(shape) for shape in self.shapes.values())

    def dtype_of(self, name: str) -> torch.dtype:
        """Always float32: what is stored is quantised."""
        return torch.float32

    def label(self, name: str) -> str:
        """File and name of a parameter."""
        return f"{self.path}: {name}"

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop`, dequantised; the whole tensor is held against its checksum the first time."""
        if name not in self._verified:
            self.tensor(name)
        entry = self.entries[name]
        if entry.kind == "f32":
            return torch.from_numpy(self._bytes(name, 4 * start, 4 * stop).view(np.float32))
        values = self._quantised(name, entry.kind, start, stop).dequantise()
        return torch.from_numpy(np.ascontiguousarray(values[:, : entry.shape[1]]))

    def tensor(self, name: str) -> np.ndarray:
        """All bytes of a tensor, uint8, held against its checksum."""
        return self._hold(name, self._bytes(name, 0, self.entries[name].n_bytes))

    def read(self, progress: Progress = SILENT) -> dict[str, np.ndarray]:
        """The bytes of every tensor, uint8, where they lie in the mapped file; all are held against their checksums."""
        area = mapped_file(self.path)
        self._check_size()
        places = {name: area[e.offset : e.offset + e.n_bytes] for name, e in self.entries.items()}
        with progress.task("check weights", self.n_bytes, "bytes") as task, ThreadPoolExecutor(N_READERS) as pool:
            for data in pool.map(self._hold, places, places.values()):
                task.advance(len(data))
        return places

    def load(self, progress: Progress = SILENT) -> Checkpoint:
        """The model as it is served: matrices stay packed, kernels read them where they lie."""
        matrices: dict[str, Packed] = {}
        norms: dict[str, Tensor] = {}
        for name, data in self.read(progress).items():
            kind, shape, *_ = self.entries[name]
            if kind == "f32":
                norms[name] = torch.from_numpy(data.view(np.float32).copy())
            else:
                matrices[name] = Packed(kind, data, (shape[0], shape[1]))
        return Checkpoint(quantised_model(self.config, matrices, norms), self.tokenizer, self.digest)

    def _quantised(self, name: str, kind: Kind, start: int, stop: int) -> Quantised:
        """Parts of some rows, columns filled up: the strips that hold them, and their row scales."""
        n_rows, n_columns = self.shapes[name]
        n_padded, wide = padded(n_rows, n_columns)
        strip = wide // 128 * BLOCK_BYTES[kind]
        first, last = start // ROWS, -(-stop // ROWS)
        blocks = self._bytes(name, first * strip, last * strip)
        end = n_padded // ROWS * strip
        supers = [
            self._bytes(name, end + 4 * (n_padded * k + first * ROWS), end + 4 * (n_padded * k + last * ROWS))
            for k in range(2 if kind == "q4" else 1)
        ]
        q, s, m, D, M = unpack(kind, np.concatenate([blocks, *supers]), (last - first) * ROWS, wide)
        low, high = start - first * ROWS, stop - first * ROWS
        if m is None or M is None:
            return Quantised(q[low:high], s[low:high], None, D[low:high], None)
        return Quantised(q[low:high], s[low:high], m[low:high], D[low:high], M[low:high])

    def _hold(self, name: str, data: np.ndarray) -> np.ndarray:
        """`data` against the tensor's checksum."""
        if checksum(data) != self.entries[name].checksum:
            raise UserError(
                f"{self.label(name)} is damaged: its bytes do not have the checksum in {HEADER}. Convert or copy again."
            )
        self._verified.add(name)
        return data

    def _bytes(self, name: str, start: int, stop: int) -> np.ndarray:
        data = np.empty(stop - start, dtype=np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.entries[name].offset + start)
            at = 0
            while at < len(data):
                n = file.readinto(data[at : at + 16 * PIECE].data)
                if not n:
                    raise UserError(f"{self.path} ended inside {name}: it was cut while being read. Convert again.")
                at += n
        return data

    def _check_size(self) -> None:
        if not self.path.is_file():
            raise UserError(f"{self.folder} has {HEADER} but no {WEIGHTS}. Copy the whole folder, or convert again.")
        if (size := self.path.stat().st_size) != self.n_bytes:
            raise UserError(
                f"{self.path} is truncated or damaged: {size:,} bytes found, {self.n_bytes:,} expected. Convert again."
            )


def kinds(config: ModelConfig, to: Kind) -> dict[str, Stored]:
    """How each parameter is stored: a plan that follows from the configuration alone."""
    stored: dict[str, Stored] = {
        name: to if len(shape) == 2 else "f32" for name, shape in expected_shapes(config).items()
    }
    if to == "q4":
        stored |= dict.fromkeys(SENSITIVE, "q8")
    return stored


SENSITIVE = ("head.weight",)
"""Parameters that stay q8 in a q4 model: errors of the head go straight into the logits (docs/packed.md)."""


def stored_bytes(kind: Stored, shape: tuple[int, ...]) -> int:
    """Bytes of one tensor, without what fills up to the next."""
    return 4 * shape[0] if kind == "f32" else n_bytes(kind, shape[0], shape[1])


def packed_bytes(config: ModelConfig, to: Kind) -> int:
    """Bytes of a whole packed model, before it is made."""
    shapes = expected_shapes(config)
    return sum(aligned(stored_bytes(kind, shapes[name])) for name, kind in kinds(config, to).items())


def aligned(n: int) -> int:
    """Up to where the next tensor begins."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def end_of(entries: Mapping[str, Entry]) -> int:
    """Bytes of the file that holds these tensors."""
    return sum(aligned(entry.n_bytes) for entry in entries.values())


def checksum(data: np.ndarray) -> str:
    """16 hexadecimal digits of uint8 [n]: sha256 of the 512 sums of 64-bit columns of each megabyte.

    It runs at the speed of memory; any single change, and any that is not exactly balanced in a column, is found.
    """
    digest = hashlib.sha256(len(data).to_bytes(8, "little"))
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        if rest := -len(piece) % 4096:
            piece = np.concatenate((piece, np.zeros(rest, dtype=np.uint8)))
        digest.update(np.add.reduce(piece.view("<u8").reshape(-1, 512), axis=0, dtype=np.uint64).tobytes())
    return digest.hexdigest()[:16]


def _header(path: Path) -> dict[str, Any]:
    header = read_json(path)
    if header is None:
        raise UserError(
            f"No packed model at {path.parent}: {path.name} is missing. Convert a model with --to q4 or q8."
        )
    for key, expected in (("format", FORMAT), ("version", VERSION), ("layout", LAYOUT)):
        if (found := header.get(key)) != expected:
            raise UserError(
                f"{path}: {key} is {found!r:.60}; this version reads {expected!r}. Convert the model again."
            )
    if header.get("to") not in ("q4", "q8") or not isinstance(header.get("tensors"), dict):
        raise UserError(f"{path} is damaged: it does not say what is stored. Convert the model again.")
    return header


def _entries(path: Path, header: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Entry]:
    """The tensors, each where the one before ends; anything else is damage."""
    if odd := sorted(header["tensors"].keys() ^ shapes.keys()):
        raise UserError(f"{path}: {', '.join(map(str, odd[:3])):.120} missing or unknown. Convert the model again.")
    entries: dict[str, Entry] = {}
    offset = 0
    for name, shape in shapes.items():
        entry = _entry(header["tensors"][name])
        kind = "a matrix" if len(shape) == 2 else "f32"
        fits = entry and entry.shape == shape and (entry.kind != "f32") == (len(shape) == 2)
        if not entry or not fits or entry.offset != offset or entry.n_bytes != stored_bytes(entry.kind, shape):
            found = f"{name} is said to be {header['tensors'][name]!r:.120}"
            raise UserError(f"{path} is damaged: {found}; expected {kind} of shape {shape} at {offset}. Convert again.")
        entries[name] = entry
        offset += aligned(entry.n_bytes)
    return entries


def _entry(found: Any) -> Entry | None:
    try:
        kind, shape, offset, size, digest = (found[key] for key in ("kind", "shape", "offset", "bytes", "checksum"))
        is_known = kind in ("q4", "q8", "f32") and isinstance(digest, str)
        return Entry(kind, tuple(map(int, shape)), int(offset), int(size), digest) if is_known else None
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
