"""AdamW in few bytes a parameter: what lets all 14.66B of phi-4 train on one GPU of 141 GB.

Weights and gradients are bf16. Rounding an update of 1e-6 to the nearest bf16 mostly rounds it away, so the weights
are either *split* (the optimiser keeps the low 16 bits of an fp32 master, exactly: 2 bytes) or rounded
*stochastically* (nothing to keep; right in the mean). Plain rounding to nearest is there by its name, `nearest`,
to show what it costs. The moments are fp32, bf16 or 8 bits in blocks of 256; with 8 bits the mean is kept as a signed
square root and the squared mean as a fourth root, rounded up where it is small, so that it never vanishes under a
mean that did not. All is elementwise, waits for no host, and works within `CHUNK` values at a time.

Bytes a parameter, gradient included: fp32 16 · split + int8 8.03 · stochastic + int8 6.03 · stochastic + bf16 8 (ours).
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

Weights = Literal["fp32", "split", "stochastic", "nearest"]
Moments = Literal["fp32", "bf16", "int8"]

BLOCK = 256
"""Values that share a scale in 8-bit moments."""
CHUNK = 1 << 24
"""Values updated at a time, which bounds the fp32 temporaries (ours)."""
WEIGHT_BYTES = {"fp32": 4.0, "split": 4.0, "stochastic": 2.0, "nearest": 2.0}
MOMENT_BYTES = {"fp32": 8.0, "bf16": 4.0, "int8": 2 + 8 / BLOCK}
"""Bytes a parameter of both moments, scales included."""


def bytes_per_parameter(weights: Weights, moments: Moments) -> dict[str, float]:
    """Bytes a parameter by part; gradients have the type of the weights that multiply."""
    return {
        "weights": WEIGHT_BYTES[weights],
        "gradients": 4.0 if weights == "fp32" else 2.0,
        "optimizer": MOMENT_BYTES[moments],
    }


class LowMemoryAdamW(Optimizer):
    """AdamW over parameters that it makes bf16; `found_inf`, as in torch's own, leaves everything as it is where 1.

    w <- w - lr * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay * w), in fp32, then rounded.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        weights: Weights,
        moments: Moments,
        eps: float = 1e-8,
        seed: int = 0,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self.weights: Weights = weights
        self.moments, self.seed = moments, seed
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = self._fresh(parameter)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter], group, number)

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        n, device = parameter.numel(), parameter.device
        state = {"step": torch.zeros((), device=device)}
        high, low = split(parameter.data.float())
        parameter.data = high
        if self.weights == "split":
            state["low"] = low.view(-1)
        if self.moments == "int8":
            n_blocks = -(-n // BLOCK)
            state |= {key: torch.zeros(n, dtype=torch.uint8, device=device) for key in ("exp_avg", "exp_avg_sq")}
            state["exp_avg"] += 128
            scales = ("exp_avg_scale", "exp_avg_sq_scale")
            return state | {key: torch.zeros(n_blocks, device=device) for key in scales}
        dtype = torch.bfloat16 if self.moments == "bf16" else torch.float32
        return state | {key: torch.zeros(n, dtype=dtype, device=device) for key in ("exp_avg", "exp_avg_sq")}

    def _update(self, parameter: Tensor, state: dict[str, Tensor], group: dict[str, Any], number: int) -> None:
        skip = torch.zeros((), device=parameter.device) if self.found_inf is None else self.found_inf
        state["step"] += 1 - skip
        key = state["step"].int() * 1_640_531_527 + (number * 2_246_822_519 + self.seed) % (1 << 31)
        flat, gradient = parameter.view(-1), parameter.grad.view(-1)  # pyright: ignore[reportOptionalMemberAccess]
        lr = torch.full((), group["lr"], dtype=torch.float32, device=parameter.device)
        function = _compiled() if parameter.is_cuda else update_chunk
        for start in range(0, len(flat), CHUNK):
            held = self._views(flat, state, start)
            settings = (group["betas"], group["eps"], group["weight_decay"], self.weights)
            new = function(held, gradient[start : start + CHUNK], state["step"], lr, key + start, settings)
            for name, value in held.items():
                value.copy_(torch.where(skip > 0, value, new[name]))

    def _views(self, flat: Tensor, state: dict[str, Tensor], start: int) -> dict[str, Tensor]:
        """What belongs to a chunk, as views."""
        stop, blocks = min(start + CHUNK, len(flat)), slice(start // BLOCK, -(-(start + CHUNK) // BLOCK))
        per_value = {key: state[key][start:stop] for key in ("low", "exp_avg", "exp_avg_sq") if key in state}
        per_block = {key: value[blocks] for key, value in state.items() if key.endswith("_scale")}
        return {"weights": flat[start:stop]} | per_value | per_block


Settings = tuple[tuple[float, float], float, float, Weights]
"""Betas, epsilon, weight decay, and how weights are kept."""


def update_chunk(
    held: dict[str, Tensor], gradient: Tensor, step: Tensor, lr: Tensor, key: Tensor, settings: Settings
) -> dict[str, Tensor]:
    """The new values of all that is held of a chunk: the equation of `LowMemoryAdamW`, then rounding."""
    (b1, b2), eps, weight_decay, weights = settings
    g = gradient.float()
    is_int8 = "exp_avg_scale" in held
    m, v = held["exp_avg"], held["exp_avg_sq"]
    m = decode_mean(m, held["exp_avg_scale"]) if is_int8 else m.float()
    v = decode_square(v, held["exp_avg_sq_scale"]) if is_int8 else v.float()
    m, v = m + (1 - b1) * (g - m), b2 * v + (1 - b2) * g * g
    change = (m / (1 - b1**step)) / ((v / (1 - b2**step)).sqrt() + eps)
    old = join(held["weights"], held["low"]) if weights == "split" else held["weights"].float()
    x = old * (1 - lr * weight_decay) - lr * change
    new: dict[str, Tensor] = {}
    if weights == "split":
        new["weights"], new["low"] = split(x)
    elif weights == "stochastic":
        new["weights"] = round_stochastically(x, noise(len(x), key))
    else:
        new["weights"] = x.to(torch.bfloat16)
    if is_int8:
        new["exp_avg"], new["exp_avg_scale"] = encode_mean(m)
        new["exp_avg_sq"], new["exp_avg_sq_scale"] = encode_square(v)
    else:
        new |= {"exp_avg": m.to(held["exp_avg"].dtype), "exp_avg_sq": v.to(held["exp_avg_sq"].dtype)}
    return new


@cache
def _compiled() -> Any:
    """On a GPU the thirty passes over memory become a few."""
    return torch.compile(update_chunk, dynamic=False)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """fp32 -> the nearest bf16 (halves away from zero) and 16 signed bits, from which `join` gives x back exactly."""
    bits = x.view(torch.int32)
    high = (bits + 0x8000) >> 16
    return high.to(torch.int16).view(torch.bfloat16), (bits - (high << 16)).to(torch.int16)


def join(high: Tensor, low: Tensor) -> Tensor:
    """bf16 and remainder -> the fp32 value that was split."""
    return ((high.view(torch.int16).int() << 16) + low.int()).view(torch.float32)


def round_stochastically(x: Tensor, noise: Tensor) -> Tensor:
    """fp32 -> one of the two bf16 beside it, the nearer the likelier; `noise` is uniform in [0, 2^16)."""
    bits = x.view(torch.int32)
    rounded = ((bits + noise) & -65_536).view(torch.float32)
    return torch.where(torch.isfinite(x), rounded, x).to(torch.bfloat16)


def noise(n: int, key: Tensor) -> Tensor:
    """n integers in [0, 2^16), of which the i-th is a hash (multiply, xor, shift) of key + i: no state to keep."""
    x = (torch.arange(n, device=key.device, dtype=torch.int32) + key) * 668_265_263
    for shift, factor in ((15, 739_982_445), (12, 695_872_825)):
        x = (x ^ (x >> shift & (1 << (32 - shift)) - 1)) * factor
    return (x >> 16) & 0xFFFF


def encode_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Signed values -> uint8 codes and a scale a block: 128 + round(127 * sign(x) * sqrt(|x| / scale))."""
    blocks, scales = _scaled(x)
    codes = blocks.abs().sqrt_().mul_(127).round_().mul_(blocks.sign()) + 128
    return codes.to(torch.uint8).view(-1)[: len(x)], scales


def decode_mean(codes: Tensor, scales: Tensor) -> Tensor:
    """The values that `encode_mean` stands for."""
    u = (codes.float() - 128) / 127
    return u * u.abs() * scales.repeat_interleave(BLOCK)[: len(codes)]


def encode_square(x: Tensor) -> tuple[Tensor, Tensor]:
    """Values >= 0 -> uint8 codes and a scale a block: u = 255 * (x / scale)^(1/4) rounded, up below 16; only 0 gives 0.

    Rounded up everywhere, a squared mean would grow by half a code a step, and updates would be 7 % too small.
    """
    blocks, scales = _scaled(x)
    u = blocks.sqrt_().sqrt_().mul_(255)
    codes = torch.where(u < 16, u.sub(1e-3).ceil_(), u.round())
    return codes.clamp_(0, 255).to(torch.uint8).view(-1)[: len(x)], scales


def decode_square(codes: Tensor, scales: Tensor) -> Tensor:
    """The values that `encode_square` stands for."""
    return (codes.float() / 255) ** 4 * scales.repeat_interleave(BLOCK)[: len(codes)]


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in blocks `[n, BLOCK]` divided by the largest magnitude of each, and those magnitudes."""
    blocks = torch.nn.functional.pad(x, (0, -len(x) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(1)
    return blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None], scales
