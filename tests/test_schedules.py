"""The schedules at their joints."""

import itertools

import pytest

from phidelity.train.optim import OptimConfig, learning_rate
from phidelity.train.schedules import SCHEDULES, cosine, linear, wsd


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_in_equal_steps_to_the_peak_and_ends_a_step_before_the_final_rate(name: str) -> None:
    values = [SCHEDULES[name](step, 100, warmup=0.1, final=0.1, decay=0.3) for step in range(101)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10] == pytest.approx(1.0)
    assert all(before >= after for before, after in itertools.pairwise(values[10:]))
    assert values[99] > values[100] == pytest.approx(0.1)


def test_linear_falls_by_equal_steps() -> None:
    values = [linear(step, 100, warmup=0.1, final=0.1) for step in range(10, 101)]
    drops = [before - after for before, after in itertools.pairwise(values)]
    assert drops == pytest.approx([0.9 / 90] * 90)


def test_cosine_is_flat_at_both_ends_and_half_way_in_the_middle() -> None:
    values = [cosine(step, 100, warmup=0.0, final=0.0) for step in range(101)]
    assert values[50] == pytest.approx(0.5)
    assert values[0] - values[1] < 3e-4
    assert values[99] - values[100] < 3e-4


def test_wsd_holds_the_peak_until_its_decay_begins() -> None:
    values = [wsd(step, 100, warmup=0.1, final=0.0, decay=0.3) for step in range(101)]
    assert values[10:71] == [1.0] * 61
    assert values[71] == pytest.approx(1 - 1 / 30)


def test_a_decay_longer_than_what_the_warm_up_leaves_begins_where_that_ends() -> None:
    assert wsd(50, 100, warmup=0.5, final=0.0, decay=0.9) == 1.0
    assert wsd(75, 100, warmup=0.5, final=0.0, decay=0.9) == pytest.approx(0.5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_runs_of_one_step_have_a_rate(name: str) -> None:
    config = OptimConfig(peak_lr=2.0, warmup=0.0, schedule=name)  # pyright: ignore[reportArgumentType]
    assert learning_rate(0, 1, config) == 2.0
