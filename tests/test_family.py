"""The family's rule, and the power law through three sizes."""

import pytest

from phidelity.train.family import extrapolate, member


def test_rate_and_initial_weights_fall_with_width_and_depth_follows_it() -> None:
    (narrow, fast), (wide, slow) = (member(d, vocab_size=512, context_len=64) for d in (64, 256))
    assert (narrow.n_layers, wide.n_layers) == (2, 8)
    assert fast / slow == pytest.approx(4)
    assert narrow.init_std / wide.init_std == pytest.approx(2, rel=1e-2)


def test_three_points_of_a_power_law_give_the_fourth() -> None:
    law = lambda n: 2.5 + 40 / n**0.4  # noqa: E731
    sizes = [80_000, 240_000, 550_000]
    assert extrapolate(sizes, [law(n) for n in sizes], 1_100_000) == pytest.approx(law(1_100_000), abs=1e-6)
