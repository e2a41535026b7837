"""AdamW in few bytes: exact where it says so, unbiased where it says so, and never wild."""

import pytest
import torch

from phidelity.train import low_memory
from phidelity.train.low_memory import (
    LowMemoryAdamW,
    bytes_per_parameter,
    decode_mean,
    decode_square,
    encode_mean,
    encode_square,
    join,
    noise,
    round_stochastically,
    split,
)

SPECIAL = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-38, 1e-45, 3.3895e38, -3.3895e38, 1.00390625, 1.001953125])


def random(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator) * torch.exp(4 * torch.randn(n, generator=generator))


def test_a_split_value_joins_to_itself_bit_for_bit() -> None:
    for x in (random(100_000), SPECIAL):
        high, low = split(x)
        assert high.dtype == torch.bfloat16
        nearest = x.to(torch.bfloat16).float()
        assert ((high.float() - x).abs() <= (nearest - x).abs()).all(), "the weights are a nearest bf16"
        assert torch.equal(join(high, low).view(torch.int32), x.view(torch.int32))


def test_stochastic_rounding_gives_a_neighbour_and_is_right_in_the_mean() -> None:
    x = torch.full((200_000,), 1.0 + 0.3 * 2**-7)
    rounded = round_stochastically(x, noise(len(x), torch.tensor(7, dtype=torch.int32))).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 2**-7}
    share = float((rounded > 1).float().mean())
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / len(x)) ** 0.5)
    exact = SPECIAL.to(torch.bfloat16).float()
    assert torch.equal(round_stochastically(exact, torch.full((len(exact),), 65_535, dtype=torch.int32)).float(), exact)


def test_the_noise_is_uniform_and_differs_by_place_and_by_key() -> None:
    one, other = (noise(1 << 17, torch.tensor(key, dtype=torch.int32)) for key in (1, 999_983))
    for values in (one, other):
        assert int(values.min()) >= 0
        assert int(values.max()) < 1 << 16
        counts = torch.histc(values.float(), bins=64, min=0, max=1 << 16)
        expected = len(values) / 64
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert chi_square < 120, "63 degrees of freedom; 120 is one in 30,000"
    correlation = torch.corrcoef(torch.stack([one.float(), other.float(), one.float().roll(1)]))
    assert correlation.fill_diagonal_(0).abs().max() < 0.015
    assert torch.equal(noise(100, torch.tensor(51, dtype=torch.int32)), one[50:150])


def test_eight_bit_moments_are_near_and_a_small_square_never_vanishes() -> None:
    x = random(1000, 1)
    mean = decode_mean(*encode_mean(x))
    largest = torch.nn.functional.pad(x.abs(), (0, 24)).view(-1, 256).amax(1).repeat_interleave(256)[:1000]
    assert ((mean - x).abs() <= largest * 2 * (x.abs() / largest).sqrt() / 127 + largest / 127**2).all()
    assert torch.equal(mean.sign() * (mean != 0), x.sign() * (mean != 0))
    square = decode_square(*encode_square(x**2))
    assert (square[x != 0] > 0).all()
    assert (square >= 0.88 * x**2).all(), "half a code of sixteen or more, so that no step grows much by it"
    large = x.abs() > largest / 100
    assert (square[large] <= 1.14 * x[large] ** 2).all()
    assert torch.equal(decode_square(*encode_square(torch.zeros(300))), torch.zeros(300))
    assert torch.equal(decode_mean(*encode_mean(torch.zeros(300))), torch.zeros(300))


