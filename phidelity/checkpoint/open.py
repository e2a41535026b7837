"""Opening a checkpoint in whatever form it comes: the only place that tells the forms apart."""

import logging
from pathlib import Path
from typing import NamedTuple

from phidelity.checkpoint import hub
from phidelity.checkpoint.gguf import open_gguf
from phidelity.checkpoint.huggingface import INDEX, FolderWeights, index_files
from phidelity.checkpoint.naming import read_config
from phidelity.checkpoint.packed import HEADER, PackedWeights
from phidelity.checkpoint.release import release_notes
from phidelity.checkpoint.weights import Checkpoint, Weights, load
from phidelity.model.config import ModelConfig
from phidelity.progress import SILENT, Progress
from phidelity.tokenizer.bpe import Tokenizer

logger = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What is known of a checkpoint before its weights are there."""

    source: str
    form: str
    config: ModelConfig
    tokenizer: Tokenizer
    notes: tuple[str, ...]
    n_bytes: int | None = None
    """What serving holds of it in memory; None where that is the whole model in fp32."""


def look(source: Path | str) -> Seen:
    """What a checkpoint is; of a hub id only the small files are fetched."""
    if not hub.is_hub_id(source):
        weights = open_weights(source)
        size = weights.n_bytes if isinstance(weights, PackedWeights) else None
        return Seen(weights.source, weights.form, weights.config, weights.tokenizer, weights.notes, size)
    folder, name = hub.fetch(str(source), weights=False)
    tokenizer = Tokenizer.load(folder)
    n_files = len(index_files(folder)) if (folder / INDEX).is_file() else 1
    notes = (*release_notes(folder, tokenizer), *tokenizer.notes)
    return Seen(name, f"Hugging Face model at the hub, {n_files} weight files", read_config(folder), tokenizer, notes)


def open_weights(source: Path | str, progress: Progress = SILENT) -> Weights:
    """The weights at `source`, none of them read yet: a Hugging Face or packed folder, a GGUF file or a hub id.

    A hub id is fetched first, as far as it is not in the cache. What was normalised is logged, a line each.
    """
    weights: Weights
    if hub.is_hub_id(source):
        fetched = hub.fetch(str(source), progress=progress)
        weights = FolderWeights(fetched.folder, fetched.source)
    elif Path(source).suffix.lower() == ".gguf":
        weights = open_gguf(Path(source))
    elif (Path(source) / HEADER).is_file():
        weights = PackedWeights(Path(source))
    else:
        weights = FolderWeights(Path(source))
    for note in weights.notes:
        logger.info("%s: %s", weights.source, note)
    return weights


def open_checkpoint(source: Path | str) -> Checkpoint:
    """Read the model at `source` onto the CPU, checking every tensor: packed as it is, any other in fp32."""
    return load_whole(open_weights(source))


def load_whole(weights: Weights) -> Checkpoint:
    """Read opened weights onto the CPU, checking every tensor: packed as they are, any other in fp32."""
    return weights.load() if isinstance(weights, PackedWeights) else load(weights)
