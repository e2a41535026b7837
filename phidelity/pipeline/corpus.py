"""Stage `corpus`: organic documents, extracted, filtered, rid of duplicates and of evaluation problems.

What phi-4 does to its public documents (report §2.3, App. B), at any size: every document that was read is kept
or dropped at one step for a counted reason, and every score and decision is kept, so that other thresholds can be
tried without reading again and every document leads back to where it is from. The work is cut into shards
(`data/scale.py`) in phases: reading, comparing, joining, teaching, refining; who does them changes no byte. Byte
budgets are taken in the readers' fixed order from what the rules let through, so what stays is a little less.
"""

import hashlib
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from phidelity.completion import Completer
from phidelity.config import Config, UserError
from phidelity.data.decontaminate import Index
from phidelity.data.formats.blob import iso_date
from phidelity.data.funnel import Funnel
from phidelity.data.rules import select_rules
from phidelity.data.scale import ALONE, PLAN, Crew, in_shards, leave_to_one, run_all, write_plan
from phidelity.data.sources import Source, source_digest, sources_below
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.pipeline.graded import add_up, join_grades
from phidelity.pipeline.held_out import write_held_out
from phidelity.pipeline.likeness import CLUSTERS, compare, join, plan_pairs
from phidelity.pipeline.reading import DECISIONS, DOCUMENTS, FUNNEL, PARTS, SCORES, plan_reading, read_shard
from phidelity.pipeline.refine import (
    CONTAMINATION,
    FACTS,
    HITS,
    allowed,
    evaluation_index,
    refine_shard,
    write_contamination,
)
from phidelity.pipeline.repeats import REPEATS, find_repeats
from phidelity.pipeline.teaching import QUALITY, QualityConfig, existing_marks, lesson_plan, teach_shard
from phidelity.progress import SILENT, Progress
from phidelity.records import concatenate, file_sha256, read_json, write_json

Group = Literal["web", "code", "acquired"]


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
        if self.cutoff and iso_date(self.cutoff) != self.cutoff:
            raise ValueError("cutoff is no day; write it as 2024-06-30")
        return self


