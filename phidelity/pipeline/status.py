"""Reading a run directory from outside: what is done, what runs, time left; and which checkpoint a path means.

`Recorded` is the other end: it wraps the progress of a stage and leaves `progress.json` in the stage's partial
folder at most once a second, which `status` and a resumed run read. Loads no torch.
"""

import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, lockf
from pathlib import Path
from typing import IO, Literal, NamedTuple

from phidelity.config import UserError
from phidelity.pipeline.manifest import PROGRESS, ROAD, output_files, read_manifest
from phidelity.progress import Pace, Progress, Task
from phidelity.records import write_json

LOCK = ".lock"
RECIPE_JSON = "recipe.json"


class StageStatus(NamedTuple):
    """Where one stage of a run stands."""

    name: str
    state: Literal["done", "running", "stopped", "to do"]
    seconds: float = 0.0
    size: int = 0
    peak_memory: int = 0
    task: str = ""
    """What the stage was last heard to be doing."""
    fraction: float | None = None
    seconds_left: float | None = None
    """Of the task under way, at its rate so far."""


def status(run: Path, road: Collection[str] = ROAD) -> list[StageStatus]:
    """The stages of the recipe that `run` was made with, in order."""
    if not (run / RECIPE_JSON).is_file():
        raise UserError(f"{run} is no run directory: it has no {RECIPE_JSON}. Make one with: phi run --out {run}")
    try:
        recipe = dict(json.loads((run / RECIPE_JSON).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{run / RECIPE_JSON} is damaged ({error}). The next `phi run` writes it again.") from None
    running = is_locked(run)
    return [_stage_status(run, name, running) for name in road if recipe.get(name) is not None]


def partial_folder(run: Path, stage: str) -> Path:
    """Where a stage works until it is done."""
    return run / f"{stage}.partial"


def seconds_so_far(partial: Path) -> float:
    """Seconds that earlier tries spent in a partial stage, as far as they were recorded."""
    try:
        return float(json.loads((partial / PROGRESS).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError):
        return 0.0


class Recorded:
    """A Progress that passes everything on to `inner` and keeps `progress.json` in `partial` fresh."""

    def __init__(self, inner: Progress, partial: Path) -> None:
        self._inner, self._path = inner, partial / PROGRESS
        self._earlier, self._start, self._written = seconds_so_far(partial), time.monotonic(), float("-inf")
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds spent on the stage, earlier tries included."""
        return self._earlier + time.monotonic() - self._start

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """Begin a task; see `phidelity.progress.Progress`."""
        with self._inner.task(name, total, unit) as task:
            recorded = _RecordedTask(self, task, name, total, unit)
            recorded.advance(0)
            yield recorded

    def write(self, **told: object) -> None:
        """Write what is told, unless the last time is less than a second ago."""
        with self._lock:
            if time.monotonic() - self._written >= 1.0:
                self._written = time.monotonic()
                write_json(self._path, {"seconds": round(self.seconds, 1), **told})


class _RecordedTask:
    def __init__(self, recorder: Recorded, inner: Task, name: str, total: float | None, unit: str) -> None:
        self._recorder, self._inner, self._name, self._unit = recorder, inner, name, unit
        self._pace = Pace(total)

    def advance(self, n: float = 1, note: str = "") -> None:
        self._inner.advance(n, note)
        pace = self._pace
        pace.advance(n)
        self._recorder.write(
            task=self._name,
            done=pace.done,
            total=pace.total,
            unit=self._unit,
            note=note,
            seconds_left=None if pace.seconds_left is None else round(pace.seconds_left, 1),
        )


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run directory for this process; a second `phi run` in it is refused.

    A POSIX record lock: it ends with the process however that dies, and forked workers do not inherit it.
    """
    with open(run / LOCK, "a+") as file:
        if not _take(file, LOCK_EX):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(f"{run} is in use by another run (process {holder}). Wait for it, or use another --out.")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(run: Path) -> bool:
    """Whether another process works in `run` at this moment."""
    try:
        with open(run / LOCK) as file:
            return not _take(file, LOCK_SH)
    except OSError:
        return False


def resolve_model(path: Path, road: Collection[str] = ROAD) -> Path:
    """What MODEL means: the last model of a run directory, that of a stage, or a folder, GGUF file or hub id itself."""
    from phidelity.checkpoint.hub import is_hub_id

    if path.suffix.lower() == ".gguf" and path.is_file():
        return path
    for folder in (path, path / "model", path / "huggingface"):
        if _is_checkpoint(folder):
            return folder
    if (path / RECIPE_JSON).is_file():
        return _last_model(path, road)
    if (path / "config.json").is_file() or is_hub_id(path):
        return path
    if path.is_dir():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
        raise UserError(
            f"{path} holds no model: found {found}; expected a run directory, a stage of one, or a folder with "
            "config.json and model.safetensors."
        )
    if path.name in road and (path.parent / RECIPE_JSON).is_file():
        raise UserError(f"{path}: that stage is still to do. The command that made {path.parent} goes on with it.")
    kind = "is a file" if path.exists() else "does not exist"
    raise UserError(
        f"{path} {kind}; expected a run directory, a checkpoint folder, a GGUF file or a hub id. Make one with: phi run"
    )


def _last_model(run: Path, road: Collection[str]) -> Path:
    for stage in reversed(list(road)):
        if _is_checkpoint(run / stage / "model") and read_manifest(run / stage):
            return run / stage / "model"
    raise UserError(f"{run} has no finished model yet; expected that of pretraining at least. Go on with phi run.")


def _is_checkpoint(folder: Path) -> bool:
    weights = ("model.safetensors", "model.safetensors.index.json")
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)


def _stage_status(run: Path, name: str, running: bool) -> StageStatus:
    if manifest := read_manifest(run / name):
        return StageStatus(name, "done", manifest.cost.seconds, manifest.size, manifest.cost.peak_memory)
    partial = partial_folder(run, name)
    if not partial.is_dir():
        return StageStatus(name, "to do")
    size = sum(path.stat().st_size for path in output_files(partial))
    state = "running" if running else "stopped"
    try:
        told = json.loads((partial / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return StageStatus(name, state, size=size)
    fraction = min(told["done"] / told["total"], 1.0) if told.get("total") else None
    return StageStatus(name, state, told["seconds"], size, 0, told["task"], fraction, told["seconds_left"])


def _take(file: IO[str], kind: int) -> bool:
    try:
        lockf(file, kind | LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
