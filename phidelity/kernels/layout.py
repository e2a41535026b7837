"""How quantised matrices lie in memory, and the products that the kernels must equal bit for bit. numpy alone.

A matrix [R, C] is cut into groups of 32 columns of one row. q4 holds w = D[r] s[r,g] q - M[r] m[r,g] with q in 0..15
and s, m in 0..255; q8 holds w = D[r] s[r,g] q with q in -128..127. Rows are filled up to a multiple of 16 and columns
to a multiple of 128, with zeros throughout; what is filled in is never seen outside. A *block* is 16 rows by 128
columns, two eights of rows side by side: an AVX2 register holds 4 columns of 8 rows, an AVX-512 register 4 of 16, and
every 32-bit lane belongs to one row. Blocks lie strip by strip (all columns of 16 rows), then D, then M (q4 only),
as float32 for all filled-up rows. Blocks are whole cache lines: 18 for q4 (4.5 bits a weight), 33 for q8 (8.25).

Within a q4 block byte 256 g + 64 j + 4 r + b holds column 32 g + 8 j + b of row r in its low nibble and column
32 g + 8 j + 4 + b in its high one (g, j, b < 4; r < 16); s[g, r] follows at byte 1024 + 16 g + r, m[g, r] at
1088 + 16 g + r. Within a q8 block byte 512 g + 64 j + 4 r + b holds column 32 g + 4 j + b (j < 8), and s[g, r]
follows at byte 2048 + 16 g + r.

Activations are rounded to signed bytes a by blocks of 128 columns with a float scale t = max|x| / 127, or a larger one
where |a| of a group would add up to more than MOST_SIZE, so that 15 sum|a| fits 16 bits. The product of a row is, block
after block, acc = fma(float(sum(s sum(q a))), t, acc) and low = fma(float(sum(m sum(a))), t, low), the outer sums over
the four groups; then y = fma(D, acc, -(M * low)). The sums are exact integers, every other step rounds to float32
once: so the result is a function of the row and the token alone, on every processor and in every batch.
"""

from typing import Literal, NamedTuple

import numpy as np

GROUP = 32
"""Columns that share a scale."""
ROWS = 16
"""Rows of a block."""
COLUMNS = 128
"""Columns of a block."""
MOST_SIZE = 2184
"""What the magnitudes of a rounded group add up to at most: 32,767 / 15."""
BLOCK_BYTES = {"q4": 1152, "q8": 2112}

Kind = Literal["q4", "q8"]


class Quantised(NamedTuple):
    """A matrix in parts: q uint8 or int8 [R, C], s, m uint8 [R, C / 32], D, M float32 [R]; q8 has no m and M."""

    q: np.ndarray
    s: np.ndarray
    m: np.ndarray | None
    D: np.ndarray
    M: np.ndarray | None

    def dequantise(self) -> np.ndarray:
        """The weights, float32 [R, C]."""
        scaled = self.q.astype(np.float32) * np.repeat(self.D[:, None] * self.s, GROUP, axis=1)
        if self.m is None or self.M is None:
            return scaled
        return scaled - np.repeat(self.M[:, None] * self.m, GROUP, axis=1)


class Activations(NamedTuple):
    """Tokens [T, C] rounded, C filled up to whole blocks: a int8 [T, C], t float32 [T, C / 128], total int32
    [T, C / 32] (the sum of a)."""

    a: np.ndarray
    t: np.ndarray
    total: np.ndarray


