"""Blocks of the prefix cache on disk: found again after a restart, never trusted, never the reason a request fails.

A block is one file, named by the digest of all token ids up to its end, in a folder named by the weights, the
arithmetic, and the layout of the cache; so another model's files are never looked at. It holds its own ids and a
checksum, both compared when it is read. A prefix that ends inside a block is a file too, its tail: one for each chain
of whole blocks, the newest, of which the common beginning is taken. A file is written under another name and renamed,
without waiting for the disk: a torn one fails its checksum and is a miss. Beyond the budget, over all models, files
used longest ago go first.
"""

import contextlib
import itertools
import logging
import os
import time
import zlib
from collections import OrderedDict, deque
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from phidelity.engine.blocks import BLOCK, Blocks, Entry, n_common

MAGIC = b"PHIKV\x00\x00\x02"
HEAD = 16
"""Bytes before ids and numbers."""
BUDGET = 4 << 30
"""Bytes on disk unless told otherwise (*ours*)."""

LEFT_OVER = 60.0
"""Seconds after which an unfinished file is taken for a killed process's and removed (*ours*)."""

logger = logging.getLogger(__name__)
_NUMBERS = itertools.count()


def default_folder() -> Path:
    """Where prefixes are kept unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phidelity" / "prefixes"


class Spill:
    """A folder of blocks of one model among those of others."""

    def __init__(
        self, folder: Path, key: str, shape: tuple[int, ...], dtype: torch.dtype, budget: int = BUDGET
    ) -> None:
        self.folder = folder / key
        self.budget = budget
        self._unfinished = f".{os.getpid()}-{next(_NUMBERS)}.tmp"
        """What files end in while they are written: no two engines of a process write the same one."""
        self._shape = shape
        self._dtype = dtype
        self._n_data = int(np.prod(shape)) * dtype.itemsize
        self._buffer = np.empty(HEAD + 8 * (BLOCK + 1) + self._n_data + 1, dtype=np.uint8)
        """Of a read, and one byte more; kept, since new pages cost more than the copy."""
        self._used: list[Path] = []
        """Files read since their times were last set."""
        self._is_off = False
        """After a failed write: reading goes on."""
        self._has_told = False
        self._sizes: OrderedDict[Path, int] = OrderedDict()
        """Of all files under `folder`, the one used longest ago first."""
        self._n_bytes = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for _, path, size in sorted(_files(folder)):
                self._add(path, size)
        except OSError as error:
            self.give_up(error)

    @property
    def n_bytes(self) -> int:
        """Bytes of all blocks in the folder, other models' included."""
        return self._n_bytes

    def wants(self, chain: bytes, *, anew: bool = False) -> bool:
        """Whether a block can be written and is not there, or is to be written anew."""
        return not self._is_off and (anew or self._path(chain) not in self._sizes)

    def write(self, chain: bytes, ids: tuple[int, ...], data: Tensor) -> None:
        """Store a block [L, 2, K, BLOCK, D] of these ids; a disk that cannot take it is said once, then left alone."""
        head = np.array([len(ids), *ids], dtype="<i8").tobytes()
        body = head + data.contiguous().view(torch.uint8).numpy().tobytes()
        content = MAGIC + zlib.crc32(body).to_bytes(8, "little") + body
        path = self._path(chain)
        temporary = path.with_suffix(self._unfinished)
        try:
            if not self._make_room(len(content)):
                return
            temporary.write_bytes(content)
            os.replace(temporary, path)
            self._add(path, len(content))
        except OSError as error:
            self.give_up(error)
            _remove(temporary)

    def read(self, chain: bytes, ids: tuple[int, ...]) -> Tensor | None:
        """The block of these ids, good until the next read, or None where it is not there or not sound."""
        found = self._read(chain)
        if found and found[0] != ids:
            return self._drop(self._path(chain), "it holds other token ids")
        return found[1] if found else None

    def read_tail(self, chain: bytes, ids: tuple[int, ...]) -> tuple[int, Tensor] | None:
        """How many of `ids` a tail begins with, at least one, and its block, good until the next read."""
        found = self._read(chain)
        n = n_common(found[0], ids) if found else 0
        return (n, found[1]) if found and n else None

    def mark_used(self) -> None:
        """Set the times of files that were read, which the next start goes by; for when nothing else is to be done."""
        for path in self._used:
            with contextlib.suppress(OSError):
                os.utime(path)
        self._used.clear()

    def _read(self, chain: bytes) -> tuple[tuple[int, ...], Tensor] | None:
        path = self._path(chain)
        if path not in self._sizes:
            return None
        try:
            with open(path, "rb", buffering=0) as file:
                content = self._buffer[: file.readinto(self._buffer.data)]
        except OSError as error:
            return self._drop(path, str(error))
        self._used.append(path)
        self._sizes.move_to_end(path)
        head, body = content[:HEAD].tobytes(), content[HEAD:]
        n_data = self._n_data
        n_ids = (len(body) - n_data) // 8 - 1
        if not 0 < n_ids <= BLOCK or head != MAGIC + zlib.crc32(body.data).to_bytes(8, "little"):
            return self._drop(path, "it is cut, changed or not one of ours")
        n_said, *ids = body[: 8 * (n_ids + 1)].view("<i8").tolist()
        if n_said != n_ids:
            return self._drop(path, "it is cut, changed or not one of ours")
        return tuple(ids), torch.from_numpy(body[-n_data:]).view(self._dtype).view(self._shape)

    def _path(self, chain: bytes) -> Path:
        return self.folder / f"{chain.hex()}.kv"

    def _add(self, path: Path, size: int) -> None:
        self._n_bytes += size - self._sizes.pop(path, 0)
        self._sizes[path] = size

    def _make_room(self, size: int) -> bool:
        if size > self.budget:
            self.give_up(f"a block takes {size} bytes, and the budget is {self.budget}")
            return False
        while self._sizes and self._n_bytes + size > self.budget:
            path, old = self._sizes.popitem(last=False)
            self._n_bytes -= old
            path.unlink(missing_ok=True)
        return True

    def _drop(self, path: Path, why: str) -> None:
        self._n_bytes -= self._sizes.pop(path)
        self._tell(f"A block of the prefix cache, {path}, was left out: {why}. It is computed anew.")
        _remove(path)

    def give_up(self, error: Exception | str) -> None:
        """Write nothing any more, and say once why."""
        self._is_off = True
        self._tell(f"The prefix cache is no longer written to {self.folder}: {error}. Requests go on without.")

    def _tell(self, text: str) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning(text)


