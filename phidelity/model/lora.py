"""Low-rank updates of the block's products: y = x W^T + scale (x A^T) B^T, over a base that stays as it is.

An update adds to some rows of one of our four fused matrices, so adapters made for the fused layout (one update of all
rows) and for the split one (one each for queries, keys, values, gate and up) are the same thing here. A block with
updates has the signature of `Block`; its base is fp32 or 16 bits of torch, packed q4 or q8, or the float32 kernels.
Over packed weights the forward product is the one that serves, of tokens rounded to bytes; the gradient with respect to
the input multiplies weights opened a stretch of rows at a time, so no float copy of the base is ever held.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from phidelity.kernels.library import kernels
from phidelity.model.attention import Attend, Rotation, mixed
from phidelity.model.config import ModelConfig
from phidelity.model.dense import DenseBlock, DenseHead, pack
from phidelity.model.fused import swiglu
from phidelity.model.quantized import QuantisedBlock, QuantisedLinear
from phidelity.model.transformer import Transformer

MATRICES = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
OPENED = 1 << 24
"""Weights that a backward pass holds dequantised at a time (*ours*): 64 MiB."""


class Update(NamedTuple):
    """scale B A on the rows of a matrix from `start` on: a [r, C], b [R, r]."""

    start: int
    a: Tensor
    b: Tensor
    scale: float


Updates = Mapping[str, Sequence[Update]]
"""By the name of the matrix: `blocks.0.attention.qkv`."""


def placed(updates: Updates, device: torch.device | str) -> dict[str, list[Update]]:
    """The same updates on `device`."""
    return {name: [u._replace(a=u.a.to(device), b=u.b.to(device)) for u in parts] for name, parts in updates.items()}


class Adapted(nn.Module):
    """A product with its updates."""

    def __init__(self, base: nn.Module, updates: Sequence[Update], *, trains: bool) -> None:
        super().__init__()
        self.base = base
        self.updates = nn.ModuleList(_Trained(update) if trains else _Fixed(update) for update in updates)

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., R]."""
        y = self.base(x)
        for update in self.updates:
            part = update(x)
            rows = slice(update.start, update.start + part.shape[-1])  # pyright: ignore[reportOperatorIssue, reportArgumentType]
            y[..., rows] += part
        return y


class _Trained(nn.Module):
    def __init__(self, update: Update) -> None:
        super().__init__()
        self.start, self.scale = update.start, update.scale
        self.a, self.b = nn.Parameter(update.a), nn.Parameter(update.b)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.a.to(x.dtype)) * self.scale, self.b.to(x.dtype))


class _Fixed(nn.Module):
    """Without gradients; on the float32 kernels where they serve, whose results no companion of a batch changes."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.start = update.start
        a, b = update.a * update.scale, update.b
        library = kernels() if a.device.type == "cpu" and a.dtype == torch.float32 else None
        if library:
            self.a, self.b = DenseHead(pack(a), library), DenseHead(pack(b), library)
        else:
            self.a, self.b = _Product(a), _Product(b)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class _Product(nn.Module):
    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class AdaptedBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), of parts that are given."""

    def __init__(self, config: ModelConfig, norms: Sequence[nn.Module], products: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.attention_norm, self.feed_forward_norm = norms
        self.qkv, self.out, self.gate_up, self.down = (products[name] for name in MATRICES)

    def forward(self, x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M]."""
        x = x + self.out(mixed(self.qkv(self.attention_norm(x)), rotation, attend, layer, self.config))
        return x + self.down(swiglu(self.gate_up(self.feed_forward_norm(x))))


class Frozen(nn.Module):
    """A packed matrix in training: nothing of it is learnt, and gradients go through to its input."""

    def __init__(self, linear: QuantisedLinear) -> None:
        super().__init__()
        self.linear = linear

    @property
    def weight(self) -> Tensor:
        """No rows; type, place and width."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., R]."""
        return _FrozenProduct.apply(x, self.linear) if torch.is_grad_enabled() else self.linear(x)


class _FrozenProduct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: QuantisedLinear) -> Tensor:
        ctx.linear = linear
        return linear(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return times(gradients[0], ctx.linear), None


def times(y: Tensor, matrix: nn.Module) -> Tensor:
    """y [..., R] W -> [..., C]: the transpose of the product, packed weights being opened a stretch at a time."""
    matrix = matrix.linear if isinstance(matrix, Frozen) else matrix
    if not isinstance(matrix, QuantisedLinear):
        return y @ matrix.weight  # pyright: ignore[reportOperatorIssue]
    n_rows, n_columns = matrix.packed.shape
    flat = y.flatten(0, -2)
    result = torch.zeros(len(flat), n_columns)
    step = max(OPENED // n_columns // 16, 1) * 16
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        result.addmm_(flat[:, start:stop], matrix.rows(start, stop))
    return result.view(*y.shape[:-1], n_columns)


def adapt(model: Transformer, updates: Updates, *, trains: bool = False) -> Transformer:
    """The network with these updates, over the same memory as `model`, which stays as it is.

    With `trains` the updates are the only parameters that want a gradient; model/thrifty.py makes that cheap to keep.
    """
    result = copy.copy(model)
    result._modules = dict(model._modules)
    blocks = [
        _adapted(block, model.config, _within(updates, layer), trains) for layer, block in enumerate(model.blocks)
    ]
    if trains:
        model.requires_grad_(False)
        result._modules["head"] = _trainable(model.head)
    result.blocks = nn.ModuleList(blocks)
    return result


def updates_of(model: Transformer) -> dict[str, list[Update]]:
    """The updates that `adapt` put into a model, as they are trained."""
    found: dict[str, list[Update]] = {}
    for layer, block in enumerate(model.blocks):
        for name, attribute in zip(MATRICES, ("qkv", "out", "gate_up", "down"), strict=True):
            product = getattr(block, attribute)
            if isinstance(product, Adapted):
                parts = [Update(one.start, one.a.detach(), one.b.detach(), one.scale) for one in product.updates]  # pyright: ignore
                found[f"blocks.{layer}.{name}"] = parts
    return found


def _adapted(block: Any, config: ModelConfig, updates: Updates, trains: bool) -> AdaptedBlock:
    norms, bases = _parts(block)
    products = {
        name: Adapted(_trainable(base) if trains else base, updates[name], trains=trains)
        if name in updates
        else (_trainable(base) if trains else base)
        for name, base in bases.items()
    }
    return AdaptedBlock(config, norms, products)


def _parts(block: Any) -> tuple[list[nn.Module], dict[str, nn.Module]]:
    """Norms and products of a block of any kind."""
    if isinstance(block, DenseBlock):
        return block.norms(), dict(zip(MATRICES, block.products(), strict=True))
    norms = [block.attention_norm, block.feed_forward_norm]
    if isinstance(block, QuantisedBlock):
        return norms, dict(zip(MATRICES, (block.qkv, block.out, block.gate_up, block.down), strict=True))
    inner = (block.attention.qkv, block.attention.out, block.feed_forward.gate_up, block.feed_forward.down)
    return norms, dict(zip(MATRICES, inner, strict=True))


def _trainable(base: nn.Module) -> nn.Module:
    return Frozen(base) if isinstance(base, QuantisedLinear) else base


def _within(updates: Updates, layer: int) -> dict[str, Sequence[Update]]:
    start = f"blocks.{layer}."
    return {name.removeprefix(start): parts for name, parts in updates.items() if name.startswith(start)}
