"""Where the numbers are computed: what makes them repeatable, what machine it is, how much memory was taken.

Deterministic algorithms and flushed denormal floats hold for the whole process; random streams do not live here,
since every one is a function of its seed and purpose where it is used. Results are equal bit for bit for one
machine and thread count, not across them.
"""

import ctypes
import platform
import re
import resource
import sys
from pathlib import Path

import torch

from phidelity.config import UserError


def make_repeatable() -> None:
    """Deterministic algorithms and denormals flushed to zero, process-wide."""
    # `use_deterministic_algorithms` would do the same after importing torch's compiler for two seconds.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    # The fill costs a pass over every new tensor and would hide reads of uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    torch.set_flush_denormal(True)


def sent(tensor: torch.Tensor, device: torch.device | str | None) -> torch.Tensor:
    """The tensor on `device`; from pinned memory, since a copy from other memory waits for all that a GPU has to do."""
    if device is not None and torch.device(device).type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def training_device() -> torch.device:
    """This process's GPU, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def check_device(device: str, *, is_packed: bool = False, cache_format: str | None = None) -> None:
    """Refuse a device that is not there, or one that cannot serve what is asked of it."""
    if device == "cpu":
        return
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise UserError(f"The device is {device!r}; expected cpu, cuda, or one of several GPUs such as cuda:1.")
    if not torch.cuda.is_available():
        raise UserError(f"{device} was asked for; no GPU that torch can use was found. Leave it out to use the CPU.")
    if is_packed or cache_format == "int8":
        what = "A packed model" if is_packed else "A cache of int8"
        raise UserError(f"{what} is for a CPU's kernels; {device} was asked for. Leave one of the two out.")


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


def give_back_freed_memory() -> None:
    """Have glibc return every freed buffer of a megabyte and more to the system, for the rest of the process.

    By itself it raises that size as it goes, up to 32 MB, and keeps what lies between buffers that live on. Elsewhere
    nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


_M_MMAP_THRESHOLD = -3
"""From malloc.h."""


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
        lines = []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    in_kilobytes = sys.platform != "darwin"
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if in_kilobytes else 1)