class Holder(Protocol):
    """A cache that gives a copy of a block (cache.py, compact.py)."""

    def get(self, block: int) -> Tensor:
        """One block in main memory."""
        ...


class Saver:
    """Writes blocks of a cache to disk: when they are evicted, or when the engine has nothing to do."""

    def __init__(self, spill: Spill, cache: Holder) -> None:
        self._spill = spill
        self._cache = cache
        self._unsaved: deque[tuple[int, Entry]] = deque()

    def note(self, block: int, entry: Entry) -> None:
        """A block became findable."""
        self._unsaved.append((block, entry))

    def save_one(self, blocks: Blocks) -> bool:
        """Write one that is still findable and not on disk yet; whether there was one."""
        while self._unsaved:
            block, entry = self._unsaved.popleft()
            if blocks.entries[block] == entry:
                self._write(block, entry, anew=len(entry.ids) < BLOCK)
                return True
        self._spill.mark_used()
        return False

    def save(self, block: int, entry: Entry) -> None:
        """Write a block that is evicted; tails are let go."""
        if len(entry.ids) == BLOCK:
            self._write(block, entry, anew=False)

    def _write(self, block: int, entry: Entry, *, anew: bool) -> None:
        """Whatever fails, no request is to."""
        try:
            if self._spill.wants(entry.chain, anew=anew):
                self._spill.write(entry.chain, entry.ids, self._cache.get(block))
        except Exception as error:
            self._spill.give_up(error)


def _files(folder: Path) -> list[tuple[float, Path, int]]:
    """Time of last use, path and size of every block, all models'; files that vanish meanwhile are left out.

    What killed processes left unfinished is removed.
    """
    found = []
    for path in folder.glob("*/*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - LEFT_OVER:
                _remove(path)
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
