"""`phi bench finetune`: a step of LoRA over frozen q4, phi-4's shape, 4 layers, beside transformers + PEFT in fp32.

Both do one row of 1,024 tokens: loss over all of it, gradients, AdamW. Each is a process of its own, and steps are
taken in turn, so that whatever else the machine does falls on both; medians are compared. Ours is measured with 2
layers, too: the difference is what a layer takes, by which the peak is extrapolated to phi-4's 40. Peer:
`--peer peft=ENV`, a virtual environment with peft and transformers.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from phidelity.model.config import PHI_4

LAYERS, FEW, CONTEXT, RANK, STEPS = 4, 2, 1024, 8, 3


def run(peers: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Rows of the table."""
    ours = _Child([sys.executable, "-m", "phidelity.bench.finetune", str(LAYERS)])
    theirs = _Child(_peer(peers["peft"])) if "peft" in peers else None
    told: list[dict[str, float]] = []
    said: list[dict[str, float]] = []
    for _ in range(STEPS):
        told.append(ours.step())
        if theirs:
            said.append(theirs.step())
    for child in (ours, theirs):
        if child:
            child.close()
    few = _Child([sys.executable, "-m", "phidelity.bench.finetune", str(FEW)])
    less = [few.step() for _ in range(2)][-1]
    few.close()
    mine = median(one["seconds"] for one in told[1:])
    peer = median(one["seconds"] for one in said[1:]) if said else None
    a_layer = (told[-1]["peak"] - less["peak"]) / (LAYERS - FEW)
    packed_layer = (told[-1]["packed"] - less["packed"]) / (LAYERS - FEW)
    whole = told[-1]["peak"] + (PHI_4.n_layers - LAYERS) * a_layer
    beyond = whole - (told[-1]["packed"] + (PHI_4.n_layers - LAYERS) * packed_layer)
    peak = said[-1]["peak"] if said else None
    return [
        _row(f"step, {LAYERS} layers, 1K", mine, "s", peer),
        _row(f"peak, {LAYERS} layers", told[-1]["peak"], "GB", peak),
        _row(f"beyond packed, {LAYERS} layers", told[-1]["peak"] - told[-1]["packed"], "GB"),
        _row("beyond packed, 40 layers (extrapolated)", beyond, "GB"),
        _row("peak, 40 layers (extrapolated)", whole, "GB"),
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


def _peer(environment: Path) -> list[str]:
    shape = PHI_4.model_dump() | {"n_layers": LAYERS, "rank": RANK, "context": CONTEXT, "threads": _threads()}
    return [str(environment / "bin/python"), str(Path(__file__).with_name("finetune_peer.py")), json.dumps(shape)]


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def take_steps(n_layers: int) -> None:
    """Our side: a step for every line on standard input."""
    import torch

    from phidelity.bench.packed_shape import packed_shape
    from phidelity.checkpoint.adapter import FUSED, fresh_updates
    from phidelity.checkpoint.packed import packed_bytes
    from phidelity.device import peak_memory, reset_peak_memory
    from phidelity.model.lora import adapt
    from phidelity.tokenizer.chat import Rendered
    from phidelity.train.checkpointing import State
    from phidelity.train.examples import Kept
    from phidelity.train.finetune_run import pack_lots
    from phidelity.train.frozen import chat_objective
    from phidelity.train.loop import update
    from phidelity.train.optim import OptimConfig

    torch.set_num_threads(_threads())
    config = PHI_4.model_copy(update={"n_layers": n_layers})
    base = packed_shape(config, "q4").model
    updates = fresh_updates(config, FUSED, rank=RANK, alpha=2 * RANK, seed=0)
    optim = OptimConfig(peak_lr=1e-4, weight_decay=0.0, spike_sigma=0.0)
    state = State.begin(adapt(base, updates, trains=True, recompute=True), optim)
    del updates
    reset_peak_memory()
    ids = [n % 1000 for n in range(CONTEXT)]
    lot = pack_lots([Kept("1", Rendered([*ids, 0], [True] * (CONTEXT + 1)), None)], CONTEXT)[0]
    _say("ready")
    for _ in sys.stdin:
        start = time.perf_counter()
        sums = update(state, chat_objective, [lot], lr=1e-4, clip=1.0)
        seconds, packed = time.perf_counter() - start, packed_bytes(config, "q4") / 1e9
        loss = float(sums[0] / sums[1])
        _say(json.dumps({"seconds": seconds, "peak": peak_memory() / 1e9, "packed": packed, "loss": loss}))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    take_steps(int(sys.argv[1]))
