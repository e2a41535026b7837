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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from phidelity.config import UserError
from phidelity.model.transformer import Transformer
from phidelity.records import file_sha256, write_json
from phidelity.train.monitor import Monitor
from phidelity.train.optim import OptimConfig, adamw
from phidelity.train.parallel import World, like, local, local_parameters, on_cpu

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
            if name not in self.parameters:
                continue
            found[f"model.{name}"] = parameter.detach()
            for key, value in self._moments(self.parameters[name]).items():
                found[f"{key}.{name}"] = like(value, parameter)
        return found | self.monitor.state()

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over everything from `tensors`, which may be whole where this rank holds a share."""
        mine = self.tensors()
        if odd := sorted(mine.keys() ^ tensors.keys()):
            found = f"The snapshot was made with another model or optimiser: {odd[0]} and {len(odd) - 1} others are"
            raise UserError(f"{found} in one of the two alone. Restore the settings, or begin anew (phi run --force).")
        for name, value in tensors.items():
            if value is not mine[name]:
                local(mine[name]).copy_(local(_divided_like(value, mine[name])))

    def _moments(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """The optimiser's tensors for a parameter, which torch makes no sooner than at the first step."""
        state = self.optimizer.state[parameter]
        if not state and isinstance(self.optimizer, AdamW):
            state["step"] = torch.zeros((), device=parameter.device)
            state |= {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
        return state


class Snapshots:
    """The snapshots of one run, in one folder that all ranks see.

    In the background (GPUs) training waits for a copy into the CPU's memory alone; a thread writes and hashes that.
    """

    def __init__(self, folder: Path, *, background: bool = False) -> None:
        self.folder, self.background = folder, background
        self._held: dict[str, Tensor] = {}
        """Places on the CPU for the copies, kept from one snapshot to the next."""
        self._group: Any = None
        """The thread's own way to speak with those of the other ranks."""
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def save(self, step: int, state: State) -> None:
        """Write the snapshot of `step` (steps done), or begin to, and remove all but the two newest."""
        self.finish()
        target = self.folder / f"step-{step:06d}"
        about = {"step": step, "data": state.data, "window": [taken.tolist() for taken in state.window]}
        if not self.background:
            self._write(target, state.tensors(), about, state.world)
            return
        if state.world.size > 1 and self._group is None:
            self._group = dist.new_group(backend="gloo")
        tensors = self._copies(state.tensors())
        self._pending = self._thread.submit(self._write, target, tensors, about, state.world)

    def check(self) -> None:
        """Raise what the thread met, if it is done."""
        if self._pending and self._pending.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the snapshot is whole."""
        if self._pending:
            pending, self._pending = self._pending, None
            pending.result()

    def _copies(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        shares = {name: local(value) for name, value in tensors.items()}
        for name, share in shares.items():
            if name not in self._held:
                self._held[name] = torch.empty(share.shape, dtype=share.dtype, pin_memory=share.is_cuda)
            self._held[name].copy_(share, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {name: on_cpu(value, self._held[name]) for name, value in tensors.items()}

    def _write(self, target: Path, tensors: dict[str, Tensor], about: dict[str, Any], world: World) -> None:
        temporary = target.with_name(f".{target.name}.unfinished")
        try:
            if world.is_first:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
            world.wait(self._group)
            _write_tensors(temporary, tensors, world, self._group)
            world.wait(self._group)
            if world.is_first:
                about["files"] = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
                write_json(temporary / "state.json", about)
                shutil.rmtree(target, ignore_errors=True)
                os.replace(temporary, target)
                self.keep_newest(2)
            world.wait(self._group)
        except OSError:  # a full disk: give back what was taken of it
            shutil.rmtree(temporary, ignore_errors=True)
            raise

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
            before, now = (data[:12] or "none" for data in (about["data"], state.data))
            raise UserError(
                f"{snapshot} was trained on batches with fingerprint {before}; the run would go on with {now}. "
                "Expected the same shards or pairs, shares, rows and seed; restore them, or begin anew "
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


def _write_tensors(folder: Path, tensors: dict[str, Tensor], world: World, group: Any) -> None:
    """One file of one device, a file from each rank of several."""
    if world.size == 1:
        with open(folder / ONE_DEVICE, "wb") as file:
            file.write(save({key: value.contiguous() for key, value in tensors.items()}))
            file.flush()
            os.fsync(file.fileno())
    else:
        from torch.distributed.checkpoint.state_dict_saver import save as save_divided

        save_divided(tensors, checkpoint_id=folder, process_group=group)


def _read_tensors(folder: Path, state: State) -> None:
    """Of one device or of several, into one or several."""
    if (folder / ONE_DEVICE).exists():
        state.load(load_file(folder / ONE_DEVICE))
        return
    from torch.distributed.checkpoint.state_dict_loader import load as load_divided

    tensors = state.tensors()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        load_divided(tensors, checkpoint_id=folder, no_dist=state.world.size == 1)  # in place


def _divided_like(value: Tensor, mine: Tensor) -> Tensor:
    """A whole value as this rank's share of it, where `mine` is divided."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(mine, DTensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.to(mine.device), mine.device_mesh, mine.placements)
    return value
