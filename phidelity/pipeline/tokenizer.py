"""Stage `tokenizer`: a byte-level BPE learnt from the run's own text, or phi-4's own ranks where they are given.

phi-4 takes cl100k_base (report §3), whose ranks cannot be made here: `ranks` names a file that has them. A miniature
learns a smaller vocabulary from an even sample of its documents.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from phidelity.config import Config, UserError
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, file_sha256, read_records
from phidelity.tokenizer.bpe import Tokenizer, train


class TokenizerConfig(Config):
    """A vocabulary learnt from the run's own documents, or one that is given."""

    vocab_size: int = Field(default=0, ge=0)
    """Ids in all: 256 bytes, merges (none with a digit, *ours*) and phi-4's 96 special tokens; 0 where `ranks` say."""
    max_bytes: int = Field(default=4_000_000, gt=0)
    """Text to learn from, taken evenly from organic and synthetic documents."""
    ranks: str = ""
    """A file of ranks to take instead of learning, such as cl100k_base.tiktoken, or a folder with a tokenizer."""

    @model_validator(mode="after")
    def _learnt_or_given(self) -> Self:
        if self.ranks and self.vocab_size:
            raise ValueError("vocab_size follows from ranks; leave one of them out")
        if not self.ranks and self.vocab_size < 352:
            raise ValueError("vocab_size must be at least 352 (256 bytes and 96 special tokens), or ranks be given")
        return self


def tokenizer(
    config: TokenizerConfig,
    *,
    corpus: Path,
    synthetic: Path | None,
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write the tokenizer's files; the summary gives bytes per token by kind of text."""
    folders = {"organic": corpus} | ({"synthetic": synthetic} if synthetic else {})
    with progress.task("tokenizer", None) as task:
        share = config.max_bytes // len(folders)
        texts = {name: sample(folder / "documents.jsonl.zst", share) for name, folder in folders.items()}
        if config.ranks:
            chosen = Tokenizer.load(Path(config.ranks))
        else:
            chosen = train((text for group in texts.values() for text in group), config.vocab_size)
        chosen.save(out)
        task.advance(note=f"{chosen.vocab_size} ids")
    rates = {f"bytes_per_token/{name}": _bytes_per_token(chosen, group) for name, group in texts.items()}
    told = _languages(chosen, synthetic / "documents.jsonl.zst") if synthetic else {}
    return {"vocab_size": chosen.vocab_size, "digest": chosen.digest} | rates | told


def _languages(chosen: Tokenizer, path: Path) -> dict[str, float]:
    """Bytes per token of the course's lessons in each language, and the share of their tokens that are not English."""
    n_bytes: Counter[str] = Counter()
    n_tokens: Counter[str] = Counter()
    for one in read_records(path, Document):
        if one.meta.get("pipeline") == "course":
            n_bytes[one.meta["language"]] += len(one.text.encode())
            n_tokens[one.meta["language"]] += len(chosen.encode(one.text))
    rates = {f"course_bytes_per_token/{name}": round(n_bytes[name] / n_tokens[name], 3) for name in sorted(n_tokens)}
    share = {"course_multilingual": round(1 - n_tokens["en"] / n_tokens.total(), 4)} if n_tokens else {}
    return rates | share


def tokenizer_sources(config: TokenizerConfig) -> dict[str, str]:
    """The content hash of the ranks that are given."""
    if not config.ranks:
        return {}
    path = Path(config.ranks)
    files = [path] if path.is_file() else [path / name for name in ("tokenizer.json", "vocab.json", "merges.txt")]
    found = {str(file): file_sha256(file) for file in files if file.is_file()}
    if not found:
        raise UserError(
            f"No tokenizer at tokenizer.ranks {path}; expected a file of ranks or a folder with tokenizer.json."
        )
    return found


def sample(path: Path, max_bytes: int) -> list[str]:
    """Every k-th document, so that about `max_bytes` come evenly from the whole file, which is read twice."""
    n_bytes = sum(len(text.encode()) for text in _texts(path))
    every = max(1, -(-n_bytes // max_bytes))
    return [text for number, text in enumerate(_texts(path)) if number % every == 0]


def _texts(path: Path) -> Iterator[str]:
    return (document.text for document in read_records(path, Document))


def _bytes_per_token(chosen: Tokenizer, texts: list[str]) -> float:
    n_tokens = sum(len(chosen.encode(text)) for text in texts)
    return round(sum(len(text.encode()) for text in texts) / n_tokens, 3) if n_tokens else 0.0
