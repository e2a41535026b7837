"""The plan: phi-4's own figures come out of the counting."""

import json

import pytest
from click.testing import CliRunner

from phidelity.cli.main import main
from phidelity.config import UserError
from phidelity.model.config import PHI_4
from phidelity.train.plan import GPUS, memory_by_choice, plan


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


def test_a_degree_that_does_not_divide_the_kv_heads_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match=r"degree 8 .*10 KV heads divide by 1, 2, 5, 10 alone.*FSDP"):
        plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, tp=8)
    for degree in (1, 2, 5, 10):
        plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, tp=degree)


def test_an_unknown_gpu_gives_no_number_but_the_known_ones() -> None:
    with pytest.raises(UserError, match="known: a100, h100, h200"):
        plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, gpu="abacus")


def test_the_reported_three_weeks_come_to_the_reported_hours_and_a_quarter_of_the_peak() -> None:
    """phi-4's card: 1,920 H100, 21 days, 9.8T tokens; derived: 2,813 tokens a second and GPU, 25.6 %."""
    result = plan(
        PHI_4, tokens=9_800_000_000_000, context_len=4096, batch_tokens=5760 * 4096, gpus=1920, gpu="h100", days=21
    )
    assert result["given"]["gpu_hours"] == 967_680
    assert round(result["given"]["tokens_per_second_per_gpu"]) == 2813
    assert round(100 * result["given"]["mfu"]["causal"], 1) == 25.6
    assert result["days"] != 21, "the prediction does not use what is given"
    assert result["days_with_failures"] > result["days"]


def test_days_without_gpus_say_what_is_missing() -> None:
    with pytest.raises(UserError, match="expected --gpus and --gpu"):
        plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20, days=21)


def test_the_flop_of_a_token_are_the_published_ones_at_three_lengths() -> None:
    by_context = plan(PHI_4, tokens=10**12, context_len=4096, batch_tokens=2**20)["flop_per_token_by_context"]
    gflop = {length: (round(f["full"] / 1e9, 1), round(f["causal"] / 1e9, 1)) for length, f in by_context.items()}
    assert gflop == {1024: (87.4, 86.1), 4096: (94.9, 89.9), 16384: (125.1, 105.0)}


def test_full_training_fits_one_gpu_of_141_gb_only_with_few_bytes_a_parameter() -> None:
    table = memory_by_choice(PHI_4, 1, GPUS["h200"])
    fits = {name: row["tokens_that_fit"]["recomputed"] > 8192 for name, row in table.items()}
    assert fits == {
        "fp32 weights, fp32 moments": False,
        "split weights, fp32 moments": False,
        "split weights, int8 moments": True,
        "stochastic weights, bf16 moments": True,
        "stochastic weights, int8 moments": True,
    }
    assert round(table["stochastic weights, int8 moments"]["bytes_per_gpu"] / 2**30) == 82
    assert (
        memory_by_choice(PHI_4, 1920, GPUS["h100"])["fp32 weights, fp32 moments"]["tokens_that_fit"]["all kept"] > 4096
    )


def test_a_recipe_of_data_alone_is_planned_by_its_mixture() -> None:
    shown = CliRunner().invoke(main, ["plan", "corpus"])
    assert shown.exit_code == 0
    assert "web             40.0%" in shown.output
    assert "corpus trains no model. Tokens and epochs are known once" in shown.output
    given = "shards.expected={ web = 4000, code = 1000, acquired = 9000 }"
    facts = json.loads(CliRunner().invoke(main, ["plan", "corpus", "--set", given, "--json"]).output)["mixture"]
    assert facts["tokens"] == 100_000, "until code has been read 20 times"
    assert [row["epochs"] for row in facts["groups"]] == [10.0, 20.0, 4.444]
