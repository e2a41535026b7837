"""Both sides of preference pairs: packed as alone, cached references, every loss, and when training ends."""

import json
import math
from pathlib import Path

import pytest
import torch
from test_train import OPTIM, TOKENIZER, a_model, a_pair

from phidelity.config import UserError
from phidelity.model.attention import CausalAttend
from phidelity.train.dpo import DpoConfig, encode, encode_all, is_enough, measure, objective, pair_losses, train_dpo
from phidelity.train.objectives import apo_zero_loss, ipo_loss, nll_term, sequence_logprobs, token_logprobs
from phidelity.train.optim import OptimConfig
from phidelity.train.pair_logprobs import Row, sides
from phidelity.train.references import refer

KINDS = ("token", "prefix", "full")


def rows_of(n: int = 6) -> list[Row]:
    return [encode(a_pair(i, kind), TOKENIZER) for i in range(n) for kind in KINDS]


def alone(model: torch.nn.Module, row: Row, side: tuple[int, ...]) -> torch.Tensor:
    """One side of one pair by the plainest way: a row of its own and the whole softmax."""
    ids = torch.tensor([row.context + list(side)])
    at = torch.arange(ids.shape[1] - 1)[None]
    logprobs = model.logits(model(ids[:, :-1], at, CausalAttend()))[0].log_softmax(-1)  # type: ignore[operator]
    return logprobs[range(len(row.context) - 1, ids.shape[1] - 1), side].sum()


def test_packed_pairs_have_the_log_probabilities_and_gradients_of_each_alone() -> None:
    model, rows = a_model(), rows_of()
    found = sides(model, rows, exact=True)
    expected = [
        torch.stack([alone(model, row, getattr(row.pair, side)) for row in rows]) for side in ("chosen", "rejected")
    ]
    torch.testing.assert_close(found.chosen, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.rejected, expected[1], atol=1e-5, rtol=0)
    weights = [model.head.weight, model.embed.weight, model.blocks[0].feed_forward.down.weight]
    scale = torch.linspace(-1, 1, len(rows))
    ours = torch.autograd.grad(((found.chosen - 0.3 * found.rejected) * scale).sum(), weights)
    theirs = torch.autograd.grad(((expected[0] - 0.3 * expected[1]) * scale).sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_two_logits_give_the_exact_margin() -> None:
    model, rows = a_model(), rows_of()
    exact, short = sides(model, rows, exact=True), sides(model, rows)
    torch.testing.assert_close(exact.chosen - exact.rejected, short.chosen - short.rejected, atol=1e-5, rtol=0)


def test_the_parting_token_is_the_first_that_differs() -> None:
    model = a_model()
    pair = a_pair(1, "prefix").model_copy(update={"chosen": (5, 6, 7), "rejected": (5, 8)})
    row = encode(pair, TOKENIZER)
    found = sides(model, [row], exact=True)
    ids = torch.tensor([[*row.context, 5]])
    logprobs = model.logits(model(ids, torch.arange(ids.shape[1])[None], CausalAttend()))[0, -1].log_softmax(-1)
    torch.testing.assert_close(found.parting_chosen[0], logprobs[6].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.parting_rejected[0], logprobs[8].detach(), atol=1e-5, rtol=0)
    expected = 1 - float(logprobs.detach().exp()[[6, 8]].sum())
    assert measure(model, [row])["pairs/neither"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunked_token_log_probabilities_equal_the_full_softmax(chunk: int) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=g, requires_grad=True)
    head = torch.randn(11, 5, generator=g, requires_grad=True)
    targets, weight = torch.randint(11, (7,), generator=g), torch.randn(7, generator=g)
    full = (x @ head.T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    ours = token_logprobs(x, head, targets, chunk)
    torch.testing.assert_close(ours, full, atol=1e-5, rtol=0)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), (x, head)),
        torch.autograd.grad((full * weight).sum(), (x, head)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_row_of_no_scored_tokens_has_log_probability_0() -> None:
    hidden = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, False, True], [False] * 3])
    found = sequence_logprobs(hidden, torch.randn(6, 4), torch.zeros(2, 3, dtype=torch.long), mask)
    assert found[1] == 0
    assert found[0] < 0


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_ipo_is_least_at_a_margin_of_one_over_two_beta(beta: float) -> None:
    margin = torch.tensor([1 / (2 * beta) + 0.7], dtype=torch.float64, requires_grad=True)
    loss = ipo_loss(margin, torch.full((1,), 0.7, dtype=torch.float64), beta=beta)
    assert loss.item() < 1e-8
    assert torch.autograd.grad(loss.sum(), margin)[0].abs().item() < 1e-8


def test_apo_zero_begins_at_one_and_rewards_each_side_for_itself() -> None:
    gains = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    loss = apo_zero_loss(gains[0], gains[1], beta=0.4)
    assert loss.item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), gains)
    torch.testing.assert_close(gradient[:, 0], torch.tensor([-0.1, 0.1], dtype=torch.float64))


