"""A phase of stage `corpus`: the two models of data/quality.py are taught once, and every threshold is fixed.

phi-4 selects web documents by a small classifier, which favours science, and lifts the other subjects in a second pass
(report §2.3). What is learnt from is drawn of all shards of reading; thresholds are fixed here, before anything is
decided. A subject of which a smaller share would pass than of all gets a lower threshold, at which its best documents
pass as often; never one below `floor`. Who gave the marks, a teacher or a proxy, how well both models do on sources
they never saw, and each threshold stand in quality.json.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from phidelity.cached import CachedCompleter
from phidelity.completion import Completer
from phidelity.config import Config, UserError, parse
from phidelity.data.annotate import PROXY, SUBJECTS, Candidate, Marked, Sample, proxy_marks, teacher_marks
from phidelity.data.held_out import held_out_marks, held_out_subjects
from phidelity.data.quality import LEAST, Grade, Grader, features, fit, marked, products, save_grader
from phidelity.data.rules import Rule
from phidelity.data.sources import Group
from phidelity.pipeline.reading import SAMPLE
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, read_json, read_records, write_json, write_records

QUALITY, MODEL, MARKS = "quality.json", "quality.npz", "quality_marks.jsonl"
RULE = "ours_quality"
_FEW = 20
"""Drawn documents of a subject below which its threshold is not moved (ours)."""


class QualityConfig(Config):
    """How documents are graded from 0 to 5; the recipe's [teacher] marks what is learnt from, else a proxy does."""

    documents: int = Field(default=2000, ge=60, le=20_000)
    """Documents to mark (the report: about a million annotations; ours are solved exactly, so 20,000 are the most)."""
    groups: tuple[Group, ...] = ("web",)
    """Groups of the mixture that marks decide on; the others are graded only (phi-4 selects web documents)."""
    lift: float = Field(default=1.0, ge=0, le=1)
    """A subject passes at least this times as often as all documents; 0 lifts none (ours)."""
    floor: float = Field(default=0.5, ge=0, le=5)
    """No subject is lifted to documents of a mark below this (ours)."""
    marks: str = ""
    """A file of marks that `phi data annotate` wrote; "" has the documents marked in the stage."""
    kinds: dict[str, str] = Field(default_factory=dict)
    """Kinds of sources by name, where their formats do not tell: textbook, reference, book, manual, questions."""


def lesson_plan(config: QualityConfig, rules: Sequence[Rule], shards: Sequence[str], seed: int) -> dict[str, Any]:
    """What the one shard of teaching is to work on; without the rule in force nothing will be decided."""
    threshold = next((rule.threshold for rule in rules if rule.name == RULE), None)
    return {"shards": shards, "config": config.model_dump(mode="json"), "threshold": threshold, "seed": seed}


def teach_shard(argument: Any, out: Path, *, teacher: Completer | None, progress: Progress = SILENT) -> dict[str, int]:
    """The one shard of the phase between joining and refining: `teach` from what all shards of reading drew."""
    work = out.parents[1]
    sample = Sample()
    for name in argument["shards"]:
        sample.add(read_json(work / "read" / name / SAMPLE))
    config = parse(QualityConfig, argument["config"], "the plan")
    facts = teach(sample, config, argument["threshold"], teacher, seed=argument["seed"], out=out, progress=progress)
    return {"marks": facts["marks"]}


