"""What a run needs to go on exactly where it stood: weights, optimiser, monitor and the step, hashed and renamed.

A snapshot is a folder `step-000123`: state.json, and state.safetensors of one device or the files that
torch.distributed.checkpoint writes of several, which any number of ranks can read. It is written under another
name and renamed when complete; the two newest are kept, so a disk that fills while saving leaves the one before. A
damaged newest one is passed over for the one before, and the log says so. Data order, learning rate and whatever is
drawn are functions of (seed, step), so there is no generator and no loader to keep but a fingerprint of the latter,
to refuse a snapshot that saw other data.
"""

import json
import logging
import os
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from phidelity.config import UserError
from phidelity.model.transformer import Transformer
from phidelity.records import file_sha256, write_json
from phidelity.train.monitor import Monitor
from phidelity.train.optim import OptimConfig, adamw
from phidelity.train.parallel import World, like, local, local_parameters

log = logging.getLogger(__name__)

ONE_DEVICE = "state.safetensors"


@dataclass(slots=True)
class State:
    """All of a training run that changes from step to step."""

    model: Transformer
    parameters: dict[str, nn.Parameter]
    """This rank's share of each of the model's, over the same memory: what the optimiser updates."""
    optimizer: Optimizer
    monitor: Monitor
    data: str = ""
    """Fingerprint of the order of the batches; "" where none is known."""
    world: World = field(default_factory=World)
    window: list[Tensor] = field(default_factory=list)
    """What `update` returned for the steps since the last log line."""

    @classmethod
    def begin(cls, model: Transformer, optim: OptimConfig, data: str = "") -> "State":
        """The state before the first step of a model that was divided, where there are ranks."""
        world = World.current()
        parameters = local_parameters(model)
        if world.size > 1 and optim.weights != "fp32":
            found = f'optim.weights = "{optim.weights}" was found with {world.size} ranks'
            raise UserError(f'{found}; its blocks are of one device. Use "fp32", which the ranks divide.')
        optimizer = adamw(parameters.values(), optim)
        return cls(model, parameters, optimizer, Monitor(optim.spike_sigma, model.head.weight.device), data, world)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.head.weight.device

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, without copies; what is divided says of which whole it is a share."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            found[f"model.{name}"] = parameter.detach()
            for key, value in self._moments(self.parameters[name]).items():
                found[f"{key}.{name}"] = like(value, parameter)
        return found | self.monitor.state()

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over everything from `tensors`, which may be whole where this rank holds a share."""
        mine = self.tensors()
        for name, value in tensors.items():
            if name in mine and value is not mine[name]:
                local(mine[name]).copy_(local(_divided_like(value, mine[name])))

    def _moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The optimiser's tensors for a parameter, which torch makes no sooner than at the first step."""
        state = self.optimizer.state[parameter]
        if not state and isinstance(self.optimizer, AdamW):
            state["step"] = torch.zeros((), device=parameter.device)
            state |= {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
        return state


class Snapshots:
    """The snapshots of one run, in one folder that all ranks see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: State) -> None:
        """Write the snapshot of `step` (steps done) and remove all but the two newest."""
        target = self.folder / f"step-{step:06d}"
        temporary = self.folder / f".{target.name}.unfinished"
        if state.world.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        state.world.wait()
        _write_tensors(temporary, state)
        state.world.wait()
        if state.world.is_first:
            files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
            window = [taken.tolist() for taken in state.window]
            write_json(temporary / "state.json", {"step": step, "files": files, "data": state.data, "window": window})
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
            self.keep_newest(2)
        state.world.wait()

    def keep_newest(self, n: int) -> None:
        """Remove all but the `n` newest snapshots, and what a kill left of an unfinished one."""
        for old in [*sorted(self.folder.glob("step-*"))[:-n], *self.folder.glob(".step-*.unfinished")]:
            shutil.rmtree(old)

    def restore(self, state: State) -> int:
        """Load the newest whole snapshot; returns its step, 0 when there is none."""
        name = state.world.agree(self._newest_whole() if state.world.is_first else None)
        if not name:
            return 0
        snapshot = self.folder / name
        about = json.loads((snapshot / "state.json").read_text(encoding="utf-8"))
        if about["data"] != state.data:
            raise UserError(
                f"{snapshot} was trained on batches with fingerprint {about['data'][:12]}; the run would go on with "
                f"{state.data[:12]}. Expected the same shards, shares, rows and seed; restore them, or begin anew "
                "(phi run --force)."
            )
        _read_tensors(snapshot, state)
        state.window = [torch.tensor(taken, dtype=torch.float64, device=state.device) for taken in about["window"]]
        return about["step"]

    def _newest_whole(self) -> str | None:
        for snapshot in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                about: dict[str, Any] = json.loads((snapshot / "state.json").read_text(encoding="utf-8"))
                damaged = [name for name, digest in about["files"].items() if file_sha256(snapshot / name) != digest]
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read (%s); going back to the snapshot before it", snapshot, error)
                continue
            if not damaged:
                return snapshot.name
            log.warning("%s does not match its hash; going back to the snapshot before it", snapshot / damaged[0])
        return None


def _write_tensors(folder: Path, state: State) -> None:
    """One file of one device, a file from each rank of several."""
    if state.world.size == 1:
        with open(folder / ONE_DEVICE, "wb") as file:
            file.write(save({key: value.contiguous() for key, value in state.tensors().items()}))
            file.flush()
            os.fsync(file.fileno())
    else:
        from torch.distributed.checkpoint.state_dict_saver import save as save_divided

        save_divided(state.tensors(), checkpoint_id=folder)


def _read_tensors(folder: Path, state: State) -> None:
    """Of one device or of several, into one or several."""
    if (folder / ONE_DEVICE).exists():
        state.load(load_file(folder / ONE_DEVICE))
        return
    from torch.distributed.checkpoint.state_dict_loader import load as load_divided

    tensors = state.tensors()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        load_divided(tensors, checkpoint_id=folder, no_dist=state.world.size == 1)
    state.load(tensors)


def _divided_like(value: Tensor, mine: Tensor) -> Tensor:
    """A whole value as this rank's share of it, where `mine` is divided."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(mine, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.to(mine.device), mine.device_mesh, mine.placements)
    return value
