"""Last phase of stage `corpus`, a shard at a time: duplicates, poor texts, evaluation problems and persons out.

What leaves a shard is final: documents, the record of what went, the overlaps with evaluation problems with both texts,
and the counts of which the summary is made. Where something was taken out of a document, its meta says where and what
kind of thing it was, never what stood there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.data.decontaminate import Index, build_index, overlap, side_by_side
from phidelity.data.funnel import Drop, Funnel
from phidelity.data.pii import redact
from phidelity.pipeline.evaluation_items import evaluation_items
from phidelity.pipeline.graded import GRADES, judge, tally, taught
from phidelity.pipeline.likeness import read_drops
from phidelity.pipeline.reading import DECISIONS, DOCUMENTS, FUNNEL, count_drop, kept_documents, language_of, size_of
from phidelity.pipeline.repeats import CUTS, without_repeats
from phidelity.records import Document, atomic, read_json, record_writer, write_json

CONTAMINATION, HITS, FACTS = "contamination.json", "hits.jsonl", "facts.json"


def refine_shard(argument: Any, out: Path) -> dict[str, int]:
    """The documents of a shard of reading that stay, as they are to be trained on."""
    name, settings = argument["shard"], argument["settings"]
    work = out.parents[1]
    gone = read_drops(work / "join" / "all", name)
    folders = (work / settings["benchmarks"], *map(Path, settings["evaluations"]))
    index = evaluation_index(folders, settings["allow_list"], settings["hard"], settings["info"])
    grading = taught(work / "teach" / "all") if settings["quality"] else None
    cuts = read_json(work / "repeats" / "all" / CUTS).get(name, {}) if settings["repeats"] else {}
    funnel, facts = Funnel(settings["samples"]), _no_facts()
    grades: Counter[str] = Counter()
    with (
        record_writer(out / DOCUMENTS) as keep,
        record_writer(out / DECISIONS) as decided,
        atomic(out / HITS, "w") as hits,
        record_writer(out / GRADES) as graded,
    ):
        for number, document in enumerate(kept_documents(work / "read", name)):
            if number in gone:
                decided(count_drop(funnel, document, *gone[number]))
                continue
            whole = document
            if str(number) in cuts:
                document, drop = without_repeats(document, cuts[str(number)])
                if drop:
                    decided(count_drop(funnel, whole, "repeats", drop))
                    continue
            if grading:
                document, grade, drop = judge(grading, document)
                graded(grade)
                grades.update(tally(grade))
                if drop:
                    decided(count_drop(funnel, whole, "quality", drop))
                    continue
            if hit := overlap(index, document.text):
                shown = side_by_side(index, hit, document.id, document.source)
                hits.write(json.dumps(shown, ensure_ascii=False) + "\n")
                if hit.verdict == "contaminated":
                    drop = Drop("contaminated", hit.match, hit.rule, index.items[hit.item].text)
                    decided(count_drop(funnel, whole, "contamination", drop))
                    continue
                partial = {key: shown[key] for key in ("benchmark", "item", "ratio")}
                document = with_meta(document, overlap=partial)
            funnel.count_kept(whole.source, size_of(whole), language_of(whole))
            if settings["personal"] == "replace":
                document = without_persons(document)
            _count(facts, document)
            keep(document)
    write_json(out / FUNNEL, funnel.saved())
    write_json(out / FACTS, {**facts, "grades": grades})
    return {"documents": sum(one["documents"] for one in facts["groups"].values())}


def write_contamination(path: Path, index: Index, hits: Sequence[dict[str, Any]]) -> None:
    """All overlaps side by side, and for each benchmark how many there are."""
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
    write_json(path, {"hard": index.hard, "info": index.info, "benchmarks": table, "hits": hits})


def without_persons(document: Document) -> Document:
    """The document with placeholders for personal data; `removed` in its meta says where, of which kind, how long."""
    redacted = redact(document.text)
    if not redacted.counts:
        return document
    removed = [{"at": at, "what": span.kind, "characters": span.end - span.start} for at, span in redacted.placed()]
    earlier = [{**one, "at": redacted.moved(one["at"])} for one in document.meta.get("removed", [])]
    listed = sorted([*earlier, *removed], key=lambda one: one["at"])
    document = document.model_copy(update={"text": redacted.text})
    return with_meta(document, personal=redacted.counts, removed=listed)


def with_meta(document: Document, **more: Any) -> Document:
    """The document with further entries of its meta."""
    return document.model_copy(update={"meta": {**document.meta, **more}})


def allowed(path: str) -> list[str]:
    """The text whose 13-grams contaminate nobody; none for ""."""
    if not path:
        return []
    try:
        return [Path(path).read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read corpus.allow_list {path}: {error}. Expected a text file.") from None


@lru_cache(maxsize=1)
def evaluation_index(folders: tuple[Path, ...], allow_list: str, hard: float, info: float) -> Index:
    """The problems of all folders; made once in a process."""
    items = [item for folder in folders for item in evaluation_items(folder)]
    return build_index(items, allowed(allow_list), hard=hard, info=info)


def _no_facts() -> dict[str, Any]:
    return {"groups": {}, "languages": {}, "dates_from": {}, "personal": {}, "undated": 0, "partial": 0, "bytes": 0}


def _count(facts: dict[str, Any], document: Document) -> None:
    """What the summary says of the documents that stay, as they are written."""
    size, meta = size_of(document), document.meta
    group = facts["groups"].setdefault(meta["group"], {"documents": 0, "bytes": 0})
    group["documents"] += 1
    group["bytes"] += size
    for key, name, n in (
        ("languages", language_of(document), size),
        ("dates_from", str(meta.get("date_from", "unknown")), 1),
        *(("personal", kind, count) for kind, count in meta.get("personal", {}).items()),
    ):
        facts[key][name] = facts[key].get(name, 0) + n
    facts["bytes"] += size
    facts["undated"] += 0 if meta.get("date") else size
    facts["partial"] += "overlap" in meta
