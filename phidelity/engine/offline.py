"""A file of prompts in, a file of answers out: JSON lines both, in the same order.

Answers are kept in `OUT.partial` as they come (cached.py), and OUT is written when all are there. So a killed run goes
on where it stood, also when prompts were added meanwhile, and ends in the same bytes as an unbroken one. A file of that
name that holds anything else is left alone, and while one run writes it, a second is refused.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from phidelity.cached import CachedCompleter
from phidelity.completion import Completer, Completion, SamplingParams
from phidelity.config import UserError
from phidelity.engine.prompts import Line, read_prompts
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import atomic

_TOGETHER = 64
"""Sets of parameters that are under way at once (*ours*)."""
_HEAD = b'{"key": "'
"""What every line of OUT.partial begins with."""


def answer_file(
    completer: Completer,
    source: Path,
    out: Path,
    params: SamplingParams,
    *,
    raw: bool = False,
    check: Callable[[SamplingParams], None] = lambda params: None,
    progress: Progress = SILENT,
) -> int:
    """Complete every prompt of `source` and write the completions to `out`; returns how many.

    A line's own `params` go before `params`; `check` refuses such as the model cannot follow. A prompt over the context
    is answered `context_exceeded`.
    """
    check_out(source, out)
    lines = read_prompts(source, params, raw=raw, check=check)
    with _alone(out) as partial:
        cached = CachedCompleter(completer, partial)
        try:
            with progress.task("generate", sum(line.params.n for line in lines), "answers") as task:
                answers = _answers(cached, lines, task)
        finally:
            cached.close()
        with atomic(out, "w") as file:
            for line, completions in zip(lines, answers, strict=True):
                for completion in completions:
                    row = {"id": line.id, **completion.model_dump(mode="json")}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.unlink()
    return sum(map(len, answers))


def check_out(source: Path, out: Path) -> None:
    """Refuse a name for the answers under which something would be lost that is not ours."""
    if out.is_dir():
        raise UserError(f"{out} is a folder. Give --out the name of a file.")
    for path in (out, _partial(out), out.with_name(out.name + ".tmp")):  # the last one is where `atomic` writes
        if path.exists() and path.samefile(source):
            raise UserError(f"{source} would be overwritten by its answers. Give --out another name.")
    partial = _partial(out)
    if partial.exists():
        head = b"" if partial.is_dir() else _read_head(partial)
        if partial.is_dir() or head != _HEAD[: len(head)]:
            raise UserError(
                f"{partial} is there and holds no answers of an earlier run. Give --out another name, or move it away."
            )


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _read_head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(len(_HEAD))


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """The name of OUT.partial, held against other runs as long as the block runs."""
    partial = _partial(out)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "ab") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except OSError:
            raise UserError(f"Another run is writing {out}. Wait for it, or give --out another name.") from None
        if not (partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat())):
            raise UserError(f"Another run has just written {out}. Start again where it is to be replaced.")
        yield partial


def _answers(completer: Completer, lines: list[Line], task: Task) -> list[list[Completion]]:
    """The completions of each line; those with the same parameters are asked for together."""
    groups: dict[SamplingParams, list[int]] = {}
    for index, line in enumerate(lines):
        groups.setdefault(line.params, []).append(index)
    answers: list[list[Completion]] = [[] for _ in lines]

    def ask(params: SamplingParams, members: list[int]) -> None:
        prompts = [lines[index].prompt for index in members]
        completions = completer.complete(prompts, params, lambda *_: task.advance())
        for place, index in enumerate(members):
            answers[index] = completions[place * params.n : (place + 1) * params.n]

    if len(groups) == 1:
        ask(*next(iter(groups.items())))
        return answers
    pool = ThreadPoolExecutor(_TOGETHER)
    try:
        for done in as_completed([pool.submit(ask, *group) for group in groups.items()]):
            done.result()
    finally:  # after a failure, or when a person stops it, what has not begun never does; the rest ends with the engine
        pool.shutdown(wait=False, cancel_futures=True)
    return answers
