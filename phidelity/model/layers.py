"""The parts of a block that know nothing of position or attention: RMSNorm and SwiGLU.

Both fused matrices of phi-4 are kept fused (gate above up, queries above keys above values), as published; one
wide product is also what a small model on a CPU wants.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phidelity.model.fused import rms_norm, swiglu


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight; the mean in fp32, the weight applied after the cast back."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., M]."""
        if x.dtype == torch.float32:
            return rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x.float(), x.shape[-1:], None, self.eps).to(x.dtype) * self.weight


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), with gate and up as the two halves of one matrix."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., M]."""
        return self.down(swiglu(self.gate_up(x)))
