"""Blocks in float32 that are a few C calls each, of the same signature as `Block`: how a CPU serves.

`dense` packs a model's matrices once, [N, K] as [N / 32, K, 32], and gives a `Transformer` whose blocks, last norm and
head run in the kernels of kernels/csrc/dense_block.c. There every number is a function of its own token alone: one
chain of multiply-adds over k, whatever the batch. What attends is passed in as ever; queries, keys and values are
views of one buffer, which the engine's attention takes up without a copy.

Nothing here goes through torch's own threads, which share few cores badly with the kernels' own: rows are taken and
copied by numpy, which has none, and angles are computed once for all positions.
"""

import threading
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phidelity.kernels.library import DenseMatrix, Library, kernels
from phidelity.kernels.memory import large_pages
from phidelity.model.attention import Attend, Rotation
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Block, Transformer

STRIP = 32
"""Outputs that lie side by side (csrc/dense.h)."""


def dense(model: Transformer, *, release: bool = False) -> Transformer | None:
    """The same network on the kernels; None where they cannot serve: no compiler, another device or dtype.

    The embedding and the norms' weights are shared with `model`; with `release` its matrices are let go one by one.
    """
    weight = model.embed.weight
    is_plain = all(type(block) is Block for block in model.blocks) and type(model.head) is nn.Linear
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not is_plain or not (library := kernels()):
        return None
    return DenseTransformer(model, library, release)


class DenseTransformer(Transformer):
    """The network of packed blocks; no gradients."""

    def __init__(self, model: Transformer, library: Library, release: bool) -> None:
        nn.Module.__init__(self)  # not Transformer's own, which would make weights
        config = model.config
        arena, room = _Arena(model), _Room()
        self.config, self.embed = config, model.embed
        self.blocks = nn.ModuleList(DenseBlock(block, config, library, arena, room, release) for block in model.blocks)
        self._modules["norm"] = DenseNorm(model.norm.weight, model.norm.eps, library)
        self._modules["head"] = DenseHead(arena.pack(model.head, release), library)
        angles = Rotation.at(torch.arange(config.context_len)[None], config, torch.float32)
        self._cos, self._sin = (part[0, 0].numpy() for part in angles)
        self.train(model.training)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Ids [B, T] and positions [B, T] -> hidden states [B, T, M] after the final norm."""
        self.check_length(tokens)
        x = torch.from_numpy(self.embed.weight.detach().numpy()[tokens.numpy()])
        at = positions.numpy()[:, None]
        rotation = Rotation(torch.from_numpy(self._cos[at]), torch.from_numpy(self._sin[at]))
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, attend, layer)
        return self.norm(x)


class DenseBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)); no gradients."""

    def __init__(
        self, block: Any, config: ModelConfig, library: Library, arena: "_Arena", room: "_Room", release: bool
    ) -> None:
        super().__init__()
        self.config = config
        self._library, self._room = library, room
        norms = (block.attention_norm, block.feed_forward_norm)
        self._norms = [norm.weight.detach() for norm in norms]
        self._first, self._second = ((norm.weight.data_ptr(), norm.eps) for norm in norms)
        parts = (block.attention.qkv, block.attention.out, block.feed_forward.gate_up, block.feed_forward.down)
        self._qkv, self._out, self._gate_up, self._down = (arena.pack(part, release) for part in parts)

    def forward(self, x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M]."""
        c, call = self.config, self._library.call
        x = torch.from_numpy(x.detach().numpy().copy())
        cos, sin = map(Tensor.contiguous, rotation)
        n_batch, n_time, _ = x.shape
        n = n_batch * n_time
        room, qkv = self._room.of(n * (c.d_model + 3 * c.d_ff), n * c.d_qkv)
        n_rotated = c.n_heads + c.n_kv_heads
        call.phi_dense_qkv(
            x.data_ptr(), n, *self._first, self._qkv.at, cos.data_ptr(), sin.data_ptr(), n_rotated, c.head_dim,
            qkv.data_ptr(), room,
        )  # fmt: skip
        heads = qkv.view(n_batch, n_time, -1, c.head_dim).transpose(1, 2)
        y = attend(layer, heads[:, : c.n_heads], heads[:, c.n_heads : n_rotated], heads[:, n_rotated:])
        y = y.transpose(1, 2).contiguous()
        call.phi_dense_rest(
            x.data_ptr(), n, y.data_ptr(), self._out.at, *self._second, self._gate_up.at, self._down.at, room
        )
        return x

    def norms(self) -> list[nn.Module]:
        """Its two norms, each as a module of its own."""
        return [DenseNorm(weight, self.config.norm_eps, self._library) for weight in self._norms]

    def products(self) -> list[nn.Module]:
        """Its four products: queries, keys and values; output; gate and up; down."""
        return [DenseHead(one, self._library) for one in (self._qkv, self._out, self._gate_up, self._down)]


class DenseNorm(nn.Module):
    """RMSNorm, a token's bits its own."""

    def __init__(self, weight: Tensor, eps: float, library: Library) -> None:
        super().__init__()
        self.weight, self.eps, self._library = weight, eps, library

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., M]."""
        x = x.contiguous()
        y = torch.empty_like(x)
        width = x.shape[-1]
        n = x.numel() // width
        self._library.call.phi_dense_norm(x.data_ptr(), n, self.weight.data_ptr(), self.eps, width, y.data_ptr())
        return y


class DenseHead(nn.Module):
    """A product with a packed matrix."""

    def __init__(self, matrix: DenseMatrix, library: Library) -> None:
        super().__init__()
        self._matrix, self._library = matrix, library

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., V]."""
        x = x.contiguous()
        y = x.new_empty(*x.shape[:-1], self._matrix.rows)
        n = x.numel() // x.shape[-1]
        self._library.call.phi_dense_product(self._matrix.at, x.data_ptr(), n, y.data_ptr(), self._matrix.rows, 0)
        return y


