"""The kernels equal the integer reference bit for bit, with every instruction set this machine has."""

import os
import subprocess
import sys
import threading
from ctypes import addressof
from pathlib import Path

import numpy as np
import pytest

from phidelity.kernels import build, layout
from phidelity.kernels.attention import Cache, Span, attend
from phidelity.kernels.library import Library, Matrix, activation_bytes, kernels

SHAPES = ((16, 128, 1), (19, 96, 3), (200, 1184, 13), (64, 2304, 30), (5, 128, 5))
"""Rows, columns, tokens: whole blocks, rows and columns that fill none, several stretches, one more than a call's."""
LOGGED = "import logging; logging.basicConfig(); from phidelity.kernels.library import kernels\n"


def q4_parts(rng: np.random.Generator, n_rows: int, n_columns: int) -> layout.Quantised:
    q = rng.integers(0, 16, (n_rows, n_columns), dtype=np.uint8)
    s, m = rng.integers(0, 256, (2, n_rows, n_columns // 32), dtype=np.uint8)
    D, M = rng.standard_normal((2, n_rows)).astype(np.float32)
    return layout.Quantised(q, s, m, D, M)


def q8_parts(rng: np.random.Generator, n_rows: int, n_columns: int) -> layout.Quantised:
    q = rng.integers(-128, 128, (n_rows, n_columns)).astype(np.int8)
    s = rng.integers(0, 256, (n_rows, n_columns // 32), dtype=np.uint8)
    return layout.Quantised(q, s, None, rng.standard_normal(n_rows).astype(np.float32), None)


def pack(w: layout.Quantised) -> np.ndarray:
    return layout.pack_q8(w.q, w.s, w.D) if w.m is None or w.M is None else layout.pack_q4(w.q, w.s, w.m, w.D, w.M)


def rounded(library: Library, x: np.ndarray) -> np.ndarray:
    room = np.full(activation_bytes(*x.shape), 0xAA, dtype=np.uint8)
    library.call.phi_quantise(x.ctypes.data, len(x), x.shape[1], room.ctypes.data)
    return room


def multiplied(library: Library, w: layout.Quantised, x: np.ndarray) -> np.ndarray:
    matrix = Matrix("q8" if w.m is None else "q4", pack(w), *w.q.shape)
    room, y = rounded(library, x), np.full((len(x), len(w.q)), np.nan, dtype=np.float32)
    library.call.phi_matmul(addressof(matrix), room.ctypes.data, len(x), y.ctypes.data, len(w.q), 0)
    return y


@pytest.mark.parametrize("make", [q4_parts, q8_parts])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_equal_the_integer_reference_bit_for_bit(library, isa, make, shape):
    n_rows, n_columns, n_tokens = shape
    rng = np.random.default_rng(n_rows)
    w, x = make(rng, n_rows, n_columns), rng.standard_normal((n_tokens, n_columns)).astype(np.float32)
    assert np.array_equal(multiplied(library, w, x), layout.product(w, layout.quantise(x)))


@pytest.mark.parametrize("make", [q4_parts, q8_parts])
@pytest.mark.parametrize("sign", [1, -1, 0])
def test_the_largest_sums_do_not_overflow(library, isa, make, sign):
    rng = np.random.default_rng(1)
    w = make(rng, 32, 256)
    w.q[:16] = w.q.max()
    w.q[16:] = -128 if w.m is None else 15
    w.s[:] = 255
    x = np.full((5, 256), sign, np.float32) if sign else rng.choice([-1, 1], (5, 256)).astype(np.float32)
    assert np.array_equal(multiplied(library, w, x), layout.product(w, layout.quantise(x)))


def test_a_token_has_the_same_bits_in_every_batch(library, isa):
    rng = np.random.default_rng(2)
    w, x = q4_parts(rng, 48, 2304), rng.standard_normal((40, 2304)).astype(np.float32)
    together = multiplied(library, w, x)
    for n in (*range(1, 13), 17):
        assert np.array_equal(multiplied(library, w, x[:n]), together[:n])


def test_tokens_are_rounded_as_the_reference_says(library, isa):
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((8, 160)) * np.logspace(-44, 30, 8)[:, None]).astype(np.float32)
    x[1], x[2, :32], x[3, 5], x[4, 140] = 0, np.arange(32) / 2, np.nan, np.inf
    x[5, :32], x[6], x[7, 32:] = 1, -3.5, rng.uniform(0.5, 1, 128)  # too much of a size
    room, expected = rounded(library, x), layout.quantise(x)
    scales, sums = room[8 * 256 :][: 8 * 2 * 4], room[8 * 256 + 8 * 2 * 4 :]
    assert np.array_equal(room[: 8 * 256].view(np.int8).reshape(8, 256), expected.a)
    assert np.array_equal(scales.view(np.float32).reshape(8, 2), expected.t, equal_nan=True)
    assert np.array_equal(sums.view(np.int16).reshape(8, 8), expected.total)
    assert not expected.a[:, 160:].any()


@pytest.mark.parametrize("value", [0.5, 0.75, 0.9999, 1])
def test_the_magnitudes_of_a_group_stay_within_what_16_bits_hold(library, value):
    x = np.full((4, 128), value, np.float32)
    x[:, 3] = 1
    x[1:] *= np.random.default_rng(8).choice([-1, 1], (3, 128))
    a = rounded(library, x)[: 4 * 128].view(np.int8).astype(int).reshape(4, 4, 32)
    assert (np.abs(a).sum(-1) <= layout.MOST_SIZE).all()
    assert np.abs(a).sum(-1).max() > layout.MOST_SIZE - 90, "no more is given away than needed"
    t = layout.quantise(x).t
    assert (np.abs(a.reshape(4, 128) * t - x) <= t * 0.5001).all()


def test_what_is_not_finite_stays_visible(library, isa):
    w, x = q4_parts(np.random.default_rng(4), 16, 128), np.ones((2, 128), np.float32)
    x[1, 3] = np.inf
    y = multiplied(library, w, x)
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("make", [q4_parts, q8_parts])
@pytest.mark.parametrize("shape", [(16, 128), (19, 96), (33, 288)])
def test_unpacking_gives_back_what_was_packed(make, shape):
    w = make(np.random.default_rng(5), *shape)
    kind = "q8" if w.m is None else "q4"
    packed = pack(w)
    assert len(packed) == layout.n_bytes(kind, *shape)
    for part, original in zip(layout.unpack(kind, packed, *shape), w, strict=True):
        assert np.array_equal(part, original) if original is not None else part is None


def test_a_packed_byte_stands_where_the_layout_says():
    w = q4_parts(np.random.default_rng(6), 35, 384)
    blocks = pack(w)[: 3 * 3 * 1152].reshape(3, 3, 1152)
    for row, column in ((0, 0), (34, 383), (17, 133)):
        block, g, k, r = blocks[row // 16, column // 128], column % 128 // 32, column % 32, row % 16
        byte = block[256 * g + 64 * (k // 8) + 4 * r + k % 4]
        assert (byte >> 4 if k % 8 >= 4 else byte & 15) == w.q[row, column]
        assert block[1024 + 16 * g + r] == w.s[row, column // 32]
        assert block[1088 + 16 * g + r] == w.m[row, column // 32]


def test_fma_rounds_once():
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((2, 2000)).astype(np.float32)
    c = (-(a.astype(np.float64) * b)).astype(np.float32)  # cancels to what one rounding leaves
    assert np.array_equal(layout.fma(a, b, c), (a.astype(np.float64) * b + c).astype(np.float32))
    assert layout.fma(np.float32(1 + 2**-23), np.float32(1 + 2**-23), np.float32(2**-25)) == np.float32(1 + 2**-22)


def test_every_task_of_the_pool_runs_once_from_many_callers(library):
    library.set_threads(3)
    cells = np.zeros((4, 50), dtype=np.int64)
    callers = [threading.Thread(target=library.call.phi_pool_count, args=(row.ctypes.data, 50, 400)) for row in cells]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert np.array_equal(cells, np.tile(400 * np.arange(50), (4, 1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own(library):
    program = (
        "import os, numpy as np; from phidelity.kernels.library import kernels\n"
        "lib = kernels(); lib.set_threads(2); cells = np.zeros(9, dtype=np.int64)\n"
        "lib.call.phi_pool_count(cells.ctypes.data, 9, 10); child = os.fork()\n"
        "lib.call.phi_pool_count(cells.ctypes.data, 9, 10)\n"
        "assert (cells == 20 * np.arange(9)).all()\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_compiler_that_fails_is_named_with_its_complaint(tmp_path: Path):
    bad = tmp_path / "cc"
    bad.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo bad && exit 0\necho 'x.c:1: error: no such luck' >&2; exit 1\n"
    )
    bad.chmod(0o755)
    with pytest.raises(build.BuildError, match="no such luck"):
        build.library(tmp_path / "cache", compiler=str(bad))
    assert not list((tmp_path / "cache").glob("*.so"))
    with pytest.raises(build.BuildError, match="did not run"):
        build.library(tmp_path / "cache", compiler=str(tmp_path / "absent"))


@pytest.mark.parametrize(("variable", "value", "said"), [("PATH", "", "no C compiler"), ("PHI_KERNELS", "none", "")])
def test_without_kernels_torch_serves_and_one_line_says_why(tmp_path: Path, variable, value, said):
    program = f"{LOGGED}assert kernels() is kernels() is None"
    environment = {**os.environ, "PHI_KERNELS_CACHE": str(tmp_path), "PHI_KERNELS": "", variable: value}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == (1 if said else 0)
    assert said in done.stderr


def test_a_processor_without_avx2_is_served_by_portable_code_and_told_so(library, monkeypatch, caplog):
    choose, before = Library.choose, library.isa
    monkeypatch.delenv("PHI_KERNELS", raising=False)
    monkeypatch.setattr(Library, "choose", lambda self, isa: choose(self, isa or "portable"))
    found = kernels.__wrapped__()
    assert found is not None
    assert found.isa == "portable"
    assert caplog.messages == ["This processor has no AVX2: portable kernels serve, several times slower."]
    assert choose(found, before) == before, "all tests share what is loaded"


def test_an_unwritable_cache_is_said_and_kernels_serve(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    program = (
        "import logging; logging.basicConfig(); from phidelity.kernels.library import kernels\nassert kernels().isa"
    )
    environment = {**os.environ, "PHI_KERNELS_CACHE": str(blocked / "cache")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stderr


def exact_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, start: int) -> np.ndarray:
    """[T, H, D], [L, K, D], [L, K, D] -> [T, H, D] in float64, the first query at position `start`."""
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1).astype(np.float64) for x in (k, v))
    scores = np.einsum("thd,lhd->htl", q.astype(np.float64), k) / np.sqrt(q.shape[2])
    scores[:, np.arange(len(k)) > (start + np.arange(len(q)))[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("htl,lhd->thd", weights / weights.sum(-1, keepdims=True), v)


class Scene:
    """A sequence of `start` + `n` tokens in blocks that lie anywhere, and the queries of its last `n`."""

    def __init__(self, library: Library, *, n: int, start: int, heads: tuple[int, int, int], as_bytes: bool) -> None:
        n_heads, self.n_kv_heads, head_dim = heads
        rng, length = np.random.default_rng(n), start + n
        self.library, self.start = library, start
        self.q = rng.standard_normal((n, n_heads, head_dim)).astype(np.float32)
        self.k, self.v = rng.standard_normal((2, length, self.n_kv_heads, head_dim)).astype(np.float32)
        self.table = rng.permutation(length // 32 + 4)[: -(-length // 32)].astype(np.int64)
        self.cache = Cache.empty(length // 32 + 4, self.n_kv_heads, head_dim, as_bytes=as_bytes)
        at = np.arange(length)
        cells = self.table[at // 32] * 32 + at % 32
        self.cache.store(library, self.k.ctypes.data, self.v.ctypes.data, self.n_kv_heads * head_dim, cells)

    def attend(self, *pieces: int) -> np.ndarray:
        """The queries' results, computed in pieces of these lengths."""
        y, first, stride = np.full_like(self.q, np.nan), 0, self.q[0].size
        for n in pieces:
            span = Span(first, n, self.start + first, self.table)
            attend(self.library, self.cache, self.q.ctypes.data, stride, y.ctypes.data, stride, self.q.shape[1], [span])
            first += n
        return y


@pytest.mark.parametrize("heads", [(8, 2, 128), (4, 4, 16), (6, 2, 48)])
@pytest.mark.parametrize(("n", "start"), [(1, 70), (40, 33), (5, 0), (19, 109)])
@pytest.mark.parametrize(("as_bytes", "error"), [(False, 3e-6), (True, 0.03)])
def test_attention_is_that_of_its_definition(library, isa, heads, n, start, as_bytes, error):
    scene = Scene(library, n=n, start=start, heads=heads, as_bytes=as_bytes)
    assert np.abs(scene.attend(n) - exact_attention(scene.q, scene.k, scene.v, start)).max() < error


@pytest.mark.parametrize("as_bytes", [False, True])
def test_attention_has_the_same_bits_however_a_prompt_is_cut(library, isa, as_bytes):
    scene = Scene(library, n=37, start=50, heads=(8, 2, 128), as_bytes=as_bytes)
    whole = scene.attend(37)
    assert np.array_equal(whole, scene.attend(*[1] * 37))
    assert np.array_equal(whole, scene.attend(20, 17))


def test_a_stored_byte_is_within_half_a_step_of_its_value(library, isa):
    scene = Scene(library, n=1, start=31, heads=(2, 2, 16), as_bytes=True)
    data, scales = scene.cache.arrays
    keys, values = data[scene.table[0]].astype(np.float32)
    key_scales, value_scales = scales[scene.table[0]]
    keys = keys.reshape(2, 16, 32).swapaxes(1, 2) * key_scales[..., None]
    assert (np.abs(keys - scene.k.swapaxes(0, 1)) <= key_scales[..., None] * 0.5001).all()
    assert (np.abs(values * value_scales[..., None] - scene.v.swapaxes(0, 1)) <= value_scales[..., None] * 0.5001).all()
