"""A phase of stage `corpus` where the recipe asks for it: passages that stood in an earlier document are cut out.

One shard reads all documents that are left, for `data/substrings.py` must see them together; so it is for small sets,
and a larger one is refused before anything is sorted. Code is left whole. A document of which less than half would
stay goes; what is cut from another is told in its meta, as personal data are.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from phidelity.data.funnel import Drop
from phidelity.data.substrings import Place, cut, repeated_passages, told
from phidelity.pipeline.likeness import read_drops
from phidelity.pipeline.reading import kept_documents
from phidelity.records import Document, atomic, write_json

REPEATS, CUTS = "repeats.jsonl", "cuts.json"
MOST_CUT = 0.5
"""Share of a document that may be cut out of it; of more the rest is not kept (ours)."""
WHAT = "REPEAT"


def find_repeats(argument: Any, out: Path) -> dict[str, int]:
    """repeats.jsonl with every cluster, and for each shard of reading what is cut out of which document."""
    ids, texts, places = [], [], []
    work = out.parents[1]
    for name in argument["shards"]:
        gone = read_drops(work / "join" / "all", name)
        for number, document in enumerate(kept_documents(work / "read", name)):
            if number not in gone and not document.meta.get("syntax"):
                ids.append(document.id)
                texts.append(document.text)
                places.append((name, str(number)))
    found = repeated_passages(texts, argument["least"])
    with atomic(out / REPEATS, "w") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in told(found, ids))
    cuts: dict[str, dict[str, list[list[Any]]]] = defaultdict(lambda: defaultdict(list))
    for cluster in found:
        for place in cluster.dropped:
            name, number = places[place.text]
            cuts[name][number].append([place.start, place.end, ids[cluster.kept.text]])
    write_json(out / CUTS, cuts)
    return {"clusters": len(found)}


def without_repeats(document: Document, cuts: list[list[Any]]) -> tuple[Document, Drop | None]:
    """The document without what is cut out of it; why it goes where too little would stay."""
    left = cut(document.text, [Place(0, start, end) for start, end, _ in cuts])
    share = 1 - len(left.text) / max(1, len(document.text))
    if share > MOST_CUT:
        return document, Drop("repeated_passages", round(share, 4), MOST_CUT, against=cuts[0][2])
    removed = [{"at": at, "what": WHAT, "characters": n} for at, n in left.removed]
    meta = {**document.meta, "removed": removed}
    return document.model_copy(update={"text": left.text, "meta": meta}), None
