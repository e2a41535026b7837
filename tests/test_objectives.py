import math

import pytest
import torch
import torch.nn.functional as F

from phidelity.train.objectives import (
    chunked_next_token_loss,
    dpo_loss,
    margin_loss,
    next_token_loss,
    sequence_logprobs,
    token_pair_margin,
)


def world(seed=0, B=3, T=7, M=8, V=11):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(B, T, M, generator=g, dtype=torch.float64, requires_grad=True)
    head = torch.randn(V, M, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(V, (B, T), generator=g)
    mask = torch.rand(B, T, generator=g) < 0.6
    return hidden, head, targets, mask


def four(seed=0, B=5):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(B, generator=g, dtype=torch.float64) * 3 for _ in range(4)]


def test_token_loss_is_the_sum_over_masked_tokens_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]]))
    loss = next_token_loss(logits, torch.tensor([[1, 1]]), torch.tensor([[True, False]]))
    assert loss.total.item() == pytest.approx(math.log(4))
    assert loss.n_tokens.item() == 1


def test_chunked_token_loss_equals_the_full_one_in_value_and_gradient():
    hidden, head, targets, mask = world()
    full = next_token_loss(F.linear(hidden, head), targets, mask).total
    expected = torch.autograd.grad(full, (hidden, head))
    for chunk in (1, 4, 1000):
        chunked = chunked_next_token_loss(hidden, head, targets, mask, chunk).total
        torch.testing.assert_close(chunked.double(), full.double(), atol=1e-5, rtol=0)
        for ours, theirs in zip(torch.autograd.grad(chunked, (hidden, head)), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_row_without_trained_tokens_costs_nothing_and_has_zero_gradient():
    hidden, head, targets, mask = world()
    for loss in (
        next_token_loss(F.linear(hidden, head), targets, mask & False),
        chunked_next_token_loss(hidden, head, targets, mask & False),
    ):
        assert loss.total.item() == 0
        assert loss.n_tokens.item() == 0
        assert torch.autograd.grad(loss.total, hidden)[0].abs().sum() == 0


def test_micro_batches_of_uneven_token_counts_add_up_to_one_batch():
    hidden, head, targets, mask = world(B=4)
    whole = chunked_next_token_loss(hidden, head, targets, mask)
    parts = [chunked_next_token_loss(hidden[i : i + 1], head, targets[i : i + 1], mask[i : i + 1]) for i in range(4)]
    assert sum(part.n_tokens for part in parts) == whole.n_tokens
    one = torch.autograd.grad(whole.total / whole.n_tokens, hidden)[0]
    many = torch.autograd.grad(sum(part.total for part in parts) / whole.n_tokens, hidden)[0]
    torch.testing.assert_close(one, many, atol=1e-6, rtol=0)


def test_rows_in_another_order_have_the_same_loss():
    hidden, head, targets, mask = world()
    order = torch.tensor([2, 0, 1])
    a = chunked_next_token_loss(hidden, head, targets, mask).total
    b = chunked_next_token_loss(hidden[order], head, targets[order], mask[order]).total
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_log_probability_of_two_tokens_is_the_sum_of_each_given_those_before():
    hidden, head, targets, _ = world(B=1, T=2)
    both = sequence_logprobs(hidden, head, targets, torch.tensor([[True, True]]))
    first = sequence_logprobs(hidden, head, targets, torch.tensor([[True, False]]))
    second = sequence_logprobs(hidden, head, targets, torch.tensor([[False, True]]))
    torch.testing.assert_close(both, first + second)
    logprobs = F.linear(hidden, head).log_softmax(-1)[0]
    expected = logprobs[0, targets[0, 0]] + logprobs[1, targets[0, 1]]
    torch.testing.assert_close(both[0], expected.to(both.dtype), atol=1e-5, rtol=0)


def test_log_probability_does_not_depend_on_batch_or_side_of_padding():
    hidden, head, targets, mask = world()
    together = sequence_logprobs(hidden, head, targets, mask)
    for i in range(len(hidden)):
        x, y, m = (F.pad(t[i : i + 1], pad) for t, pad in ((hidden, (0, 0, 3, 0)), (targets, (3, 0)), (mask, (3, 0))))
        torch.testing.assert_close(sequence_logprobs(x, head, y, m)[0], together[i], atol=1e-5, rtol=0)


@pytest.mark.parametrize("beta", [0.01, 0.1, 5.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_loss_at_equal_policies_is_ln_2(beta, label_smoothing):
    chosen, rejected, _, _ = four()
    loss = dpo_loss(chosen, rejected, chosen, rejected, beta=beta, label_smoothing=label_smoothing)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2)))


def test_swapping_chosen_and_rejected_adds_beta_times_the_margin():
    pc, pr, rc, rr = four()
    swapped = dpo_loss(pr, pc, rr, rc, beta=0.3)
    margin = (pc - rc) - (pr - rr)
    torch.testing.assert_close(swapped - dpo_loss(pc, pr, rc, rr, beta=0.3), 0.3 * margin)


