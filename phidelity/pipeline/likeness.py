"""Second phase of stage `corpus`: what all shards of reading have to say together: budgets, copies, near duplicates.

Byte budgets are taken in the order of reading, exact copies go to the first of equal words, and near duplicates are
verified in partitions of the bands, which any number of workers may share: their pairs together do not depend on how
many partitions there are. One last shard joins the pairs into clusters and says of each document why it goes.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phidelity.data.dedup import Duplicate, Edge, alike, clusters, first_copies, outcome, similarity
from phidelity.data.funnel import Drop
from phidelity.pipeline.reading import Table, open_tables, over_budget
from phidelity.records import atomic, read_json

CLUSTERS, EDGES = "clusters.jsonl", "edges.npy"
PARTITION = 500_000
"""Documents for which one more partition is made (ours)."""


def plan_pairs(n_documents: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The partitions in which documents are compared; `settings` are budgets and min_jaccard."""
    n = 1 + n_documents // PARTITION
    return {f"{k:04d}": {**settings, "partition": k, "n_partitions": n} for k in range(n)}


def compare(argument: Any, out: Path) -> dict[str, int]:
    """The verified pairs of one partition, `[E, 3]` with the likeness in ten-thousandths."""
    table = _tables(out)
    within, copies = _first_sieves(table, argument["budgets"])
    edges = alike(
        table.bands[within],
        copies,
        lambda number: table.shingles[within[number]],
        argument["min_jaccard"],
        argument["partition"],
        argument["n_partitions"],
    )
    rows = [(edge.earlier, edge.later, round(edge.jaccard * 10_000)) for edge in edges]
    np.save(out / EDGES, np.array(rows, dtype=np.int64).reshape(-1, 3))
    return {"pairs": len(rows)}


def join(argument: Any, out: Path) -> dict[str, int]:
    """clusters.jsonl, and for each shard of reading the documents that go, by their number in it."""
    table = _tables(out)
    within, copies = _first_sieves(table, argument["budgets"])
    found = outcome(
        copies,
        _edges(out.parents[1] / "pairs"),
        lambda a, b: similarity(table.shingles[within[a]], table.shingles[within[b]]),
        argument["min_jaccard"],
    )
    ids = [table.ids[number] for number in within]
    with atomic(out / CLUSTERS, "w") as file:
        file.writelines(json.dumps(cluster, ensure_ascii=False) + "\n" for cluster in clusters(found, ids))
    gone = {number: ("budget", over) for number, over in _over_budget(table, argument["budgets"])}
    for number, duplicate in zip(within, found, strict=True):
        if duplicate:
            gone[number] = (duplicate.kind, _drop(duplicate, ids, argument["min_jaccard"]))
    first = 0
    for name, n_documents in table.shards:
        mine = ((n, *gone[n]) for n in range(first, first + n_documents) if n in gone)
        with atomic(out / f"{name}.jsonl", "w") as file:
            file.writelines(json.dumps([n - first, step, drop._asdict()]) + "\n" for n, step, drop in mine)
        first += n_documents
    return {"dropped": len(gone)}


def read_drops(folder: Path, name: str) -> dict[int, tuple[str, Drop]]:
    """Step and reason of the documents of a shard that go, by their number in it."""
    with open(folder / f"{name}.jsonl", encoding="utf-8") as file:
        return {number: (step, Drop(**{**drop, "also": ()})) for number, step, drop in map(json.loads, file)}


def _tables(out: Path) -> Table:
    folder = out.parents[1] / "read"
    return open_tables(folder, list(read_json(folder / "plan.json")["order"]))


def _first_sieves(table: Table, budgets: Mapping[str, int]) -> tuple[np.ndarray, list[int]]:
    """The numbers of the documents within their budgets, and among these the first copy of each."""
    over = {number for number, _ in _over_budget(table, budgets)}
    within = np.array([number for number in range(len(table.ids)) if number not in over], dtype=np.int64)
    return within, first_copies(table.exact[number] for number in within)


def _over_budget(table: Table, budgets: Mapping[str, int]) -> Iterator[tuple[int, Drop]]:
    taken: dict[str, int] = defaultdict(int)
    for number, (group, size) in enumerate(zip(table.groups, table.sizes, strict=True)):
        if budgets.get(group) and taken[group] >= budgets[group]:
            yield number, over_budget(taken[group], budgets[group])
        else:
            taken[group] += size


def _edges(folder: Path) -> Iterator[Edge]:
    """All pairs, each once and in one order, whatever the partitions."""
    names = read_json(folder / "plan.json")["order"]
    rows = np.concatenate([np.load(folder / name / EDGES) for name in names])
    return (Edge(int(a), int(b), j / 10_000) for a, b, j in np.unique(rows, axis=0).tolist())


def _drop(duplicate: Duplicate, ids: Sequence[str], min_jaccard: float) -> Drop:
    return Drop(f"{duplicate.kind}_duplicate", duplicate.jaccard, min_jaccard, ids[duplicate.of])
