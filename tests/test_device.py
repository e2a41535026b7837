"""What makes runs repeatable, and what they took."""

import numpy as np
import torch

from phidelity.device import describe_device, describe_machine, make_repeatable, peak_memory, reset_peak_memory


def test_runs_are_made_repeatable_without_slower_tensors():
    make_repeatable()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.tensor([1e-40]).mul(1.0).item() == 0.0


def test_a_machine_is_described():
    assert f"{torch.get_num_threads()} threads" in describe_device()
    assert describe_machine()["torch"] == torch.__version__


def test_the_peak_of_memory_is_measured_anew():
    before = peak_memory()
    data = np.ones(200_000_000, dtype=np.uint8)
    high = peak_memory()
    assert high >= data.nbytes
    del data
    reset_peak_memory()
    assert 0 < peak_memory() <= max(high, before)
