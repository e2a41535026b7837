"""Next-token training on packed rows: the objective of pretraining, midtraining and SFT, and its validation."""

from collections.abc import Iterable

import torch

from phidelity.data.batch import Batch
from phidelity.model.documents import packed_attend
from phidelity.model.transformer import Transformer
from phidelity.train.loop import Loss, Metrics
from phidelity.train.objectives import chunked_next_token_loss


def token_objective(model: Transformer, batch: Batch) -> Loss:
    """Sum of next-token losses over the trained positions of packed rows; documents do not see each other."""
    here = batch.to(model.head.weight.device)
    attend = packed_attend(batch.doc_ids, model.head.weight.dtype, here.tokens.device)
    hidden = model(here.tokens, here.positions, attend)
    # Where ranks divide the model, the head's weight is whole only from the forward pass on.
    return Loss(*chunked_next_token_loss(hidden, model.head.weight, here.targets, batch.loss_mask))


@torch.no_grad()
def validation_loss(model: Transformer, batches: Iterable[tuple[str, Batch]]) -> Metrics:
    """Mean loss in nats a token, by group of the held-out split and over all of them as `validation`."""
    sums: dict[str, tuple[float, float]] = {}
    for group, batch in batches:
        total, count = token_objective(model, batch)
        before = sums.get(group, (0.0, 0.0))
        sums[group] = (before[0] + float(total), before[1] + float(count))
    losses = {f"validation/{group}": total / count for group, (total, count) in sums.items()}
    overall = sum(total for total, _ in sums.values()) / sum(count for _, count in sums.values())
    return losses | {"validation": overall}
