"""Steps that must not be taken: a loss or a gradient that is not a number, or that stands far outside the recent ones.

A step whose loss or gradient norm lies more than `sigma` standard deviations above the mean of the last
`WINDOW` accepted ones is a spike (OLMo 2 and nanotron skip at 6 of 128). Everything is decided on the device: the
optimiser gets a flag, and no step waits for the host. The window is part of the snapshot, so a resumed run
skips what an unbroken one skips.
"""

import torch
from torch import Tensor

WINDOW = 128
"""Accepted steps that a new one is compared with (ours); before half of them are known nothing is a spike."""


class Monitor:
    """The last accepted losses and gradient norms, and whether the next step stands out."""

    def __init__(self, sigma: float, device: torch.device | str = "cpu") -> None:
        self.sigma = sigma
        self.values = torch.zeros(2, WINDOW, dtype=torch.float64, device=device)
        """Losses and gradient norms of the accepted steps, the newest at `(accepted - 1) % WINDOW`."""
        self.accepted = torch.zeros((), dtype=torch.int64, device=device)

    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """1.0 if the step must be skipped, else 0.0, a float32 scalar on the device; remembers an accepted step.

        z = (x - mean) / deviation, the deviation never below a thousandth of the mean, so that a window of equal
        values is no trap.
        """
        new = torch.stack([loss, norm]).to(self.values)
        skip = ~torch.isfinite(new).all()
        if self.sigma:
            known = self.accepted.clamp(max=WINDOW)
            held = torch.arange(WINDOW, device=self.values.device) < known
            mean = self.values.sum(1) / known.clamp(min=1)  # unused places are zero
            variance = ((self.values - mean[:, None]) ** 2 * held).sum(1) / known.clamp(min=1)
            deviation = torch.maximum(variance.sqrt(), 1e-3 * mean.abs())
            skip = skip | ((new - mean > self.sigma * deviation).any() & (known >= WINDOW // 2))
            place = (torch.arange(WINDOW, device=self.values.device) == self.accepted % WINDOW) & ~skip
            self.values = torch.where(place, new[:, None], self.values)
            self.accepted = self.accepted + (~skip).long()
        return skip.float()

    def state(self) -> dict[str, Tensor]:
        """What a snapshot keeps."""
        return {"monitor.values": self.values, "monitor.accepted": self.accepted}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a snapshot's window."""
        self.values = state["monitor.values"].to(self.values)
        self.accepted = state["monitor.accepted"].to(self.accepted)