def trajectory(optimizer, parameter: torch.Tensor, steps: int, seed: int = 0) -> None:
    """Noisy gradients of a quadratic bowl around ones, at a small rate, where rounding to nearest loses updates."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        noisy = parameter.detach().float() - 1 + 0.3 * torch.randn(len(parameter), generator=generator)
        parameter.grad = noisy.to(parameter.dtype)
        optimizer.step()


def a_parameter(n: int = 1000) -> torch.nn.Parameter:
    return torch.nn.Parameter(1.5 + torch.rand(n, generator=torch.Generator().manual_seed(9)))


def low_memory_adamw(parameter: torch.nn.Parameter, weights, moments, lr: float = 1e-4) -> LowMemoryAdamW:
    group = {"params": [parameter], "weight_decay": 0.1}
    return LowMemoryAdamW([group], lr=lr, betas=(0.9, 0.95), weights=weights, moments=moments)


def test_split_weights_with_fp32_moments_follow_torch_where_gradients_agree() -> None:
    ours, theirs = a_parameter(), a_parameter()
    low = low_memory_adamw(ours, "split", "fp32")
    reference = torch.optim.AdamW([theirs], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(50):
        gradient = torch.randn(1000, generator=torch.Generator().manual_seed(step)).to(torch.bfloat16)
        ours.grad, theirs.grad = gradient, gradient.float()
        low.step()
        reference.step()
    assert ours.dtype == torch.bfloat16
    assert torch.allclose(join(ours.data, low.state[ours]["low"]), theirs.data, atol=2e-6)


@pytest.mark.parametrize(("weights", "moments"), [("split", "int8"), ("stochastic", "bf16"), ("stochastic", "int8")])
def test_the_mean_of_the_weights_goes_where_fp32_goes_and_nearest_does_not(weights: str, moments: str) -> None:
    """At a rate of 1e-4 an update is a fortieth of a bf16 step near 1.5: to nearest, nothing ever moves."""
    exact, tested, nearest = a_parameter(), a_parameter(), a_parameter()
    reference = torch.optim.AdamW([exact], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    trajectory(reference, exact, 500)
    trajectory(low_memory_adamw(tested, weights, moments), tested, 500)
    trajectory(low_memory_adamw(nearest, "nearest", moments), nearest, 500)
    gone = float((a_parameter() - exact).detach().mean())
    assert float((tested.float() - exact).detach().mean().abs()) < 0.08 * gone
    assert float((nearest.float() - exact).detach().mean().abs()) > 0.5 * gone


@pytest.mark.parametrize("weights", ["split", "stochastic", "nearest"])
@pytest.mark.parametrize("moments", ["fp32", "bf16", "int8"])
def test_a_skipped_step_changes_nothing_at_all(weights, moments) -> None:
    parameter = a_parameter(300)
    optimizer = low_memory_adamw(parameter, weights, moments)
    trajectory(optimizer, parameter, 3)
    before = {key: value.clone() for key, value in optimizer.state[parameter].items()} | {"w": parameter.data.clone()}
    optimizer.found_inf = torch.tensor(1.0)
    parameter.grad = torch.full((300,), float("nan"), dtype=parameter.dtype)
    optimizer.step()
    after = optimizer.state[parameter] | {"w": parameter.data}
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("moments", ["fp32", "bf16", "int8"])
def test_chunks_change_nothing(moments, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = a_parameter(3000), a_parameter(3000)
    for parameter, chunk in ((whole, 1 << 24), (parts, 1024)):
        monkeypatch.setattr(low_memory, "CHUNK", chunk)
        trajectory(low_memory_adamw(parameter, "stochastic", moments), parameter, 5)
    assert torch.equal(whole, parts)


@pytest.mark.parametrize(
    ("weights", "moments", "total"),
    [("fp32", "fp32", 16.0), ("split", "int8", 8.03125), ("stochastic", "int8", 6.03125), ("stochastic", "bf16", 8.0)],
)
def test_the_bytes_a_parameter_are_what_is_allocated(weights, moments, total: float) -> None:
    assert sum(bytes_per_parameter(weights, moments).values()) == total
    if weights == "fp32":
        return
    parameter = a_parameter(256 * 64)
    optimizer = low_memory_adamw(parameter, weights, moments)
    state = sum(value.nbytes for key, value in optimizer.state[parameter].items() if key != "step")
    assert (2 * parameter.nbytes + state) / parameter.numel() == total
