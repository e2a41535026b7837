"""What training minimises, as pure functions of tensors with the equation beside each.

Token losses are returned as a sum and a count, so that the loop can divide by the token count of the whole batch
(a mean of micro-batch means would depend on accumulation). Preference losses work on SUMS of log-probabilities,
the DPO of its authors, unless lengths are given, and give one value per pair. phi-4 names DPO but not its beta,
smoothing or variant (report §4); those are fields of the stages. For a pair of single tokens after one prefix the
softmax normaliser cancels, so its margin is a difference of two logits: one forward, no vocabulary-sized tensor.
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


def token_logprobs(x: Tensor, head: Tensor, targets: Tensor, chunk: int = 512) -> Tensor:
    """log softmax(x @ head.T)[targets], with at most `chunk` rows of logits in memory: x [N, M], targets [N] -> [N].

    The logits are made anew in the backward pass, since only there the weight of each token is known.
    """
    return _TokenLogprobs.apply(x, head, targets, chunk)


class _TokenLogprobs(Function):
    """d logits = g (onehot(target) - softmax(logits)); d x = d logits @ head; d head = d logits.T @ x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, targets: Tensor, chunk: int) -> Tensor:
        """x [N, M], head [V, M], targets [N] -> [N]."""
        picked, normaliser = (torch.empty(len(x), dtype=torch.float32, device=x.device) for _ in range(2))
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            logits = F.linear(x[rows], head).float()
            picked[rows] = logits.gather(1, targets[rows, None])[:, 0]
            normaliser[rows] = logits.logsumexp(-1)
        ctx.save_for_backward(x, head, targets, normaliser)
        ctx.chunk = chunk
        return picked - normaliser

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The chunks once more, each weighted by the gradients of its tokens."""
        x, head, targets, normaliser = ctx.saved_tensors
        d_x, d_head = torch.empty_like(x), torch.zeros_like(head)
        for start in range(0, len(x), ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            weight = gradients[0][rows, None]
            d_logits = (F.linear(x[rows], head).float() - normaliser[rows, None]).exp_().mul_(-weight)
            d_logits = d_logits.scatter_add_(1, targets[rows, None], weight).to(x.dtype)
            torch.mm(d_logits, head, out=d_x[rows])
            d_head.addmm_(d_logits.T, x[rows])
        return d_x, d_head, None, None


def sequence_logprobs(hidden: Tensor, head: Tensor, targets: Tensor, mask: Tensor, chunk: int = 512) -> Tensor:
    """log pi(y|x) = sum over masked t of log softmax(head hidden_t)[targets_t], one per row: [B].

    hidden [B, T, M], head [V, M], targets and mask [B, T]; only masked positions are projected, `chunk` at a time.
    """
    trained = mask.bool()
    logprobs = token_logprobs(hidden[trained], head, targets[trained], chunk)
    return torch.zeros(len(hidden), device=hidden.device).index_add(0, trained.nonzero()[:, 0], logprobs)


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

    A margin is log pi(y+) - log pi(y-), for token pairs `token_pair_margin` (Rafailov et al. 2305.18290, eq. 7); e is
    the share of labels held to be wrong (conservative DPO, Mitchell's note of 2023, eq. 3). With both sides divided
    by their lengths it is the length-normalised loss of Tülu 3 (2411.15124, eq. 6; beta 5 where sums take 0.1).
    """
    scaled = beta * (margin - reference_margin)
    return -(1 - label_smoothing) * F.logsigmoid(scaled) - label_smoothing * F.logsigmoid(-scaled)


def ipo_loss(margin: Tensor, reference_margin: Tensor, *, beta: float) -> Tensor:
    """(D - 1 / (2 beta))^2 with D = margin - reference_margin (Azar et al. 2310.12036, eq. 17; their tau is beta).

    Bounded above zero, so a pair that is won clearly enough pulls back. Its authors averaged over tokens: divide both
    margins' sides by their lengths for theirs.
    """
    return (margin - reference_margin - 1 / (2 * beta)) ** 2


def apo_zero_loss(chosen_gain: Tensor, rejected_gain: Tensor, *, beta: float) -> Tensor:
    """1 - sigmoid(beta r+) + sigmoid(beta r-), r = log pi(y) - log ref(y) (D'Oosterlinck et al. 2408.06266, eq. 7).

    Each side is anchored at its own reference, so the chosen one rises and does not merely fall less.
    """
    return 1 - torch.sigmoid(beta * chosen_gain) + torch.sigmoid(beta * rejected_gain)


def nll_term(chosen: Tensor, n_chosen: Tensor) -> Tensor:
    """-log pi(y+) / |y+|, added to a preference loss with a weight (Pang et al. 2404.19733, eq. 1)."""
    return -chosen / n_chosen
