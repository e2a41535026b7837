"""What a run left, read for people: manifests, curves, a census of the data, and searched answers token by token.

Only finished stages count, those with a manifest, and whatever is read is a file that a stage wrote; nothing is
computed here that needs the model. An absent stage gives an absent value, which card and report then say.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.page.figures import Series
from phidelity.pipeline.manifest import ROAD, Manifest, read_manifest
from phidelity.pipeline.pivotal_pairs import Pivot
from phidelity.pipeline.status import RECIPE_JSON
from phidelity.preference.rollouts import Drawn
from phidelity.records import Conversation, Document, Problem, read_records
from phidelity.tokenizer.bpe import Tokenizer

TRAINING = ("pretrain", "midtrain", "sft", "pivotal_dpo", "judged_dpo")
"""Stages whose time is training time."""
Ids = tuple[int, ...]
MODEL_STAGES = (*TRAINING, "rounds", "breakfix")


class Run(NamedTuple):
    """A run directory: its recipe as resolved, and the manifests of what is done, in the order of the road."""

    folder: Path
    recipe: dict[str, Any]
    manifests: dict[str, Manifest]

    def summary(self, stage: str) -> dict[str, Any] | None:
        """What a stage said of itself; None where it is not done."""
        return self.manifests[stage].summary if stage in self.manifests else None

    def file(self, stage: str, name: str) -> Path | None:
        """A file of a finished stage, if it is there."""
        path = self.folder / stage / name
        return path if stage in self.manifests and path.is_file() else None

    def json(self, stage: str, name: str) -> Any:
        """The contents of a JSON file of a finished stage; None where there is none."""
        path = self.file(stage, name)
        return json.loads(path.read_text(encoding="utf-8")) if path else None


def read_run(folder: Path) -> Run:
    """Read the recipe and the manifests of a run directory."""
    recipe = folder / RECIPE_JSON
    manifests = {name: manifest for name in ROAD if (manifest := read_manifest(folder / name))}
    return Run(folder, json.loads(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}, manifests)


def read_lines(path: Path | None) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, up to a torn last line; none where there is no file."""
    lines = path.read_bytes().splitlines(keepends=True) if path and path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def period(run: Run) -> tuple[str, str] | None:
    """Dates of the first and the last try of any stage."""
    days = sorted(str(line["began"])[:10] for line in read_lines(run.folder / "timings.jsonl"))
    return (days[0], days[-1]) if days else None


def model_shape(run: Run) -> dict[str, Any]:
    """`config.json` of the last checkpoint of the run."""
    found = [shape for stage in MODEL_STAGES if (shape := run.json(stage, "model/config.json"))]
    return found[-1] if found else {}


def curves(run: Run, stage: str, wanted: Mapping[str, str]) -> list[Series]:
    """Columns of a stage's metrics.jsonl as lines over steps; `wanted` gives them names."""
    rows = read_lines(run.file(stage, "metrics.jsonl"))
    lines = {name: [(row["step"], row[key]) for row in rows if key in row] for key, name in wanted.items()}
    return [Series(name, points) for name, points in lines.items() if points]


def validation_columns(run: Run, stage: str) -> dict[str, str]:
    """The validation losses by group that a stage measured, with their names."""
    keys = {key for row in read_lines(run.file(stage, "metrics.jsonl")) for key in row}
    return {key: f"held-out {key.removeprefix('validation/')}" for key in sorted(keys) if key.startswith("validation/")}


@dataclass(slots=True)
class Census:
    """What the documents of a run are: counted once, over all of them."""

    documents: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    """By language."""
    licenses: Counter[str] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    """Documents by where their date is from."""
    newest: str = ""
    """The latest date of any document."""
    first: dict[str, Document] = field(default_factory=dict)
    """The first document of each synthetic pipeline."""
    kept: dict[str, Document] = field(default_factory=dict)
    """The first document of each organic source."""
    chats: dict[str, Conversation] = field(default_factory=dict)
    """The first chat of each kind."""
    n_chats: Counter[str] = field(default_factory=Counter)
    """Chats by language."""

    @property
    def foreign_share(self) -> float:
        """Share of characters that are not English."""
        return 1 - self.characters["en"] / max(1, self.characters.total())

    @property
    def foreign_chats(self) -> float:
        """Share of chats that are not in English."""
        return 1 - self.n_chats["en"] / max(1, self.n_chats.total())


