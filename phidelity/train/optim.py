"""AdamW and its settings.

phi-4: linear warm-up and linear decay from a peak of 3e-4, constant weight decay 0.1 (report §3). Betas, epsilon,
warm-up length, final rate and clipping are not published; the defaults here are *ours*.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from torch import nn
from torch.optim import AdamW, Optimizer

from phidelity.config import Config
from phidelity.train.low_memory import LowMemoryAdamW, Moments, Weights
from phidelity.train.schedules import SCHEDULES

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    """AdamW, its schedule, and the steps it does not take."""

    peak_lr: float = Field(gt=0)
    """Learning rate at the end of the warm-up (phi-4: pretraining 3e-4, midtraining 3e-5, SFT 1e-6)."""
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero (*ours*)."""
    final_lr: float = Field(default=0.0, ge=0, le=1)
    """Rate at the last step as a share of the peak (*ours*)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decay of matrices; norms have none (phi-4: 0.1)."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of the mean and of the mean squared gradient (*ours*)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm (*ours*)."""
    schedule: Literal["linear", "cosine", "wsd"] = "linear"
    """How the rate falls after the warm-up (phi-4: linear)."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """Share of the steps in which `wsd` falls, at the end; the others do not use it (*ours*)."""
    spike_sigma: float = Field(default=6.0, ge=0)
    """Skip a step whose loss or gradient norm is this many deviations above recent ones; 0 skips none (*ours*)."""
    skip_steps: tuple[int, ...] = ()
    """Steps, counted from 0, whose batches are passed over: for data known to be bad."""
    weights: Weights = "fp32"
    """fp32; or bf16 with an exact split master, stochastic rounding, or (to show what it costs) nearest."""
    moments: Moments = "fp32"
    """Type of both moments where weights are bf16: fp32, bf16 or int8 in blocks of 256."""

    @model_validator(mode="after")
    def _moments_fit(self) -> Self:
        if self.weights == "fp32" and self.moments != "fp32":
            raise ValueError(
                f'moments = "{self.moments}" needs weights = "split" or "stochastic"; fp32 weights keep fp32'
            )
        return self


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The rate of step 0, 1, ... steps - 1."""
    schedule = SCHEDULES[config.schedule]
    return config.peak_lr * schedule(step, steps, warmup=config.warmup, final=config.final_lr, decay=config.decay)


def adamw(parameters: Iterable[nn.Parameter], config: OptimConfig, seed: int = 0) -> Optimizer:
    """The optimiser: matrices decay, norms do not. Where the config says so, the parameters become bf16."""
    matrices: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim == 2 else norms).append(parameter)
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    if config.weights != "fp32":
        return LowMemoryAdamW(
            groups, lr=config.peak_lr, betas=config.betas, weights=config.weights, moments=config.moments, seed=seed
        )
    return AdamW(groups, lr=config.peak_lr, betas=config.betas, eps=1e-8, fused=True)
