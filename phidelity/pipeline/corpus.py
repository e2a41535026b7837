"""Stage `corpus`: organic documents, extracted, filtered, rid of duplicates and of evaluation problems.

What phi-4 does to its public documents (report §2.3, App. B), at any size: every document that was read is kept
or dropped for a counted reason. Byte budgets are taken in the readers' fixed order from what the rules let
through, so what stays is a little less.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from phidelity.config import Config, UserError
from phidelity.data.decontaminate import benchmark_texts, build_index, overlap
from phidelity.data.dedup import duplicates
from phidelity.data.filters import judge, select_rules
from phidelity.data.funnel import Drop, Funnel
from phidelity.data.sources import Unreadable, read_source, source_digest
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, write_json, write_records


class CorpusConfig(Config):
    """Where organic documents come from and what is good enough."""

    sources: tuple[str, ...] = Field(default=("python:code", "python:docs"), min_length=1)
    """Files and folders (text, Markdown, HTML, Python, JSON lines), or the running Python's own library."""
    code_bytes: int = Field(default=1_500_000, ge=0)
    """Bytes of code to take; 0 takes all."""
    web_bytes: int = Field(default=1_500_000, ge=0)
    """Bytes of prose to take; 0 takes all."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Rules (data/filters.py) by name whose published threshold is replaced."""
    without: tuple[str, ...] = ()
    """Rules by name that do not apply."""
    min_jaccard: float = Field(default=0.7, gt=0, le=1)
    """Share of common word 5-grams from which two documents are near duplicates (ours)."""
    hard_overlap: float = Field(default=0.5, gt=0, le=1)
    """Share of common 7-grams from which a document is contaminated (ours; phi-4 App. B gives no number)."""
    info_overlap: float = Field(default=0.25, gt=0, le=1)
    """Share of common 7-grams from which a document counts as a partial overlap, which stays (ours)."""
    allow_list: str = ""
    """A text file whose 13-grams contaminate nobody (phi-4: those common to Wikipedia and the training set)."""
    samples: int = Field(default=20, ge=0)
    """Dropped documents to show for each reason."""


def corpus(
    config: CorpusConfig, *, benchmarks: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write documents.jsonl.zst and dropped.json; the summary counts what was read, kept and dropped."""
    funnel = Funnel(config.samples)
    with progress.task("reading", None, "documents") as task:
        documents = []
        for document in _good(config, funnel):
            documents.append(document)
            task.advance()
    with progress.task("deduplicating", 1) as task:
        documents = _distinct(documents, config, funnel)
        task.advance()
    with progress.task("decontaminating", len(documents), "documents") as task:
        partial, clean = 0, []
        index = build_index(
            benchmark_texts(benchmarks), _allowed(config), hard=config.hard_overlap, info=config.info_overlap
        )
        for document in documents:
            task.advance()
            hit = overlap(index, document.text)
            partial += hit is not None and hit.verdict == "partial"
            if hit and hit.verdict == "contaminated":
                _drop(funnel, document, Drop("contaminated", hit.match, hit.rule, index.items[hit.item]))
            else:
                clean.append(document)
    if not clean:
        raise UserError(f"No document of {', '.join(config.sources)} is left: {funnel.balance()['dropped_by_reason']}.")
    for document in clean:
        funnel.count_kept(document.source, _size(document))
    write_records(out / "documents.jsonl.zst", clean)
    write_json(out / "dropped.json", funnel.report())
    return {**funnel.balance(), "groups": _groups(clean), "partial_overlaps": partial}


def corpus_sources(config: CorpusConfig) -> dict[str, str]:
    """Content hashes of what the stage reads from outside the run."""
    hashes = {name: source_digest(name) for name in config.sources}
    if config.allow_list:
        hashes[config.allow_list] = hashlib.sha256("\n".join(_allowed(config)).encode()).hexdigest()
    return hashes


def _good(config: CorpusConfig, funnel: Funnel) -> Iterator[Document]:
    """Documents that pass the rules, up to the byte budget of each group."""
    rules = select_rules(config.thresholds, config.without)
    budgets = {"code": config.code_bytes, "web": config.web_bytes}
    taken: dict[str, int] = defaultdict(int)
    for source in config.sources:
        for item in read_source(source):
            if isinstance(item, Unreadable):
                funnel.count_read(source, item.n_bytes)
                funnel.drop(source, item.id, "", item.n_bytes, Drop(item.reason))
                continue
            funnel.count_read(source, _size(item))
            group = item.meta["group"]
            if budgets.get(group) and taken[group] >= budgets[group]:
                _drop(funnel, item, Drop("over_budget", taken[group], budgets[group]))
            elif drop := judge(item.text, "code" if group == "code" else "prose", rules):
                _drop(funnel, item, drop)
            else:
                taken[group] += _size(item)
                yield item


def _distinct(documents: list[Document], config: CorpusConfig, funnel: Funnel) -> list[Document]:
    kept = []
    found = duplicates([document.text for document in documents], min_jaccard=config.min_jaccard)
    for document, duplicate in zip(documents, found, strict=True):
        if duplicate:
            reason = f"{duplicate.kind}_duplicate"
            original = documents[duplicate.of].id
            _drop(funnel, document, Drop(reason, duplicate.jaccard, config.min_jaccard, original))
        else:
            kept.append(document)
    return kept


def _allowed(config: CorpusConfig) -> list[str]:
    if not config.allow_list:
        return []
    try:
        return [Path(config.allow_list).read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read corpus.allow_list {config.allow_list}: {error}. Expected a text file.") from None


def _drop(funnel: Funnel, document: Document, drop: Drop) -> None:
    funnel.drop(document.source, document.id, document.text, _size(document), drop)


def _size(document: Document) -> int:
    return len(document.text.encode())


def _groups(documents: list[Document]) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for document in documents:
        counts = groups.setdefault(document.meta["group"], {"documents": 0, "bytes": 0})
        counts["documents"] += 1
        counts["bytes"] += _size(document)
    return groups
