"""The compiled kernels as Python calls them, by ctypes: pointers to numpy memory or to torch's, no torch ABI.

`kernels()` is asked wherever a kernel could serve; None means that none can, and says why once in the log. Choose with
the environment: PHI_KERNELS is an instruction set (`avx512`, `avx2`, `portable`) or `none`; PHI_KERNELS_CACHE is the
folder of the compiled library (default: `phidelity` in the user's cache). A call releases the interpreter's lock.
"""

import ctypes
import functools
import logging
import os
import tempfile
from pathlib import Path

import numpy as np

from phidelity.config import UserError
from phidelity.kernels.build import BuildError, library
from phidelity.kernels.layout import COLUMNS, GROUP, Kind, n_bytes, padded

ISAS = ("avx512", "avx2", "portable")
logger = logging.getLogger(__name__)

Pointer = int
"""An address, as `array.ctypes.data` or `tensor.data_ptr()` gives it."""

_P, _I, _L, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_float
SIGNATURES: dict[str, tuple[object, ...]] = {
    "phi_set_threads": (_I,),
    "phi_pool_count": (_P, _I, _I),
    "phi_quantise": (_P, _I, _L, _P),
    "phi_norm_quantise": (_P, _P, _F, _I, _L, _P),
    "phi_swiglu_quantise": (_P, _I, _L, _P),
    "phi_matmul": (_P, _P, _I, _P, _L, _I),
    "phi_take": (_P, _P, _I, _P),
    "phi_dequantise": (_P, _L, _L, _P),
    "phi_attend": (_P, _P, _L, _P, _L, _I, _P, _I),
    "phi_store": (_P, _P, _P, _L, _P, _I),
    "phi_block_qkv": (_P, _I, _P, _F, _P, _P, _P, _I, _I, _P, _P),
    "phi_block_rest": (_P, _I, _P, _P, _P, _F, _P, _P, _P, _P),
    "phi_dense_norm": (_P, _I, _P, _F, _L, _P),
    "phi_dense_product": (_P, _P, _I, _P, _L, _I),
    "phi_dense_qkv": (_P, _I, _P, _F, _P, _P, _P, _I, _I, _P, _P),
    "phi_dense_rest": (_P, _I, _P, _P, _P, _F, _P, _P, _P),
    "phi_dense_attend": (_P, _P, _P, _L, _P, _P, _I, _I, _I, _I, _P),
    "phi_dense_best": (_P, _I, _L, _L, _P, _P),
}
"""Functions that return nothing, with their arguments (see csrc/phi.h)."""


class Matrix(ctypes.Structure):
    """`struct phi_matrix`: a packed matrix; keeps its bytes alive."""

    _fields_ = (("data", _P), ("kind", ctypes.c_int32), ("rows", ctypes.c_int32), ("columns", ctypes.c_int32))

    def __init__(self, kind: Kind, data: np.ndarray, n_rows: int, n_columns: int) -> None:
        assert data.dtype == np.uint8
        assert data.flags.c_contiguous
        assert len(data) == n_bytes(kind, n_rows, n_columns)
        super().__init__(data.ctypes.data, 0 if kind == "q4" else 1, n_rows, n_columns)
        self.bytes = data
        self.name: Kind = kind


class DenseMatrix(ctypes.Structure):
    """`struct phi_dense`: float32 [rows, columns] packed as [rows / 32, columns, 32]; keeps its numbers alive."""

    _fields_ = (("data", _P), ("rows", ctypes.c_int32), ("columns", ctypes.c_int32))

    def __init__(self, data: np.ndarray, n_rows: int, n_columns: int) -> None:
        assert data.dtype == np.float32
        assert data.flags.c_contiguous
        assert len(data) == -(-n_rows // 32) * 32 * n_columns
        super().__init__(data.ctypes.data, n_rows, n_columns)
        self.numbers = data
        self.at = ctypes.addressof(self)


class Library:
    """The loaded library; `call` holds its functions, and `isa` says which instruction set serves."""

    def __init__(self, path: Path, isa: str = "") -> None:
        self.call = ctypes.CDLL(str(path))
        for name, arguments in SIGNATURES.items():
            function = getattr(self.call, name)
            function.argtypes, function.restype = arguments, None
        self.call.phi_choose.restype = ctypes.c_char_p
        self.call.phi_read.argtypes, self.call.phi_read.restype = (_P, _L), ctypes.c_uint64
        self.isa = self.choose(isa)
        self.set_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

    def choose(self, isa: str) -> str:
        """Serve with this instruction set, or the best for ""."""
        found = self.call.phi_choose(isa.encode())
        if found is None:
            raise UserError(f"Kernels for {isa} were asked for; this processor lacks it. Choose another of {ISAS}.")
        self.isa = found.decode()
        return self.isa

    def set_threads(self, n: int) -> None:
        """How many threads share a call, the caller's included; idle ones sleep."""
        self.n_threads = n
        self.call.phi_set_threads(n)


def activation_bytes(n_tokens: int, n_columns: int) -> int:
    """Room that rounded tokens take."""
    columns = padded(1, n_columns)[1]
    return n_tokens * (columns + columns // COLUMNS * 4 + columns // GROUP * 2)


def default_cache() -> Path:
    """Where compiled libraries are kept."""
    if given := os.environ.get("PHI_KERNELS_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phidelity" / "kernels"


@functools.cache
def kernels() -> Library | None:
    """The library, compiled on first use; None, with one line in the log, where torch has to serve instead."""
    isa = os.environ.get("PHI_KERNELS", "")
    if isa == "none":
        return None
    if isa not in ("", *ISAS):
        raise UserError(f"PHI_KERNELS is {isa!r}; expected one of {', '.join(ISAS)} or none.")
    try:
        loaded = Library(_compiled(), isa)
    except (BuildError, OSError) as error:
        logger.warning(
            "Kernels are not compiled: %s. torch serves instead, many times slower on quantised models.", error
        )
        return None
    if loaded.isa == "portable" and not isa:
        logger.warning("This processor has no AVX2: portable kernels serve, several times slower.")
    return loaded


def _compiled() -> Path:
    """From the cache; where that cannot be written, compiled for this process alone."""
    cache = default_cache()
    try:
        return library(cache)
    except OSError as error:
        logger.warning("%s cannot be written (%s): kernels are compiled anew at each start.", cache, error.strerror)
        return library(Path(tempfile.mkdtemp(prefix="phidelity-kernels-")))
