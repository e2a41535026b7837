"""Stage `corpus`: organic documents, extracted, filtered, rid of duplicates and of evaluation problems.

What phi-4 does to its public documents (report §2.3, App. B), at any size: every document that was read is kept
or dropped at one step for a counted reason, and every score that decided stands in scores.jsonl.zst, so that other
thresholds can be tried without reading again. Byte budgets are taken in the readers' fixed order from what the rules
let through, so what stays is a little less.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from phidelity.config import Config, UserError
from phidelity.data.decontaminate import build_index
from phidelity.data.dedup import sign
from phidelity.data.formats.blob import iso_date
from phidelity.data.funnel import Drop, Funnel
from phidelity.data.rules import decide, score, select_rules
from phidelity.data.sources import Source, Unreadable, read_source, source_digest, sources_below
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.pipeline.refine import decontaminated, distinct, without_persons
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, Record, write_json, write_records

Group = Literal["web", "code", "acquired"]


class CorpusConfig(Config):
    """Where organic documents come from and what is good enough."""

    sources: tuple[str, ...] = ("python:code", "python:docs")
    """Files, folders and archives in any of the formats of data/formats/table.py, or the running Python's library."""
    root: str = ""
    """A folder with a folder for each further source."""
    ignore: tuple[str, ...] = ()
    """Patterns of names of files and folders below `root` to leave out."""
    groups: dict[str, Group] = Field(default_factory=dict)
    """Sources by name whose documents belong to another group of the mixture than their format's."""
    cutoff: str = ""
    """Last day a document may be of, such as 2024-06-30 (phi-4's data end in June 2024); "" drops none."""
    undated: Literal["keep", "drop"] = "keep"
    """What happens to documents without a date when there is a cut-off."""
    code_bytes: int = Field(default=1_500_000, ge=0)
    """Bytes of code to take; 0 takes all."""
    web_bytes: int = Field(default=1_500_000, ge=0)
    """Bytes of web documents to take; 0 takes all."""
    acquired_bytes: int = Field(default=0, ge=0)
    """Bytes of books, papers, questions and answers to take; 0 takes all."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Rules (docs/data-rules.md) by name whose published threshold is replaced."""
    without: tuple[str, ...] = ()
    """Rules by name that do not apply."""
    min_jaccard: float = Field(default=0.65, gt=0, le=1)
    """Share of common word 5-grams from which two documents are near duplicates (ours)."""
    hard_overlap: float = Field(default=0.5, gt=0, le=1)
    """Share of common 7-grams from which a document is contaminated (ours; phi-4 App. B gives no number)."""
    info_overlap: float = Field(default=0.25, gt=0, le=1)
    """Share of common 7-grams from which a document counts as a partial overlap, which stays (ours)."""
    allow_list: str = ""
    """A text file whose 13-grams contaminate nobody (phi-4: those common to Wikipedia and the training set)."""
    evaluations: tuple[str, ...] = ()
    """Folders of official evaluation files to decontaminate against, besides the run's own benchmarks."""
    personal: Literal["replace", "keep"] = "replace"
    """Whether e-mail addresses, telephone numbers, keys and the like become placeholders (ours)."""
    samples: int = Field(default=20, ge=0)
    """Dropped documents to show for each reason."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.sources and not self.root:
            raise ValueError("there is neither a source nor a root; give one of them")
        if self.cutoff and iso_date(self.cutoff) != self.cutoff:
            raise ValueError("cutoff is no day; write it as 2024-06-30")
        return self


class Scores(Record):
    """What the rules measured of one document, and what came of it."""

    id: str
    source: str
    profile: str
    language: str
    bytes: int
    dropped: str = ""
    """The rule that failed; "" for none."""
    also: tuple[str, ...] = ()
    scores: dict[str, float]


def corpus(
    config: CorpusConfig, *, benchmarks: Path, seed: int, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Write documents.jsonl.zst, scores.jsonl.zst and dropped.json; the summary counts what was read and kept."""
    funnel = Funnel(config.samples)
    scored: list[Scores] = []
    with progress.task("reading", None, "documents") as task:
        documents = []
        for document in _good(config, funnel, scored):
            documents.append(document)
            task.advance()

    def drop(document: Document, step: str, why: Drop) -> None:
        _drop(funnel, document, step, why)

    with progress.task("deduplicating", 1) as task:
        signatures = [sign(document.text) for document in documents]
        documents = distinct(documents, signatures, config.min_jaccard, drop, out)
        task.advance()
    items = [item for folder in (benchmarks, *map(Path, config.evaluations)) for item in evaluation_items(folder)]
    index = build_index(items, _allowed(config), hard=config.hard_overlap, info=config.info_overlap)
    documents = decontaminated(documents, index, drop, out, progress)
    if not documents:
        names = ", ".join(source.name for source in _sources(config))
        raise UserError(f"No document of {names} is left: {funnel.balance()['dropped_by_reason']}.")
    for document in documents:
        funnel.count_kept(document.source, _size(document), _language(document))
    personal: Counter[str] = Counter()
    if config.personal == "replace":
        documents = list(without_persons(documents, personal))
    write_records(out / "documents.jsonl.zst", documents)
    write_records(out / "scores.jsonl.zst", scored)
    write_json(out / "dropped.json", funnel.report())
    return {
        **funnel.balance(),
        "groups": _groups(documents),
        "partial_overlaps": sum("overlap" in document.meta for document in documents),
        "personal": dict(sorted(personal.items())),
        "written_bytes": sum(map(_size, documents)),
        **_dates(config, documents),
    }


