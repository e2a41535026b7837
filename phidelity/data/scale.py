"""One contract for work that is cut into shards: a pure function per shard, and a commit that is one rename.

A plan is a folder with `plan.json` (the shards by name, with what each is to work on). `do` lets a function fill a
folder of its own for one shard, hashes what it wrote, puts `commit.json` beside it, written last, and renames the
folder to the shard's name. So a shard is there whole or not at all, two workers that happen on the same one do no
harm (the second's work is thrown away, the bytes are equal), and after a kill anywhere the same call does what is
left. Who calls `do` is indifferent, and a `Crew` says it: processes of this machine, the tasks of a Slurm array on a
shared file system (`part` of `n_parts` each), or Ray Core tasks, one a shard, which Ray gives to another node when one
dies. Workers end with the process that started them, however it dies.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Literal, NamedTuple

from phidelity.config import Interrupted, UserError
from phidelity.progress import SILENT, Progress
from phidelity.records import file_sha256, read_json, write_json

PLAN, COMMIT, SUMMARY = "plan.json", "commit.json", "summary.json"
Engine = Literal["local", "ray"]
Work = Callable[[Any, Path], Mapping[str, Any]]
"""Takes what a shard is to work on and an empty folder to fill; gives counts. A function of a module, so that any
process can find it, and pure: the same bytes for the same argument."""


class Crew(NamedTuple):
    """Who does the shards; what comes out never depends on it."""

    engine: Engine = "local"
    n_workers: int = 1
    """Processes of this machine; for Ray its cluster decides."""
    part: int | None = None
    """Number of one task of an array, from 0; it does its share of what can be done now and nothing else."""
    n_parts: int = 1


class PartDone(Exception):  # noqa: N818  (no error)
    """A task of an array has done its share of a plan; the rest is for others."""

    def __init__(self, plan: str, n_done: int, n_left: int) -> None:
        super().__init__(plan, n_done, n_left)
        self.plan, self.n_done, self.n_left = plan, n_done, n_left


ALONE = Crew()


def write_plan(folder: Path, tasks: Mapping[str, Any]) -> None:
    """Name the shards; where a plan stands already it must be the same."""
    wrong = [name for name in tasks if not name or name.startswith(".") or "/" in name or name == PLAN]
    assert not wrong, wrong
    if (folder / PLAN).exists():
        if read_plan(folder) != json.loads(json.dumps(tasks)):
            raise UserError(f"{folder / PLAN} is of other shards than are asked for. Use a new folder.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    mine = folder / f".{PLAN}.{socket.gethostname()}.{os.getpid()}"  # tasks of an array may write it at once
    write_json(mine, {"tasks": tasks, "order": list(tasks)})
    os.replace(mine, folder / PLAN)


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
    work: Work, folder: Path, crew: Crew = ALONE, progress: Progress = SILENT, *, what: str = "shards"
) -> dict[str, dict[str, Any]]:
    """Do all shards that are left; the commits by name, in the plan's order.

    A crew that is one task of an array does its share; where others' is still to do, `PartDone` says so.
    """
    tasks = read_plan(folder)
    if crew.part is not None:
        n_done = run_part(work, folder, crew.part, crew.n_parts)
        if n_left := sum(done(folder, name) is None for name in tasks):
            raise PartDone(folder.name, n_done, n_left)
    left = {name: argument for name, argument in tasks.items() if done(folder, name) is None}
    with progress.task(what, len(tasks), "shards") as task:
        task.advance(len(tasks) - len(left))
        for _ in _ENGINES[crew.engine](work, folder, left, crew.n_workers):
            task.advance()
    commits = {name: done(folder, name) for name in tasks}
    missing = [name for name, commit in commits.items() if commit is None]
    assert not missing, missing
    return {name: commit for name, commit in commits.items() if commit is not None}


def in_shards(out: Path, key: str, work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The summary that `work` gives once it has filled `out` from plans in a folder of its own, which then goes.

    What stands in `out` under the same key is gone on with; a kill between summary and removal costs nothing.
    """
    key = hashlib.sha256(key.encode()).hexdigest()
    folder, summary = out / f"shards-{key[:12]}", out / SUMMARY
    if not summary.exists() or read_json(summary)["key"] != key:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(summary, {"key": key, "summary": work(folder)})
    shutil.rmtree(folder, ignore_errors=True)
    return read_json(summary)["summary"]


def leave_to_one(crew: Crew) -> None:
    """End a task of an array where all shards are done: what joins them is for one alone to do."""
    if crew.part is not None:
        raise PartDone("all", 0, 0)


def _local(work: Work, folder: Path, left: Mapping[str, Any], n_workers: int) -> Iterator[None]:
    """Processes of this machine; one worker is this very process."""
    if n_workers == 1 or len(left) < 2:
        for name, argument in left.items():
            do(work, folder, name, argument)
            yield
        return
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", work.__module__])
    with ProcessPoolExecutor(min(n_workers, len(left)), context, _begin_work) as pool:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # so that workers begin deaf to it
        try:
            futures = [pool.submit(do, work, folder, name, argument) for name, argument in left.items()]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BrokenProcessPool:
            raise Interrupted(
                f"A worker process was killed in {folder}; the system does that when memory runs out. No finished "
                "shard is lost: give the same command, perhaps with fewer --workers."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_work() -> None:
    """Let this worker end when the process that started it does, even by kill -9, and at Ctrl-C without a word."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


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


_ENGINES = {"local": _local, "ray": _ray}
