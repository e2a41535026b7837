"""A model of packed q4 and q8 matrices: Block, head and embedding with the signatures of transformer.py.

A block is two calls into the kernels around the attention that is passed in: norm, rounding, product and rotation
before it, everything else after it. Tokens are float32 between them. A token's result is a function of its row alone
(kernels/layout.py), so batch companions change no bit, at any number of rows. Where no kernels serve, the same
weights are dequantised matrix by matrix and torch multiplies: right, and slow.
"""

import threading
from collections.abc import Mapping
from ctypes import addressof
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phidelity.kernels.layout import Kind, unpack
from phidelity.kernels.library import Library, Matrix, activation_bytes, kernels
from phidelity.model.attention import Attend, Rotation
from phidelity.model.config import ModelConfig
from phidelity.model.fused import swiglu
from phidelity.model.layers import RMSNorm
from phidelity.model.transformer import Transformer


class Packed(NamedTuple):
    """A matrix [rows, columns] in kernel order: uint8, see kernels/layout.py; the memory is not copied."""

    kind: Kind
    data: np.ndarray
    shape: tuple[int, int]

    def dequantised(self) -> Tensor:
        """The weights, float32."""
        return torch.from_numpy(unpack(self.kind, self.data, *self.shape).dequantise())


class Room:
    """Memory for rounded tokens and hidden values that calls share, since new pages cost more than what fills them.

    Whoever computes holds the lock; the pool of threads could serve no second caller anyway.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._bytes = {"activations": torch.empty(0, dtype=torch.uint8), "hidden": torch.empty(0, dtype=torch.uint8)}

    def pointer(self, name: str, n_bytes: int) -> int:
        """Address of at least `n_bytes`, aligned to 64, good until the next call with this name."""
        if len(self._bytes[name]) < n_bytes + 64:
            self._bytes[name] = torch.empty(n_bytes + 64, dtype=torch.uint8)
        address = self._bytes[name].data_ptr()
        return address + -address % 64


ROOM = Room()


class QuantisedLinear(nn.Module):
    """x W^T."""

    weight: Tensor

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.packed = packed
        self.matrix = Matrix(packed.kind, packed.data, *packed.shape)
        self.register_buffer("weight", torch.empty(0, packed.shape[1]), persistent=False)
        """No rows: it tells type, place and width to whoever asks a model by its head."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows of the matrix, dequantised: float32 [stop - start, M]."""
        library = kernels()
        if library is None:
            return self.packed.dequantised()[start:stop]
        result = torch.empty(stop - start, self.packed.shape[1])
        library.call.phi_dequantise(self.address, start, stop - start, result.data_ptr())
        return result

    @property
    def address(self) -> int:
        """Of the kernels' description of the matrix."""
        return addressof(self.matrix)

    def forward(self, x: Tensor) -> Tensor:
        """[..., M] -> [..., R]."""
        library = kernels()
        if library is None:
            return F.linear(x, self.packed.dequantised())
        rows, columns = self.packed.shape
        x = x.contiguous()
        n = x.numel() // columns
        y = torch.empty(*x.shape[:-1], rows)
        with ROOM.lock:
            room = ROOM.pointer("activations", activation_bytes(n, columns))
            library.call.phi_quantise(x.data_ptr(), n, columns, room)
            library.call.phi_matmul(self.address, room, n, y.data_ptr(), rows, 0)
        return y


class QuantisedEmbedding(nn.Module):
    """Rows of a packed matrix."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.linear = QuantisedLinear(packed)
        self.register_buffer("weight", torch.empty(0, packed.shape[1]), persistent=False)
        """No rows: it tells type, place and width to whoever asks a model by its embedding."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids [...] -> float32 [..., M]."""
        library, packed = kernels(), self.linear.packed
        if library is None:
            return packed.dequantised()[tokens]
        assert tokens.numel() == 0 or 0 <= int(tokens.min()) <= int(tokens.max()) < packed.shape[0]
        ids, x = tokens.contiguous(), torch.empty(*tokens.shape, packed.shape[1])
        library.call.phi_take(self.linear.address, ids.data_ptr(), ids.numel(), x.data_ptr())
        return x


