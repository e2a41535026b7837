"""What one rank does in tests/test_parallel.py: `torchrun ... ranks_world.py OUT STEPS STOP [KILL]`.

Trains the model of tests/test_train.py for STEPS, interrupted before step STOP (0: not); where KILL is given, rank 1
kills itself at that step, once. The environment may ask for SHARES of a copy, for snapshots in the BACKGROUND, and
that rank 1 gets SIGTERM at step TERM. The first rank leaves the whole model's weights in OUT/weights.pt at the end.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch
from test_train import OPTIM, a_batch, a_model

from phidelity.config import UserError
from phidelity.data.batch import Batch
from phidelity.train import loop
from phidelity.train.checkpointing import Snapshots
from phidelity.train.loop import Measure, train
from phidelity.train.parallel import World, joined, whole
from phidelity.train.scale import ScaleConfig
from phidelity.train.tokens import token_objective, validation_loss


def main(out: Path, steps: int, stop: int, kill: int) -> None:
    """Train as one rank of however many there are."""
    loop.SAVE_EVERY = 10
    term = int(os.environ.get("TERM_AT", "-1"))
    scale = ScaleConfig(shares=int(os.environ.get("SHARES", "0")))
    if "BACKGROUND" in os.environ:
        loop.Snapshots = lambda folder, background: Snapshots(folder, background=True)

    def batches(step: int) -> list[Batch]:
        if kill and step == kill and World.current().rank == 1 and not (out / "killed").exists():
            (out / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if step == term and World.current().rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if stop and step == stop:
            raise KeyboardInterrupt
        batch = a_batch(step, 24)
        n = len(batch) // 8 * 8
        return [batch.select(slice(0, n // 2)), batch.select(slice(n // 2, n))]

    with joined() as world:
        model = a_model()
        measure = Measure(lambda model, _: validation_loss(model, [("held", a_batch(999, 24))]), every=10)
        optim = OPTIM.model_copy(update={"peak_lr": 1e-3})
        go = partial(train, model, token_objective, batches, steps=steps, optim=optim, out=out, name="t", scale=scale)
        try:
            go(measures=[measure])
        except KeyboardInterrupt:
            return
        full = whole(model, world)
        if full:
            torch.save(full.state_dict(), out / "weights.pt")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
