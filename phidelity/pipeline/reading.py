"""First phase of stage `corpus`: files to documents that the rules let through, a shard at a time.

A shard is some files of one source, whoever reads it and however many do: the plan follows from the sources alone.
Of each document that stays, what finding duplicates needs is kept beside it, its shingles included, so that no later
phase has to read a text twice. Of a group with a byte budget a shard gives no more than all of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phidelity.data.annotate import Sample
from phidelity.data.dedup import BANDS, Signature, sign
from phidelity.data.funnel import Drop, Funnel
from phidelity.data.rules import Rule, decide, score, select_rules
from phidelity.data.sources import Source, Unreadable, read_files, source_files
from phidelity.pipeline.admission import forbidden, too_late
from phidelity.records import Document, Record, atomic, read_json, read_records, record_writer, write_json

SHARD_BYTES = 16 << 20
"""Bytes as stored from which on a further file begins another shard (ours); a file is never divided."""
DOCUMENTS, SCORES, DECISIONS = "documents.jsonl.zst", "scores.jsonl.zst", "decisions.jsonl.zst"
FUNNEL, SAMPLE = "funnel.json", "sample.json"
PARTS = "parts.json"
"""Where each shard's documents lie in the joined file, so that they can be read alone."""


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


class Decision(Record):
    """Why something that was met is no document of the corpus."""

    id: str
    source: str
    language: str = ""
    bytes: int
    step: str
    reason: str
    value: float | str | None = None
    threshold: float | str | None = None
    against: str = ""
    """The other document or evaluation problem of a repetition."""
    also: tuple[str, ...] = ()
    """Other rules that would have dropped it."""


class Reading(Record):
    """What one shard is to read, and by which rules."""

    name: str
    path: str
    group: str
    label: str = ""
    """What the ids of its documents begin with; "" for the name of its folder."""
    files: tuple[str, ...] | None
    """None for all of a built-in source."""
    budgets: dict[str, int]
    text_columns: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    without_licenses: tuple[str, ...] = ()
    cutoff: str
    undated: str
    thresholds: dict[str, float]
    without: tuple[str, ...]
    samples: int
    quality: bool
    """Whether documents are drawn that a classifier may learn from."""


class Table(NamedTuple):
    """What finding duplicates needs to know of the documents of some shards, in the order of reading."""

    shards: list[tuple[str, int]]
    """Each shard by name, with how many documents it holds."""
    ids: list[str]
    groups: list[str]
    sizes: list[int]
    exact: list[bytes]
    bands: np.ndarray
    """`[N, 2 * BANDS]`"""
    shingles: list[np.ndarray]
    """Of each document its set, mapped from disk."""


