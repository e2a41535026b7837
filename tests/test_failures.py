"""What failures cost: the simulation where the answer is known."""

import math

import pytest

from phidelity.train.failures import Assumptions, best_interval, toll


def test_without_failures_only_saving_costs() -> None:
    never = Assumptions(mtbf_hours=1e15, save_seconds=60, restart_minutes=10)
    found = toll(100.0, 1, 60.0, never)
    assert found.failures == 0
    assert found.lost == pytest.approx(1 - 100 / (100 + 100 / 60))


def test_the_loss_is_that_of_the_first_order_formula_where_failures_are_rare() -> None:
    """Share lost = save / interval + (interval / 2 + restart) / time between failures."""
    assumed = Assumptions(mtbf_hours=50_000, save_seconds=30, restart_minutes=10)
    between = 50_000 / 1920
    found = toll(500.0, 1920, 40.0, assumed)
    expected = (30 / 3600) / (40 / 60) + (40 / 120 + 10 / 60) / between
    assert found.failures == pytest.approx(500 / between * (1 + expected), rel=0.03)
    assert found.lost == pytest.approx(expected, rel=0.06)
    assert found.low < found.lost < found.high


def test_the_best_interval_lies_about_dalys_and_more_gpus_ask_for_a_shorter_one() -> None:
    assumed = Assumptions()
    few, many = (best_interval(400.0, gpus, assumed) for gpus in (1920, 16_384))
    daly = math.sqrt(2 * 30 / 3600 * 50_700 / 1920) * 60
    assert daly / 2 <= few[0].interval_minutes <= daly * 2
    assert many[0].interval_minutes < few[0].interval_minutes
    assert many[0].lost > few[0].lost
    assert [found.lost for found in few] == sorted(found.lost for found in few)


def test_one_seed_gives_one_answer() -> None:
    assert toll(50.0, 512, 30.0, Assumptions(), seed=3) == toll(50.0, 512, 30.0, Assumptions(), seed=3)
