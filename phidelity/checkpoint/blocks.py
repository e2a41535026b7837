"""The block formats of GGUF: how rows of weights rest as bytes, and how they become values and bytes again.

A row of `n` values is stored as n / `values` blocks of `bytes` bytes. Decoding is exact: every product of a block's
scale (11 bits of significand), its sub-scale (6 or 7 bits) and a quantised value (4 to 8 bits) fits fp32, so all
orders of evaluation agree. Encoding follows llama.cpp's reference rounding bit for bit: Q8_0 rounds halves away from
zero, Q4_0 adds 8.5 and truncates, with the sign of the first largest value; both divide by the scale before it
is rounded to fp16. Formats: ggml's `ggml-common.h` and `ggml-quants.c`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Bytes = np.ndarray
"""uint8 [blocks, bytes of a block], as stored."""
Values = np.ndarray
"""float32 [blocks, values of a block]."""


CHUNK = 96 * 256
"""Values that are worked on at once (*ours*). Temporaries stay in a core's cache, and below 32,768 torch does not share
work among threads, which spend their time waiting for each other where other work runs (15 times slower was seen)."""


class BlockFormat(NamedTuple):
    """One way to store values."""

    code: int
    """Its number in a GGUF file."""
    name: str
    values: int
    bytes: int
    dtype: torch.dtype
    """What reading gives: as stored, or float32 for the quantised formats."""
    decode: Callable[[Bytes], Values] | None = None
    """None where the bytes are the values."""


def decode(form: BlockFormat, raw: np.ndarray, n_columns: int) -> Tensor:
    """Stored bytes of whole rows, uint8, -> [rows, n_columns] in the format's dtype."""
    if form.decode is None:
        return torch.from_numpy(raw).view(form.dtype).view(-1, n_columns)
    blocks = raw.reshape(-1, form.bytes)
    values = np.empty((len(blocks), form.values), dtype=np.float32)
    step = CHUNK // form.values
    for at in range(0, len(blocks), step):
        values[at : at + step] = form.decode(blocks[at : at + step])
    return torch.from_numpy(values).view(-1, n_columns)


def encode(form: BlockFormat, x: Tensor) -> Tensor:
    """Values [R, C], C a multiple of the format's -> uint8 [R, bytes of a row]. Finite values only."""
    encoder = ENCODERS[form.name]
    blocks = x.reshape(-1, form.values)
    raw = torch.empty(len(blocks), form.bytes, dtype=torch.uint8)
    step = CHUNK // form.values
    for at in range(0, len(blocks), step):
        raw[at : at + step] = encoder(blocks[at : at + step])
    return raw.view(len(x), -1)


def _halves(raw: Bytes, start: int) -> Values:
    """The fp16 at byte `start` of each block, [blocks, 1] in fp32."""
    return np.ascontiguousarray(raw[:, start : start + 2]).view(np.float16).astype(np.float32)


def _q4_0(raw: Bytes) -> Values:
    low, high = raw[:, 2:] & 15, raw[:, 2:] >> 4
    return (np.hstack((low, high)).view(np.int8) - np.int8(8)) * _halves(raw, 0)


def _q8_0(raw: Bytes) -> Values:
    return raw[:, 2:].view(np.int8) * _halves(raw, 0)


def _scales_and_minima(raw: Bytes) -> tuple[np.ndarray, np.ndarray]:
    """The eight 6-bit scales and minima that K-formats pack into bytes 4 to 15: uint8 [blocks, 8] each."""
    a, b, c = raw[:, 4:8], raw[:, 8:12], raw[:, 12:16]
    scales = np.hstack((a & 63, (c & 15) | (a >> 6 << 4)))
    return scales, np.hstack((b & 63, (c >> 4) | (b >> 6 << 4)))


