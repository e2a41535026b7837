"""One contract for work that is cut into shards: a pure function per shard, and a commit that is one rename.

A plan is a folder with `plan.json` (the shards by name, with what each is to work on). `do` lets a function fill a
folder of its own for one shard, hashes what it wrote, puts `commit.json` beside it, written last, and renames the
folder to the shard's name. So a shard is there whole or not at all, two workers that happen on the same one do no
harm (the second's work is thrown away, the bytes are equal), and after a kill anywhere the same call does what is
left. Who calls `do` is indifferent: processes of this machine, the tasks of a Slurm array on a shared file system
(`part` of `n_parts` each), or Ray Core tasks, one a shard, which Ray gives to another node when one dies.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from phidelity.config import UserError
from phidelity.progress import SILENT, Progress
from phidelity.records import file_sha256, write_json

PLAN, COMMIT = "plan.json", "commit.json"
Engine = Literal["local", "ray", "array"]
Work = Callable[[Any, Path], Mapping[str, Any]]
"""Takes what a shard is to work on and an empty folder to fill; gives counts. A function of a module, so that any
process can find it, and pure: the same bytes for the same argument."""


def write_plan(folder: Path, tasks: Mapping[str, Any]) -> None:
    """Name the shards; where a plan stands already it must be the same."""
    wrong = [name for name in tasks if not name or name.startswith(".") or "/" in name or name == PLAN]
    assert not wrong, wrong
    if (folder / PLAN).exists():
        if read_plan(folder) != tasks:
            raise UserError(f"{folder / PLAN} is of other shards than are asked for. Use a new folder.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN, {"tasks": tasks, "order": list(tasks)})


def read_plan(folder: Path) -> dict[str, Any]:
    """The shards of a plan, in its order."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return {name: plan["tasks"][name] for name in plan["order"]}
    except FileNotFoundError:
        raise UserError(f"No {PLAN} in {folder}; expected the folder of a plan. Begin the run that makes it.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / PLAN} is damaged ({error}). Remove {folder} and begin again.") from None


def done(folder: Path, name: str) -> dict[str, Any] | None:
    """The commit of a shard, None where it is not done; files that are not what was committed are a `UserError`."""
    try:
        commit = json.loads((folder / name / COMMIT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    for path, size in commit["sizes"].items():
        file = folder / name / path
        if not file.is_file() or file.stat().st_size != size:
            raise UserError(
                f"Shard {folder / name} is damaged ({path}). Remove that folder; the same command redoes it."
            )
    return commit


def do(work: Work, folder: Path, name: str, argument: Any) -> bool:
    """Do one shard unless it is done; False if it was."""
    if done(folder, name) is not None:
        return False
    partial = folder / f".{name}.{socket.gethostname()}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        counts = work(argument, partial)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        sizes = {str(path.relative_to(partial)): path.stat().st_size for path in files}
        hashes = {str(path.relative_to(partial)): file_sha256(path) for path in files}
        write_json(partial / COMMIT, {"counts": dict(counts), "sizes": sizes, "sha256": hashes})
        try:
            os.rename(partial, folder / name)
        except OSError:
            return done(folder, name) is None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def run_part(work: Work, folder: Path, part: int = 0, n_parts: int = 1) -> int:
    """Do the shards of one part of a plan, such as a task of a Slurm array; gives how many were still to do."""
    if not 0 <= part < n_parts:
        raise UserError(f"Part {part} of {n_parts} was asked for; expected 0 to {n_parts - 1}.")
    tasks = list(read_plan(folder).items())[part::n_parts]
    return sum(do(work, folder, name, argument) for name, argument in tasks)


def run_all(
    work: Work, folder: Path, *, engine: Engine = "local", n_workers: int = 1, progress: Progress = SILENT
) -> dict[str, dict[str, Any]]:
    """Do all shards that are left; the commits by name, in the plan's order.

    `array` does nothing itself: it is a `UserError` that says how to, until the tasks of an array have done all.
    """
    tasks = read_plan(folder)
    left = {name: argument for name, argument in tasks.items() if done(folder, name) is None}
    with progress.task("shards", len(tasks), "shards") as task:
        task.advance(len(tasks) - len(left))
        for _ in _ENGINES[engine](work, folder, left, n_workers):
            task.advance()
    commits = {name: done(folder, name) for name in tasks}
    missing = [name for name, commit in commits.items() if commit is None]
    assert not missing, missing
    return {name: commit for name, commit in commits.items() if commit is not None}


def _local(work: Work, folder: Path, left: Mapping[str, Any], n_workers: int) -> Iterator[None]:
    """Processes of this machine; one worker is this very process."""
    if n_workers == 1 or len(left) < 2:
        for name, argument in left.items():
            do(work, folder, name, argument)
            yield
        return
    with ProcessPoolExecutor(min(n_workers, len(left)), mp_context=get_context("forkserver")) as pool:
        futures = [pool.submit(do, work, folder, name, argument) for name, argument in left.items()]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ray(work: Work, folder: Path, left: Mapping[str, Any], n_workers: int) -> Iterator[None]:
    """A Ray Core task a shard, on whatever cluster Ray finds or is told of; one whose node dies is done elsewhere."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            'engine = "ray" needs Ray, which is not installed. Install the extra: phidelity[ray].'
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    remote = ray.remote(num_cpus=1, max_retries=8)(do)
    waiting = [remote.remote(work, folder, name, argument) for name, argument in left.items()]
    while waiting:
        finished, waiting = ray.wait(waiting, num_returns=1)
        ray.get(finished)
        yield


def _array(work: Work, folder: Path, left: Mapping[str, Any], n_workers: int) -> Iterator[None]:
    if left:
        raise UserError(
            f"{len(left)} shards of {folder} are not done; expected the {n_workers} tasks of an array to do them, each "
            "by `run_part` with its number. Submit them, then give the same command."
        )
    yield from ()


_ENGINES = {"local": _local, "ray": _ray, "array": _array}