def test_lengths_divide_each_side_and_the_nll_term_is_a_mean_over_tokens() -> None:
    policy, reference = [torch.tensor([-6.0]), torch.tensor([-8.0])], [torch.tensor([-9.0]), torch.tensor([-4.0])]
    lengths = [torch.tensor([3]), torch.tensor([2])]
    config = DpoConfig(beta=1.0, length_normalised=True, nll=0.5, optim=OPTIM)
    margin = (-6 + 9) / 3 - (-8 + 4) / 2
    expected = math.log1p(math.exp(-margin)) + 0.5 * 6 / 3
    assert pair_losses(policy, reference, lengths, config).item() == pytest.approx(expected, rel=1e-6)
    assert nll_term(policy[0], lengths[0]).item() == 2


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "apo-zero"])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_start_at_their_known_values_whatever_the_pair(tmp_path: Path, loss: str, kind: str) -> None:
    model = a_model()
    rows = [encode(a_pair(i, kind), TOKENIZER) for i in range(4)]
    config = DpoConfig(beta=0.2, loss=loss, optim=OPTIM)  # type: ignore[arg-type]
    refer(model, rows, tmp_path / "r.json", exact=config.exact)
    expected = {"sigmoid": math.log(2), "ipo": (1 / 0.4) ** 2, "apo-zero": 1.0}[loss]
    total, n = objective(model, rows, config)
    assert (total.detach() / n).item() == pytest.approx(expected, rel=1e-5)


def test_references_are_computed_once_and_never_taken_from_other_weights(tmp_path: Path) -> None:
    model, rows, cache = a_model(), rows_of(4), tmp_path / "references.json"
    assert refer(model, rows, cache) == {"found": 0, "computed": 12, "foreign": 0}
    first = [(row.reference_chosen, row.reference) for row in rows]
    again = rows_of(4)
    assert refer(model, again, cache) == {"found": 12, "computed": 0, "foreign": 0}
    assert [(row.reference_chosen, row.reference) for row in again] == first
    assert refer(model, rows_of(5), cache) == {"found": 12, "computed": 3, "foreign": 0}
    with torch.no_grad():
        model.norm.weight[0] += 1e-3
    assert refer(model, rows_of(5), cache) == {"found": 0, "computed": 15, "foreign": 15}
    assert refer(model, rows_of(5), cache, exact=True)["found"] == 0
    cache.write_text("[1")
    with pytest.raises(UserError, match="damaged"):
        refer(model, rows, cache)


def test_training_ends_when_the_held_out_margin_is_enough_or_stale(tmp_path: Path) -> None:
    rows = [{"pairs/margin_gained": value} for value in (1.0, 3.0, 2.0, 2.5)]
    config = DpoConfig(optim=OPTIM)
    assert not is_enough(rows, config)
    assert is_enough(rows, config.model_copy(update={"patience": 2}))
    assert not is_enough(rows, config.model_copy(update={"patience": 3}))
    assert is_enough(rows, config.model_copy(update={"enough_margin": 0.25}))
    assert not is_enough([{}], config.model_copy(update={"patience": 1, "enough_margin": 0.1}))
    pairs = [a_pair(n, kind) for n in range(20) for kind in KINDS]
    fast = DpoConfig(epochs=40, batch_pairs=12, enough_margin=0.05, optim=OptimConfig(peak_lr=3e-3, warmup=0.0))
    summary = train_dpo(a_model(), TOKENIZER, pairs, fast, seed=1, out=tmp_path)
    assert summary["steps"] < summary["stopped_early_of"]
    assert 0.1 * summary["pairs/margin_gained"] >= 0.05
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"pairs/chosen_logprob", "pairs/rejected_logprob", "pairs/neither"} <= rows[-1].keys()


@pytest.mark.parametrize(
    "change",
    [lambda pairs: pairs[::-1], lambda pairs: pairs[:-1], lambda pairs: [*pairs[:-1], a_pair(99, "full")]],
    ids=["another order", "fewer", "another task"],
)
def test_a_run_is_not_resumed_on_pairs_of_another_order(tmp_path: Path, change) -> None:
    pairs = [a_pair(n, kind) for n in range(4) for kind in KINDS]
    config = DpoConfig(epochs=2, batch_pairs=6, held_out=0, optim=OPTIM)
    train_dpo(a_model(), TOKENIZER, pairs, config, seed=1, out=tmp_path)
    with pytest.raises(UserError, match="was trained on batches with fingerprint"):
        train_dpo(a_model(), TOKENIZER, change(pairs), config, seed=1, out=tmp_path)


def test_pairs_beyond_the_context_are_counted_and_all_of_them_are_an_error() -> None:
    long = a_pair(1, "full").model_copy(update={"chosen": (1,) * 80})
    rows, dropped = encode_all([a_pair(1, "full"), long], TOKENIZER, 64)
    assert (len(rows), dropped) == (1, {"too long": 1})
    with pytest.raises(UserError, match=r"The shortest of 1 pairs has .* the context holds 64"):
        encode_all([long], TOKENIZER, 64)
