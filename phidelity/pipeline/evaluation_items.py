"""The evaluation problems that training text is held against: every benchmark that a folder has files of.

What counts is the question itself, never the words in which we ask it: an instruction that all problems share would
condemn whoever gives the same instruction. For code it is the prompt with its canonical solution, for reading
comprehension passage and question.
"""

import csv
import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.data.decontaminate import Item
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.folder import load
from phidelity.eval.suite import BENCHMARKS, FURTHER, OURS
from phidelity.records import Problem

_COLUMNS = ("question", "problem", "prompt", "Question")
_WANTED = "question, problem or prompt"
_SUITE = tuple(one for one in BENCHMARKS + FURTHER + OURS if one.files)


def evaluation_items(folder: Path) -> list[Item]:
    """The problems of all benchmarks in `folder`, in the suite's order; none at all is a `UserError`."""
    items = _official(folder) or _questions(folder)
    if not items:
        raise UserError(_nothing_in(folder))
    return list(dict.fromkeys(items))


def rows_without_question(folder: Path) -> list[str]:
    """What of a folder's own tables condemns nobody: a line for each table some of whose rows have no question."""
    if _official(folder):
        return []
    counts = [(path.name, len(rows), sum(not _question(row) for row in rows)) for path, rows in _tables(folder)]
    return [f"{name}: {n} of {of} rows have no column {_WANTED}" for name, of, n in counts if 0 < n < of]


def _official(folder: Path) -> list[Item]:
    """The problems of all benchmarks that the folder has files of."""
    named = [one for one in _SUITE if folder.name.replace("_", "") == one.name.replace("_", "")]
    suite = named or _SUITE
    return [Item(one.name, problem.id, _text(problem)) for one in suite for problem in _problems(one, folder, named)]


def _nothing_in(folder: Path) -> str:
    names = ", ".join(file.name for one in _SUITE[:3] for file in one.files[:1])
    wanted = (
        f"expected a folder with official files such as {names}, or with tables (.jsonl, .csv, .zip of JSON) that have "
        f"a column {_WANTED}"
    )
    if folder.is_file():
        return f"{folder} is a file; {wanted}. Put it into a folder and name that."
    seen = next((f"{path.name} has {', '.join(map(str, rows[0]))}" for path, rows in _tables(folder) if rows), "")
    return (
        f"No evaluation problems in {folder}{f' ({seen})' if seen else ''}; {wanted}. Rename a column, or the folder."
    )


def _problems(one: Benchmark, folder: Path, named: list[Benchmark]) -> list[Problem]:
    """A benchmark's problems; none where its files are not there, while a damaged file is an error.

    In a folder that is named after a benchmark a file is that one's, whoever else calls a file so.
    """
    names = [file.name for file in one.files]
    places = [path for place in (folder, folder / one.name) for name in names for path in place.glob(name)]
    try:
        return load(one, folder)
    except UserError:
        if places and not (named and _questions(folder)) and not _is_shared(one, places):
            raise
        return []


def _is_shared(one: Benchmark, places: list[Path]) -> bool:
    """Whether the files found go by a name that several benchmarks give theirs."""
    others = {file.name for other in _SUITE if other is not one for file in other.files}
    return all(path.name in others for path in places)


def _questions(folder: Path) -> list[Item]:
    """The questions of every table in a folder, whatever its name: a column of `_COLUMNS` tells them."""
    return [
        Item(folder.name, f"{path.name}:{number}", text)
        for path, rows in _tables(folder)
        for number, row in enumerate(rows, 1)
        if (text := _question(row))
    ]


def _question(row: dict[str, Any]) -> str:
    return next((row[name] for name in _COLUMNS if isinstance(row.get(name), str) and row[name]), "")


def _tables(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    return ((path, _rows(path)) for path in sorted(path for path in folder.rglob("*") if path.is_file()))


def _rows(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, a table with a head, or a zip of lists in JSON; none of others."""
    try:
        if path.suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
                rows = [json.loads(line) for line in file if line.strip()]
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".json")]
                rows = [row for name in names for row in json.loads(archive.read(name))]
        else:
            return []
    except (ValueError, OSError, csv.Error, zipfile.BadZipFile):
        return []
    return [row for row in rows if isinstance(row, dict)]


def _text(problem: Problem) -> str:
    if "code" in problem.meta:
        return f"{problem.meta['code']}\n{problem.reference}"
    return str(problem.meta.get("context") or problem.meta.get("question") or problem.prompt)
