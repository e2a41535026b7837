"""Where the numbers are computed: device, dtype, threads, seeds, and how much memory the process took.

A run is made repeatable here: deterministic algorithms, denormal floats flushed, and every generator seeded by
(seed, purpose). CPU is the default; a GPU is used where torch finds one. Results are equal bit for bit for one
machine and thread count, not across them.
"""

import hashlib
import platform
import random
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from phidelity.config import UserError


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes the GPU where there is one, else the CPU; any other name must exist here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f'Device {name!r} was asked for, but torch sees no GPU here. Use device = "cpu" or "auto".')
    try:
        return torch.device(name)
    except RuntimeError:
        raise UserError(f"Found device {name!r}; expected auto, cpu, cuda or cuda:N.") from None


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that has it; float32 elsewhere, since CPUs are slower in half precision."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def make_repeatable(n_threads: int | None = None) -> None:
    """Deterministic algorithms, denormals flushed to zero, and optionally a thread count, process-wide."""
    # `use_deterministic_algorithms` would do the same after importing torch's compiler for two seconds.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    # The fill costs a pass over every new tensor and would hide reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_flush_denormal(True)
    if n_threads is not None:
        torch.set_num_threads(n_threads)


def seed_everything(seed: int, purpose: str = "") -> torch.Generator:
    """Seed Python's, numpy's and torch's global generators; returns a torch generator of its own besides."""
    number = derive_seed(seed, purpose)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on nothing but (seed, purpose)."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1


def describe_device() -> str:
    """One line for manifests: processor, threads, and the GPU if there is one."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor_name()}, {torch.get_num_threads()} threads{gpu}"


def describe_machine() -> dict[str, str | int]:
    """What a benchmark's figures were measured on."""
    return {"processor": processor_name(), "threads": torch.get_num_threads(), "torch": torch.__version__} | (
        {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    )


def processor_name() -> str:
    """The processor as it names itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def reset_peak_memory() -> None:
    """Start a new measurement of `peak_memory`; where the system has none, the peak stays the process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Bytes resident at the fullest moment since `reset_peak_memory`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
