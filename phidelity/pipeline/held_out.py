"""Texts that no stage trains on, and how well each model predicts them: bits per byte, document by document.

Sources that a recipe names in `corpus.held_out` are extracted and nothing else: no rule, no filter and no arm of a
study has had a say in them. Of a long document its middle is taken, past title pages and licences. `problems` are
problems of the test split with their worked answers, as plain text.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from phidelity.checkpoint.naming import read_config
from phidelity.completion import Completer
from phidelity.data.sources import Source, read_source
from phidelity.problems.families import assistant_message, item
from phidelity.records import Document, atomic, read_records, write_records
from phidelity.tokenizer.bpe import Tokenizer

HELD_OUT = "held_out"
"""Folder of the stage `corpus` with the documents of each held-out source."""
DOCUMENTS = 80
"""Documents of each source (*ours*): the first in the order of reading, which is that of a hash."""
EXCERPT = 500
"""Characters of a document (*ours*)."""
PROBLEMS = "problems"
FAMILIES = ("things_en", "things_de", "money_en", "money_de", "function", "fact")
PER_FAMILY = 20
"""Problems of each family (*ours*)."""


def write_held_out(sources: Iterable[Source], out: Path) -> dict[str, int]:
    """Write excerpts of each source; gives how many."""
    counts = {}
    for source in sources:
        documents = (one for one in read_source(source) if isinstance(one, Document) and one.text.strip())
        taken = [one.model_copy(update={"text": excerpt(one.text)}) for one in islice(documents, DOCUMENTS)]
        write_records(out / HELD_OUT / f"{source.name}.jsonl.zst", taken)
        counts[source.name] = len(taken)
    return counts


def excerpt(text: str) -> str:
    """The middle of a text, or all of a short one."""
    begin = max(0, (len(text) - EXCERPT) // 2)
    return text[begin : begin + EXCERPT]


def held_out_texts(corpus: Path | None, seed: int) -> dict[str, dict[str, str]]:
    """Source -> id -> text: what the stage `corpus` kept apart, and problems; nothing where it kept nothing."""
    files = sorted((corpus / HELD_OUT).glob("*.jsonl.zst")) if corpus else []
    found = {path.name.split(".")[0]: {one.id: one.text for one in read_records(path, Document)} for path in files}
    return found | {PROBLEMS: _problems(seed)} if found else {}


def score_texts(
    completer: Completer, model: Path, texts: Mapping[str, Mapping[str, str]], out: Path
) -> dict[str, dict[str, Any]]:
    """Score every source under one model; writes `<source>/scored.jsonl` below `out`."""
    if not texts:
        return {}
    words, context_len = Tokenizer.load(model), read_config(model).context_len
    return {name: _score(completer, words, context_len, each, out / name) for name, each in texts.items()}


def _score(
    completer: Completer, words: Tokenizer, context_len: int, texts: Mapping[str, str], out: Path
) -> dict[str, Any]:
    """The first token of a text says nothing: neither it nor its bytes count."""
    ids = {name: tuple(words.encode(text)[:context_len]) for name, text in texts.items()}
    ids = {name: one for name, one in ids.items() if len(one) > 1}
    rows = [
        {"id": name, "bytes": len(words.decode(one[1:]).encode()), "bits": -sum(logprobs) / math.log(2)}
        for (name, one), logprobs in zip(ids.items(), completer.logprobs(list(ids.values())), strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / "scored.jsonl", "w") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return _summed(rows)


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    bits, n_bytes = sum(row["bits"] for row in rows), sum(row["bytes"] for row in rows)
    return {"bits_per_byte": bits / n_bytes, "documents": len(rows), "bytes": n_bytes}


def _problems(seed: int) -> dict[str, str]:
    drawn = [item(name, "test", seed, index) for name in FAMILIES for index in range(PER_FAMILY)]
    return {one.id: f"{one.question}\n{assistant_message(one)}" for one in drawn}
