"""The plan: phi-4's own figures come out of the counting."""

import pytest

from phidelity.config import UserError
from phidelity.model.config import PHI_4
from phidelity.train.plan import plan


def test_the_plan_of_phi_4_has_its_published_counts() -> None:
    result = plan(PHI_4, tokens=9_800_000_000_000, context_len=4096, batch_tokens=5760 * 4096)
    assert result["parameters"] == 14_659_507_200
    assert result["memory"]["weights_bf16"] == 29_319_014_400
    assert round(result["training_flop"] / 1e23, 1) == 8.8
    assert result["steps"] == 415_378
    assert "gpu_hours" not in result, "no GPU, no prediction"


def test_predicted_hours_follow_from_the_stated_assumption() -> None:
    result = plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, gpus=1920, gpu="h100")
    rate = 0.4 * 989.4e12 / result["flop_per_token"]["full"]
    assert result["tokens_per_second_per_gpu"] == pytest.approx(rate)
    assert result["gpu_hours"] == pytest.approx(10**12 / rate / 3600)
    assert result["days"] == pytest.approx(result["gpu_hours"] / 1920 / 24)


def test_an_unknown_gpu_gives_no_number_but_the_known_ones() -> None:
    with pytest.raises(UserError, match="known: a100, h100, h200"):
        plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, gpu="abacus")
