"""Opening a checkpoint in whatever form it comes: the only place that tells the forms apart."""

import logging
from pathlib import Path

from phidelity.checkpoint.huggingface import FolderWeights
from phidelity.checkpoint.weights import Checkpoint, Weights, load

logger = logging.getLogger(__name__)


def open_weights(source: Path | str) -> Weights:
    """The weights at `source`, nothing of them read yet: a Hugging Face folder, fused or split."""
    weights: Weights = FolderWeights(Path(source))
    for note in weights.notes:
        logger.info("%s: %s", weights.source, note)
    return weights


def open_checkpoint(source: Path | str) -> Checkpoint:
    """Read the model at `source` onto the CPU in fp32, checking every tensor."""
    return load(open_weights(source))
