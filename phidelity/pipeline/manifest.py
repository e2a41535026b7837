"""What a stage read, wrote and cost. A folder that holds a manifest is done, since it is written last.

`Ingredients` are all that decides a stage's outputs; their hash is its fingerprint. Fingerprints chain: a stage
carries those of the stages it reads, so a change upstream shows in everything below it. Outputs are hashed,
clock values are not: those live in `cost` and in files named `timings.jsonl`.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import phidelity
from phidelity.config import UserError
from phidelity.records import Record, file_sha256, write_json

SCHEMA_VERSION = 1
"""Goes up when the meaning of a stage's outputs changes; every fingerprint contains it."""

ROAD = {
    "benchmarks": "draw the run's own evaluation problems",
    "corpus": "extract, filter, deduplicate and decontaminate organic documents",
    "synthetic": "write lessons, exercises and conversations",
    "tokenizer": "learn the vocabulary",
    "shards": "turn documents into token shards and the mixture",
    "pretrain": "train a base model on the mixture",
    "midtrain": "lengthen its context",
    "sft": "teach it to answer in a chat",
    "pivotal_pairs": "search its answers for pivotal tokens",
    "pivotal_dpo": "DPO round 1, on pivotal tokens",
    "judged_pairs": "have pairs of answers judged",
    "judged_dpo": "DPO round 2, on judged answers",
    "rounds": "sample, judge, pair and train, over and over",
    "breakfix": "break, fix and measure again, with a gate",
    "evaluate": "score the checkpoints on the benchmarks",
    "export": "write the final model for other tools",
}
"""The stages in order with a gloss each, for whoever must not load them (`phi --help`, `phi status`)."""

MANIFEST = "manifest.json"
STARTED = "started.json"
STARTED_CODE = "started.code"
REFUSED = "refused"
"""Stands in a stage's partial folder while its last try ended in a refusal of what it was given."""
PROGRESS = "progress.json"
EVENTS = "events.out.tfevents."
"""How TensorBoard's files begin; they hold clock values."""
NOT_OUTPUTS = (MANIFEST, STARTED, STARTED_CODE, REFUSED, PROGRESS, "timings.jsonl")


class Ingredients(Record):
    """All that decides what a stage will write."""

    stage: str
    config: dict[str, Any]
    tables: dict[str, Any]
    """Tables of the recipe that the stage is handed besides its own: model, judge, ..."""
    seed: int
    schema_version: int = SCHEMA_VERSION
    inputs: dict[str, str]
    """Fingerprint of each stage that it reads."""
    sources: dict[str, str]
    """Content hash of each file or folder that it reads from outside the run."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of all fields."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class Output(Record):
    """One file that a stage wrote."""

    size: int
    sha256: str


class Cost(Record):
    """What a stage took; the clock values that no hash covers."""

    seconds: float
    peak_memory: int
    """Bytes held by the process at its fullest."""


class Manifest(Record):
    """The record of a finished stage."""

    fingerprint: str
    ingredients: Ingredients
    outputs: dict[str, Output]
    versions: dict[str, str]
    device: str
    cost: Cost
    summary: dict[str, Any]

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.ingredients.stage

    @property
    def size(self) -> int:
        """Bytes of all outputs together."""
        return sum(output.size for output in self.outputs.values())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`: from now on the folder counts as done."""
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder; None where the stage is not done."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise UserError(
            f"{path} is damaged: {error.errors()[0]['msg']}. Expected the manifest of a finished stage. "
            f"Bring it back, or redo the stage with --force {folder.name}."
        ) from None


def hash_outputs(folder: Path) -> dict[str, Output]:
    """Size and hash of every output under `folder`, by path."""
    return {
        path.relative_to(folder).as_posix(): Output(size=path.stat().st_size, sha256=file_sha256(path))
        for path in output_files(folder)
    }


def output_files(folder: Path) -> Iterator[Path]:
    """The files under `folder` that a manifest covers, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in NOT_OUTPUTS and not path.name.startswith(EVENTS):
            yield path


def verify(folder: Path, contents: bool = True) -> list[str]:
    """What is wrong with a finished stage's outputs: missing, truncated or (if `contents`) altered files."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [f"{folder / MANIFEST} is missing"]
    checked = ((folder / name, output) for name, output in manifest.outputs.items())
    return [fault for path, output in checked if (fault := _fault(path, output, contents))]


def differences(old: Ingredients, new: Ingredients) -> list[str]:
    """What changed between two sets of ingredients, one `key: old -> new` a line."""
    before, after = _flat(old), _flat(new)
    changed = [key for key in before | after if before.get(key, "absent") != after.get(key, "absent")]
    return [_change(key, before.get(key, "absent"), after.get(key, "absent")) for key in changed]


@cache
def versions() -> dict[str, str]:
    """What software ran: Python, the libraries that compute, and this package with the hash of its code."""
    libraries = {name: version(name) for name in ("torch", "numpy", "tokenizers", "phidelity")}
    return {"python": platform.python_version(), **libraries, "code": _code_digest()}


def _code_digest() -> str:
    """Hash of the package's own files; recipes and studies are left out, since a run keeps its own."""
    root = Path(phidelity.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and not {"__pycache__", "recipes", "studies"} & set(path.relative_to(root).parts):
            digest.update(f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _fault(path: Path, output: Output, contents: bool) -> str:
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != output.size:
        return f"{path} has {size:,} bytes, expected {output.size:,}"
    return f"{path} was altered after it was made" if contents and file_sha256(path) != output.sha256 else ""


def _flat(ingredients: Ingredients) -> dict[str, Any]:
    """Dotted keys as they stand in the recipe."""
    flat = dict(_leaves(ingredients.config, ingredients.stage))
    for name, table in ingredients.tables.items():
        flat.update(_leaves(table, name))
    flat.update({"seed": ingredients.seed, "schema version": ingredients.schema_version})
    flat.update({f"input {name}": fingerprint for name, fingerprint in ingredients.inputs.items()})
    return flat | {f"source {path}": digest for path, digest in ingredients.sources.items()}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    else:
        yield path, value


def _change(key: str, old: Any, new: Any) -> str:
    if key.startswith(("input ", "source ")):
        kind = "added" if old == "absent" else "gone" if new == "absent" else "changed"
        return f"{key} {kind}"
    return f"{key}: {old} -> {new}"
