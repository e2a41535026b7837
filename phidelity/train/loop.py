"""The one training loop: pretraining, midtraining, SFT and DPO differ only in their objective and batches.

A step sums the losses and gradients of its micro-batches and divides once by the count of all of them, so
accumulation changes nothing (no mean of means). Batches, learning rate and everything logged are functions of the
step: a run that was killed and resumed is equal to an unbroken one bit for bit. Metrics go to metrics.jsonl,
clock values to timings.jsonl.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phidelity.config import UserError
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import atomic
from phidelity.train.checkpointing import keep_newest, restore_snapshot, save_snapshot
from phidelity.train.optim import OptimConfig, adamw, linear_schedule

LOG_EVERY = 10
SAVE_EVERY = 100


class Loss(NamedTuple):
    """Sum of losses (a scalar with a gradient), and of how many tokens or pairs."""

    total: Tensor
    n: Tensor


Objective = Callable[[Transformer, Any], Loss]
Metrics = dict[str, float]


class Measure(NamedTuple):
    """What to measure during training, and every how many steps; it is measured at the end in any case."""

    function: Callable[[Transformer], Metrics]
    every: int


def train(
    model: Transformer,
    objective: Objective,
    batches: Callable[[int], Sequence[Any]],
    *,
    steps: int,
    optim: OptimConfig,
    out: Path,
    name: str,
    measure: Measure | None = None,
    progress: Progress = SILENT,
) -> list[Metrics]:
    """Train in place for `steps` steps of `batches(step)` micro-batches; returns the rows of metrics.jsonl.

    Resumes from `out/training` when a snapshot is there and leaves the final one behind.
    """
    out.mkdir(parents=True, exist_ok=True)
    optimizer = adamw(model, optim)
    start = restore_snapshot(out / "training", model, optimizer)
    rows = [row for row in _read_rows(out / "metrics.jsonl") if row["step"] <= start]
    model.train()
    with progress.task(name, steps, "step") as task:
        task.advance(start)
        window = _Window(task)
        for step in range(start, steps):
            lr = linear_schedule(step, steps, optim)
            window.add(update(model, objective, batches(step), optimizer, lr=lr, clip=optim.clip))
            done = step + 1
            if done % LOG_EVERY == 0 or done == steps:
                row = window.close(done, lr, out)
                if measure and (done % measure.every == 0 or done == steps):
                    row |= _measured(model, measure)
                rows.append(row)
            if done % SAVE_EVERY == 0 or done == steps:
                _write_rows(out / "metrics.jsonl", rows)
                save_snapshot(out / "training", done, model, optimizer)
    keep_newest(out / "training", 1)
    model.eval()
    return rows


def update(
    model: Transformer,
    objective: Objective,
    micro_batches: Sequence[Any],
    optimizer: torch.optim.Optimizer,
    *,
    lr: float,
    clip: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One update; returns the summed loss, its count and the gradient norm, still on the device."""
    total = count = torch.zeros(())
    for batch in micro_batches:
        loss = objective(model, batch)
        loss.total.backward()
        total, count = total + loss.total.detach(), count + loss.n
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients) / count
    scale = (clip / norm).clamp(max=1.0) / count
    for gradient in gradients:
        gradient.mul_(scale)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad()
    return total, count, norm


class _Window:
    """Sums since the last log line."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []
        self.began = time.monotonic()

    def add(self, step: tuple[Tensor, Tensor, Tensor]) -> None:
        self.steps.append(step)
        self.task.advance(1)

    def close(self, step: int, lr: float, out: Path) -> Metrics:
        """Read the sums (the only host synchronisation) and start the next window."""
        total, count, norm = torch.tensor([[float(v) for v in s] for s in self.steps], dtype=torch.float64).T
        loss = float(total.sum() / count.sum())
        if not math.isfinite(loss) or not torch.isfinite(norm).all():
            raise UserError(
                f"The loss became {loss} by step {step}; expected a finite number. Lower optim.peak_lr or lengthen "
                "optim.warmup and run again; the last snapshot is from before it."
            )
        seconds = time.monotonic() - self.began
        timing = {"step": step, "seconds": round(seconds, 4), "per_second": round(float(count.sum()) / seconds, 1)}
        with open(out / "timings.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(timing) + "\n")
        self.task.advance(0, f"loss {loss:.3f}")
        self.steps, self.began = [], time.monotonic()
        row = {"step": step, "loss": loss, "grad_norm": float(norm.mean()), "lr": lr}
        return row | {"count": float(count.sum())}


def _measured(model: Transformer, measure: Measure) -> Metrics:
    model.eval()
    with torch.no_grad():
        metrics = measure.function(model)
    model.train()
    return metrics


def _read_rows(path: Path) -> list[Metrics]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _write_rows(path: Path, rows: Sequence[Metrics]) -> None:
    with atomic(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
