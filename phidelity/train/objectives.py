"""What training minimises, as pure functions of tensors with the equation beside each.

Token losses are returned as a sum and a count, so that the loop can divide by the token count of the whole batch
(a mean of micro-batch means would depend on accumulation). Preference losses work on SUMS of log-probabilities,
the DPO of its authors, and give one value per pair. phi-4 names DPO but not its beta, smoothing or variant
(report §4); those are fields of the stages. For a pair of single tokens after one prefix the softmax normaliser
cancels, so its margin is a difference of two logits: one forward, no vocabulary-sized tensor.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class TokenLoss(NamedTuple):
    """Sum of token losses, and over how many tokens."""

    total: Tensor
    n_tokens: Tensor


def next_token_loss(logits: Tensor, targets: Tensor, mask: Tensor) -> TokenLoss:
    """total = -sum over masked t of log softmax(logits_t)[targets_t]; logits [B, T, V], targets and mask [B, T]."""
    trained = mask.bool()
    return TokenLoss(F.cross_entropy(logits[trained].float(), targets[trained], reduction="sum"), trained.sum())


def chunked_next_token_loss(
    hidden: Tensor, head: Tensor, targets: Tensor, mask: Tensor, chunk: int = 1024
) -> TokenLoss:
    """`next_token_loss` of hidden @ head.T, at most `chunk` rows of logits at a time, made again for the gradient.

    hidden [B, T, M], head [V, M]. Only trained positions are projected. At phi-4's vocabulary the logits of one
    row of 4,096 tokens would be 1.6 GB in fp32.
    """
    trained = mask.bool()
    total = hidden.new_zeros((), dtype=torch.float32)
    for x, y in zip(hidden[trained].split(chunk), targets[trained].split(chunk), strict=True):
        total = total + checkpoint(_sum_of_losses, x, head, y, use_reentrant=False)
    return TokenLoss(total, trained.sum())


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


def _sum_of_losses(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head).float(), targets, reduction="sum")
