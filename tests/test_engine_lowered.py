"""Rounded weights for a GPU: int8 where torchao is installed, one clear line where it is not."""

import importlib.util
import warnings

import pytest
import torch

from phidelity.config import UserError
from phidelity.engine.llm import open_model
from phidelity.engine.lowered import lower
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=96, vocab_size=80, context_len=64, rope_theta=1e4
)


def model() -> Transformer:
    return Transformer(CONFIG).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)


@torch.inference_mode()
def logits(one: Transformer) -> torch.Tensor:
    ids = torch.arange(40)[None]
    return one.logits(one(ids, ids, CausalAttend()))


def test_int8_weights_say_nearly_the_same() -> None:
    if not importlib.util.find_spec("torchao"):
        pytest.skip("torchao is not installed")
    expected = logits(model())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's own, on import
        found = logits(lower(model(), "int8"))
    assert 0 < (found - expected).abs().max() < 0.1 * expected.std()


def test_without_torchao_and_for_unknown_kinds_the_answer_is_one_line() -> None:
    with pytest.raises(UserError, match="expected one of fp8, int8, int4"):
        lower(model(), "int3")  # pyright: ignore[reportArgumentType]
    if not importlib.util.find_spec("torchao"):
        with pytest.raises(UserError, match=r"int8 weights need torchao .* Install \"phidelity\[gpu\]\""):
            lower(model(), "int8")


def test_a_gpu_that_is_not_there_and_gpu_weights_on_a_cpu_are_refused(tmp_path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="no GPU that torch can use was found"):
        open_model(tmp_path, device="cuda")
