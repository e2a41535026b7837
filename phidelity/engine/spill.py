"""Blocks of the prefix cache on disk: found again after a restart, never trusted, never the reason a request fails.

A block is one file, named by the digest of all token ids up to its end, in a folder named by the weights, the
arithmetic, and the layout of the cache; so another model's files are never looked at. It holds its own ids and a
checksum, both compared when it is read. It is written under another name and renamed, without waiting for the disk: a
torn file fails its checksum and is a miss. Beyond the budget, over all models, files used longest ago go first.
"""

import contextlib
import logging
import os
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MAGIC = b"PHIKV\x00\x00\x01"
BUDGET = 4 << 30
"""Bytes on disk unless told otherwise (*ours*)."""

logger = logging.getLogger(__name__)


class Spill:
    """A folder of blocks of one model among those of others."""

    def __init__(
        self, folder: Path, key: str, shape: tuple[int, ...], dtype: torch.dtype, budget: int = BUDGET
    ) -> None:
        self.folder = folder / key
        self.budget = budget
        self._shape = shape
        self._dtype = dtype
        self._is_off = False
        """After a failed write: reading goes on."""
        self._has_told = False
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        """Of all files under `folder`, the one used longest ago first."""
        self._n_bytes = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for _, path, size in sorted(_files(folder)):
                self._add(path, size)
        except OSError as error:
            self._give_up(error)

    @property
    def n_bytes(self) -> int:
        """Bytes of all blocks in the folder, other models' included."""
        return self._n_bytes

    def wants(self, chain: bytes) -> bool:
        """Whether a block can be written and is not there."""
        return not self._is_off and self._path(chain) not in self._sizes

    def write(self, chain: bytes, ids: tuple[int, ...], data: Tensor) -> None:
        """Store a block [L, 2, K, BLOCK, D] of these ids; a disk that cannot take it is said once, then left alone."""
        body = np.array(ids, dtype="<i8").tobytes() + data.contiguous().view(torch.uint8).numpy().tobytes()
        content = MAGIC + zlib.crc32(body).to_bytes(4, "little") + body
        path = self._path(chain)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            if not self._make_room(len(content)):
                return
            temporary.write_bytes(content)
            os.replace(temporary, path)
            self._add(path, len(content))
        except OSError as error:
            self._give_up(error)
            _remove(temporary)

    def read(self, chain: bytes, ids: tuple[int, ...]) -> Tensor | None:
        """The block of these ids, or None where it is not there or not sound."""
        path = self._path(chain)
        if path not in self._sizes:
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            return self._drop(path, str(error))
        with contextlib.suppress(OSError):
            os.utime(path)
        self._sizes.move_to_end(path)
        start = len(MAGIC) + 4
        head, body = content[:start], memoryview(content)[start:]
        n_ids = 8 * len(ids)
        n_expected = n_ids + int(np.prod(self._shape)) * self._dtype.itemsize
        if len(body) != n_expected or head != MAGIC + zlib.crc32(body).to_bytes(4, "little"):
            return self._drop(path, "it is cut, changed or not one of ours")
        if body[:n_ids] != np.array(ids, dtype="<i8").tobytes():
            return self._drop(path, "it holds other token ids")
        flat = torch.from_numpy(np.frombuffer(body, dtype=np.uint8, offset=n_ids).copy())
        return flat.view(self._dtype).view(self._shape)

    def _path(self, chain: bytes) -> Path:
        return self.folder / f"{chain.hex()}.kv"

    def _add(self, path: Path, size: int) -> None:
        self._n_bytes += size - self._sizes.pop(path, 0)
        self._sizes[path] = size

    def _make_room(self, size: int) -> bool:
        while self._sizes and self._n_bytes + size > self.budget:
            path, old = self._sizes.popitem(last=False)
            self._n_bytes -= old
            path.unlink(missing_ok=True)
        return self._n_bytes + size <= self.budget

    def _drop(self, path: Path, why: str) -> None:
        self._n_bytes -= self._sizes.pop(path)
        self._tell(f"A block of the prefix cache, {path}, was left out: {why}. It is computed anew.")
        _remove(path)

    def _give_up(self, error: OSError) -> None:
        self._is_off = True
        self._tell(f"The prefix cache is no longer written to {self.folder}: {error}. Requests go on without.")

    def _tell(self, text: str) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning(text)


def _files(folder: Path) -> list[tuple[float, Path, int]]:
    """Time of last use, path and size of every block, all models'; files that vanish meanwhile are left out."""
    found = []
    for path in folder.glob("*/*.kv"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime, path, status.st_size))
    return found


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        logger.debug("%s could not be removed", path)
