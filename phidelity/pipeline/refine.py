"""What the stage `corpus` does to documents that the rules let through: near duplicates, evaluation problems, persons.

Each step takes documents and gives those that stay, in order; what goes, goes to the funnel with its reason. Besides,
each leaves a record for people: clusters.jsonl says which document of a cluster stays and why, contamination.json
shows both texts of every overlap side by side.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from phidelity.data.decontaminate import Index, overlap, side_by_side
from phidelity.data.dedup import Signature, clusters, resolve
from phidelity.data.funnel import Drop
from phidelity.data.pii import redact
from phidelity.progress import SILENT, Progress
from phidelity.records import Document, atomic, write_json

CLUSTERS, CONTAMINATION = "clusters.jsonl", "contamination.json"

Dropper = Callable[[Document, str, Drop], None]
"""Counts a document that goes, at a step, for a reason."""


def distinct(
    documents: Sequence[Document], signatures: Sequence[Signature], min_jaccard: float, drop: Dropper, out: Path
) -> list[Document]:
    """The first document of each cluster of near duplicates."""
    found = resolve(signatures, lambda number: documents[number].text, min_jaccard=min_jaccard)
    ids = [document.id for document in documents]
    with atomic(out / CLUSTERS, "w") as file:
        file.writelines(json.dumps(cluster, ensure_ascii=False) + "\n" for cluster in clusters(found, ids))
    kept = []
    for document, duplicate in zip(documents, found, strict=True):
        if duplicate:
            drop(
                document,
                "near",
                Drop(f"{duplicate.kind}_duplicate", duplicate.jaccard, min_jaccard, ids[duplicate.of]),
            )
        else:
            kept.append(document)
    return kept


def decontaminated(
    documents: Sequence[Document], index: Index, drop: Dropper, out: Path, progress: Progress = SILENT
) -> list[Document]:
    """The documents that repeat no evaluation problem; partial overlaps stay and say so in their meta."""
    kept, hits = [], []
    with progress.task("decontaminating", len(documents), "documents") as task:
        for document in documents:
            task.advance()
            if not (hit := overlap(index, document.text)):
                kept.append(document)
                continue
            hits.append(side_by_side(index, hit, document.id, document.source))
            if hit.verdict == "contaminated":
                drop(document, "contamination", Drop("contaminated", hit.match, hit.rule, index.items[hit.item].text))
            else:
                kept.append(with_meta(document, overlap={"item": hits[-1]["item"], "ratio": round(hit.ratio, 4)}))
    verdicts = Counter((hit["benchmark"], hit["verdict"]) for hit in hits)
    problems = Counter(item.benchmark for item in index.items)
    table = [
        {
            "benchmark": name,
            "problems": n,
            "contaminated": verdicts[name, "contaminated"],
            "partial": verdicts[name, "partial"],
        }
        for name, n in problems.items()
    ]
    write_json(out / CONTAMINATION, {"hard": index.hard, "info": index.info, "benchmarks": table, "hits": hits})
    return kept


def without_persons(documents: Sequence[Document], counts: Counter[str]) -> Iterator[Document]:
    """The documents with placeholders for personal data; `counts` says how many of each kind."""
    for document in documents:
        redacted = redact(document.text)
        counts.update(redacted.counts)
        if redacted.counts:
            document = with_meta(document.model_copy(update={"text": redacted.text}), personal=redacted.counts)
        yield document


def with_meta(document: Document, **more: Any) -> Document:
    """The document with further entries of its meta."""
    return document.model_copy(update={"meta": {**document.meta, **more}})