def pack(weight: Tensor) -> DenseMatrix:
    """A matrix [N, K] of its own memory, packed."""
    n_rows, n_columns = weight.shape
    numbers = np.zeros(_padded(n_rows) * n_columns, dtype=np.float32)
    strips = torch.from_numpy(numbers).view(-1, n_columns, STRIP)
    wide = F.pad(weight.detach().float(), (0, 0, 0, _padded(n_rows) - n_rows))
    strips.copy_(wide.view(-1, STRIP, n_columns).transpose(1, 2))
    return DenseMatrix(numbers, n_rows, n_columns)


class _Arena:
    """Memory for all packed matrices of a model, on large pages."""

    def __init__(self, model: Transformer) -> None:
        shapes = [part.weight.shape for part in model.modules() if isinstance(part, nn.Linear)]
        self._floats = large_pages(sum(4 * _padded(rows) * columns for rows, columns in shapes)).view(np.float32)
        self._at = 0

    def pack(self, linear: Any, release: bool) -> DenseMatrix:
        """A matrix [N, K] in its place; rows are filled up with zeros."""
        weight = linear.weight.detach()
        n_rows, n_columns = weight.shape
        size = _padded(n_rows) * n_columns
        place = self._floats[self._at : self._at + size]
        self._at += size
        strips = torch.from_numpy(place).view(-1, n_columns, STRIP)
        n_whole = n_rows // STRIP
        strips[:n_whole] = weight[: n_whole * STRIP].view(n_whole, STRIP, n_columns).transpose(1, 2)
        if n_whole < len(strips):
            strips[n_whole, :, : n_rows - n_whole * STRIP] = weight[n_whole * STRIP :].T
        if release:
            linear.weight = None
        return DenseMatrix(place, n_rows, n_columns)


class _Room(threading.local):
    """Memory that every block of a model uses in turn, kept: new pages cost more than the work on them."""

    def __init__(self) -> None:
        self._room, self._qkv = torch.empty(0), torch.empty(0)

    def of(self, n_room: int, n_qkv: int) -> tuple[int, Tensor]:
        """The address of room for so many floats, and a tensor of `n_qkv`."""
        if len(self._room) < n_room:
            self._room = torch.empty(n_room)
        if len(self._qkv) < n_qkv:
            self._qkv = torch.empty(n_qkv)
        return self._room.data_ptr(), self._qkv[:n_qkv]


def _padded(n_rows: int) -> int:
    return -(-n_rows // STRIP) * STRIP
