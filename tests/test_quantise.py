"""Rounding to q4 and q8: less error than simpler roundings, exact where it can be, and columns weighed as told."""

import numpy as np
import pytest
import torch

from phidelity.checkpoint.blocks import BY_NAME, decode, encode
from phidelity.export.quantise import quantise


def matrix(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 512, generator=generator)
    x[:, ::97] *= 6  # columns that stand out, as trained matrices have them
    return 0.02 * x


def error(x: torch.Tensor, found: np.ndarray, weight: torch.Tensor | None = None) -> float:
    square = (torch.from_numpy(found) - x).square()
    return float((square if weight is None else square * weight).sum())


def test_q4_has_less_error_than_plain_rounding_and_than_q4_0() -> None:
    x = matrix()
    found = error(x, quantise("q4", x).dequantise())
    groups = x.view(64, -1, 32)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    plain = ((groups - low) / (high - low) * 15).round() / 15 * (high - low) + low
    q4_0 = decode(BY_NAME["Q4_0"], encode(BY_NAME["Q4_0"], x).numpy(), 512)
    assert found < 0.94 * error(x, plain.view_as(x).numpy())
    assert found < 0.72 * error(x, q4_0.numpy())


def test_numbers_on_a_grid_are_kept() -> None:
    rng = np.random.default_rng(0)
    q, s, m = rng.integers(0, 16, (8, 4, 32)), rng.integers(50, 256, (8, 4, 1)), rng.integers(0, 256, (8, 4, 1))
    q[..., 0], q[..., 1], s[:, 0], m[:, 0] = 0, 15, 255, 255
    x = torch.from_numpy((0.01 * s * q - 0.02 * m).reshape(8, 128).astype(np.float32))
    assert error(x, quantise("q4", x).dequantise()) < 1e-4 * float(x.square().sum())


@pytest.mark.parametrize("value", [0.0, -0.3, 0.7])
def test_constant_matrices_and_zeros_are_kept(value: float) -> None:
    x = torch.full((16, 64), value)
    for kind in ("q4", "q8"):
        assert np.allclose(quantise(kind, x).dequantise(), x.numpy(), atol=1e-6)


def test_extremes_do_not_become_infinite_or_nan() -> None:
    for scale in (1e-38, 1e-30, 1e30):
        for kind in ("q4", "q8"):
            found = quantise(kind, matrix() * scale).dequantise()
            assert np.isfinite(found).all()


def test_calibration_lowers_the_error_it_weighs() -> None:
    x = matrix()
    weight = torch.rand(512, generator=torch.Generator().manual_seed(1)) ** 8 + 1e-4
    plain, weighed = quantise("q4", x).dequantise(), quantise("q4", x, weight).dequantise()
    assert error(x, weighed, weight) < 0.85 * error(x, plain, weight)


def test_q8_is_off_by_half_a_step_at_most() -> None:
    x = matrix()
    found = torch.from_numpy(quantise("q8", x).dequantise())
    largest = x.view(64, -1, 32).abs().amax(-1)
    step = largest / 127 + largest.amax(1, keepdim=True) / 127 / 255  # scales are rounded up
    assert ((found - x).abs().view(64, -1, 32) <= 0.502 * step[..., None]).all()
