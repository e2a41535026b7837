"""Recomputation and compilation change no gradient and no name, and save what they are to save."""

import pytest
import torch
from test_train import a_batch, a_model
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from phidelity.config import UserError
from phidelity.train.scale import ScaleConfig, prepare
from phidelity.train.tokens import token_objective


class Made(TorchDispatchMode):
    """Every storage that operations make, by whomever it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return made

    def alive(self) -> int:
        return sum(n_bytes for storage, n_bytes in self.storages.values() if not storage.expired())


def gradients(config: ScaleConfig) -> tuple[dict[str, torch.Tensor], int]:
    """Of one batch, by name, and how many bytes lived on after the forward pass."""
    model = prepare(a_model(), config)
    with Made() as made:
        loss = token_objective(model, a_batch(0, 24)).total
    kept = made.alive()
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return found, kept


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_gives_the_same_gradients_bit_for_bit(recompute) -> None:
    (plain, _), (again, _) = gradients(ScaleConfig()), gradients(ScaleConfig(recompute=recompute))
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_more_recomputation_keeps_less() -> None:
    kept = [gradients(ScaleConfig(recompute=how))[1] for how in ("none", "selective", "full")]  # pyright: ignore
    assert kept[0] > 1.5 * kept[1] > 1.5 * 1.5 * kept[2]


def test_float8_without_its_extra_or_its_gpu_says_what_is_missing() -> None:
    with pytest.raises(UserError, match="float8"):
        prepare(a_model(), ScaleConfig(float8=True))