def _scaled(raw: Bytes, q: np.ndarray) -> Values:
    """scale * q - minimum for q [blocks, 8, 32]."""
    scales, minima = _scales_and_minima(raw)
    scales, minima = _halves(raw, 0) * scales, _halves(raw, 2) * minima
    return (q * scales[:, :, None] - minima[:, :, None]).reshape(len(raw), 256)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """[blocks, 4 * 32] -> [blocks, 8, 32]: the low halves of 32 bytes, then their high halves."""
    packed = packed.reshape(-1, 4, 1, 32)
    return np.concatenate((packed & 15, packed >> 4), axis=2).reshape(-1, 8, 32)


def _q4_k(raw: Bytes) -> Values:
    return _scaled(raw, _nibbles(raw[:, 16:]))


def _q5_k(raw: Bytes) -> Values:
    fifth = (raw[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    return _scaled(raw, _nibbles(raw[:, 48:]) | fifth << 4)


def _q6_k(raw: Bytes) -> Values:
    low = raw[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate((low & 15, low >> 4), axis=2).reshape(-1, 2, 4, 32)
    high = (raw[:, 128:192].reshape(-1, 2, 1, 32) >> np.arange(0, 8, 2, dtype=np.uint8)[:, None]) & 3
    q = (low | high << 4).view(np.int8) - np.int8(32)
    scales = _halves(raw, 208) * raw[:, 192:208].view(np.int8)
    return (q.reshape(-1, 16, 16) * scales[:, :, None]).reshape(len(raw), 256)


FORMATS = (
    BlockFormat(0, "F32", 1, 4, torch.float32),
    BlockFormat(1, "F16", 1, 2, torch.float16),
    BlockFormat(30, "BF16", 1, 2, torch.bfloat16),
    BlockFormat(2, "Q4_0", 32, 18, torch.float32, _q4_0),
    BlockFormat(8, "Q8_0", 32, 34, torch.float32, _q8_0),
    BlockFormat(12, "Q4_K", 256, 144, torch.float32, _q4_k),
    BlockFormat(13, "Q5_K", 256, 176, torch.float32, _q5_k),
    BlockFormat(14, "Q6_K", 256, 210, torch.float32, _q6_k),
)
"""All that is read."""
BY_CODE = {form.code: form for form in FORMATS}
BY_NAME = {form.name: form for form in FORMATS}


def _as(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda blocks: blocks.to(dtype).view(torch.uint8)


def _encode_q8_0(blocks: Tensor) -> Tensor:
    blocks = blocks.float()
    scale = blocks.abs().amax(1) / 127
    q = blocks * _inverse(scale)
    q += torch.copysign(_ALMOST_HALF, q)  # truncation then rounds halves away from zero
    return _packed(scale, q.to(torch.int8).view(torch.uint8))


def _encode_q4_0(blocks: Tensor) -> Tensor:
    blocks = blocks.float()
    low, high = blocks.amin(1), blocks.amax(1)
    extreme = torch.where(high > -low, high, low)
    if len(tied := (high == -low).nonzero().flatten()):
        extreme[tied] = _first_extreme(blocks[tied])
    scale = extreme / -8
    q = (blocks * _inverse(scale)).add_(8.5).clamp_(max=15).to(torch.uint8)
    return _packed(scale, q[:, :16] | q[:, 16:] << 4)


_ALMOST_HALF = torch.tensor(0.5).nextafter(torch.tensor(0.0))


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale as [blocks, 1]; 0 where it would not be finite (the scale is then stored as zero anyway)."""
    inverse = scale.reciprocal()
    return torch.where(inverse.isfinite(), inverse, 0.0)[:, None]


def _first_extreme(blocks: Tensor) -> Tensor:
    """The first of the values of largest magnitude of each block."""
    at = np.argmax(blocks.abs().numpy(), axis=1)
    return blocks[torch.arange(len(blocks)), torch.from_numpy(at)]


def _packed(scale: Tensor, q: Tensor) -> Tensor:
    return torch.cat((scale.half().view(torch.uint8).view(-1, 2), q), dim=1)


ENCODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "F32": _as(torch.float32),
    "F16": _as(torch.float16),
    "BF16": _as(torch.bfloat16),
    "Q8_0": _encode_q8_0,
    "Q4_0": _encode_q4_0,
}
"""All that is written: [blocks, values] -> uint8 [blocks, bytes]."""