def padded(n_rows: int, n_columns: int) -> tuple[int, int]:
    """What rows and columns are filled up to."""
    return -(-n_rows // ROWS) * ROWS, -(-n_columns // COLUMNS) * COLUMNS


def n_bytes(kind: Kind, n_rows: int, n_columns: int) -> int:
    """Bytes of a packed matrix, its row scales included."""
    rows, columns = padded(n_rows, n_columns)
    return rows // ROWS * (columns // COLUMNS) * BLOCK_BYTES[kind] + rows * (8 if kind == "q4" else 4)


def pack_q4(q: np.ndarray, s: np.ndarray, m: np.ndarray, D: np.ndarray, M: np.ndarray) -> np.ndarray:
    """Parts (see `Quantised`; C divisible by 32) -> uint8 [n_bytes] in kernel order."""
    assert q.dtype == s.dtype == m.dtype == np.uint8
    nibbles = _strips(q, 4, 4, 2, 4)  # [strip, block, g, j, half, b, r]
    bytes_ = (nibbles[:, :, :, :, 0] | nibbles[:, :, :, :, 1] << 4).swapaxes(-1, -2)
    parts = [_flat(bytes_), _flat(_strips(s, 4)), _flat(_strips(m, 4))]
    return _joined(np.concatenate(parts, axis=2), D, M)


def pack_q8(q: np.ndarray, s: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Parts (see `Quantised`; C divisible by 32) -> uint8 [n_bytes] in kernel order."""
    assert q.dtype == np.int8
    assert s.dtype == np.uint8
    bytes_ = _strips(q.view(np.uint8), 4, 8, 4).swapaxes(-1, -2)  # [strip, block, g, j, r, b]
    return _joined(np.concatenate([_flat(bytes_), _flat(_strips(s, 4))], axis=2), D)


def unpack(kind: Kind, data: np.ndarray, n_rows: int, n_columns: int) -> Quantised:
    """The inverse of `pack_q4` and `pack_q8`."""
    rows, columns = padded(n_rows, n_columns)
    n_groups, end = -(-n_columns // GROUP), rows // ROWS * (columns // COLUMNS) * BLOCK_BYTES[kind]
    blocks = data[:end].reshape(rows // ROWS, columns // COLUMNS, BLOCK_BYTES[kind])
    supers = data[end:].view(np.float32).reshape(-1, rows)[:, :n_rows]
    at = 1024 if kind == "q4" else 2048
    s = _matrix(blocks[:, :, at : at + 64], 4)[:n_rows, :n_groups]
    if kind == "q8":
        q = _matrix(blocks[:, :, :at], 4, 8, last=4).view(np.int8)
        return Quantised(q[:n_rows, :n_columns], s, None, supers[0], None)
    bytes_ = blocks[:, :, :at].reshape(*blocks.shape[:2], 4, 4, 1, ROWS, 4)
    nibbles = np.concatenate((bytes_ & 15, bytes_ >> 4), axis=4)
    q = _matrix(nibbles, 4, 4, 2, last=4)[:n_rows, :n_columns]
    m = _matrix(blocks[:, :, at + 64 :], 4)[:n_rows, :n_groups]
    return Quantised(q, s, m, supers[0], supers[1])


def quantise(x: np.ndarray) -> Activations:
    """Round tokens, float32 [T, C] with C divisible by 32; a block with NaN or infinity has a NaN scale."""
    blocks = np.zeros((len(x), padded(1, x.shape[1])[1]), dtype=np.float32)
    blocks[:, : x.shape[1]] = x
    blocks = blocks.reshape(len(x), -1, COLUMNS)
    largest = np.abs(blocks).max(-1)
    is_finite = np.isfinite(largest)
    blocks = np.where(is_finite[..., None], blocks, np.float32(0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = np.where(is_finite & (largest > 0), np.float32(127) / largest, np.float32(0))
        inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))
        t = np.where(is_finite, largest / np.float32(127), np.float32(np.nan))
    most = np.abs(_rounded(blocks, inverse)).sum(-1).max(-1)
    wider = np.where(most > MOST_SIZE, most.astype(np.float32) / np.float32(MOST_SIZE - 40), np.float32(1))
    a = _rounded(blocks, inverse / wider)
    return Activations(a.reshape(len(x), -1).astype(np.int8), t * wider, a.sum(-1).reshape(len(x), -1))


def _rounded(blocks: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """[T, B, 128], [T, B] -> int32 [T, B, 4, 32]."""
    return np.rint(blocks * inverse[..., None]).astype(np.int32).reshape(*inverse.shape, -1, GROUP)


def product(w: Quantised, x: Activations) -> np.ndarray:
    """What the kernels must give, bit for bit: float32 [T, R]."""
    n_groups = w.s.shape[1]
    a, q = (part.astype(np.int64).reshape(len(part), -1, GROUP) for part in (x.a[:, : w.q.shape[1]], w.q))
    sums = np.einsum("tgk,rgk->tgr", a, q) * w.s.T.astype(np.int64)
    lows = x.total[:, :n_groups, None] * (np.zeros_like(w.s) if w.m is None else w.m).T.astype(np.int64)
    acc = low = np.zeros((len(x.a), len(w.q)), dtype=np.float32)
    for block, first in enumerate(range(0, n_groups, COLUMNS // GROUP)):
        groups, t = slice(first, first + COLUMNS // GROUP), x.t[:, block, None]
        acc = fma(sums[:, groups].sum(1).astype(np.float32), t, acc)
        low = fma(lows[:, groups].sum(1).astype(np.float32), t, low)
    return fma(w.D[None], acc, -(w.M * low)) if w.M is not None else w.D * acc


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of float32 rounded once: in float64 to odd, from where rounding to float32 is exact."""
    exact, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = exact + c
    part = total - exact
    error = (exact - (total - part)) + (c - part)
    bits = total.view(np.int64) if total.ndim else np.asarray(total).view(np.int64)
    is_even = (error != 0) & np.isfinite(total) & (bits & 1 == 0)
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(is_even, odd, total).astype(np.float32)


def _strips(part: np.ndarray, *inner: int) -> np.ndarray:
    """[R, C'] -> [strip, block, *inner, r]: filled up, the columns of a block split as `inner` says."""
    per_block = int(np.prod(inner))
    rows, blocks = -(-len(part) // ROWS), -(-part.shape[1] // per_block)
    filled = np.zeros((rows * ROWS, blocks * per_block), dtype=part.dtype)
    filled[: part.shape[0], : part.shape[1]] = part
    return np.moveaxis(filled.reshape(rows, ROWS, blocks, *inner), 1, -1)


def _flat(part: np.ndarray) -> np.ndarray:
    return part.reshape(*part.shape[:2], -1)


def _joined(blocks: np.ndarray, *supers: np.ndarray) -> np.ndarray:
    filled = np.zeros((len(supers), len(blocks) * ROWS), dtype=np.float32)
    for row, values in zip(filled, supers, strict=True):
        row[: len(values)] = values
    return np.concatenate((blocks.reshape(-1), filled.view(np.uint8).reshape(-1)))


def _matrix(part: np.ndarray, *inner: int, last: int = 1) -> np.ndarray:
    """The inverse of `_strips` for bytes ordered [strip, block, *inner, r, last] -> [R, C']."""
    split = part.reshape(*part.shape[:2], *inner, ROWS, last)
    rows_first = np.moveaxis(split, -2, 1)
    return np.ascontiguousarray(rows_first).reshape(part.shape[0] * ROWS, -1)
