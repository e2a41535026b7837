"""The answers of a run, or of two side by side, as one HTML file to filter and read.

Everything that a model said travels as JSON inside a script element that no text can end (`<` is written as an
escape) and reaches the page as text nodes only: a `<script>` in an answer stays text. The page shows fifty answers at a
time, so ten thousand are no burden. It loads nothing and forbids itself to.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from phidelity.eval.benchmark import PROFILES
from phidelity.eval.compare import compare_runs, pairs
from phidelity.eval.store import Graded, Response, read_graded, read_scores
from phidelity.eval.tables import notes
from phidelity.page.layout import render_page
from phidelity.records import atomic, read_records

HERE = Path(__file__).parent / "templates"


def write_run_page(out: Path) -> Path:
    """Write `index.html` of an OUT folder: its scores, and every answer with its grades."""
    scores = _scores(out)
    items = [
        item for model, rows in scores.items() for name in rows for item in _items(out / model / name, model, name)
    ]
    tables = [(model, list(_table(rows))) for model, rows in scores.items()]
    path = out / "index.html"
    _write(path, "run.html", title=f"Evaluation of {', '.join(scores)}", tables=tables, items=items, sides=["answer"])
    return path


def write_comparison_page(before: Path, after: Path, path: Path) -> None:
    """Write the answers of two OUT folders to the same problems side by side, with their paired differences."""
    found = compare_runs(before, after)
    items = []
    for pair in pairs(before, after):
        old, new = (
            {(item["id"], item["r"]): item for item in _items(folder, pair.models[1], pair.benchmark)}
            for folder in pair.folders
        )
        for place, item in new.items():
            if place in old:
                items.append(item | {"s": old[place]["s"] + item["s"]})
    title = f"{before.name} and {after.name}"
    _write(path, "compare.html", title=title, rows=found["rows"], items=items, sides=[before.name, after.name])


def embedded(value: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element, open a comment or end a line in JavaScript."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _write(path: Path, template: str, **values: Any) -> None:
    profiles = [
        profile for profile in PROFILES if any(profile in side["g"] for i in values["items"] for side in i["s"])
    ]
    data = {"items": values.pop("items"), "profiles": profiles, "sides": values.pop("sides")}
    page = render_page(HERE, template, data=embedded(data), n_items=len(data["items"]), profiles=profiles, **values)
    with atomic(path, "w") as file:
        file.write(page.encode("utf-8", "replace").decode())


def _scores(out: Path) -> dict[str, Any]:
    return read_scores(out / "scores.json")


def _table(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a benchmark: a cell for each profile, and the difference of the two that every benchmark has."""
    for name, profiles in rows.items():
        corrected, parity = (profiles.get(key) or {} for key in ("corrected", "parity"))
        is_both = corrected.get("score") is not None and parity.get("score") is not None
        difference = corrected["score"] - parity["score"] if is_both else None
        first = next(iter(profiles.values()))
        told = [*notes(first), *([first["withheld"]] if "withheld" in first else []), *first.get("departures", [])]
        yield {"name": name, "profiles": profiles, "difference": difference, "told": ", ".join(told) or "all scored"}


def _items(folder: Path, model: str, name: str) -> Iterator[dict[str, Any]]:
    """The answers of one benchmark with their grades; those of a benchmark that was not graded are left out."""
    path = folder / "responses.jsonl"
    said = {(one.id, one.repeat): one for one in read_records(path, Response)} if path.is_file() else {}
    for graded in read_graded(folder):
        response = said.get((graded.id, graded.repeat))
        if response:
            yield {
                "m": model,
                "b": name,
                "id": graded.id,
                "r": graded.repeat,
                "p": response.prompt,
                "gold": graded.reference,
                "meta": graded.meta,
                "s": [_side(response, graded)],
            }


def _side(response: Response, graded: Graded) -> dict[str, Any]:
    grades = {name: [one.value, one.extracted, one.explanation] for name, one in graded.scores.items()}
    used = response.usage.completion_tokens
    return {"a": response.response, "f": response.finish_reason, "t": used, "g": grades}
