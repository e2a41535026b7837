"""What a run needs to go on exactly where it stood: weights, optimiser state and the step, hashed and renamed.

A snapshot is a folder `step-000123` with state.safetensors and state.json. It is written under another name and
renamed when complete; the two newest are kept. A damaged newest one is passed over for the one before, and the
log says so. Data order and learning rate are functions of the step, so they need no state.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from phidelity.records import write_json

log = logging.getLogger(__name__)


def save_snapshot(folder: Path, step: int, model: nn.Module, optimizer: Optimizer) -> None:
    """Write the snapshot of `step` (steps done) and remove all but the two newest."""
    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.unfinished"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    data = save(_state(model, optimizer))
    with open(temporary / "state.safetensors", "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    write_json(temporary / "state.json", {"step": step, "sha256": hashlib.sha256(data).hexdigest()})
    shutil.rmtree(target, ignore_errors=True)
    os.replace(temporary, target)
    keep_newest(folder, 2)


def keep_newest(folder: Path, n: int) -> None:
    """Remove all but the `n` newest snapshots, and what a kill left of an unfinished one."""
    for old in [*sorted(folder.glob("step-*"))[:-n], *folder.glob(".step-*.unfinished")]:
        shutil.rmtree(old)


def restore_snapshot(folder: Path, model: nn.Module, optimizer: Optimizer) -> int:
    """Load the newest whole snapshot into `model` and `optimizer`; returns its step, 0 when there is none."""
    for snapshot in sorted(folder.glob("step-*"), reverse=True):
        try:
            about = json.loads((snapshot / "state.json").read_text(encoding="utf-8"))
            data = (snapshot / "state.safetensors").read_bytes()
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s); going back to the snapshot before it", snapshot, error)
            continue
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            log.warning("%s does not match its hash; going back to the snapshot before it", snapshot)
            continue
        _load(load(data), model, optimizer)
        return about["step"]
    return 0


def _state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    state = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            state[f"{key}.{name}"] = value
    return {key: value.contiguous() for key, value in state.items()}


@torch.no_grad()
def _load(state: dict[str, Tensor], model: nn.Module, optimizer: Optimizer) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(state[f"model.{name}"])
        keys = ("step", "exp_avg", "exp_avg_sq")
        optimizer.state[parameter] = {key: state[f"{key}.{name}"].clone() for key in keys}
