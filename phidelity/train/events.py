"""The numbers of metrics.jsonl once more, as TensorBoard reads them: the extra `tensorboard`, asked for by the recipe.

They lie in `events/` beside it, carry clock values, and so are no part of a stage's hashed outputs.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from phidelity.config import UserError


def open_events(folder: Path, start: int) -> Callable[[Mapping[str, float]], None]:
    """What writes a row of metrics; of an earlier try only what lies before step `start` is shown."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        found = f"events = true needs TensorBoard ({error})"
        raise UserError(
            f"{found}; expected the extra: pip install 'phidelity[tensorboard]', or leave it out."
        ) from None
    writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write
