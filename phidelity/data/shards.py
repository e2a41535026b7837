"""Token shards: the documents of one mixture group as ids on disk, read through a memory map.

A group is five files: `<group>.bin` (little-endian 32-bit ids, since phi-4's vocabulary is above 65,536),
`<group>.ends.npy` (where each document ends), `<group>.ids.txt` and `<group>.places.npy` (which document it is and
where it lies, so that every packed token leads back to its source) and `<group>.json`, written last, with counts and
hashes. A shard that was cut off or does not belong to its index is a `UserError` before training begins.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from phidelity.config import UserError
from phidelity.records import atomic, write_json

NOWHERE = (-1, -1)
_STRETCH = 1 << 22
"""Ids that are copied at once."""


class Shard(NamedTuple):
    """The tokens of one group. Document d is `tokens[ends[d - 1] : ends[d]]`, its last id the end of text."""

    group: str
    tokens: np.ndarray
    """Memory-mapped, uint32."""
    ends: np.ndarray
    """int64, one per document."""
    tokenizer: str
    """Digest of the tokenizer that the ids belong to."""
    digest: str
    """Hash of tokens and boundaries."""

    @property
    def n_tokens(self) -> int:
        """All ids, each document's end of text included."""
        return len(self.tokens)

    @property
    def n_documents(self) -> int:
        """How many documents it holds."""
        return len(self.ends)


class ShardWriter:
    """Writes the documents of one group one after the other; the index, written last, makes it a shard."""

    def __init__(self, folder: Path, group: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._group = folder, group
        self._ends: list[int] = []
        self._ids: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._n_tokens, self._sha = 0, hashlib.sha256()
        self._file = open(folder / f"{group}.bin.tmp", "wb")  # noqa: SIM115  (closed by `close`)

    def add(self, document_id: str, tokens: Sequence[int] | np.ndarray, place: tuple[int, int] = NOWHERE) -> None:
        """One document more."""
        self._append(np.asarray(tokens, dtype="<u4").tobytes())
        self._ends.append(self._n_tokens)
        self._ids.append(document_id)
        self._places.append(place)

    def add_shard(self, folder: Path) -> None:
        """All documents of this group's shard in another folder."""
        part = open_shard(folder, self._group)
        first = self._n_tokens
        for start in range(0, len(part.tokens), _STRETCH):
            self._append(part.tokens[start : start + _STRETCH].tobytes())
        self._ends += (part.ends + first).tolist()
        self._ids += document_ids(folder, self._group)
        self._places += list(map(tuple, document_places(folder, self._group).tolist()))

    def close(self, tokenizer: str) -> dict[str, int]:
        """Write boundaries, ids, places and index; gives how many documents and tokens there are."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._file.name, self._folder / f"{self._group}.bin")
        boundaries = np.asarray(self._ends, dtype="<i8")
        places = np.asarray(self._places, dtype="<i8").reshape(-1, 2)
        for name, array in (("ends", boundaries), ("places", places)):
            with atomic(self._folder / f"{self._group}.{name}.npy") as file:
                np.save(file, array)
        with atomic(self._folder / f"{self._group}.ids.txt", "w") as file:
            file.writelines(f"{document_id}\n" for document_id in self._ids)
        counts = {"documents": len(boundaries), "tokens": self._n_tokens}
        hashes = {"sha256": self._sha.hexdigest(), "ends_sha256": hashlib.sha256(boundaries.tobytes()).hexdigest()}
        index = {**counts, **hashes, "tokenizer": tokenizer, "dtype": "<u4"}
        write_json(self._folder / f"{self._group}.json", index)
        return counts

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._sha.update(data)
        self._n_tokens += len(data) // 4


def write_shard(
    folder: Path, group: str, documents: Iterable[tuple[str, Sequence[int] | np.ndarray]], *, tokenizer: str
) -> dict[str, int]:
    """Write (document id, token ids) pairs as one shard; gives how many documents and tokens it holds."""
    writer = ShardWriter(folder, group)
    for document_id, tokens in documents:
        writer.add(document_id, tokens)
    return writer.close(tokenizer)


def document_ids(folder: Path, group: str) -> list[str]:
    """Which documents a shard holds, in order."""
    return (folder / f"{group}.ids.txt").read_text(encoding="utf-8").split("\n")[:-1]


def document_places(folder: Path, group: str) -> np.ndarray:
    """Where each document of a shard lies among its stage's: part and number in it, `[D, 2]`; -1 where unknown."""
    return np.load(folder / f"{group}.places.npy")


def groups(folder: Path) -> list[str]:
    """The names of the shards in a folder."""
    return sorted(path.stem for path in folder.glob("*.json") if path.with_suffix(".bin").exists())


def open_shard(folder: Path, group: str, *, verify: bool = True) -> Shard:
    """Map a shard into memory; with `verify` its hash is compared too (a second per gigabyte)."""
    path = folder / f"{group}.bin"
    try:
        info = json.loads((folder / f"{group}.json").read_text(encoding="utf-8"))
        ends = np.load(folder / f"{group}.ends.npy")
        size = path.stat().st_size
        expected = 4 * info["tokens"]
    except FileNotFoundError as error:
        raise UserError(
            f"No shard {group!r} in {folder} ({Path(error.filename).name} is missing); "
            f"there are {', '.join(groups(folder)) or 'none'}. Run the shards stage."
        ) from None
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(path, f"its index cannot be read ({error})") from None
    if size != expected:
        raise _damaged(path, f"{size} bytes were found, {expected} expected")
    if len(ends) != info["documents"] or (len(ends) and int(ends[-1]) != info["tokens"]):
        raise _damaged(path, "its document boundaries belong to other tokens")
    tokens = np.memmap(path, dtype="<u4", mode="r") if size else np.zeros(0, dtype="<u4")
    if verify and hashlib.sha256(tokens.data).hexdigest() != info["sha256"]:
        raise _damaged(path, "its contents do not match their hash")
    if hashlib.sha256(ends.tobytes()).hexdigest() != info["ends_sha256"]:
        raise _damaged(path, "its document boundaries do not match their hash")
    digest = hashlib.sha256(f"{info['sha256']}{info['ends_sha256']}".encode()).hexdigest()
    return Shard(group, tokens, ends, info["tokenizer"], digest)


def _damaged(path: Path, found: str) -> UserError:
    return UserError(f"Shard {path} is damaged: {found}. Make it again with `phi run --force shards`.")
