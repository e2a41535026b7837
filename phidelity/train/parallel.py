"""Training on more than one device: what torchrun started, the model divided over it, and the whole of it again.

Weights, gradients and moments are divided by FSDP2 (`fully_shard` over a DeviceMesh); over several machines each
holds a whole copy in shares (HSDP). One device divides nothing and needs no torchrun. Ranks divide the rows of a
step, so the global order of the data does not know how many there are. Tensor parallelism is not offered: at 14B it
costs about 30 % (torchtitan's figures at 8B), and phi-4's 10 KV heads divide by 2, 5 and 10 alone.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from phidelity.config import Interrupted, UserError
from phidelity.data.batch import Batch
from phidelity.model.transformer import Transformer

TIMEOUT = timedelta(minutes=10)
"""A rank that hears nothing from another for this long gives up, with a message (ours)."""


class World(NamedTuple):
    """Which of how many processes this one is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """The world that `joined` opened, else this process alone."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """What the first rank says."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said)
        return said[0]

    def any(self, value: bool) -> bool:
        """Whether a rank says so; asked of the hosts, so that no GPU is waited for."""
        return bool(self.sum(torch.tensor(float(value))))

    def wait(self, group: Any = None) -> None:
        """Until every rank is here; a thread besides asks in a `group` of its own."""
        if self.size > 1:
            dist.barrier(group)


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started; without it this process is alone."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # torchrun keeps one store over its restarts, where the new ranks would find the addresses of the dead.
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    store = PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield World.current()
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "peer" in str(error) or "Timed out" in str(error):
            raise Interrupted(
                f"Rank {World.current().rank} lost contact with the others ({str(error).splitlines()[0]}). One of them "
                "ended or hung; look at its output, and give the same command again: it goes on from the last snapshot."
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def divide(model: Transformer, world: World, shares: int = 0) -> Transformer:
    """Give every rank its share of each block and of the rest; alone, the model as it is.

    `shares` ranks hold a copy together; 0: those of one machine, or all of them where a machine has but one.
    """
    if world.size == 1:
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    device = model.head.weight.device.type
    copies, shares = mesh_shape(world.size, shares, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if copies > 1:
        mesh = init_device_mesh(device, (copies, shares), mesh_dim_names=("copies", "shares"))
    else:
        mesh = init_device_mesh(device, (shares,))
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if device == "cuda" else MixedPrecisionPolicy()
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=precision)
    fully_shard(model, mesh=mesh, mp_policy=precision)
    return model


def mesh_shape(size: int, shares: int, on_machine: int) -> tuple[int, int]:
    """How many copies of the model there are, and how many of `size` ranks share each."""
    shares = shares or (on_machine if on_machine > 1 else size)
    if size % shares:
        raise UserError(
            f"{size} ranks were found, and {shares} that are to share a copy of the model; expected a number that "
            "divides. Set scale.shares to one, or start as many ranks on every machine."
        )
    return size // shares, shares


def reshard(model: nn.Module) -> None:
    """Give back what a forward pass without a backward one gathered and left."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def my_rows(batch: Any, world: World) -> Any:
    """This rank's rows of a micro-batch: a `Batch`, or a list of rows."""
    if world.size == 1:
        return batch
    share, rest = divmod(len(batch), world.size)
    if rest:
        raise UserError(
            f"{len(batch)} rows were found for {world.size} ranks; expected a number that divides. Change "
            "batch_tokens, micro_rows or batch_pairs, or the number of processes."
        )
    rows = slice(world.rank * share, (world.rank + 1) * share)
    return batch.select(rows) if isinstance(batch, Batch) else batch[rows]


def local(tensor: Tensor) -> Tensor:
    """This rank's share of a divided tensor, sharing its memory; another tensor is its own share."""
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.detach().to_local()  # pyright: ignore[reportAttributeAccessIssue]


def local_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What this rank's optimiser updates, by name: parameters, or new ones over the memory of their shares.

    Those that want no gradient are no part of it.
    """
    learnt = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    shares = ((name, parameter, local(parameter)) for name, parameter in learnt)
    return {name: whole if share is whole else nn.Parameter(share) for name, whole, share in shares}


def like(share: Tensor, parameter: Tensor) -> Tensor:
    """A share as part of a whole, divided as its parameter is, so that it can be saved and divided anew."""
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor) or share.ndim != parameter.ndim:
        return share
    return DTensor.from_local(
        share,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def on_cpu(tensor: Tensor, copy: Tensor) -> Tensor:
    """`copy`, which lies on the CPU, as the same share of the same whole that `tensor` is of."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

    if not isinstance(tensor, DTensor):
        return copy
    mesh = DeviceMesh("cpu", tensor.device_mesh.mesh, _init_backend=False)
    return DTensor.from_local(
        copy, mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def whole(model: Transformer, world: World) -> Transformer | None:
    """On the first rank the whole model on the CPU, elsewhere None; alone, the model itself. All ranks must call it."""
    if world.size == 1:
        return model
    copy = Transformer(model.config) if world.is_first else None
    for name, parameter in model.named_parameters():
        gathered = parameter.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
        if copy:
            copy.get_parameter(name).data.copy_(gathered)
    return copy


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The global norm of all gradients, over all ranks."""
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # pyright: ignore