class QuantisedBlock(nn.Module):
    """The same function as `Block`, of rounded weights and tokens."""

    def __init__(self, config: ModelConfig, matrices: Mapping[str, Packed], norms: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        self.attention_norm, self.feed_forward_norm = RMSNorm(0, config.norm_eps), RMSNorm(0, config.norm_eps)
        for name in ("attention_norm", "feed_forward_norm"):
            getattr(self, name).weight = nn.Parameter(norms[f"{name}.weight"], requires_grad=False)
        self.qkv = QuantisedLinear(matrices["attention.qkv.weight"])
        self.out = QuantisedLinear(matrices["attention.out.weight"])
        self.gate_up = QuantisedLinear(matrices["feed_forward.gate_up.weight"])
        self.down = QuantisedLinear(matrices["feed_forward.down.weight"])

    def forward(self, x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M], float32."""
        c, library = self.config, kernels()
        before, after = (self._before, self._after) if library is None else (self._kernel_before, self._kernel_after)
        heads = before(x, rotation).view(*x.shape[:2], -1, c.head_dim).transpose(1, 2)  # [B, H + 2K, T, D]
        q, k, v = heads.split((c.n_heads, c.n_kv_heads, c.n_kv_heads), dim=1)
        y = attend(layer, q, k, v)
        return after(x, y.transpose(1, 2).flatten(2))

    def _kernel_before(self, x: Tensor, rotation: Rotation) -> Tensor:
        """[B, T, M] -> queries, keys and values, rotated, [B, T, (H + 2K) D]."""
        c, library = self.config, _serving()
        x, n = x.contiguous(), x.shape[0] * x.shape[1]
        cos, sin = (part.reshape(n, -1).contiguous() for part in rotation)
        qkv = torch.empty(*x.shape[:2], c.d_qkv)
        with ROOM.lock:
            room = ROOM.pointer("activations", activation_bytes(n, c.d_model))
            library.call.phi_block_qkv(
                x.data_ptr(), n, self.attention_norm.weight.data_ptr(), c.norm_eps, self.qkv.address,
                cos.data_ptr(), sin.data_ptr(), c.n_heads + c.n_kv_heads, c.head_dim, qkv.data_ptr(), room,
            )  # fmt: skip
        return qkv

    def _kernel_after(self, x: Tensor, y: Tensor) -> Tensor:
        c, library = self.config, _serving()
        x, y, n = x.clone(memory_format=torch.contiguous_format), y.contiguous(), x.shape[0] * x.shape[1]
        with ROOM.lock:
            room = ROOM.pointer("activations", activation_bytes(n, max(c.d_ff, c.d_model)))
            library.call.phi_block_rest(
                x.data_ptr(), n, y.data_ptr(), self.out.address, self.feed_forward_norm.weight.data_ptr(), c.norm_eps,
                self.gate_up.address, self.down.address, ROOM.pointer("hidden", 8 * n * c.d_ff), room,
            )  # fmt: skip
        return x

    def _before(self, x: Tensor, rotation: Rotation) -> Tensor:
        c = self.config
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (-1, c.head_dim)).transpose(1, 2)
        qk, v = heads.split((c.n_heads + c.n_kv_heads, c.n_kv_heads), dim=1)
        return torch.cat((rotation(qk), v), dim=1).transpose(1, 2).flatten(2)

    def _after(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.out(y)
        return x + self.down(swiglu(self.gate_up(self.feed_forward_norm(x))))


def quantised_model(config: ModelConfig, matrices: Mapping[str, Packed], norms: Mapping[str, Tensor]) -> Transformer:
    """A Transformer that reads packed matrices where they lie; names are those of its own parameters."""
    with torch.device("meta"):
        model = Transformer(config.model_copy(update={"n_layers": 1}))
    model.config = config
    model.embed = QuantisedEmbedding(matrices["embed.weight"])  # pyright: ignore[reportAttributeAccessIssue]
    model.head = QuantisedLinear(matrices["head.weight"])  # pyright: ignore[reportAttributeAccessIssue]
    model.norm.weight = nn.Parameter(norms["norm.weight"], requires_grad=False)
    model.blocks = nn.ModuleList(
        QuantisedBlock(config, _within(matrices, layer), _within(norms, layer)) for layer in range(config.n_layers)
    )
    return model.eval()


def _within(named: Mapping[str, object], layer: int) -> dict:
    start = f"blocks.{layer}."
    return {name.removeprefix(start): value for name, value in named.items() if name.startswith(start)}


def _serving() -> Library:
    library = kernels()
    assert library is not None
    return library
