"""Compile the C sources into a shared library that is kept in a cache.

Files named `*_avx2.c` and `*_avx512.c` are compiled for that instruction set alone, those of `EVERY` once for each, and
the rest plainly; which of them serve is decided when the library is loaded, so a library runs on any processor of its
kind. Its name is a hash of sources, flags and compiler: what stands in the cache is never stale and never rebuilt.
"""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
EVERY = {"rows.c": (), "dense.c": (), "attend.c": ("-ffp-contract=fast",)}
"""Files of plain loops, compiled once for each instruction set, with flags of their own."""
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O3", "-fPIC", "-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra")
INSTRUCTIONS = {
    "portable": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
    + ("-mprefer-vector-width=512",),
}  # fmt: skip
TIMEOUT = 120.0
"""Seconds that one file may take (*ours*)."""

logger = logging.getLogger(__name__)


class BuildError(Exception):
    """Why there is no library, in a sentence that can be shown."""


def library(cache: Path, *, compiler: str | None = None, flags: tuple[str, ...] = ()) -> Path:
    """Where the library is, compiled if need be. `BuildError`: no compiler that works; `OSError`: no cache to write."""
    compiler = compiler or find_compiler()
    target = cache / f"phi-{_key(compiler, flags)}.so"
    if target.exists():
        return target
    logger.info("Compiling the kernels, once for this machine (half a minute at most).")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as place:
        os.replace(_build(Path(place), compiler, flags), target)
    return target


def find_compiler() -> str:
    """The system's C compiler."""
    for name in COMPILERS:
        if found := shutil.which(name):
            return found
    raise BuildError(f"no C compiler was found (looked for {', '.join(COMPILERS)})")


def units() -> list[tuple[Path, str]]:
    """What is compiled: files, each with an instruction set."""
    names = list(INSTRUCTIONS) if platform.machine() in ("x86_64", "AMD64") else ["portable"]
    result = []
    for source in sorted(SOURCES.glob("*.c")):
        own = next((name for name in INSTRUCTIONS if source.stem.endswith(f"_{name}")), "portable")
        result += [(source, name) for name in (names if source.name in EVERY else (own,)) if name in names]
    return result


def _key(compiler: str, flags: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((FLAGS, INSTRUCTIONS, EVERY, flags, platform.machine())).encode())
    digest.update(_said(compiler, ["--version"]).encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def _build(place: Path, compiler: str, flags: tuple[str, ...]) -> Path:
    def compile_one(unit: tuple[Path, str]) -> str:
        source, name = unit
        target = place / f"{source.stem}-{name}.o"
        own = [*FLAGS, *INSTRUCTIONS[name], *EVERY.get(source.name, ()), f"-DISA={name}", *flags]
        _said(compiler, [*own, "-c", str(source), "-o", str(target)])
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, units()))
    built = place / "phi.so"
    _said(compiler, ["-shared", *flags, *objects, "-o", str(built), "-lm", "-lpthread"])
    return built


def _said(compiler: str, arguments: list[str]) -> str:
    """What the compiler prints; if it fails, the first line of its complaint is the reason."""
    try:
        done = subprocess.run([compiler, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{compiler} did not run ({error})") from None
    if done.returncode:
        complaint = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise BuildError(f"{compiler} failed: {complaint}")
    return done.stdout