def test_gradient_is_beta_sigma_of_minus_beta_delta():
    pc, pr, rc, rr = four()
    pc.requires_grad_(), pr.requires_grad_()
    beta = 0.7
    chosen, rejected = torch.autograd.grad(dpo_loss(pc, pr, rc, rr, beta=beta).sum(), (pc, pr))
    expected = -beta * torch.sigmoid(-beta * ((pc - rc) - (pr - rr))).detach()
    torch.testing.assert_close(chosen, expected)
    torch.testing.assert_close(rejected, -expected)


def test_half_smoothing_is_even_in_the_margin():
    margin = torch.linspace(-4, 4, 9)
    loss = margin_loss(margin, torch.zeros(9), beta=1.0, label_smoothing=0.5)
    torch.testing.assert_close(loss, loss.flip(0))


def test_margin_of_a_token_pair_is_the_difference_of_log_probabilities():
    hidden, head, _, _ = world()
    x, chosen, rejected = hidden[:, -1], torch.tensor([1, 2, 3]), torch.tensor([4, 4, 0])
    logprobs = F.linear(x, head).log_softmax(-1)
    rows = torch.arange(3)
    expected = logprobs[rows, chosen] - logprobs[rows, rejected]
    margin = token_pair_margin(x, head, chosen, rejected)
    torch.testing.assert_close(margin, expected.to(margin.dtype), atol=1e-5, rtol=0)


def test_every_logit_but_the_two_of_a_token_pair_has_zero_gradient():
    hidden, head, _, _ = world()
    x, chosen, rejected = hidden[:, -1], torch.tensor([1, 2, 3]), torch.tensor([4, 5, 0])
    logits = F.linear(x, head).detach().requires_grad_()
    logprobs, rows = logits.log_softmax(-1), torch.arange(3)
    zero = torch.zeros(3, dtype=logits.dtype)
    dpo_loss(logprobs[rows, chosen], logprobs[rows, rejected], zero, zero, beta=0.3).sum().backward()
    touched = F.one_hot(chosen, 11).bool() | F.one_hot(rejected, 11).bool()
    assert logits.grad is not None
    assert logits.grad[~touched].abs().max() < 1e-7
    (by_margin,) = torch.autograd.grad(
        margin_loss(token_pair_margin(x, head, chosen, rejected), zero, beta=0.3).sum(), head
    )
    assert by_margin[[6, 7, 8, 9, 10]].abs().max() == 0
    torch.testing.assert_close(by_margin, logits.grad.T @ x, atol=1e-6, rtol=0)


def test_token_pair_and_sequence_forms_have_one_loss_and_one_gradient():
    hidden, head, _, _ = world()
    chosen, rejected, last = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 0]), torch.zeros(3, 7, dtype=torch.bool)
    last[:, -1] = True
    zero = torch.zeros(3)
    pair = [sequence_logprobs(hidden, head, y[:, None].expand(3, 7), last) for y in (chosen, rejected)]
    long = dpo_loss(pair[0], pair[1], zero, zero, beta=0.2)
    short = margin_loss(token_pair_margin(hidden[:, -1], head, chosen, rejected), zero, beta=0.2)
    torch.testing.assert_close(long, short.to(long.dtype), atol=1e-6, rtol=0)
    for a, b in zip(
        torch.autograd.grad(long.sum(), (hidden, head)), torch.autograd.grad(short.sum(), (hidden, head)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_a_shared_completion_prefix_cancels_in_the_margin():
    shared = torch.tensor([-3.0, -1.5])
    a, b, ra, rb = (torch.tensor([-1.0]), torch.tensor([-2.0]), torch.tensor([-1.2]), torch.tensor([-1.1]))
    alone = dpo_loss(a, b, ra, rb, beta=0.4)
    with_prefix = dpo_loss(a + shared[0], b + shared[0], ra + shared[1], rb + shared[1], beta=0.4)
    torch.testing.assert_close(alone, with_prefix, atol=1e-6, rtol=0)


def test_the_tabular_optimum_is_the_logit_of_the_preference_over_beta():
    q, beta = 0.8, 0.3
    delta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([delta], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def step():
        optimizer.zero_grad()
        zero = torch.zeros(1, dtype=torch.float64)
        loss = (q * margin_loss(delta, zero, beta=beta) + (1 - q) * margin_loss(-delta, zero, beta=beta)).sum()
        loss.backward()
        return loss.item()

    optimizer.step(step)
    assert delta.item() == pytest.approx(math.log(q / (1 - q)) / beta, abs=1e-4)
    assert delta.item() == pytest.approx(4.62098, abs=1e-4)
    smoothed = torch.autograd.grad(
        margin_loss(delta, torch.zeros(1, dtype=torch.float64), beta=beta, label_smoothing=1 - q).sum(), delta
    )[0]
    assert smoothed.abs().item() < 1e-6
