"""What a model will take in memory, said before it is loaded: weights, cache, activations; and what fits a budget.

All of it follows from the configuration. The cache is what gives way: with `--memory` the context stays whole as long
as one request of full length fits and the number of requests at once is reduced first, then the context. Below
`LEAST_CONTEXT` tokens, or with weights that do not fit, the answer is an error with the numbers.
"""

import re
from pathlib import Path
from typing import NamedTuple

import torch

from phidelity.config import UserError
from phidelity.engine.compact import cached_token
from phidelity.engine.runner import GATHERED, SCORED
from phidelity.engine.sampling import AT_ONCE
from phidelity.engine.speculation import WIDEST
from phidelity.model.config import BITS, ModelConfig, cache_bytes_per_token, memory_bytes
from phidelity.progress import readable_size

PROCESS = 400 << 20
"""Interpreter, torch and the tokenizer (*ours*; 254 MB measured before a model is there, the rest is reserve)."""
LEAST_CONTEXT = 256
"""Shorter contexts are of no use (*ours*)."""
USUAL = 1024
"""Tokens of cache that a request is given when the number of requests at once is chosen (*ours*)."""
STEP_ROWS = 512
"""Most tokens of one step (tiles.py)."""
DRAWING = 16
"""Copies of the logits that are drawn from at once, at most (*ours*): sorts and sums of 8 bytes a number among them."""
CACHE = 2 << 30
"""Most cache without `--memory` (*ours*): but always room for one request of full length."""

_UNITS = {"B": 1} | {
    f"{letter}{middle}B": base**power
    for power, letter in enumerate("KMGT", start=1)
    for middle, base in (("", 1000), ("i", 1024))
}


class MemoryPlan(NamedTuple):
    """Bytes by purpose, and what the engine is to be given."""

    weights: int
    cache: int
    activations: int
    process: int
    cache_per_token: int
    context_len: int
    n_running: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations + self.process

    def lines(self) -> list[str]:
        """The plan as a person reads it."""
        tokens = self.cache // self.cache_per_token
        return [
            f"memory: {readable_size(self.total)} in all",
            f"  weights      {readable_size(self.weights)}",
            f"  cache        {readable_size(self.cache)} ({tokens:,} tokens of {readable_size(self.cache_per_token)})",
            f"  activations  {readable_size(self.activations)}",
            f"  process      {readable_size(self.process)}",
            f"  context {self.context_len:,} tokens, up to {self.n_running} requests at once",
        ]


def plan(
    config: ModelConfig,
    *,
    budget: int | None = None,
    available: int | None = None,
    packed: int | None = None,
    weight_format: str = "f32",
    cache_format: str = "f32",
    n_running: int = 64,
) -> MemoryPlan:
    """What fits `budget`, or without one what is usual; a `UserError` where that is more than `available`.

    `packed` is the size of a quantised model, which needs no second layout of its matrices.
    """
    weights = memory_bytes(config, BITS[weight_format], 0) if packed is None else packed
    per_token = cache_bytes(config, cache_format)
    fixed = weights + activations(config, n_running, is_packed=packed is not None) + PROCESS
    least = min(LEAST_CONTEXT, config.context_len)
    limit = min((number for number in (budget, available) if number is not None), default=None)
    room = max(CACHE, config.context_len * per_token) if budget is None else budget - fixed
    if limit is not None:
        room = min(room, limit - fixed)
    if room < least * per_token:
        raise UserError(_too_small(budget, available, weights, fixed - weights, per_token, least))
    context = min(config.context_len, room // per_token)
    n_running = max(1, min(n_running, room // (per_token * min(context, USUAL))))
    cache = per_token * min(room // per_token, n_running * context)
    return MemoryPlan(weights, cache, fixed - weights - PROCESS, PROCESS, per_token, context, n_running)


def cache_bytes(config: ModelConfig, cache_format: str) -> int:
    """Bytes of one token's keys and values; `int8` has a float scale for every head's vector."""
    if cache_format == "int8":
        return cached_token(config)
    return cache_bytes_per_token(config, BITS[cache_format] / 8)


def activations(config: ModelConfig, n_running: int = 64, *, is_packed: bool = False) -> int:
    """Upper bound of what one step holds besides weights and cache, in fp32.

    Logits are there of all tokens that decode or check a draft, those that draw are copied once from among prompts
    that are scored, and what a draw holds besides is of `AT_ONCE` numbers at a time.
    """
    c = config
    rows = STEP_ROWS * (4 * c.d_model + c.d_qkv + 3 * c.d_ff)
    gathered = 2 * GATHERED * c.n_kv_heads * c.head_dim + 2 * GATHERED * c.n_heads
    decoded, scored = max(WIDEST, n_running), min(STEP_ROWS, max(1, SCORED // c.vocab_size))
    logits = (2 * decoded + scored) * c.vocab_size + DRAWING * max(min(AT_ONCE, decoded * c.vocab_size), c.vocab_size)
    largest_matrix = max(c.vocab_size * c.d_model, 2 * c.d_model * c.d_ff)  # copied once when it is laid out
    if is_packed:  # kernels attend where keys and values lie, and matrices are read as they were stored
        return 4 * (rows + logits)
    return 4 * max(rows + gathered + logits, largest_matrix)


def parse_size(text: str) -> int:
    """Bytes of a size such as `11GB` (decimal), `512MiB` (binary) or `1.5 GB`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    units = {unit.upper(): size for unit, size in _UNITS.items()}
    if not match or match[2].upper() not in units:
        raise UserError(f"{text!r} is no size; expected a number and a unit, such as 11GB, 1.5GB or 512MiB.")
    size = int(float(match[1]) * units[match[2].upper()])
    if size <= 0:
        raise UserError(f"{text!r} is no memory at all; expected more, such as 11GB.")
    return size


def available_memory(device: str = "cpu") -> int | None:
    """Bytes that can still be taken on the machine or GPU, a container's limit included; None where nobody says."""
    if device != "cpu":
        return torch.cuda.mem_get_info()[0]
    found = [_meminfo(Path("/proc/meminfo")), _cgroup(Path("/sys/fs/cgroup"))]
    return min((number for number in found if number is not None), default=None)


def _meminfo(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _cgroup(folder: Path) -> int | None:
    """What a container's limit leaves; pages of files that can be dropped count as free."""
    try:
        limit, used = (folder / "memory.max").read_text().strip(), int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + int(stat.get("inactive_file", 0)))


def _too_small(budget: int | None, available: int | None, weights: int, others: int, per_token: int, least: int) -> str:
    needed = weights + others + least * per_token
    given = [f"--memory gives {readable_size(budget)}"] if budget is not None else []
    free = [f"{readable_size(available)} are free on this machine"] if available is not None else []
    parts = [readable_size(size) for size in (needed, weights, others, least * per_token)]
    return (
        f"The model does not fit: {' and '.join(given + free)}, but it needs {parts[0]}: {parts[1]} of weights, "
        f"{parts[2]} for process and activations, and {parts[3]} of cache for {least} tokens. Give it more, free some, "
        "or take a smaller or quantised model."
    )
