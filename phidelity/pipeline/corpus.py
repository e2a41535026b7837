"""Stage `corpus`: organic documents, extracted, filtered, rid of duplicates and of evaluation problems.

What phi-4 does to its public documents (report §2.3, App. B), at any size: every document that was read is kept
or dropped at one step for a counted reason, and every score and decision is kept, so that other thresholds can be
tried without reading again and every document leads back to where it is from. The work is cut into shards
(`data/scale.py`) in phases: reading, comparing, joining, teaching, refining; who does them changes no byte. Byte
budgets are taken in the readers' fixed order from what the rules let through, so what stays is a little less.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from phidelity.completion import Completer
from phidelity.config import UserError
from phidelity.data.decontaminate import Index
from phidelity.data.funnel import DROPPED, Funnel
from phidelity.data.rules import select_rules
from phidelity.data.scale import ALONE, PLAN, Crew, in_shards, leave_to_one, run_all, write_plan
from phidelity.data.sources import empty_below
from phidelity.pipeline.corpus_config import CorpusConfig, held_out_of, sources_of
from phidelity.pipeline.evaluation_items import rows_without_question
from phidelity.pipeline.graded import add_up, join_grades
from phidelity.pipeline.held_out import write_held_out
from phidelity.pipeline.likeness import CLUSTERS, compare, join, plan_pairs
from phidelity.pipeline.reading import DECISIONS, DOCUMENTS, FUNNEL, PARTS, SCORES, plan_reading, read_shard
from phidelity.pipeline.refine import (
    CONTAMINATION,
    FACTS,
    HITS,
    evaluation_index,
    refine_shard,
    write_contamination,
)
from phidelity.pipeline.repeats import REPEATS, find_repeats
from phidelity.pipeline.teaching import QUALITY, lesson_plan, teach_shard
from phidelity.progress import SILENT, Progress
from phidelity.records import concatenate, read_json, write_json

log = logging.getLogger(__name__)


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
        for name in empty_below(Path(config.root), config.ignore) if config.root else []:
            log.warning("corpus: the folder %s of %s holds no file and was passed over", name, config.root)
        for line in (one for folder in config.evaluations for one in rows_without_question(Path(folder))):
            log.warning("corpus.evaluations: %s and were passed over", line)
        write_plan(work / "read", plan_reading(sources_of(config), _reading(config)))
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
    licenses = {"licenses", "without_licenses"}
    rules = {"cutoff", "undated", "thresholds", "without", "samples", "text_columns"}
    shared = config.model_dump(mode="json", include=rules | licenses)
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
        write_json(out / DROPPED, funnel.report())
        raise UserError(_nothing_left(config, funnel.balance(), out))
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
    write_json(out / DROPPED, funnel.report())
    held_out = write_held_out(held_out_of(config), out)
    quality = None
    if config.quality:
        join_grades(work, names, out)
        quality = add_up(read_json(out / QUALITY), (one["grades"] for one in facts))
    return {**funnel.balance(), **_facts(config, facts), "quality": quality, "held_out": held_out}


def _nothing_left(config: CorpusConfig, balance: Mapping[str, Any], out: Path) -> str:
    listed = ", ".join(source.name for source in sources_of(config) if not source.passed)
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in balance["dropped_by_reason"].items())
    return (
        f"No document of {listed} is left; read were {balance['read']['documents']:,}, dropped {reasons or 'none'}. "
        f"Expected readable text of a known format that passes the rules; phi data look {out} "
        "shows which did not, and why."
    )


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
