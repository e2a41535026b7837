"""Memory for weights: a file's own pages, or anonymous ones; of two megabytes where the system gives them.

A map costs no copy, and no second gigabyte where the file is in the page cache already: a start is as fast as its bytes
can be summed. Linux keeps files that were written or read in large pieces on large pages (ext4 since 6.16, XFS since
5.18) and maps these as they are; elsewhere pages are small. What that costs is measured in docs/benchmarks.md.
"""

import contextlib
import mmap
from pathlib import Path

import numpy as np

ALIGNMENT = 1 << 21


def mapped_file(path: Path) -> np.ndarray:
    """uint8 [size of the file], read-only: the file itself, which nobody may shorten while it is in use."""
    with open(path, "rb") as file:
        area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _ask_for_large_pages(area)
    return np.frombuffer(area, dtype=np.uint8)


def large_pages(n_bytes: int) -> np.ndarray:
    """uint8 [n_bytes], zero, on large pages if the system agrees."""
    size = -(-max(n_bytes, 1) // ALIGNMENT) * ALIGNMENT
    area = mmap.mmap(-1, size + ALIGNMENT)
    _ask_for_large_pages(area)
    whole = np.frombuffer(area, dtype=np.uint8)
    start = -whole.ctypes.data % ALIGNMENT
    return whole[start : start + n_bytes]


def _ask_for_large_pages(area: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them: small pages serve
            area.madvise(mmap.MADV_HUGEPAGE)
