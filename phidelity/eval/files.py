"""Reading the official evaluation files; what is wrong with one is said with its name, row and column."""

import csv
import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phidelity.config import UserError


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has at least these columns; texts are kept as they are ("None" is a word)."""
    with _opened(path) as file:
        reader = csv.DictReader(file)
        try:
            rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise _damaged(path, f"line {reader.line_num}: {error}") from None
        _expect(path, "columns", columns, reader.fieldnames or ())
    for number, row in enumerate(rows):
        if lacking := [column for column in columns if row[column] is None]:
            raise _damaged(path, f"row {number} has no {', '.join(lacking)}")
    return _some(path, rows)


def read_tsv(path: Path) -> list[tuple[str, str]]:
    """The rows of a file without header, with two fields separated by a tab."""
    with _opened(path) as file:
        try:
            rows = [tuple(line.rstrip("\r\n").split("\t")) for line in file]
        except UnicodeDecodeError as error:
            raise _damaged(path, str(error)) from None
    for number, row in enumerate(rows):
        if len(row) != 2:
            raise _damaged(path, f"row {number} has {len(row)} fields separated by tabs; expected question and answer")
    return [(row[0], row[1]) for row in _some(path, rows)]


def read_jsonl(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file (gzip if it ends in .gz) that have at least these fields."""
    rows, number = [], 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                rows.append(json.loads(line))
                if not isinstance(rows[-1], dict):
                    raise ValueError(f"found {str(rows[-1])[:40]!r}, expected an object")
                _expect(path, f"fields in line {number}", fields, rows[-1])
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error, RecursionError) as error:
        raise _damaged(path, f"at or after line {number}: {error}") from None
    return _some(path, rows)


def check_answer(path: Path, row: int, column: str, answer: str, allowed: Sequence[str]) -> str:
    """An answer that must be one of a few."""
    if answer not in allowed:
        raise _damaged(path, f"row {row}, {column} is {answer!r}; expected one of {', '.join(allowed)}")
    return answer


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise UserError(
            f"No file {path}. Expected the benchmark in its official format; run the stage `benchmarks`, or put the "
            "official file there under this name."
        )
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8", newline="")


def _expect(path: Path, what: str, wanted: Sequence[str], found: Any) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise UserError(
            f"{path} lacks the {what} {', '.join(missing)}; found {', '.join(map(str, found)) or 'none'}. "
            "Is it the official file?"
        )


def _some(path: Path, rows: list[Any]) -> list[Any]:
    if not rows:
        raise UserError(f"{path} holds no problems. Expected at least one row; get the file again.")
    return rows


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}. Get the file again.")
