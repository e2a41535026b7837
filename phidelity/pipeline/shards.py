"""Stage `shards`: documents to token ids, one shard a mixture group, with a held-out split and the mixture's plan.

The groups are those of phi-4's Table 5 (report §3.2): web, web_rewrites, synthetic, code, acquired. Naturally long
documents are kept for midtraining as the group `long` (§3.3): those marked so when they were made, which nothing
else reads, and organic ones of enough tokens, which pretraining reads too, in windows. Which documents are held
out is decided by the hash of their id.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from phidelity.config import Config, UserError
from phidelity.data.mixture import PHI4_SHARES, check_epochs, check_shares, largest_budget, mixture
from phidelity.data.shards import write_shard
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, read_records, write_json
from phidelity.tokenizer.bpe import Tokenizer

LONG = "long"


class ShardsConfig(Config):
    """Tokenising, the held-out split, and the mixture to plan for."""

    validation_share: float = Field(default=0.01, ge=0, lt=1)
    """Share of documents held out for validation losses (ours)."""
    long_tokens: int = Field(default=0, ge=0)
    """Organic documents of at least so many tokens join the long ones of midtraining (phi-4: 8192); 0: none."""
    shares: dict[str, float] = PHI4_SHARES
    """Shares of pretraining tokens by group (phi-4: Table 5)."""
    tokens: int = Field(default=0, ge=0)
    """Pretraining tokens to plan for; 0 plans for as many as max_epochs allows."""
    max_epochs: float = Field(default=20.0, gt=0)
    """Refuse to repeat a group more often than this (ours; phi-4 repeats synthetic data 13.8 times)."""


def shards(
    config: ShardsConfig,
    *,
    corpus: Path,
    synthetic: Path,
    tokenizer: Path,
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a shard for every group and its held-out part, and mixture.json."""
    check_shares(config.shares)
    words = Tokenizer.load(tokenizer)
    kept: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
    held_out: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
    with progress.task("tokenising", None, "documents") as task:
        for document, organic, ids in _tokenised(corpus, synthetic, words):
            split = held_out if _is_held_out(document, config.validation_share) else kept
            for group in _groups(document, organic, len(ids), config):
                split[group].append((document.id, ids))
            task.advance()
    unique = {group: write_shard(out, group, kept[group], tokenizer=words.digest)["tokens"] for group in sorted(kept)}
    validation = {
        group: write_shard(out / "validation", group, held_out[group], tokenizer=words.digest)["tokens"]
        for group in sorted(held_out)
    }
    plan = _plan(config, unique)
    write_json(out / "mixture.json", plan)
    return {**plan, "validation": validation}


def _tokenised(corpus: Path, synthetic: Path, words: Tokenizer) -> Iterator[tuple[Document, bool, np.ndarray]]:
    """(document, whether it is organic, ids that end with the end of text), organic ones first."""
    organic = ((document, True) for document in read_records(corpus / "documents.jsonl.zst", Document))
    made = ((document, False) for document in read_records(synthetic / "documents.jsonl.zst", Document))
    for several in _chunks(chain(organic, made), 256):
        encoded = words.encode_batch([document.text for document, _ in several])
        for (document, is_organic), ids in zip(several, encoded, strict=True):
            yield document, is_organic, np.array([*ids, words.endoftext], dtype="<u4")


def _groups(document: Document, organic: bool, n_tokens: int, config: ShardsConfig) -> list[str]:
    """The groups that a document belongs to."""
    group = document.meta.get("group")
    if group not in PHI4_SHARES:
        raise UserError(
            f"Document {document.id} has the group {group!r}; expected one of {', '.join(PHI4_SHARES)}. "
            "Make the documents again."
        )
    if document.meta.get("long"):
        return [LONG]
    is_long = organic and 0 < config.long_tokens <= n_tokens
    return [group, LONG] if is_long else [group]


def _is_held_out(document: Document, share: float) -> bool:
    digest = hashlib.sha256(document.id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _plan(config: ShardsConfig, unique: dict[str, int]) -> dict[str, Any]:
    tokens = config.tokens or largest_budget(config.shares, unique, config.max_epochs)
    portions = mixture(config.shares, unique, tokens)
    if config.tokens:
        check_epochs(portions, config.max_epochs)
    epochs = {portion.group: round(portion.epochs, 3) for portion in portions}
    return {
        "unique_tokens": unique,
        "shares": config.shares,
        "tokens": tokens,
        "epochs": epochs,
        "max_epochs": config.max_epochs,
    }


def _chunks(items: Iterable[tuple[Document, bool]], n: int) -> Iterator[list[tuple[Document, bool]]]:
    rest = iter(items)
    while part := list(islice(rest, n)):
        yield part
