"""What training minimises, as pure functions of tensors with the equation beside each.

Token losses are returned as a sum and a count, so that the loop can divide by the token count of the whole batch
(a mean of micro-batch means would depend on accumulation). Preference losses work on SUMS of log-probabilities,
the DPO of its authors, and give one value per pair. phi-4 names DPO but not its beta, smoothing or variant
(report §4); those are fields of the stages. For a pair of single tokens after one prefix the softmax normaliser
cancels, so its margin is a difference of two logits: one forward, no vocabulary-sized tensor.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from phidelity.device import sent


class TokenLoss(NamedTuple):
    """Sum of token losses, and over how many tokens."""

    total: Tensor
    n_tokens: Tensor


def next_token_loss(logits: Tensor, targets: Tensor, mask: Tensor) -> TokenLoss:
    """total = -sum over masked t of log softmax(logits_t)[targets_t]; logits [B, T, V], targets and mask [B, T]."""
    trained = mask.bool()
    return TokenLoss(F.cross_entropy(logits[trained].float(), targets[trained], reduction="sum"), trained.sum())


def chunked_next_token_loss(hidden: Tensor, head: Tensor, targets: Tensor, mask: Tensor, chunk: int = 512) -> TokenLoss:
    """`next_token_loss` of hidden @ head.T with at most `chunk` rows of logits in memory at a time.

    hidden [B, T, M], head [V, M]. Only trained positions are projected; a mask on the CPU is looked at there, so that a
    GPU is not waited for. At phi-4's vocabulary the logits of one
    row of 4,096 tokens would be 1.6 GB in fp32; in small chunks they stay in the cache of a CPU.
    """
    index = mask.flatten().nonzero()[:, 0]
    if len(index) < mask.numel():
        hidden, targets = (x.flatten(0, 1).index_select(0, sent(index, x.device)) for x in (hidden, targets))
    total = _HeadLoss.apply(hidden.flatten(0, -2), head, targets.flatten(), chunk)
    return TokenLoss(total, torch.full((), len(index), device=hidden.device))


class _HeadLoss(Function):
    """Sum of cross-entropies of x @ head.T, with the gradients made in the forward pass while a chunk is at hand.

    d logits = softmax(logits) - onehot(target); d x = d logits @ head; d head = d logits.T @ x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, targets: Tensor, chunk: int) -> Tensor:
        """x [N, M], head [V, M], targets [N] -> scalar."""
        wants_gradient = any(ctx.needs_input_grad)
        d_x, d_head = (torch.empty_like(x), torch.zeros_like(head)) if wants_gradient else (x, head)
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            logits = F.linear(x[rows], head).float()
            logits -= logits.amax(-1, keepdim=True)
            picked = logits.gather(1, targets[rows, None])
            normaliser = logits.exp_().sum(-1, keepdim=True)
            total += normaliser.log().sum() - picked.sum()
            if wants_gradient:
                d_logits = logits.div_(normaliser)
                d_logits.scatter_add_(1, targets[rows, None], torch.full_like(picked, -1.0))
                d_logits = d_logits.to(x.dtype)
                torch.mm(d_logits, head, out=d_x[rows])
                d_head.addmm_(d_logits.T, x[rows])
        ctx.save_for_backward(d_x, d_head)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The gradients are at hand; only the factor from above is new."""
        d_x, d_head = ctx.saved_tensors
        return gradients[0] * d_x, gradients[0] * d_head, None, None


def sequence_logprobs(hidden: Tensor, head: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """log pi(y|x) = sum over masked t of log softmax(head hidden_t)[targets_t], one per row: [B].

    hidden [B, T, M], head [V, M], targets and mask [B, T]; only masked positions are projected.
    """
    trained = mask.bool()
    rows = trained.nonzero()[:, 0]
    logits = F.linear(hidden[trained], head).float()  # [n trained, V]
    logprobs = -F.cross_entropy(logits, targets[trained], reduction="none")
    return torch.zeros(len(hidden), dtype=logprobs.dtype, device=hidden.device).index_add(0, rows, logprobs)


def token_pair_margin(hidden: Tensor, head: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
    """log pi(a|x) - log pi(b|x) = z_a - z_b = (head_a - head_b) . hidden, one per row: [B].

    hidden [B, M] at the last token of the prefix, head [V, M], chosen and rejected [B]. All other logits cancel.
    """
    return ((head[chosen] - head[rejected]).float() * hidden.float()).sum(-1)


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """`margin_loss` with D = [log pi(y+) - log ref(y+)] - [log pi(y-) - log ref(y-)]; all [B], sums over tokens."""
    margin = policy_chosen - policy_rejected
    return margin_loss(margin, reference_chosen - reference_rejected, beta=beta, label_smoothing=label_smoothing)


def margin_loss(margin: Tensor, reference_margin: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - e) log sigmoid(beta D) - e log sigmoid(-beta D) with D = margin - reference_margin.

    A margin is log pi(y+) - log pi(y-), for token pairs `token_pair_margin`; e is the share of labels held to be
    wrong (conservative DPO).
    """
    scaled = beta * (margin - reference_margin)
    return -(1 - label_smoothing) * F.logsigmoid(scaled) - label_smoothing * F.logsigmoid(-scaled)
