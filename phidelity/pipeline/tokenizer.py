"""Stage `tokenizer`: learn a small byte-level BPE from the run's own text (phi-4 takes cl100k_base, report §3)."""

from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.config import Config
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, read_records
from phidelity.tokenizer.bpe import train


class TokenizerConfig(Config):
    """A vocabulary learnt from the run's own documents."""

    vocab_size: int = Field(gt=351)
    """Ids in all: 256 bytes, merges (none with a digit, *ours*), and phi-4's 96 special tokens."""
    max_bytes: int = Field(default=4_000_000, gt=0)
    """Text to learn from, taken evenly from organic and synthetic documents."""


def tokenizer(
    config: TokenizerConfig, *, corpus: Path, synthetic: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Learn the merges, write the tokenizer's files; the summary gives bytes per token by kind of text."""
    with progress.task("tokenizer", None) as task:
        texts = {
            name: _sample(folder / "documents.jsonl.zst", config.max_bytes // 2)
            for name, folder in (("organic", corpus), ("synthetic", synthetic))
        }
        learnt = train((text for group in texts.values() for text in group), config.vocab_size)
        learnt.save(out)
        task.advance(note=f"{learnt.vocab_size} ids")
    rates = {
        f"bytes_per_token/{name}": _bytes_per_token(learnt.encode_batch(group), group) for name, group in texts.items()
    }
    return {"vocab_size": learnt.vocab_size, "digest": learnt.digest} | rates


def _sample(path: Path, max_bytes: int) -> list[str]:
    """Every k-th document, so that about `max_bytes` come evenly from the whole file."""
    texts = [document.text for document in read_records(path, Document)]
    n_bytes = sum(len(text.encode()) for text in texts)
    return texts[:: max(1, -(-n_bytes // max_bytes))]


def _bytes_per_token(ids: list[list[int]], texts: list[str]) -> float:
    n_tokens = sum(map(len, ids))
    return round(sum(len(text.encode()) for text in texts) / n_tokens, 3) if n_tokens else 0.0
