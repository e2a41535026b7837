"""The network: its census, its fused operations against their plain forms, and what a configuration refuses."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from phidelity.model.config import PHI_4, ModelConfig, cache_bytes_per_token, census, flop_per_token
from phidelity.model.fused import RMSNormFunction, RotateFunction, SwiGLUFunction
from phidelity.model.transformer import Transformer


def test_phi_4_counts_exactly() -> None:
    with torch.device("meta"):
        model = Transformer(PHI_4)
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_659_507_200
    assert census(PHI_4).total == 14_659_507_200
    assert census(PHI_4).matmul == 14_145_290_240
    assert cache_bytes_per_token(PHI_4) == 204_800


@pytest.mark.parametrize(("length", "causal", "full"), [(1024, 86.1, 87.4), (4096, 89.9, 94.9), (16384, 105.0, 125.1)])
def test_flop_per_token_in_both_conventions(length: int, causal: float, full: float) -> None:
    flop = flop_per_token(PHI_4, length)
    assert (round(flop.causal / 1e9, 1), round(flop.full / 1e9, 1)) == (causal, full)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, 1e-5)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * torch.cat((cos, cos), -1) + torch.cat((-second, first), -1) * torch.cat((sin, sin), -1)


def swiglu(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


@pytest.mark.parametrize(
    ("fused", "plain", "shapes"),
    [
        (lambda x, w: RMSNormFunction.apply(x, w, 1e-5), rms_norm, [(3, 5, 16), (16,)]),
        (RotateFunction.apply, rotate, [(2, 3, 5, 8), (2, 1, 5, 4), (2, 1, 5, 4)]),
        (SwiGLUFunction.apply, swiglu, [(3, 5, 16)]),
    ],
)
def test_fused_operations_equal_their_plain_forms_and_gradients(fused, plain, shapes) -> None:
    generator = torch.Generator().manual_seed(0)
    n_learnt = 1 if plain is rotate else len(shapes)  # the angles are constants
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    results = []
    for function in (fused, plain):
        leaves = [x.clone().requires_grad_(i < n_learnt) for i, x in enumerate(inputs)]
        y = function(*leaves)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y))
        results.append([y, *(leaf.grad for leaf in leaves[:n_learnt])])
    for ours, reference in zip(*results, strict=True):
        assert torch.allclose(ours, reference, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_heads": 7}, "does not divide into 7 heads"),
        ({"n_kv_heads": 3}, "do not divide over 3 KV heads"),
        ({"d_model": 24, "n_heads": 8, "n_kv_heads": 2}, "odd"),
        ({"n_layers": 0}, "greater than 0"),
        ({"context_len": -1}, "greater than 0"),
    ],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    shape = PHI_4.model_dump() | change
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**shape)
