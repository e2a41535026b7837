"""A quantised model is the Transformer of its dequantised weights, up to the rounding of tokens to bytes."""

import numpy as np
import pytest
import torch

from phidelity.kernels import layout
from phidelity.kernels.library import kernels
from phidelity.model import quantized
from phidelity.model.attention import CausalAttend, Rotation
from phidelity.model.config import ModelConfig
from phidelity.model.quantized import Packed, quantised_model
from phidelity.model.transformer import Transformer

CONFIG = ModelConfig(
    n_layers=2, d_model=96, n_heads=6, n_kv_heads=2, d_ff=224, vocab_size=50, context_len=64, rope_theta=1e4
)


def rounded(weight: torch.Tensor, kind: layout.Kind) -> Packed:
    """Simple rounding by groups: enough to compare a model with itself dequantised."""
    w = weight.numpy().reshape(len(weight), -1, 32)
    low, size = w.min(-1), np.abs(w).max(-1)
    scale = (w.max(-1) - low) / 15 if kind == "q4" else size / 127
    D = (scale.max(1) / 255).astype(np.float32)
    s = np.maximum(np.rint(scale / D[:, None]), 1).astype(np.uint8)
    step = (D[:, None] * s)[..., None]
    if kind == "q8":
        q = np.rint(w / step).clip(-127, 127).astype(np.int8).reshape(weight.shape)
        return Packed(kind, layout.pack_q8(q, s, D), tuple(weight.shape))
    M = (np.maximum(-low, 0).max(1) / 255).astype(np.float32)
    m = np.rint(np.maximum(-low, 0) / M[:, None]).astype(np.uint8)
    q = np.rint((w + (M[:, None] * m)[..., None]) / step).clip(0, 15).astype(np.uint8).reshape(weight.shape)
    return Packed(kind, layout.pack_q4(q, s, m, D, M), tuple(weight.shape))


@pytest.fixture(params=["q4", "q8", "mixed"])
def pair(request: pytest.FixtureRequest) -> tuple[Transformer, Transformer]:
    """A quantised model, and a plain one that holds its dequantised weights."""
    plain = Transformer(CONFIG).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    matrices, norms = {}, {}
    for at, (name, weight) in enumerate(plain.named_parameters()):
        if weight.ndim == 2:
            kind = ("q4", "q8")[at % 2] if request.param == "mixed" else request.param
            matrices[name] = rounded(weight, kind)
            weight.copy_(matrices[name].dequantised())
        else:
            norms[name] = weight.copy_(torch.rand(len(weight)) + 0.5)
    return quantised_model(CONFIG, matrices, norms), plain


def logits(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    with torch.inference_mode():
        return model.logits(model(tokens, positions, CausalAttend()))


TOKENS = torch.randint(0, 50, (3, 17), generator=torch.Generator().manual_seed(1))


def test_logits_are_those_of_the_dequantised_weights_up_to_rounded_tokens(pair):
    quantised, plain = pair
    ours, theirs = logits(quantised, TOKENS), logits(plain, TOKENS)
    assert (ours - theirs).norm() / theirs.norm() < 0.03


def test_without_kernels_torch_gives_the_dequantised_logits(pair, monkeypatch):
    quantised, plain = pair
    monkeypatch.setattr(quantized, "kernels", lambda: None)
    torch.testing.assert_close(logits(quantised, TOKENS), logits(plain, TOKENS))


def test_batch_companions_change_no_bit(pair):
    if kernels() is None:
        pytest.skip("no C compiler")
    quantised, _ = pair
    block, x = quantised.blocks[0], torch.randn(40, 1, 96, generator=torch.Generator().manual_seed(2))
    rotation = Rotation.at(torch.arange(40)[:, None], CONFIG, torch.float32)

    def own_value(layer, q, k, v):
        return v.repeat_interleave(3, dim=1)

    whole = block(x, rotation, own_value, 0)
    for n in (1, 5, 9):
        some = block(x[:n], Rotation(rotation.cos[:n], rotation.sin[:n]), own_value, 0)
        assert torch.equal(some, whole[:n])


def test_an_input_is_left_as_it_was(pair):
    quantised, _ = pair
    x = torch.randn(1, 4, 96)
    before = x.clone()
    quantised.blocks[0](x, Rotation.at(torch.arange(4)[None], CONFIG, torch.float32), CausalAttend(), 0)
    assert torch.equal(x, before)
