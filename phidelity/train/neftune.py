"""NEFTune: uniform noise on the embeddings of a training step (Jain et al. 2310.05914, algorithm 1). Off by default.

The half-width is alpha / sqrt(L d) with L the tokens of the document, not of the packed row, and d the width. The
noise of a row is a function of the seed and its tokens, so neither resuming nor the number of ranks changes it.
"""

import hashlib

import torch
from torch import Tensor, nn

from phidelity.data.batch import Batch
from phidelity.model.documents import document_numbers
from phidelity.model.transformer import Transformer
from phidelity.train.loop import Loss, Objective


def noisy(objective: Objective, alpha: float, seed: int) -> Objective:
    """The same objective with noise on the embeddings, while the model is training."""

    def with_noise(model: Transformer, batch: Batch) -> Loss:
        if not (model.training and alpha):
            return objective(model, batch)

        def add(module: nn.Module, inputs: object, embedded: Tensor) -> Tensor:
            return embedded + noise(batch, embedded.shape[-1], alpha, seed).to(embedded)

        hook = model.embed.register_forward_hook(add)
        try:
            return objective(model, batch)
        finally:
            hook.remove()

    return with_noise


def noise(batch: Batch, width: int, alpha: float, seed: int) -> Tensor:
    """[B, T, width] in [-1, 1] times alpha / sqrt(L width), L being the length of the document at that place."""
    numbers = document_numbers(batch.doc_ids.cpu())
    lengths = torch.stack([row.bincount()[row] for row in numbers])  # [B, T]
    drawn = [
        torch.rand((len(row), width), generator=torch.Generator().manual_seed(_row_seed(seed, row)))
        for row in batch.tokens.cpu()
    ]
    return (torch.stack(drawn) * 2 - 1) * (alpha / (lengths * width).sqrt())[..., None]


def _row_seed(seed: int, tokens: Tensor) -> int:
    digest = hashlib.sha256(f"neftune/{seed}/".encode() + tokens.contiguous().numpy().tobytes()).digest()
    return int.from_bytes(digest[:7], "big")