def corpus_sources(config: CorpusConfig) -> dict[str, str]:
    """Content hashes of what the stage reads from outside the run."""
    hashes = {source.name: source_digest(source) for source in _sources(config)}
    for folder in config.evaluations:
        items = repr(evaluation_items(Path(folder))).encode()
        hashes[folder] = hashlib.sha256(items).hexdigest()
    if config.allow_list:
        hashes[config.allow_list] = hashlib.sha256("\n".join(_allowed(config)).encode()).hexdigest()
    return hashes


def _sources(config: CorpusConfig) -> list[Source]:
    """All sources, each with its group; a group for a source that is not there is a `UserError`."""
    listed = [Source(name, name) for name in config.sources]
    found = listed + (sources_below(Path(config.root), config.ignore) if config.root else [])
    if unknown := sorted(set(config.groups) - {source.name for source in found}):
        raise UserError(
            f"corpus.groups names {', '.join(unknown)}; the sources are: {', '.join(s.name for s in found)}."
        )
    return [source._replace(group=config.groups.get(source.name, "")) for source in found]


def _good(config: CorpusConfig, funnel: Funnel, scored: list[Scores]) -> Iterator[Document]:
    """Documents that pass the rules, up to the byte budget of each group."""
    rules = select_rules(config.thresholds, config.without)
    budgets = {"code": config.code_bytes, "web": config.web_bytes, "acquired": config.acquired_bytes}
    taken: dict[str, int] = defaultdict(int)
    seen: dict[bytes, str] = {}
    for source in _sources(config):
        for item in read_source(source):
            if isinstance(item, Unreadable):
                funnel.count_read(item.source, item.n_bytes)
                funnel.drop(item.source, item.id, "", item.n_bytes, Drop(item.reason), step="read")
                continue
            funnel.count_read(item.source, _size(item), _language(item))
            group = item.meta["group"]
            if drop := _too_late(item, config):
                _drop(funnel, item, "date", drop)
            elif original := seen.get(digest := _digest(item.text)):
                _drop(funnel, item, "exact", Drop("exact_duplicate", 1.0, 1.0, original))
            elif budgets.get(group) and taken[group] >= budgets[group]:
                _drop(funnel, item, "budget", Drop("over_budget", taken[group], budgets[group]))
            else:
                seen[digest] = item.id
                profile = item.meta.get("profile", "code" if group == "code" else "prose")
                values = score(item.text, profile, rules, item.meta)
                drop = decide(values, rules)
                scored.append(_scores(item, profile, values, drop))
                if drop:
                    _drop(funnel, item, "rules", drop)
                else:
                    taken[group] += _size(item)
                    yield item


def _too_late(document: Document, config: CorpusConfig) -> Drop | None:
    """Whether a document is of after the cut-off, or of no known day where that does not do."""
    date = str(document.meta.get("date") or "")
    if not config.cutoff or (not date and config.undated == "keep"):
        return None
    if not date:
        return Drop("undated", "", config.cutoff)
    return Drop("after_cutoff", date, config.cutoff) if date > config.cutoff else None


def _digest(text: str) -> bytes:
    """Equal for texts of equal words: the same page under another address."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def _scores(document: Document, profile: str, values: dict[str, float], drop: Drop | None) -> Scores:
    return Scores(
        id=document.id,
        source=document.source,
        profile=profile,
        language=_language(document),
        bytes=_size(document),
        dropped=drop.reason if drop else "",
        also=drop.also if drop else (),
        scores=values,
    )


def _allowed(config: CorpusConfig) -> list[str]:
    if not config.allow_list:
        return []
    try:
        return [Path(config.allow_list).read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read corpus.allow_list {config.allow_list}: {error}. Expected a text file.") from None


def _drop(funnel: Funnel, document: Document, step: str, drop: Drop) -> None:
    funnel.drop(
        document.source, document.id, document.text, _size(document), drop, language=_language(document), step=step
    )


def _size(document: Document) -> int:
    return len(document.text.encode())


def _language(document: Document) -> str:
    return str(document.meta.get("language", ""))


def _groups(documents: list[Document]) -> dict[str, dict[str, int]]:
    groups: dict[str, dict[str, int]] = {}
    for document in documents:
        counts = groups.setdefault(document.meta["group"], {"documents": 0, "bytes": 0})
        counts["documents"] += 1
        counts["bytes"] += _size(document)
    return groups


def _dates(config: CorpusConfig, documents: list[Document]) -> dict[str, Any]:
    """The cut-off, how much has no date, where dates are from, and how much is in which language."""
    total = sum(map(_size, documents))
    undated = sum(_size(document) for document in documents if not document.meta.get("date"))
    languages: Counter[str] = Counter()
    for document in documents:
        languages[_language(document)] += _size(document)
    origins = Counter(str(document.meta.get("date_from", "unknown")) for document in documents)
    return {
        "cutoff": config.cutoff,
        "undated": config.undated,
        "undated_share": round(undated / total, 6),
        "dates_from": dict(sorted(origins.items())),
        "bytes_by_language": dict(sorted(languages.items())),
    }
