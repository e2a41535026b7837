"""Pipeline a: seeds from web and code passages, scored, with metadata for what follows (phi-4 §2.2).

A passage is cut at blank lines and keeps its line numbers. The teacher marks educational value, factual content and
reasoning, and names kind, complexity, obscurity and the steps of any argument; what is marked low goes. The
fields follow the report's appendix D.1.1; words, marks and thresholds are ours.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from phidelity.records import Document
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.replies import MARKER, json_object, marks

MARKS = ("educational", "factual", "reasoning")
LEAST_EDUCATIONAL, LEAST_CONTENT = 3, 3
"""Of 5: the mark for teaching, and the better of facts and reasoning (*ours*)."""
SHORTEST, LONGEST = 240, 1600
"""Characters of a passage (*ours*)."""
_LETTERS = frozenset("ABCDE")


def passages(documents: Iterable[Document]) -> Iterator[Excerpt]:
    """One passage of each document: whole paragraphs, from the first that is long enough."""
    for document in documents:
        found = _passage(document.text)
        if found:
            meta = document.meta
            is_code = meta.get("group") == "code" or bool(meta.get("syntax"))
            language, license_ = str(meta.get("language", "en")), str(meta.get("license", ""))
            yield Excerpt(document.id, found[0], found[1], language, license_, is_code)


def excerpts(desk: Desk, documents: Iterable[Document], n: int) -> Iterator[Excerpt]:
    """Of `n` passages those that the teacher finds worth growing texts from."""
    jobs = desk.jobs("excerpts", passages(documents), n)
    for job in jobs:
        if MARKER.search(job.excerpt.text):
            desk.drop(job, "marker_in_seed")
    for job, reply in desk.one(jobs, "excerpt", lambda job: {"passage": job.excerpt.text}):
        about = _about(reply)
        if about is None:
            desk.drop(job, "off_format")
        elif about["educational"] < LEAST_EDUCATIONAL:
            desk.drop(job, "teaches_little")
        elif max(about["factual"], about["reasoning"]) < LEAST_CONTENT:
            desk.drop(job, "says_little")
        else:
            desk.funnel["excerpts"]["kept"] += 1
            made = desk.document(job, "", "").meta
            yield job.excerpt._replace(about=about | {"cost": made["cost"], "templates": made["templates"]})


def seed_document(desk: Desk, excerpt: Excerpt, index: int) -> Document:
    """An excerpt for the record: it is a seed, never training text itself."""
    meta = {"pipeline": "excerpts", "teacher": desk.completer.name, "lines": list(excerpt.lines)}
    meta |= {"seed_document": excerpt.document, "license": excerpt.license, "language": excerpt.language}
    return Document(id=f"excerpts/{index}", text=excerpt.text, source="seed", meta={**meta, **excerpt.about})


def _about(reply: str) -> dict[str, Any] | None:
    value = json_object(reply)
    found = marks(value, MARKS, 5)
    if value is None or found is None:
        return None
    texts = {name: value.get(name) for name in ("kind", "description", "complexity", "obscurity")}
    steps = value.get("steps", [])
    if not all(isinstance(text, str) and text for text in texts.values()) or not isinstance(steps, list):
        return None
    if not {texts["complexity"], texts["obscurity"]} <= _LETTERS:
        return None
    return {**found, **texts, "steps": [str(step) for step in steps], "depends": bool(value.get("depends"))}


def _passage(text: str) -> tuple[str, tuple[int, int]] | None:
    """Whole paragraphs of `SHORTEST` to `LONGEST` characters, and their lines."""
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        end, size = start, 0
        while end < len(lines) and size + len(lines[end]) + 1 <= LONGEST:
            size += len(lines[end]) + 1
            end += 1
        if end < len(lines):
            blank = next((n for n in range(end, start, -1) if not lines[n - 1].strip()), None)
            end = blank or end
        part = "\n".join(lines[start:end]).strip("\n")
        if len(part) >= SHORTEST:
            return part, (start + 1, end)
        start = max(end, start + 1)
    return None
