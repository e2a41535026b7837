"""AdamW and the learning rate over time.

phi-4: linear warm-up and linear decay from a peak of 3e-4, constant weight decay 0.1 (report §3). Betas, epsilon,
warm-up length, final rate and clipping are not published; the defaults here are *ours*.
"""

from pydantic import Field
from torch import nn
from torch.optim import AdamW

from phidelity.config import Config


class OptimConfig(Config):
    """AdamW with linear warm-up and linear decay."""

    peak_lr: float = Field(gt=0)
    """Learning rate at the end of the warm-up (phi-4: pretraining 3e-4, midtraining 3e-5, SFT 1e-6)."""
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero (*ours*)."""
    final_lr: float = Field(default=0.0, ge=0, le=1)
    """Rate at the last step as a share of the peak (*ours*)."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decay of matrices; norms have none (phi-4: 0.1)."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean gradient (*ours*)."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the mean squared gradient (*ours*)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm (*ours*)."""


def linear_schedule(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of step 0, 1, ... steps - 1: up over the warm-up, then straight down to the final rate."""
    n_warmup = round(config.warmup * steps)
    if step < n_warmup:
        return config.peak_lr * (step + 1) / n_warmup
    left = (steps - step) / max(1, steps - n_warmup)
    return config.peak_lr * (config.final_lr + (1 - config.final_lr) * left)


def adamw(model: nn.Module, config: OptimConfig) -> AdamW:
    """The optimiser over all parameters: matrices decay, norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    norms = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.peak_lr, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)
