"""Memory for weights: anonymous pages of two megabytes where the system gives them, which decode reads faster.

Measured (research of this project and docs/benchmarks.md): the same kernel reads 18-25 GB/s on pages of 4 KB and 26-29
on large ones, and a map of a file gets only small ones.
"""

import contextlib
import mmap

import numpy as np

ALIGNMENT = 1 << 21


def large_pages(n_bytes: int) -> np.ndarray:
    """uint8 [n_bytes], zero, on large pages if the system agrees."""
    size = -(-max(n_bytes, 1) // ALIGNMENT) * ALIGNMENT
    area = mmap.mmap(-1, size + ALIGNMENT)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them: small pages serve
            area.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(area, dtype=np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + n_bytes]
