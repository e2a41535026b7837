"""Recomputation and compilation change no gradient and no name, and save what they are to save."""

import pytest
import torch
from test_train import a_batch, a_model

from phidelity.config import UserError
from phidelity.train.scale import ScaleConfig, prepare
from phidelity.train.tokens import token_objective


class Saved:
    """Bytes that autograd keeps for the backward pass."""

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor


def gradients(config: ScaleConfig) -> tuple[dict[str, torch.Tensor], int]:
    """Of one batch, by name, and how many bytes were kept for them."""
    model = prepare(a_model(), config)
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        loss = token_objective(model, a_batch(0, 24)).total
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return found, sum(saved.storages.values())


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_gives_the_same_gradients_bit_for_bit(recompute) -> None:
    (plain, _), (again, _) = gradients(ScaleConfig()), gradients(ScaleConfig(recompute=recompute))
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_more_recomputation_keeps_less() -> None:
    kept = [gradients(ScaleConfig(recompute=how))[1] for how in ("none", "selective", "full")]  # pyright: ignore
    assert kept[0] > kept[2]
    assert kept[0] >= kept[1] >= kept[2]


def test_float8_without_its_extra_or_its_gpu_says_what_is_missing() -> None:
    with pytest.raises(UserError, match="float8"):
        prepare(a_model(), ScaleConfig(float8=True))
