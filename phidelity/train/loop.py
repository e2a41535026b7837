"""The one training loop: pretraining, midtraining, SFT and DPO differ only in their objective and batches.

A step sums the losses and gradients of its micro-batches, over all ranks, and divides once by the count of all of
them, so neither accumulation nor the number of ranks changes anything (no mean of means). Batches, learning rate
and everything logged are functions of the step: a run that was killed and resumed is equal to an unbroken one bit
for bit. Between log lines nothing waits for the device; a step that is not finite or that stands far out is not
taken (train/monitor.py). Metrics go to metrics.jsonl, clock values to timings.jsonl.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from phidelity.config import Interrupted, UserError
from phidelity.device import training_device
from phidelity.model.transformer import Transformer
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import atomic
from phidelity.train.checkpointing import Snapshots, State
from phidelity.train.events import open_events
from phidelity.train.optim import OptimConfig, learning_rate
from phidelity.train.parallel import World, divide, local, my_rows, reshard, total_norm
from phidelity.train.scale import ScaleConfig, mixed_precision, prepare
from phidelity.train.signals import sigterm

LOG_EVERY = 10
SAVE_EVERY = 100
MAX_BROKEN = 3
"""A run with more steps than this that are not finite between two log lines has gone astray (ours)."""


class Loss(NamedTuple):
    """Sum of losses (a scalar with a gradient), and of how many tokens or pairs."""

    total: Tensor
    n: Tensor


Objective = Callable[[Transformer, Any], Loss]
Metrics = dict[str, float]


class Measure(NamedTuple):
    """What to measure (or write down) during training, and every how many steps; in any case at the end."""

    function: Callable[[Transformer, int], Metrics]
    """Of the model and the steps done."""
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
    measures: Sequence[Measure] = (),
    data: str = "",
    scale: ScaleConfig | None = None,
    save_every: int | None = None,
    events: bool = False,
    enough: Callable[[Sequence[Metrics]], bool] = lambda rows: False,
    progress: Progress = SILENT,
) -> list[Metrics]:
    """Train in place for `steps` steps of `batches(step)` micro-batches; returns the rows of metrics.jsonl.

    Resumes from `out/training` when a snapshot is there and leaves the final one behind. `data` is a fingerprint of
    the order of the batches: a snapshot of another order is refused. SIGTERM saves after the step at hand and
    leaves by `UserError`. Where `enough` says so of the rows, training ends early. `events` are written for
    TensorBoard, too. Under torchrun the ranks divide the rows of each micro-batch, and the first writes files.
    """
    out.mkdir(parents=True, exist_ok=True)
    save_every = save_every or SAVE_EVERY
    scale = scale or ScaleConfig()
    prepare(model.to(training_device()), scale)
    state = State.begin(divide(model, World.current(), scale.shares), optim, data)
    snapshots = Snapshots(out / "training", background=state.device.type == "cuda")
    start = snapshots.restore(state)
    rows = [row for row in _read_rows(out / "metrics.jsonl") if row["step"] <= start]
    tell = open_events(out / "events", start) if events and state.world.is_first else lambda row: None
    model.train()
    with progress.task(name, steps, "step") as task, sigterm() as asked_to_stop:
        task.advance(start)
        clock = _Clock(out / "timings.jsonl", task)
        for step in range(start, start if enough(rows) else steps):
            lr = learning_rate(step, steps, optim)
            passed_over = step in optim.skip_steps
            state.window.append(
                _nothing(state) if passed_over else update(state, objective, batches(step), lr=lr, clip=optim.clip)
            )
            task.advance(1)
            done = step + 1
            if done % LOG_EVERY == 0 or done == steps:
                row = {"step": done, "lr": lr} | _sums(torch.stack(state.window).cpu(), done)
                state.window.clear()
                snapshots.check()
                if state.world.is_first:
                    clock.note(row)
                for measure in measures:
                    if done % measure.every == 0 or done == steps:
                        row |= _measured(model, measure, done)
                rows.append(row)
                tell(row)
            is_last = done == steps or (done % LOG_EVERY == 0 and enough(rows))
            stopping = state.world.any(asked_to_stop())
            if done % save_every == 0 or is_last or stopping:
                if state.world.is_first:
                    _write_rows(out / "metrics.jsonl", rows)
                snapshots.save(done, state)
            if is_last:
                break
            if stopping:
                found = f"{name} was asked to stop (SIGTERM) and saved step {done} of {steps}"
                raise Interrupted(f"{found}. Give the same command to go on.")
    snapshots.finish()
    if state.world.is_first:
        snapshots.keep_newest(1)
    model.eval()
    return rows


def last_loss(rows: Sequence[Metrics]) -> float:
    """The newest loss of a history; a window whose every step was skipped has none."""
    return next(row["loss"] for row in reversed(rows) if "loss" in row)


def update(state: State, objective: Objective, micro_batches: Sequence[Any], *, lr: float, clip: float) -> Tensor:
    """One update of the weights, unless its loss or gradient stands out.

    Returns summed loss, count, gradient norm before clipping, and 1 if the weights stayed as they were: `[4]`,
    float64, still on the device.
    """
    model, world = state.model, state.world
    sums = torch.zeros(2, dtype=torch.float64, device=state.device)
    for batch in micro_batches:
        with mixed_precision(model):
            loss = objective(model, my_rows(batch, world))
        loss.total.backward()
        sums += torch.stack([loss.total.detach(), loss.n]).to(sums)
    total, count = world.sum(sums)
    # FSDP averages gradients over the ranks; what is wanted is their sum over the count of all.
    divisor = (count / world.size).float()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = total_norm(gradients) / divisor
    skip = state.monitor.judge(total / count, norm)
    scale = (clip / norm).clamp(max=1.0) / divisor
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            state.parameters[name].grad = local(parameter.grad).mul_(scale)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    # With this flag the fused kernels leave weights, moments and step counts alone.
    state.optimizer.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue]
    state.optimizer.step()
    state.optimizer.zero_grad()
    model.zero_grad()
    return torch.stack([value.double() for value in (total, count, norm, skip)])


def _nothing(state: State) -> Tensor:
    """What `update` returns, for a step that was not computed at all."""
    return torch.eye(4, dtype=torch.float64, device=state.device)[3]


def _sums(window: Tensor, step: int) -> Metrics:
    """Loss, mean gradient norm, and how many steps were not taken, of the steps of a window `[steps, 4]`."""
    broken = int((~torch.isfinite(window).all(1)).sum())
    if broken > min(MAX_BROKEN, len(window) - 1):
        raise UserError(
            f"The loss or its gradient was not finite in {broken} of the {len(window)} steps up to step {step}; "
            "expected numbers. Lower optim.peak_lr or lengthen optim.warmup and run again; the weights were left alone "
            "in those steps, and the last snapshot is from before them."
        )
    known = window[torch.isfinite(window).all(1) & (window[:, 1] > 0)]
    total, count, norm, _ = known.sum(0).tolist()
    row: Metrics = {"count": count}
    if count:
        row |= {"loss": total / count, "grad_norm": norm / len(known)}
    if skipped := int(window[:, 3].sum()):
        row["skipped"] = skipped
    return row


class _Clock:
    """Appends to timings.jsonl what lies between two log lines, and tells the watcher the loss."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task, self.began = path, task, time.monotonic()

    def note(self, row: Metrics) -> None:
        seconds = time.monotonic() - self.began
        timing = {"step": row["step"], "seconds": round(seconds, 4), "per_second": round(row["count"] / seconds, 1)}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(timing) + "\n")
        self.task.advance(0, f"loss {row['loss']:.3f}" if "loss" in row else "every step skipped")
        self.began = time.monotonic()


def _measured(model: Transformer, measure: Measure, step: int) -> Metrics:
    model.eval()
    with torch.no_grad(), mixed_precision(model):
        metrics = measure.function(model, step)
    if World.current().size > 1:
        reshard(model)
    model.train()
    return metrics


def _read_rows(path: Path) -> list[Metrics]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _write_rows(path: Path, rows: Sequence[Metrics]) -> None:
    with atomic(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
