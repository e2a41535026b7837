"""The evaluation problems that training text is held against: every benchmark that a folder has files of.

What counts is the question itself, never the words in which we ask it: an instruction that all problems share would
condemn whoever gives the same instruction. For code it is the prompt with its canonical solution, for reading
comprehension passage and question.
"""

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.data.decontaminate import Item
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.folder import load
from phidelity.eval.suite import BENCHMARKS, FURTHER, OURS
from phidelity.records import Problem

_COLUMNS = ("question", "problem", "prompt", "Question")
_SUITE = tuple(one for one in BENCHMARKS + FURTHER + OURS if one.files)


def evaluation_items(folder: Path) -> list[Item]:
    """The problems of all benchmarks in `folder`, in the suite's order; none at all is a `UserError`."""
    named = [one for one in _SUITE if folder.name.replace("_", "") == one.name.replace("_", "")]
    suite = named or _SUITE
    items = [Item(one.name, problem.id, _text(problem)) for one in suite for problem in _problems(one, folder, named)]
    items = items or list(_questions(folder))
    if not items:
        names = ", ".join(file.name for one in _SUITE[:3] for file in one.files[:1])
        raise UserError(
            f"No evaluation problems in {folder}; expected official files such as {names}. "
            "Run the benchmarks stage first, or name a folder that has some."
        )
    return list(dict.fromkeys(items))


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
    items = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for number, row in enumerate(_rows(path), 1):
            text = next((row[name] for name in _COLUMNS if isinstance(row.get(name), str) and row[name]), "")
            items += [Item(folder.name, f"{path.name}:{number}", text)] if text else []
    return items


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
