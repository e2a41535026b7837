"""`phi bench finetune`: a step of LoRA over frozen q4 beside transformers + PEFT in fp32, and the memory it takes.

Time is that of two layers of phi-4's shape under a vocabulary of 8,192, so that it is layers that are compared, and one
row of 512 tokens: loss over all of it, gradients, AdamW. Both keep the inside of blocks, then both compute it again
(`--recompute`; gradient checkpointing). Each is a process of its own; steps are taken in turn, wall and processor time
of the medians are compared. Memory is the
peak of one step over 1,024 tokens with phi-4's whole vocabulary, in two processes of 1 and 3 layers: the difference is
what a layer takes, by which the peak is extrapolated to phi-4's 40. Peer: `--peer peft=ENV`, a virtual environment with
peft and transformers.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from phidelity.model.config import PHI_4, ModelConfig


class Shape(NamedTuple):
    """What a process trains."""

    n_layers: int
    vocab_size: int
    context: int
    warm: int
    """Tokens of a row that goes before the first step, so that the optimiser has its moments."""


RANK, STEPS = 8, 3
MODES = {"keep": "", "recompute": ", inside of blocks recomputed"}
TIMED = Shape(2, 8192, 512, 512)
FEW, MORE = (Shape(n, PHI_4.vocab_size, 1024, 64) for n in (1, 3))


def run(peers: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Rows of the table."""
    return [*_times(peers), *_memory()]


def _times(peers: Mapping[str, Path]) -> list[dict[str, Any]]:
    rows = []
    for mode, said in MODES.items():
        children = [_Child(_ours(TIMED, mode)), *([_Child(_peer(peers["peft"], mode))] if "peft" in peers else [])]
        told = [[child.step() for child in children] for _ in range(STEPS)]
        for child in children:
            child.close()
        for key, what in (("seconds", "step"), ("processor", "processor time of a step")):
            mine, *theirs = (median(one[key] for one in found) for found in zip(*told, strict=True))
            rows.append(_row(f"{what}, {TIMED.n_layers} layers, {TIMED.context} tokens{said}", mine, "s", *theirs))
    return rows


def _memory() -> list[dict[str, Any]]:
    found = []
    for shape in (FEW, MORE):
        child = _Child(_ours(shape, "recompute"))
        found.append(child.step())
        child.close()
    few, more = (one["peak"] - one["packed"] for one in found)
    a_layer = (more - few) / (MORE.n_layers - FEW.n_layers)
    packed_layer = (found[1]["packed"] - found[0]["packed"]) / (MORE.n_layers - FEW.n_layers)
    left = PHI_4.n_layers - MORE.n_layers
    return [
        _row(f"beyond packed, {FEW.n_layers} layer, 1K", few, "GB"),
        _row(f"beyond packed, {MORE.n_layers} layers, 1K", more, "GB"),
        _row(f"beyond packed, {PHI_4.n_layers} layers (extrapolated)", more + left * a_layer, "GB"),
        _row(f"peak, {PHI_4.n_layers} layers (extrapolated)", found[1]["peak"] + left * (a_layer + packed_layer), "GB"),
    ]


def _row(what: str, ours: float, unit: str, theirs: float | None = None) -> dict[str, Any]:
    peer, ratio = ("transformers + PEFT fp32", theirs / ours) if theirs else (None, None)
    return {"what": what, "ours": ours, "unit": unit, "peer": peer, "theirs": theirs, "ratio": ratio}


class _Child:
    """A process that takes a step for every line it is given."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(_threads())}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._line()

    def step(self) -> dict[str, float]:
        """Seconds, peak and what else the process tells of its step."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def _line(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return line


def _ours(shape: Shape, mode: str) -> list[str]:
    return [sys.executable, "-m", "phidelity.bench.finetune", json.dumps(shape), mode]


def _peer(environment: Path, mode: str) -> list[str]:
    shape = _config(TIMED).model_dump() | {"rank": RANK, "context": TIMED.context, "threads": _threads(), "mode": mode}
    return [str(environment / "bin/python"), str(Path(__file__).with_name("finetune_peer.py")), json.dumps(shape)]


def _config(shape: Shape) -> ModelConfig:
    return PHI_4.model_copy(update={"n_layers": shape.n_layers, "vocab_size": shape.vocab_size})


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def take_steps(shape: Shape, mode: str) -> None:
    """Our side: a step for every line on standard input."""
    import torch

    from phidelity.bench.packed_shape import packed_shape
    from phidelity.checkpoint.adapter import FUSED, fresh_updates
    from phidelity.checkpoint.packed import packed_bytes
    from phidelity.device import give_back_freed_memory, peak_memory, reset_peak_memory
    from phidelity.model.lora import adapt
    from phidelity.model.thrifty import thrifty
    from phidelity.tokenizer.chat import Rendered
    from phidelity.train.checkpointing import State
    from phidelity.train.examples import Kept
    from phidelity.train.finetune_run import pack_lots
    from phidelity.train.frozen import Lot, chat_objective
    from phidelity.train.loop import update
    from phidelity.train.optim import OptimConfig

    def lot(n: int) -> Lot:
        return pack_lots([Kept("1", Rendered([*(i % 1000 for i in range(n)), 0], [True] * (n + 1)), None)], n)[0]

    torch.set_num_threads(_threads())
    if mode == "recompute":
        give_back_freed_memory()
    config = _config(shape)
    base = packed_shape(config, "q4").model
    updates = fresh_updates(config, FUSED, rank=RANK, alpha=2 * RANK, seed=0)
    optim = OptimConfig(peak_lr=1e-4, weight_decay=0.0, spike_sigma=0.0)
    model = adapt(base, updates, trains=True)
    state = State.begin(thrifty(model) if mode == "recompute" else model, optim)
    del updates
    update(state, chat_objective, [lot(shape.warm)], lr=1e-4, clip=1.0)
    reset_peak_memory()
    row, packed = lot(shape.context), packed_bytes(config, "q4") / 1e9
    _say("ready")
    for _ in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        sums = update(state, chat_objective, [row], lr=1e-4, clip=1.0)
        spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
        _say(json.dumps(spent | {"peak": peak_memory() / 1e9, "packed": packed, "loss": float(sums[0] / sums[1])}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    take_steps(Shape(*json.loads(sys.argv[1])), sys.argv[2])
