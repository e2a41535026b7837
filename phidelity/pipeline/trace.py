"""From a packed token, or the name of a document, back to where it is from and to every decision on the way.

A token is named by its group and its place in the shard (`web:1234567`) or in the packed rows (`web:12/345`: row and
position, from 0). The shard tells the document and the part of the stage's output that it lies in, so one part is read
and no more. A document that was dropped has no token, but its name tells why it went. What was taken out of a text is
told by place and kind; what stood there is nowhere.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from phidelity.config import UserError
from phidelity.data.loader import PackedGroup, open_packed
from phidelity.data.rules import RULES
from phidelity.data.shards import Shard, document_ids, document_places, groups, open_shard
from phidelity.pipeline.graded import GRADES, Graded
from phidelity.pipeline.likeness import CLUSTERS
from phidelity.pipeline.manifest import read_manifest
from phidelity.pipeline.reading import DECISIONS, DOCUMENTS, SCORES, Decision, Scores, stretches
from phidelity.pipeline.teaching import RULE
from phidelity.records import Document, read_records
from phidelity.tokenizer.bpe import Tokenizer

AROUND = 24
"""Tokens shown before and after (ours)."""


def trace(run: Path, what: str, *, held_out: bool = False) -> dict[str, Any]:
    """All that is known of a token `group:offset` or `group:row/position`, or of a document by its id.

    `held_out` looks among the validation shards. What is not there is a `UserError`.
    """
    if not run.is_dir():
        raise UserError(f"No run {run}; expected a folder that phi run made. Check the path.")
    folder = run / "shards" / "validation" if held_out else run / "shards"
    named = re.fullmatch(r"(\w+):(\d+)(?:/(\d+))?", what)
    if named and named[1] in groups(folder):
        return _of_token(run, folder, named[1], int(named[2]), None if named[3] is None else int(named[3]))
    return _of_document(run, what)


def _of_token(run: Path, folder: Path, group: str, number: int, position: int | None) -> dict[str, Any]:
    shard = open_shard(folder, group, verify=False)
    token = number if position is None else _token_of_row(folder, group, number, position)
    if token >= shard.n_tokens:
        raise UserError(f"Token {token:,} was asked for; {group} holds {shard.n_tokens:,}, counted from 0.")
    document = int(np.searchsorted(shard.ends, token, "right"))
    start = int(shard.ends[document - 1]) if document else 0
    part, place = document_places(folder, group)[document].tolist()
    found = _read(run, part, place)
    assert found[1].id == document_ids(folder, group)[document]
    at = {
        "group": group,
        "token": token,
        "id": int(shard.tokens[token]),
        "document": document,
        "place_in_document": token - start,
        "tokens_of_document": int(shard.ends[document]) - start,
        **_around(run, shard, token, start, int(shard.ends[document])),
    }
    return {"token": at, **_told(run, *found)}


def _token_of_row(folder: Path, group: str, number: int, position: int) -> int:
    """The token at a position of one of the packed rows that stand beside a shard."""
    path = folder / f"{group}.rows.npz"
    if not path.exists():
        raise UserError(
            f"{path} is not there: {group} was not packed beforehand. Name a token by its place in the shard."
        )
    with np.load(path) as kept:
        packed: PackedGroup = open_packed(folder, group, int(kept["context_len"]), verify=False)
    if number >= len(packed.rows):
        raise UserError(f"Row {number:,} was asked for; {group} has {len(packed.rows):,}, counted from 0.")
    before = 0
    for start, length in packed.pieces[packed.rows[number]].tolist():
        if position < before + length:
            return start + position - before
        before += length
    raise UserError(f"Position {position:,} of row {number:,} is empty; it holds {before:,} tokens.")


def _around(run: Path, shard: Shard, token: int, start: int, end: int) -> dict[str, str]:
    """The token's own text, and that of its neighbours in the document."""
    if not (run / "tokenizer").is_dir():
        return {}
    words = Tokenizer.load(run / "tokenizer")
    before = shard.tokens[max(start, token - AROUND) : token]
    after = shard.tokens[token + 1 : min(end, token + 1 + AROUND)]
    named = zip(("before", "text", "after"), (before, shard.tokens[token : token + 1], after), strict=True)
    return {name: words.decode(ids.tolist()) for name, ids in named}


