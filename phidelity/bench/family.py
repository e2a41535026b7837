"""`phi bench family RUN`: how far the small family predicts its next size, on the shards of a run of `tiny`.

Four widths are trained at the rates of train/family.py and at half and twice them; the loss of the widest is then
predicted from the three below it (rows `predicted`). A power law through three points has no freedom left, so its
error at the fourth is all that it can be judged by. About a quarter of an hour on two cores.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from phidelity.data.loader import Loader, validation_batches
from phidelity.device import make_repeatable
from phidelity.model.config import census
from phidelity.model.transformer import Transformer
from phidelity.pipeline.recipe import load_recipe
from phidelity.progress import SILENT, Progress
from phidelity.train.family import extrapolate, member
from phidelity.train.loop import train
from phidelity.train.optim import OptimConfig
from phidelity.train.tokens import token_objective, validation_loss

WIDTHS = (32, 64, 96, 128)
FACTORS = (1.0, 0.5, 2.0)
TOKENS, CONTEXT, ROWS = 600_000, 256, 4


def run(
    folder: Path, progress: Progress = SILENT, *, widths: tuple[int, ...] = WIDTHS, tokens: int = TOKENS
) -> list[dict[str, Any]]:
    """Rows of the table: the held-out loss at each width and rate, beside the rule's own; then the prediction."""
    make_repeatable()
    pretrain = load_recipe("tiny").recipe.pretrain
    assert pretrain
    shards = folder / "shards"
    loader = Loader(shards, pretrain.shares, context_len=CONTEXT, batch_rows=ROWS, seed=0)
    rows, best = [], []
    for width in widths:
        losses = list(_losses(width, loader, shards, tokens, progress))
        for factor, loss in zip(FACTORS, losses, strict=True):
            rows.append(_row(f"loss@{width}x{factor:g}", loss, "rule", losses[0]))
        best.append((census(member(width, vocab_size=2048, context_len=CONTEXT).model).matmul, min(losses)))
    sizes, losses = [n for n, _ in best], [loss for _, loss in best]
    predicted = extrapolate(sizes[:3], losses[:3], sizes[3])
    return [*rows, _row(f"predicted@{widths[3]}", predicted, "measured", losses[3])]


def _losses(width: int, loader: Loader, shards: Path, tokens: int, progress: Progress) -> Iterator[float]:
    """Held-out losses after training at each factor of the rule's rate."""
    model, lr = member(width, vocab_size=2048, context_len=CONTEXT)
    for factor in FACTORS:
        weights = Transformer(model).initialise(torch.Generator().manual_seed(0))
        optim = OptimConfig(peak_lr=lr * factor, warmup=0.05)
        with TemporaryDirectory() as out:
            train(
                weights,
                token_objective,
                lambda step: [loader.batch(step)],
                steps=tokens // (CONTEXT * ROWS),
                optim=optim,
                out=Path(out),
                name=f"width {width}, rate {optim.peak_lr:.2g}",
                progress=progress,
            )
        held_out = validation_batches(shards, context_len=CONTEXT, batch_rows=16, max_rows=64)
        yield validation_loss(weights, held_out)["validation"]


def _row(what: str, ours: float, peer: str, theirs: float) -> dict[str, Any]:
    return {"what": what, "ours": ours, "unit": "nats", "peer": peer, "theirs": theirs, "ratio": theirs / ours}