def take_census(run: Run) -> Census:
    """Count the documents and chats of the stages `corpus` and `synthetic`."""
    census = Census()
    for document in _documents(run):
        meta = document.meta
        census.documents += 1
        census.characters[str(meta.get("language", "unknown"))] += len(document.text)
        first, name = (census.first, meta["pipeline"]) if meta.get("pipeline") else (census.kept, document.source)
        first.setdefault(str(name), document)
        if license_ := meta.get("license"):
            census.licenses[str(license_)] += 1
        if date := meta.get("date"):
            census.dates[str(meta.get("date_from", "unknown"))] += 1
            census.newest = max(census.newest, str(date))
    if path := run.file("synthetic", "conversations.jsonl.zst"):
        for chat in read_records(path, Conversation):
            census.n_chats[str(chat.meta.get("language", "en"))] += 1
            census.chats.setdefault(str(chat.meta.get("family", chat.source)), chat)
    return census


def _documents(run: Run) -> Iterator[Document]:
    for stage in ("corpus", "synthetic"):
        if path := run.file(stage, "documents.jsonl.zst"):
            yield from read_records(path, Document)


class Piece(NamedTuple):
    """A token of a searched answer: p(success) as last estimated at or before its end."""

    text: str
    p: float
    estimated: bool
    """Whether p was estimated right after this token."""
    pivotal: bool


class Searched(NamedTuple):
    """A sampled answer through which pivotal tokens run."""

    prompt: str
    begins_at: float
    """p(success) before any token."""
    right: bool
    pieces: list[Piece]


def searched_answers(run: Run, n: int = 3) -> list[Searched]:
    """Answers of the first `n` questions with confirmed pivots: of each, the sampled one with most pivots in it."""
    pivots_file, problems_file = run.file("pivotal_pairs", "pivots.jsonl"), run.file("synthetic", "problems.jsonl")
    if not pivots_file or not problems_file or not run.file("tokenizer", "tokenizer.json"):
        return []
    pivots = list(read_records(pivots_file, Pivot))
    questions = list(dict.fromkeys(pivot.question for pivot in pivots))[:n]
    prompts = {one.id: one.prompt for one in read_records(problems_file, Problem) if one.id in questions}
    drawn: dict[str, list[Drawn]] = {question: [] for question in questions}
    for path in sorted((run.folder / "pivotal_pairs" / "rollouts").glob("*.jsonl.zst")):
        for one in read_records(path, Drawn):
            if one.question in drawn:
                drawn[one.question].append(one)
    words = Tokenizer.load(run.folder / "tokenizer")
    return [
        _searched(prompts.get(question, question), drawn[question], _of(pivots, question), words)
        for question in questions
        if any(not one.prefix for one in drawn[question])
    ]


def _of(pivots: Sequence[Pivot], question: str) -> dict[Ids, Pivot]:
    """The pivots of a question by the ids that end with the pivotal token."""
    return {(*pivot.prefix, pivot.token): pivot for pivot in pivots if pivot.question == question}


def _searched(prompt: str, drawn: Sequence[Drawn], pivots: Mapping[Ids, Pivot], words: Tokenizer) -> Searched:
    outcomes: dict[Ids, list[bool]] = {}
    for one in drawn:
        told = [rollout.success for rollout in one.rollouts if rollout.success is not None]
        outcomes.setdefault(one.prefix, []).extend(told)
    p = {prefix: sum(told) / len(told) for prefix, told in outcomes.items() if told}
    for ids, pivot in pivots.items():
        p |= {pivot.prefix: pivot.p_before, ids: pivot.p_after}
    answers = [rollout for one in drawn if not one.prefix for rollout in one.rollouts]
    answer = max(answers, key=lambda one: _met(one.tokens, pivots) * 1000 + _met(one.tokens, p))
    return Searched(prompt, p.get((), 0.0), bool(answer.success), list(_pieces(answer.tokens, p, pivots, words)))


def _met(tokens: Ids, prefixes: Mapping[Ids, Any]) -> int:
    return sum(tokens[:end] in prefixes for end in range(1, len(tokens) + 1))


def _pieces(
    tokens: Ids,
    p: Mapping[Ids, float],
    pivots: Mapping[Ids, Pivot],
    words: Tokenizer,
) -> Iterator[Piece]:
    last, said = p.get((), 0.0), ""
    for end in range(1, len(tokens) + 1):
        ids = tokens[:end]
        last, text = p.get(ids, last), words.decode(ids)
        yield Piece(text.removeprefix(said), last, ids in p, ids in pivots)
        said = text
