"""What fine-tuning minimises while the head stays as it is: token losses, and margins of preference pairs.

The losses of train/objectives.py, without a gradient for the head: at phi-4's vocabulary that alone would be 2 GB. The
head may be packed; its weights are then opened a stretch at a time. A loss that is no number names the rows it is of.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from phidelity.config import UserError
from phidelity.data.batch import Batch
from phidelity.model.attention import CausalAttend
from phidelity.model.documents import packed_attend
from phidelity.model.lora import times
from phidelity.model.transformer import Transformer
from phidelity.train.loop import Loss
from phidelity.train.objectives import margin_loss
from phidelity.train.pair_logprobs import Row

CHUNK = 256
"""Rows of logits in memory at a time (*ours*): 103 MB at phi-4's vocabulary."""


class Lot(NamedTuple):
    """A micro-batch of packed chats, and which rows of the data lie in it."""

    batch: Batch
    rows: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.batch)


def chat_objective(model: Transformer, lot: Lot) -> Loss:
    """Sum of next-token losses over trained positions, with a frozen head."""
    batch = lot.batch
    here = batch.to(model.head.weight.device)
    attend = packed_attend(batch.doc_ids, model.head.weight.dtype, here.tokens.device)
    hidden = model(here.tokens, here.positions, attend)
    index = batch.loss_mask.flatten().nonzero()[:, 0].to(hidden.device)
    losses = token_losses(hidden.flatten(0, 1)[index], model.head, here.targets.flatten()[index])
    return checked(Loss(losses.sum(), torch.full((), len(index), device=hidden.device)), lot.rows)


def pair_margins(model: Transformer, rows: Sequence[Row]) -> Tensor:
    """log pi(chosen) - log pi(rejected), one per row: [B]."""
    device = model.head.weight.device
    sides = [(row, list(row.pair.chosen)) for row in rows] + [(row, list(row.pair.rejected)) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.context + side) for row, side in sides], batch_first=True)
    ids = ids.to(device)
    tokens, targets = ids[:, :-1], ids[:, 1:]
    at = torch.arange(tokens.shape[1], device=device)
    start = torch.tensor([len(row.context) - 1 for row, _ in sides], device=device)[:, None]
    length = torch.tensor([len(side) for _, side in sides], device=device)[:, None]
    mask = (at >= start) & (at < start + length)
    hidden = model(tokens, at.expand_as(tokens), CausalAttend())  # right padding is never looked at
    losses = token_losses(hidden[mask], model.head, targets[mask])
    owner = mask.nonzero()[:, 0]
    logprobs = -torch.zeros(len(sides), device=device).index_add(0, owner, losses)
    return logprobs[: len(rows)] - logprobs[len(rows) :]


def pair_objective(model: Transformer, rows: Sequence[Row], *, beta: float) -> Loss:
    """Sum of DPO losses over pairs."""
    reference = torch.tensor([row.reference for row in rows], device=model.head.weight.device)
    losses = margin_loss(pair_margins(model, rows), reference, beta=beta)
    numbers = tuple(row.pair.id for row in rows)
    return checked(Loss(losses.sum(), torch.full((), len(rows), device=losses.device)), numbers)


def checked(loss: Loss, rows: Sequence[str]) -> Loss:
    """The loss; one that is no number is a `UserError` that names the rows it is of."""
    if not bool(torch.isfinite(loss.total)):
        named = ", ".join(rows[:8]) + (", ..." if len(rows) > 8 else "")
        raise UserError(
            f"The loss is {float(loss.total.detach())} on rows {named} of the data; expected a number. Lower --lr, or "
            "look at those rows; what was trained up to the last snapshot stays."
        )
    return loss


def token_losses(x: Tensor, head: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each row of x @ head.T: x [N, M], targets [N] -> [N]; the head gets no gradient."""
    return _TokenLosses.apply(x, head, targets)


class _TokenLosses(Function):
    """d x = (softmax(logits) - onehot(target)) @ head, made in the forward pass while a chunk of logits is at hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Any, targets: Tensor) -> Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        d_x = torch.empty_like(x) if wants_gradient else x
        losses = torch.empty(len(x), dtype=torch.float32, device=x.device)
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            logits = head(x[rows]).float()
            logits -= logits.amax(-1, keepdim=True)
            picked = logits.gather(1, targets[rows, None])
            normaliser = logits.exp_().sum(-1, keepdim=True)
            losses[rows] = (normaliser.log() - picked)[:, 0]
            if wants_gradient:
                d_logits = logits.div_(normaliser)
                d_logits.scatter_add_(1, targets[rows, None], torch.full_like(picked, -1.0))
                d_x[rows] = times(d_logits.to(x.dtype), head)
        ctx.save_for_backward(d_x)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (d_x,) = ctx.saved_tensors
        return (d_x * gradients[0][:, None]).to(d_x.dtype), None, None
