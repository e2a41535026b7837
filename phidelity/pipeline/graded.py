"""Grading in stage `corpus`: every document gets its mark and its subject, and the table of rules decides afterwards.

The rule is `ours_quality`, on the groups that the recipe names alone; what the models said of each document, and the
threshold that it was held against, stand in quality_scores.jsonl.zst. What was taught is in pipeline/teaching.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.data.annotate import SUBJECTS
from phidelity.data.funnel import Drop
from phidelity.data.quality import Grade, Grader, load_grader
from phidelity.data.rules import RULES
from phidelity.pipeline.teaching import MARKS, MODEL, QUALITY, RULE
from phidelity.records import Document, Record, concatenate, read_json

GRADES = "quality_scores.jsonl.zst"


class Graded(Record):
    """What the models said of a document, and what came of it."""

    id: str
    source: str
    language: str
    quality: float | None = None
    """None where its language is not judged."""
    subject: str = ""
    threshold: float | None = None
    """None where marks do not decide on it."""
    dropped: str = ""


class Grading(NamedTuple):
    """What grading a document needs."""

    grader: Grader
    groups: frozenset[str]
    threshold: float | None
    """None: nothing is decided."""
    lifted: dict[str, float]
    """Thresholds of subjects that have their own."""


@lru_cache(maxsize=1)
def taught(folder: Path) -> Grading | None:
    """What `teach` left in a folder, read once in a process; None where there was too little to learn from."""
    facts = read_json(folder / QUALITY)
    if facts["untaught"]:
        return None
    return Grading(load_grader(folder / MODEL), frozenset(facts["groups"]), facts["threshold"], facts["lifted"])


def judge(grading: Grading, document: Document) -> tuple[Document, Graded, Drop | None]:
    """A document with its mark and subject in its meta, the line for the record, and why it goes."""
    grade = _grade(grading.grader, document)
    decides = grade.mark is not None and document.meta.get("group") in grading.groups
    threshold = grading.lifted.get(grade.subject, grading.threshold) if decides else None
    fails = threshold is not None and _RULE._replace(threshold=threshold).fails(grade.mark or 0.0)
    row = Graded(
        id=document.id,
        source=document.source,
        language=str(document.meta.get("language", "")),
        quality=grade.mark,
        subject=grade.subject,
        threshold=threshold,
        dropped=RULE if fails else "",
    )
    said = {
        key: value for key, value in (("quality", grade.mark), ("subject", grade.subject)) if value not in (None, "")
    }
    document = document.model_copy(update={"meta": {**document.meta, **said}})
    return document, row, Drop(RULE, grade.mark, threshold) if fails else None


def join_grades(work: Path, shards: Sequence[str], out: Path) -> None:
    """Put what teaching left, and the grades of all shards, beside the stage's outputs."""
    for name in (QUALITY, MARKS, MODEL):
        if (path := work / "teach" / "all" / name).exists():
            concatenate(out / name, [path])
    concatenate(out / GRADES, (work / "refine" / name / GRADES for name in shards))


def tally(row: Graded) -> dict[str, int]:
    """Whether a document was graded, decided on and dropped, by subject and language, as counts for `add_up`."""
    counts = {"documents": 1}
    if row.quality is None:
        return counts | {f"ungraded/{row.language}": 1}
    counts |= {"graded": 1, "dropped": int(bool(row.dropped))}
    if row.threshold is None:
        return counts
    return counts | {"decided": 1, f"decided/{row.subject}": 1, f"kept/{row.subject}": int(not row.dropped)}


def add_up(facts: Mapping[str, Any], tallies: Iterable[Mapping[str, int]]) -> dict[str, Any]:
    """What the model card prints: who marked, held-out figures, thresholds, and what came of all documents."""
    counts: Counter[str] = Counter()
    for one in tallies:
        counts.update(one)
    held_out, topics = facts.get("held_out"), facts.get("held_out_subjects")
    wanted = ("sources", "documents", "error", "error_of_mean", "rank_correlation", "f1_at_3")
    return {
        **{key: facts[key] for key in ("by", "is_proxy", "marks", "untaught", "threshold", "lifted", "groups")},
        "held_out": held_out and {key: held_out[key] for key in wanted},
        "held_out_subjects": topics and {key: topics[key] for key in ("accuracy", "commonest", "macro_recall")},
        **{key: counts[key] for key in ("documents", "graded", "decided", "dropped")},
        "subjects": {
            name: {"decided": counts[f"decided/{name}"], "kept": counts[f"kept/{name}"]}
            for name in ("", *SUBJECTS)
            if counts[f"decided/{name}"]
        },
        "ungraded_by_language": {
            key.removeprefix("ungraded/"): n for key, n in counts.most_common() if key.startswith("ungraded/")
        },
    }


def _grade(grader: Grader, document: Document) -> Grade:
    """The mark and the subject of a document; code has neither."""
    if document.meta.get("profile") == "code" or document.meta.get("syntax"):
        return Grade(None, "")
    return grader.grade(document.text, str(document.meta.get("language", "")))


_RULE = next(rule for rule in RULES if rule.name == RULE)