def teach(
    sample: Sample,
    config: QualityConfig,
    threshold: float | None,
    teacher: Completer | None,
    *,
    seed: int,
    out: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Have documents of the sample marked, teach both models, fix the thresholds; gives and writes quality.json."""
    pairs = _marked(config, sample, teacher, seed, progress)
    marks = [mark for _, mark in pairs]
    write_records(out / MARKS, marks)
    facts: dict[str, Any] = {
        "by": ", ".join(sorted({one.by for one in marks})) or "nobody",
        "is_proxy": {one.by for one in marks} <= {PROXY},
        "marks": sum(one.mark is not None for one in marks),
        "unmarked": sum(one.mark is None for one in marks),
        "groups": list(config.groups),
        "threshold": threshold,
        "lifted": {},
    }
    if (reason := _too_little(marks)) is None:
        grader = _taught(pairs, facts, progress)
        save_grader(out / MODEL, grader)
        facts["languages"] = sorted(grader.languages)
        facts["lifted"] = thresholds(_graded_sample(grader, sample, config), threshold, config.lift, config.floor)
    facts["untaught"] = reason
    write_json(out / QUALITY, facts)
    return facts


def thresholds(
    grades: Sequence[tuple[Grade, float]], least: float | None, lift: float, floor: float
) -> dict[str, float]:
    """The threshold of each subject that is lifted, from grades with weights: at it, it passes as often as all do."""
    known = [(one.subject, one.mark, weight) for one, weight in grades if one.mark is not None]
    if least is None or not known:
        return {}
    share = lift * sum(w for _, mark, w in known if mark >= least) / sum(w for *_, w in known)
    by_subject: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for subject, mark, weight in known:
        by_subject[subject].append((mark, weight))
    lifted = {}
    for subject, marks in sorted(by_subject.items()):
        wanted = share * sum(weight for _, weight in marks)
        if subject and len(marks) >= _FEW and sum(w for mark, w in marks if mark >= least) < wanted:
            lifted[subject] = round(min(least, max(floor, _mark_at(marks, wanted))), 3)
    return {subject: threshold for subject, threshold in lifted.items() if threshold < least}


def annotate(documents: Iterable[Document], teacher: Completer, n: int, out: Path, progress: Progress = SILENT) -> int:
    """Have `n` documents, drawn evenly, marked by a teacher and write the marks; its answers are kept beside `out`."""
    sample = Sample()
    for document in documents:
        sample.offer(document)
    with closing(CachedCompleter(teacher, out.with_name(f"{out.name}.answers"))) as kept:
        pairs = teacher_marks(sample.drawn(n, dropped=False), kept, 0, progress)
    return write_records(out, (mark for _, mark in pairs))


def existing_marks(name: str) -> Path:
    """The file of marks that a recipe names, if it is there."""
    if not Path(name).is_file():
        raise UserError(f"No file {name!r}, which corpus.quality.marks names. Write it by phi data annotate.")
    return Path(name)


def _marked(
    config: QualityConfig, sample: Sample, teacher: Completer | None, seed: int, progress: Progress
) -> list[tuple[Candidate, Marked]]:
    """The documents to learn from, each with its mark."""
    if config.marks:
        given = {one.id: one for one in read_records(existing_marks(config.marks), Marked)}
        drawn = sample.drawn(10**9, dropped=False)
        if found := [(one, given[one.id]) for one in drawn if one.id in given]:
            return found
        raise UserError(
            f"corpus.quality.marks {config.marks} marks none of the {len(drawn)} documents that were drawn. Have "
            "documents of these sources marked by phi data annotate."
        )
    if teacher:
        return teacher_marks(sample.drawn(config.documents, dropped=False), teacher, seed, progress)
    return proxy_marks(sample, config.documents, config.kinds)


def _too_little(marks: Sequence[Marked]) -> str | None:
    """Why nothing can be learnt from these marks; None where it can."""
    given = [one.mark for one in marks if one.mark is not None]
    if len(given) >= LEAST and len(set(given)) > 1:
        return None
    return f"{len(given)} documents have marks, {len(set(given))} different ones; {LEAST} with two are needed"


def _taught(pairs: Sequence[tuple[Candidate, Marked]], facts: dict[str, Any], progress: Progress) -> Grader:
    """Both models; how they do on unseen sources goes into `facts`."""
    marks = [mark for _, mark in pairs]
    values = np.array([math.nan if one.mark is None else one.mark for one in marks])
    sources, languages = [one.source for one in marks], [one.language for one in marks]
    subjects = [one.subject for one in marks]
    with progress.task("teaching the classifier", 3, "parts") as task:
        found = [features(one.part) for one, _ in pairs]
        task.advance()
        inner = products(found)
        task.advance()
        grader = fit(found, inner, values, subjects, SUBJECTS, languages)
        facts["held_out"] = held_out_marks(inner, values, sources, languages)
        facts["held_out_subjects"] = held_out_subjects(inner, subjects, SUBJECTS, sources)
        facts["kinds"] = dict(sorted(Counter(f"{value:g}" for value in marked(values)[1][:, 0]).items()))
        task.advance()
    return grader


def _graded_sample(grader: Grader, sample: Sample, config: QualityConfig) -> list[tuple[Grade, float]]:
    return [(grader.grade(one.part, one.language), weight) for one, weight in sample.kept(config.groups)]


def _mark_at(marks: Sequence[tuple[float, float]], wanted: float) -> float:
    """The mark down to which the best documents weigh `wanted` together."""
    total = 0.0
    for mark, weight in sorted(marks, reverse=True):
        total += weight
        if total >= wanted:
            return mark
    return 0.0
