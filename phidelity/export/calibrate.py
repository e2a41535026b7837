"""What a text shows of a model's inputs: the mean square of each column, by which quantisation weighs its errors.

An error in a column of a matrix reaches the output times that column's input, so columns that carry large inputs matter
more: an importance matrix, as llama.cpp's tool of that name makes it. The network is walked a block at a time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from phidelity.checkpoint.blockwise import hidden_states
from phidelity.checkpoint.weights import Weights
from phidelity.progress import SILENT, Progress


def importance(weights: Weights, windows: Sequence[Tensor], progress: Progress = SILENT) -> dict[str, Tensor]:
    """Mean square of every input of every matrix but the embedding, [C] each, over windows of tokens [T]."""
    sums: dict[str, Tensor] = {}

    def watch(name: str, inputs: Tensor) -> None:
        square = inputs.square().sum(0)
        sums[name] = sums[name].add_(square) if name in sums else square

    hidden_states(weights, windows, watch=watch, progress=progress)
    n = sum(len(window) for window in windows)
    with torch.inference_mode():
        return {name: total / n for name, total in sums.items()}