def plan_reading(sources: Sequence[Source], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The shards of all sources, in order; `settings` are the fields of `Reading` that all share."""
    cut = [(source, files) for source in sources for files in _cut(source)]
    return {
        f"{number:06d}": {
            **settings,
            "name": source.name,
            "path": source.path if files is None else str(Path(source.path).absolute()),
            "group": source.group,
            "label": source.label,
            "files": files,
        }
        for number, (source, files) in enumerate(cut)
    }


def read_shard(argument: Any, out: Path) -> dict[str, int]:
    """Read, score and judge the documents of a shard; see `Reading`."""
    asked = Reading.model_validate(argument)
    funnel, sample = Funnel(asked.samples), Sample() if asked.quality else None
    table: dict[str, list[Any]] = {"ids": [], "groups": [], "sizes": []}
    signatures: list[Signature] = []
    ends = [0]
    with (
        record_writer(out / DOCUMENTS) as keep,
        record_writer(out / SCORES) as scored,
        record_writer(out / DECISIONS) as decided,
        atomic(out / "shingles.bin") as shingles,
    ):
        for item in _judged(asked, funnel, sample):
            if isinstance(item, Document):
                signature, found = sign(item.text, code=bool(item.meta.get("syntax")))
                signatures.append(signature)
                shingles.write(found.tobytes())
                ends.append(ends[-1] + len(found))
                for key, value in (("ids", item.id), ("groups", item.meta["group"]), ("sizes", size_of(item))):
                    table[key].append(value)
                keep(item)
            else:
                (scored if isinstance(item, Scores) else decided)(item)
    bands = np.array([signature.bands for signature in signatures], dtype=np.uint64).reshape(-1, 2 * BANDS)
    np.save(out / "bands.npy", bands)
    np.save(out / "exact.npy", np.frombuffer(b"".join(one.exact for one in signatures), np.uint8).reshape(-1, 16))
    np.save(out / "ends.npy", np.array(ends, dtype=np.int64))
    write_json(out / "table.json", table)
    write_json(out / FUNNEL, funnel.saved())
    if sample:
        write_json(out / SAMPLE, sample.saved())
    return {"documents": len(signatures)}


def open_tables(folder: Path, names: Sequence[str]) -> Table:
    """What `read_shard` kept of these shards for finding duplicates."""
    whole = Table([], [], [], [], [], np.zeros((0, 2 * BANDS), np.uint64), [])
    bands = [whole.bands]
    for name in names:
        table = read_json(folder / name / "table.json")
        whole.shards.append((name, len(table["ids"])))
        for field in ("ids", "groups", "sizes"):
            getattr(whole, field).extend(table[field])
        whole.exact.extend(row.tobytes() for row in np.load(folder / name / "exact.npy"))
        bands.append(np.load(folder / name / "bands.npy"))
        whole.shingles.extend(_mapped(folder / name))
    return whole._replace(bands=np.concatenate(bands))


def kept_documents(folder: Path, name: str) -> Iterator[Document]:
    """The documents that a shard of reading let through."""
    return read_records(folder / name / DOCUMENTS, Document)


def stretches(stage: Path) -> list[tuple[int, int | None]]:
    """Offset and size of the parts that a stage's documents were joined from; one whole where it does not say."""
    if not (stage / PARTS).exists():
        return [(0, None)]
    sizes = read_json(stage / PARTS)["sizes"]
    return [(sum(sizes[:number]), size) for number, size in enumerate(sizes)]


def decision(document: Document, step: str, drop: Drop) -> Decision:
    """The record of a drop."""
    return Decision(
        id=document.id,
        source=document.source,
        language=language_of(document),
        bytes=size_of(document),
        step=step,
        **drop._asdict(),
    )


def size_of(document: Document) -> int:
    """Bytes of its text in UTF-8."""
    return len(document.text.encode())


def language_of(document: Document) -> str:
    """The code of its language; "" where nobody looked."""
    return str(document.meta.get("language", ""))


def count_drop(funnel: Funnel, document: Document, step: str, drop: Drop) -> Decision:
    """Count a document that goes, and give the record of it."""
    size, language = size_of(document), language_of(document)
    funnel.drop(document.source, document.id, document.text, size, drop, language=language, step=step)
    return decision(document, step, drop)


def _cut(source: Source) -> Iterator[list[str] | None]:
    """The files of each shard of a source."""
    listed = source_files(source)
    if listed is None:
        yield None
        return
    files: list[str] = []
    total = 0
    for path, size in listed:
        if files and total + size > SHARD_BYTES:
            yield files
            files, total = [], 0
        files.append(path)
        total += size
    yield files


def _judged(asked: Reading, funnel: Funnel, sample: Sample | None) -> Iterator[Document | Scores | Decision]:
    """Documents that stay, and the records of what was measured and of what goes."""
    rules = select_rules(asked.thresholds, asked.without)
    taken: dict[str, int] = defaultdict(int)
    source = Source(asked.name, asked.path, (), asked.group, asked.label, asked.text_columns)
    for item in read_files(source, asked.files):
        if isinstance(item, Unreadable):
            funnel.count_read(item.source, item.n_bytes)
            drop = Drop(item.reason, item.detail or None)
            funnel.drop(item.source, item.id, "", item.n_bytes, drop, step="read")
            yield Decision(id=item.id, source=item.source, bytes=item.n_bytes, step="read", **drop._asdict())
            continue
        funnel.count_read(item.source, size_of(item), language_of(item))
        group = item.meta["group"]
        if drop := too_late(item, asked.cutoff, asked.undated):
            yield count_drop(funnel, item, "date", drop)
        elif drop := forbidden(item, asked.licenses, asked.without_licenses):
            yield count_drop(funnel, item, "license", drop)
        elif asked.budgets.get(group) and taken[group] >= asked.budgets[group]:
            yield count_drop(funnel, item, "budget", over_budget(taken[group], asked.budgets[group]))
        else:
            scores, drop = _measured(item, rules)
            yield scores
            if sample:
                sample.offer(item, dropped=drop is not None)
            if drop:
                yield count_drop(funnel, item, "rules", drop)
            else:
                taken[group] += size_of(item)
                yield item


def over_budget(taken: int, budget: int) -> Drop:
    """Why a document goes when its group has enough."""
    return Drop("over_budget", taken, budget)


def _measured(document: Document, rules: Sequence[Rule]) -> tuple[Scores, Drop | None]:
    profile = document.meta.get("profile", "code" if document.meta["group"] == "code" else "prose")
    values = score(document.text, profile, rules, document.meta)
    drop = decide(values, rules)
    scores = Scores(
        id=document.id,
        source=document.source,
        profile=profile,
        language=language_of(document),
        bytes=size_of(document),
        dropped=drop.reason if drop else "",
        also=drop.also if drop else (),
        scores=values,
    )
    return scores, drop


def _mapped(folder: Path) -> Iterator[np.ndarray]:
    ends = np.load(folder / "ends.npy")
    path = folder / "shingles.bin"
    data = np.memmap(path, dtype=np.uint64, mode="r") if path.stat().st_size else np.zeros(0, np.uint64)
    return (data[start:end] for start, end in pairwise(ends))