def corpus(
    config: CorpusConfig,
    *,
    benchmarks: Path,
    seed: int,
    out: Path,
    crew: Crew = ALONE,
    teacher: Completer | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write documents.jsonl.zst with the record of every score and decision; the summary counts what came of all."""

    def work(folder: Path) -> dict[str, Any]:
        return _in_phases(config, benchmarks, folder, out, seed, crew, teacher, progress)

    return in_shards(out, config.model_dump_json(), work)


def corpus_sources(config: CorpusConfig) -> dict[str, str]:
    """Content hashes of what the stage reads from outside the run."""
    hashes = {source.name: source_digest(source) for source in (*_sources(config), *_held_out(config))}
    for folder in config.evaluations:
        items = repr(evaluation_items(Path(folder))).encode()
        hashes[folder] = hashlib.sha256(items).hexdigest()
    if config.quality and config.quality.marks:
        hashes[config.quality.marks] = file_sha256(existing_marks(config.quality.marks))
    if config.allow_list:
        hashes[config.allow_list] = hashlib.sha256("\n".join(allowed(config.allow_list)).encode()).hexdigest()
    return hashes


def _sources(config: CorpusConfig) -> list[Source]:
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
        base = Path(source.path).name
        seen[base] += 1
        label = f"{base}~{seen[base]}" if seen[base] > 1 else ""
        labelled.append(source._replace(group=config.groups.get(source.name, ""), label=label))
    return labelled


def _held_out(config: CorpusConfig) -> list[Source]:
    """The sources that are kept apart; one that is not below `root` is a `UserError`."""
    if not config.held_out:
        return []
    below = {source.name: source for source in sources_below(Path(config.root), config.ignore)}
    if missing := sorted(set(config.held_out) - below.keys()):
        raise UserError(
            f"corpus.held_out names {', '.join(missing)}; below {config.root} are: {', '.join(below)}. Mend the name."
        )
    return [below[name] for name in config.held_out]


def _in_phases(
    config: CorpusConfig,
    benchmarks: Path,
    work: Path,
    out: Path,
    seed: int,
    crew: Crew,
    teacher: Completer | None,
    progress: Progress,
) -> dict[str, Any]:
    """The phases, each a plan in a folder of `work`; then what the shards left is joined in `out`."""
    rules = select_rules(config.thresholds, config.without)
    settings = _refining(config, os.path.relpath(benchmarks, work))
    folders = (work / settings["benchmarks"], *map(Path, config.evaluations))
    index = evaluation_index(folders, config.allow_list, config.hard_overlap, config.info_overlap)

    if not (work / "read" / PLAN).exists():
        write_plan(work / "read", plan_reading(_sources(config), _reading(config)))
    read = run_all(read_shard, work / "read", crew, progress, what="reading")
    asked = {"budgets": _budgets(config), "min_jaccard": config.min_jaccard}
    write_plan(work / "pairs", plan_pairs(sum(one["counts"]["documents"] for one in read.values()), asked))
    run_all(compare, work / "pairs", crew, progress, what="comparing")
    write_plan(work / "join", {"all": asked})
    run_all(join, work / "join", crew, progress, what="joining")
    if config.repeats:
        write_plan(work / "repeats", {"all": {"shards": list(read), "least": config.repeats}})
        run_all(find_repeats, work / "repeats", crew, progress, what="finding repeats")
    if config.quality:
        lesson = lesson_plan(config.quality, rules, list(read), seed)
        write_plan(work / "teach", {"all": lesson})
        teaching = partial(teach_shard, teacher=teacher, progress=progress)
        run_all(teaching, work / "teach", crew._replace(engine="local", n_workers=1), what="teaching")
    write_plan(work / "refine", {name: {"shard": name, "settings": settings} for name in read})
    run_all(refine_shard, work / "refine", crew, progress, what="refining")
    leave_to_one(crew)
    return _collect(config, work, list(read), index, out)


def _budgets(config: CorpusConfig) -> dict[str, int]:
    return {"code": config.code_bytes, "web": config.web_bytes, "acquired": config.acquired_bytes}


def _reading(config: CorpusConfig) -> dict[str, Any]:
    """What all shards of reading share."""
    shared = config.model_dump(mode="json", include={"cutoff", "undated", "thresholds", "without", "samples"})
    return {**shared, "budgets": _budgets(config), "quality": config.quality is not None}


def _refining(config: CorpusConfig, benchmarks: str) -> dict[str, Any]:
    """What all shards of refining share; the benchmarks are named from the folder of the work."""
    shared = config.model_dump(mode="json", include={"allow_list", "personal", "samples"})
    evaluations = [str(Path(folder).absolute()) for folder in config.evaluations]
    overlaps = {"hard": config.hard_overlap, "info": config.info_overlap}
    asked = {"benchmarks": benchmarks, "evaluations": evaluations, "quality": config.quality is not None}
    return {**shared, **overlaps, **asked, "repeats": config.repeats > 0}


def _collect(config: CorpusConfig, work: Path, names: list[str], index: Index, out: Path) -> dict[str, Any]:
    """Join what the shards left, in their order, and add up their counts."""
    funnel = Funnel(config.samples)
    for name in names:
        for phase in ("read", "refine"):
            funnel.add(read_json(work / phase / name / FUNNEL))
    facts = [read_json(work / "refine" / name / FACTS) for name in names]
    if not sum(one["bytes"] for one in facts):
        listed = ", ".join(source.name for source in _sources(config))
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in funnel.balance()["dropped_by_reason"].items())
        raise UserError(
            f"No document of {listed} is left; dropped were {reasons}. Expected readable text of a known format that "
            "passes the rules; `phi data look` shows what the stage made of it."
        )
    sizes = concatenate(out / DOCUMENTS, (work / "refine" / name / DOCUMENTS for name in names))
    concatenate(out / SCORES, (work / "read" / name / SCORES for name in names))
    concatenate(out / DECISIONS, (work / phase / name / DECISIONS for name in names for phase in ("read", "refine")))
    if config.repeats:
        concatenate(out / REPEATS, [work / "repeats" / "all" / REPEATS])
    concatenate(out / CLUSTERS, [work / "join" / "all" / CLUSTERS])
    counts = [sum(group["documents"] for group in one["groups"].values()) for one in facts]
    write_json(out / PARTS, {"sizes": sizes, "documents": counts})
    lines = (line for name in names for line in (work / "refine" / name / HITS).read_text("utf-8").splitlines())
    write_contamination(out / CONTAMINATION, index, list(map(json.loads, lines)))
    write_json(out / "dropped.json", funnel.report())
    held_out = write_held_out(_held_out(config), out)
    quality = None
    if config.quality:
        join_grades(work, names, out)
        quality = add_up(read_json(out / QUALITY), (one["grades"] for one in facts))
    return {**funnel.balance(), **_facts(config, facts), "quality": quality, "held_out": held_out}


def _facts(config: CorpusConfig, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Groups, languages, dates and what was taken out, over all shards."""
    groups: dict[str, Counter[str]] = {}
    for one in facts:
        for group, counts in one["groups"].items():
            groups.setdefault(group, Counter()).update(counts)
    written = sum(one["bytes"] for one in facts)
    return {
        "groups": {group: dict(counts) for group, counts in sorted(groups.items())},
        "partial_overlaps": sum(one["partial"] for one in facts),
        "personal": _summed(facts, "personal"),
        "written_bytes": written,
        "cutoff": config.cutoff,
        "undated": config.undated,
        "undated_share": round(sum(one["undated"] for one in facts) / written, 6),
        "dates_from": _summed(facts, "dates_from"),
        "bytes_by_language": _summed(facts, "languages"),
    }


def _summed(facts: list[dict[str, Any]], key: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in facts:
        total.update(one[key])
    return dict(sorted(total.items()))
