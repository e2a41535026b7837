"""RMSNorm, rotation and SwiGLU with their gradients written out: the same numbers in fewer passes over memory.

A small model on a CPU is bound by memory traffic, and automatic differentiation writes every intermediate to it.
Each function here saves only what its gradient needs and writes halves in place instead of gluing them. The
plain form of each is in its docstring; tests compare values and gradients with it. Without gradients the plain
forms serve: there the bookkeeping of a `Function` is a fifth of a decode step.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight: [..., M] -> [..., M]."""
    if torch.is_grad_enabled():
        return RMSNormFunction.apply(x, weight, eps)
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of the two halves: [..., 2F] -> [..., F]."""
    if torch.is_grad_enabled():
        return SwiGLUFunction.apply(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of the two halves of each head: [B, H, T, D] with cos and sin [B, 1, T, D / 2]."""
    return RotateFunction.apply(x, cos, sin) if torch.is_grad_enabled() else _rotate(x, cos, sin)


class RMSNormFunction(Function):
    """y = x * r * w with r = 1 / sqrt(mean(x^2) + eps)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """[..., M] -> [..., M]."""
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        r = torch.rsqrt(square.div_(x.shape[-1]).add_(eps))
        normed = x * r
        ctx.save_for_backward(normed, r, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """dx = r * (g w - n mean(g w n)) with n = x r; dw = sum(g n)."""
        normed, r, weight = ctx.saved_tensors
        (g,) = gradients
        d_weight = (g * normed).flatten(0, -2).sum(0)
        gw = g * weight
        mean = (gw * normed).mean(-1, keepdim=True)
        return gw.addcmul_(normed, mean, value=-1).mul_(r), d_weight, None


class RotateFunction(Function):
    """y = x * cos + rotate_half(x) * sin, where rotate_half((a, b)) = (-b, a) on the two halves of a head."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, H, T, D] with cos and sin [B, 1, T, D / 2] -> [B, H, T, D]."""
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Rotate back: the transpose of a rotation is the rotation by the opposite angle."""
        cos, sin = ctx.saved_tensors
        return _rotate(gradients[0], cos, -sin), None, None


class SwiGLUFunction(Function):
    """y = silu(gate) * up, where gate and up are the two halves of one tensor."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        """[..., 2F] -> [..., F]."""
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """d up = g silu(gate); d gate = g up silu'(gate)."""
        (gate_up,) = ctx.saved_tensors
        (g,) = gradients
        gate, up = gate_up.chunk(2, dim=-1)
        result = torch.empty_like(gate_up)
        d_gate, d_up = result.chunk(2, dim=-1)
        torch.ops.aten.silu.out(gate, out=d_gate)  # the result itself is the only memory that is taken
        torch.mul(g, d_gate, out=d_up)
        torch.mul(g, up, out=d_gate)
        torch.ops.aten.silu_backward.grad_input(d_gate, gate, grad_input=d_gate)
        return result


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    if torch.compiler.is_compiling():  # the compiler fuses this, and knows no output in halves
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    result = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    y_first, y_second = result.chunk(2, dim=-1)
    torch.mul(first, cos, out=y_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=y_second).addcmul_(first, sin)
    return result
