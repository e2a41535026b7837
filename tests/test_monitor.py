"""Which steps are not taken."""

import torch

from phidelity.train.monitor import WINDOW, Monitor


def skipped(monitor: Monitor, loss: float, norm: float = 1.0) -> bool:
    return bool(monitor.judge(torch.tensor(loss), torch.tensor(norm)))


def a_filled_monitor(n: int = WINDOW, sigma: float = 6.0) -> Monitor:
    """Losses about 3.0 and norms about 1.0, deviation 0.1."""
    monitor = Monitor(sigma)
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for a, b in noise.tolist():
        monitor.judge(torch.tensor(3.0 + 0.1 * a), torch.tensor(1.0 + 0.1 * b))
    return monitor


def test_a_loss_or_a_gradient_six_deviations_up_is_skipped_and_not_remembered() -> None:
    monitor = a_filled_monitor()
    before = monitor.values.clone()
    assert skipped(monitor, 3.9)
    assert skipped(monitor, 3.0, 1.9)
    assert torch.equal(monitor.values, before)
    assert not skipped(monitor, 3.3, 1.3)
    assert not torch.equal(monitor.values, before)


def test_a_fall_is_never_a_spike() -> None:
    assert not skipped(a_filled_monitor(), 0.1, 0.01)


def test_before_half_a_window_is_known_only_what_is_not_finite_is_skipped() -> None:
    monitor = a_filled_monitor(WINDOW // 2 - 1)
    assert not skipped(monitor, 50.0)
    for loss, norm in ((float("nan"), 1.0), (float("inf"), 1.0), (3.0, float("nan"))):
        assert skipped(monitor, loss, norm)


def test_sigma_nought_skips_only_what_is_not_finite() -> None:
    monitor = a_filled_monitor(sigma=0.0)
    assert not skipped(monitor, 1e9)
    assert skipped(monitor, float("nan"))


def test_the_window_slides_so_that_a_new_level_is_learnt() -> None:
    monitor = a_filled_monitor(3 * WINDOW)
    assert int(monitor.accepted) == 3 * WINDOW
    for step in range(4 * WINDOW):
        assert not skipped(monitor, 3.0 + 0.001 * step)
    assert abs(float(monitor.values[0].mean()) - (3.0 + 0.001 * 3.5 * WINDOW)) < 0.01


def test_equal_losses_make_no_trap() -> None:
    monitor = Monitor(6.0)
    for _ in range(WINDOW):
        assert not skipped(monitor, 2.0)
    assert not skipped(monitor, 2.001)


def test_a_loaded_window_judges_as_the_saved_one() -> None:
    saved, loaded = a_filled_monitor(), Monitor(6.0)
    loaded.load({key: value.clone() for key, value in saved.state().items()})
    for loss in (3.2, 3.7, 4.5):
        assert skipped(saved, loss) == skipped(loaded, loss)
    assert torch.equal(saved.values, loaded.values)
