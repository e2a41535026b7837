"""A part of stage `shards`: documents to ids, a shard a group, kept and held out apart.

Loads no torch, so that a process begun for one part begins at once.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from phidelity.config import UserError
from phidelity.data.mixture import PHI4_SHARES
from phidelity.data.shards import ShardWriter
from phidelity.records import Document, read_records
from phidelity.tokenizer.bpe import Tokenizer

LONG, LONGER = "long", "longer"
"""Documents for midtraining; the longer ones are in both, so that a share of their own weighs them up."""
NATIVE = ("en", "und", "")
"""Languages that do not count as multilingual: English, and none that could be told, as of code."""
KEPT, HELD_OUT = "kept", "held_out"


def tokenise(argument: Any, out: Path) -> dict[str, int]:
    """The ids of the documents of one part; the argument says where they lie and how they are to be divided."""
    work = out.parents[1]
    words = Tokenizer.load(work / argument["tokenizer"])
    writers: dict[tuple[str, str], ShardWriter] = {}
    foreign: Counter[str] = Counter()
    documents = read_records(work / argument["path"], Document, offset=argument["offset"], size=argument["size"])
    for number, document in enumerate(documents):
        ids = np.array([*words.encode(document.text), words.endoftext], dtype="<u4")
        split = HELD_OUT if is_held_out(document.id, argument["validation_share"]) else KEPT
        for group in groups_of(document, len(ids), argument["long_tokens"], argument["longer_tokens"]):
            if (split, group) not in writers:
                writers[split, group] = ShardWriter(out / split, group)
            writers[split, group].add(document.id, ids, (argument["part"], number))
            if split == KEPT and document.meta.get("language", "en") not in NATIVE:
                foreign[f"foreign/{group}"] += len(ids)
    counts = {f"{split}/{group}": writer.close(words.digest)["tokens"] for (split, group), writer in writers.items()}
    return {**counts, **foreign}


def groups_of(document: Document, n_tokens: int, long_tokens: int, longer_tokens: int) -> list[str]:
    """The groups that a document belongs to; one of at least `long_tokens` (0: none) is long too, or longer."""
    group = document.meta.get("group")
    if group not in PHI4_SHARES:
        raise UserError(
            f"Document {document.id} has the group {group!r}; expected one of {', '.join(PHI4_SHARES)}. "
            "Make the documents again."
        )
    own = [LONG] if document.meta.get("long") else [group]
    reached = [LONG] * (0 < long_tokens <= n_tokens) + [LONGER] * (0 < longer_tokens <= n_tokens)
    return list(dict.fromkeys([*own, *reached]))


def is_held_out(document_id: str, share: float) -> bool:
    """Whether a document is for validation: by the hash of its id."""
    digest = hashlib.sha256(document_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
