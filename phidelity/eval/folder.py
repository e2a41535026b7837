"""Where a benchmark's file lies in the user's folder, and whether it is the official one.

A file may lie in the folder itself or in a subfolder named after the benchmark (`humaneval/HumanEval.jsonl.gz`). A
file of another length or hash than the official one is read (miniatures have the same format) and said to be so.
"""

from collections.abc import Sequence
from pathlib import Path

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark, DataFile
from phidelity.records import Problem, file_sha256


def find(folder: Path, name: str, file: DataFile, *others: str) -> Path:
    """The file, or one that matches a pattern of `others`; a `UserError` says which file is wanted and from where."""
    for pattern in (file.name, *others):
        for place in places(folder, name):
            if found := sorted(place.glob(pattern)):
                return found[0]
    what = f"{file.rows:,} rows" if file.rows else "its official format"
    pinned = f", SHA-256 {file.sha256}" if file.sha256 else ""
    raise UserError(
        f"No file {folder / file.name} (nor {name}/{file.name} there); expected {file.origin}, {what}{pinned}. Put the "
        "file there, or run the stage `benchmarks` for miniatures."
    )


def places(folder: Path, name: str) -> tuple[Path, ...]:
    """Where the files of the benchmark `name` may lie: a subfolder of its name, with `_` or without, or the folder."""
    return folder / name, folder / name.replace("_", ""), folder


def load(one: Benchmark, folder: Path) -> list[Problem]:
    """A benchmark's problems; values of a wrong kind in its files are a `UserError`, as other damage is."""
    try:
        return one.load(folder)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder}: the files of {one.title} hold values of another kind than the official ones "
            f"({type(error).__name__}: {told}). Get the files again."
        ) from None


def departures(one: Benchmark, folder: Path, n_problems: int) -> list[str]:
    """In what the data differ from the official ones: other hashes, another number of problems, a substitute file."""
    found, rows = [], sum(file.rows or 0 for file in one.files)
    for file in one.files:
        path = next((place / file.name for place in places(folder, one.name) if (place / file.name).is_file()), None)
        if path is None:
            found.append(f"no {file.name}")
        elif file.sha256 and file_sha256(path) != file.sha256:
            found.append(f"{path.name} has another SHA-256 than the official file")
    return found + ([f"{n_problems:,} problems, {rows:,} in the official files"] if rows and rows != n_problems else [])


def grouped(values: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The mean of each group in per cent, groups in order of their first value."""
    groups: dict[str, list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    return {name: round(100 * sum(group) / len(group), 4) for name, group in groups.items()}
