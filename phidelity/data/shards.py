"""Token shards: the documents of one mixture group as ids on disk, read through a memory map.

A group is four files: `<group>.bin` (little-endian 32-bit ids, since phi-4's vocabulary is above 65,536),
`<group>.ends.npy` (where each document ends), `<group>.ids.txt` (which document it is, so that every packed token
leads back to its source) and `<group>.json`, written last, with counts and hashes. A shard that was cut off or
does not belong to its index is a `UserError` before training begins.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from phidelity.config import UserError
from phidelity.records import atomic, write_json


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


def write_shard(
    folder: Path, group: str, documents: Iterable[tuple[str, Sequence[int] | np.ndarray]], *, tokenizer: str
) -> dict[str, int]:
    """Write (document id, token ids) pairs as one shard; gives how many documents and tokens it holds."""
    ends, ids, n_tokens, sha = [], [], 0, hashlib.sha256()
    with atomic(folder / f"{group}.bin") as file:
        for document_id, tokens in documents:
            data = np.asarray(tokens, dtype="<u4").tobytes()
            file.write(data)
            sha.update(data)
            n_tokens += len(tokens)
            ends.append(n_tokens)
            ids.append(document_id)
    boundaries = np.asarray(ends, dtype="<i8")
    with atomic(folder / f"{group}.ends.npy") as file:
        np.save(file, boundaries)
    with atomic(folder / f"{group}.ids.txt", "w") as file:
        file.writelines(f"{document_id}\n" for document_id in ids)
    counts = {"documents": len(ends), "tokens": n_tokens}
    hashes = {"sha256": sha.hexdigest(), "ends_sha256": hashlib.sha256(boundaries.tobytes()).hexdigest()}
    write_json(folder / f"{group}.json", {**counts, **hashes, "tokenizer": tokenizer, "dtype": "<u4"})
    return counts


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