def _read(run: Path, part: int, place: int) -> tuple[str, Document]:
    """The stage that a document is of, and the document, from its part alone."""
    for stage in ("corpus", "synthetic"):
        parts = stretches(run / stage)
        if part < len(parts):
            offset, size = parts[part]
            records = read_records(run / stage / DOCUMENTS, Document, offset=offset, size=size)
            return stage, next(islice(records, place, None))
        part -= len(parts)
    raise UserError(f"The shards of {run} are of other documents than it holds. Redo them with --force shards.")


def _of_document(run: Path, name: str) -> dict[str, Any]:
    for stage in ("corpus", "synthetic"):
        if (path := run / stage / DOCUMENTS).exists():
            for document in read_records(path, Document):
                if document.id == name:
                    return _told(run, stage, document)
    if dropped := _first(run / "corpus" / DECISIONS, Decision, name):
        return {"dropped": dropped.model_dump(exclude_defaults=True), **_judged(run, name)}
    if not any((run / stage / DOCUMENTS).exists() for stage in ("corpus", "synthetic")):
        raise UserError(f"{run} has no finished stage corpus: nothing can be traced yet. See phi status {run}.")
    known = ", ".join(groups(run / "shards")) if (run / "shards").is_dir() else ""
    tokens = f"with a group of: {known}" if known else "once the stage shards, which is missing here, is done"
    raise UserError(
        f"{name!r} is neither a document that {run} read nor a token; expected a document's id, GROUP:OFFSET, or "
        f"GROUP:ROW/POSITION {tokens}."
    )


def _told(run: Path, stage: str, document: Document) -> dict[str, Any]:
    """A document that stayed: where it is from, and what was measured and decided."""
    meta = dict(document.meta)
    keys = ("locator", "url", "origin", "commit", "license", "date", "date_from", "language", "format")
    origin = {key: meta.pop(key) for key in keys if key in meta}
    manifest = read_manifest(run / stage)
    sources = manifest.ingredients.sources if manifest else {}
    if document.source in sources:
        origin["source_sha256"] = sources[document.source]
    kept = {"stage": stage, "id": document.id, "source": document.source, **origin, "meta": meta}
    return {"document": kept, **(_judged(run, document.id) if stage == "corpus" else {})}


def _judged(run: Path, name: str) -> dict[str, Any]:
    """The scores of a document with the thresholds they were held against, and its cluster of duplicates."""
    told: dict[str, Any] = {}
    if scores := _first(run / "corpus" / SCORES, Scores, name):
        manifest = read_manifest(run / "corpus")
        given = manifest.ingredients.config["thresholds"] if manifest else {}
        kept_while = {rule.name: {rule.keep: given.get(rule.name, rule.threshold)} for rule in RULES}
        told["rules"] = {
            "profile": scores.profile,
            "failed": [one for one in (scores.dropped, *scores.also) if one],
            "scores": {rule: {"score": value, **kept_while.get(rule, {})} for rule, value in scores.scores.items()},
        }
    if (grade := _first(run / "corpus" / GRADES, Graded, name)) and grade.quality is not None:
        decided = {"at least": grade.threshold} if grade.threshold is not None else {"decides": "nothing in this group"}
        told["quality"] = {"rule": RULE, "score": grade.quality, **decided, "subject": grade.subject or "not told"}
    for cluster in _clusters(run / "corpus" / CLUSTERS):
        if name == cluster["kept"] or any(name == one["id"] for one in cluster["dropped"]):
            told["cluster"] = cluster
    return told


def _clusters(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)


def _first(path: Path, kind: type[Any], name: str) -> Any:
    """The first record of a document in a file that may not be there."""
    return next((one for one in read_records(path, kind) if one.id == name), None) if path.exists() else None
