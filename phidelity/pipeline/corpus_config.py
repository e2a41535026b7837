"""What stage `corpus` is asked for: its table of the recipe, and the sources that the table names.

Everything that can be refused by looking at settings and names alone is refused here, before a document is read.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from phidelity.config import Config, UserError
from phidelity.data.formats.blob import iso_date
from phidelity.data.rules import select_rules
from phidelity.data.sources import PASSED, Group, Source, is_left_out, source_digest, sources_below
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.pipeline.refine import allowed
from phidelity.pipeline.teaching import QualityConfig, existing_marks
from phidelity.records import file_sha256


class CorpusConfig(Config):
    """Where organic documents come from and what is good enough."""

    sources: tuple[str, ...] = ("python:code", "python:docs")
    """Files, folders and archives in any of the formats of data/formats/table.py, or the running Python's library."""
    root: str = ""
    """A folder with a folder for each further source."""
    ignore: tuple[str, ...] = ()
    """Patterns of names of files and folders below `root` to leave out."""
    held_out: tuple[str, ...] = ()
    """Sources below `root` by name that nothing is trained on: stage `evaluate` says how well models predict them."""
    groups: dict[str, Group] = Field(default_factory=dict)
    """Sources by name whose documents belong to another group of the mixture than their format's."""
    text_columns: tuple[str, ...] = ()
    """Columns of rows that hold the text, tried in order before those of docs/data.md."""
    licenses: tuple[str, ...] = ()
    """Patterns of licences, in any case, that a document must have one of; () takes all. No licence is "unknown"."""
    without_licenses: tuple[str, ...] = ()
    """Patterns of licences whose documents are dropped, such as "*-nc-*" or "unknown"."""
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
    """Rules by name that do not apply; "*" for all."""
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
    repeats: int = Field(default=0, ge=0)
    """Bytes of a passage that is cut where it stood in an earlier document; 0 cuts none. For small sets (ours)."""
    quality: QualityConfig | None = None
    """The classifier that grades what is left; without the table nothing is graded."""
    samples: int = Field(default=20, ge=0)
    """Dropped documents to show for each reason."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.sources and not self.root:
            raise ValueError("there is neither a source nor a root; give one of them")
        if self.held_out and not self.root:
            raise ValueError("held_out names sources below root, which is not given; give it")
        return self

    @field_validator("cutoff", mode="before")
    @classmethod
    def _a_day(cls, given: Any) -> Any:
        day = given.isoformat() if type(given) is date else given  # TOML has days of its own
        if isinstance(day, str) and day and iso_date(day) != day:
            raise ValueError("expected the last day that counts, as 2024-06-30")
        return day

    @field_validator("thresholds", "without")
    @classmethod
    def _known(cls, given: Any) -> Any:
        try:
            select_rules(given) if isinstance(given, Mapping) else select_rules(without=given)
        except UserError as error:
            raise ValueError(error) from None
        return given


def corpus_sources(config: CorpusConfig) -> dict[str, str]:
    """Content hashes of what the stage reads from outside the run."""
    read = (source for source in (*sources_of(config), *held_out_of(config)) if not source.passed)
    hashes = {source.name: source_digest(source) for source in read}
    for folder in config.evaluations:
        items = repr(evaluation_items(Path(folder))).encode()
        hashes[folder] = hashlib.sha256(items).hexdigest()
    if config.quality and config.quality.marks:
        hashes[config.quality.marks] = file_sha256(existing_marks(config.quality.marks))
    if config.allow_list:
        hashes[config.allow_list] = hashlib.sha256("\n".join(allowed(config.allow_list)).encode()).hexdigest()
    return hashes


def check_apart(config: CorpusConfig, out: Path) -> None:
    """Refuse a run that lies in what it reads: its own files would be among its sources."""
    root, inside = Path(config.root).resolve(), out.resolve()
    if not config.root or not inside.is_relative_to(root):
        return
    names = inside.relative_to(root).parts
    if not any(is_left_out(name, config.ignore) for name in names):
        raise UserError(
            f"The run {out} would lie in corpus.root {config.root} and read itself. Give an --out elsewhere"
            + (f", or leave it out: --set 'corpus.ignore=[\"{names[0]}\"]'." if names else ".")
        )


def sources_of(config: CorpusConfig) -> list[Source]:
    """All sources, each with its group; of two folders of one name the second gets a label."""
    listed = [Source(name, name) for name in config.sources]
    below = sources_below(Path(config.root), config.ignore) if config.root else []
    found = listed + [source for source in below if source.name not in config.held_out]
    if unknown := sorted(set(config.groups) - {source.name for source in found}):
        raise UserError(
            f"corpus.groups names {', '.join(unknown)}; the sources are: {', '.join(s.name for s in found)}."
        )
    seen: Counter[str] = Counter()
    labelled = []
    for source in found:
        if source.passed:
            labelled.append(source)
            continue
        base = Path(source.path).name
        seen[base] += 1
        label = f"{base}~{seen[base]}" if seen[base] > 1 else ""
        group = config.groups.get(source.name, "")
        labelled.append(source._replace(group=group, label=label, columns=config.text_columns))
    return labelled


def held_out_of(config: CorpusConfig) -> list[Source]:
    """The sources that are kept apart; one that is not below `root` is a `UserError`."""
    if not config.held_out:
        return []
    below = {source.name: source for source in sources_below(Path(config.root), config.ignore)}
    if missing := sorted(set(config.held_out) - (below.keys() - {PASSED})):
        raise UserError(
            f"corpus.held_out names {', '.join(missing)}; below {config.root} are: {', '.join(below)}. Mend the name."
        )
    return [below[name]._replace(columns=config.text_columns) for name in config.held_out]
