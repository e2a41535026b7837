"""Tables with a document a row: JSON lines, Parquet, and Hugging Face datasets as they lie on disk.

Which columns hold the text is told by their names; `_TEXTS` is the list. Long lines are passed over without being
held, and a line that is no record costs itself only. Parquet and Arrow need the extra `formats` (pyarrow).
"""

import io
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from phidelity.config import UserError
from phidelity.data.formats.blob import MAX_DOCUMENT, BadFileError, Blob, Part, Reject, iso_date, read_all
from phidelity.data.formats.plain import clean

_TEXTS: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("content",),
    ("question", "answer"),
    ("instruction", "input", "output"),
    ("prompt", "completion"),
    ("problem", "solution"),
    ("body",),
)
"""Columns whose texts, in this order, make a document; the first row of the list whose first column is there counts."""
_QUESTIONS = {"question", "instruction", "prompt", "problem"}
_PASSED = ("url", "license", "language", "title")
_DATES = ("date", "created", "published", "timestamp")
MAX_TABLE = 256 << 20
"""Bytes of a Parquet file inside an archive, which has to be held to be read (ours)."""


def read_json_lines(blob: Blob) -> Iterator[Part | Reject]:
    """A document per line."""
    for number, line in enumerate(_lines(blob.stream), 1):
        if line is None:
            yield Reject("too_large", str(number), MAX_DOCUMENT)
        elif line.strip():
            yield _line(line, str(number))


def read_json(blob: Blob) -> Iterator[Part | Reject]:
    """A file of one JSON value: a list of records, or a single one."""
    try:
        data = json.loads(read_all(blob))
    except (ValueError, RecursionError):
        raise BadFileError("bad_record") from None
    for number, row in enumerate(data if isinstance(data, list) else [data], 1):
        yield _record(row, str(number), 0)


def read_parquet(blob: Blob) -> Iterator[Part | Reject]:
    """A document per row, a row group at a time."""
    arrow = _pyarrow()
    source = blob.stream if blob.stream.seekable() and not blob.inside else io.BytesIO(read_all(blob, MAX_TABLE))
    try:
        number = 0
        for batch in arrow.parquet.ParquetFile(source).iter_batches(batch_size=64):
            for row in batch.to_pylist():
                number += 1
                yield _record(row, str(number), 0)
    except (arrow.ArrowException, OSError):
        raise BadFileError("damaged") from None


def read_arrow(blob: Blob) -> Iterator[Part | Reject]:
    """A document per row of a file that `datasets` saved."""
    arrow = _pyarrow()
    try:
        number = 0
        for batch in arrow.ipc.open_stream(blob.stream):
            for row in batch.to_pylist():
                number += 1
                yield _record(row, str(number), 0)
    except (arrow.ArrowException, OSError):
        raise BadFileError("damaged") from None


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet and Arrow files need pyarrow: pip install 'phidelity[formats]'.") from None
    return pyarrow


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The lines of a stream; None for each that is longer than a document may be."""
    while line := stream.readline(MAX_DOCUMENT + 1):
        if len(line) > MAX_DOCUMENT:
            while line and not line.endswith(b"\n"):
                line = stream.readline(1 << 20)
            yield None
        else:
            yield line


def _line(line: bytes, locator: str) -> Part | Reject:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return Reject("bad_record", locator, len(line))
    return _record(row, locator, len(line))


def _record(row: Any, locator: str, n_bytes: int) -> Part | Reject:
    columns = _columns(row)
    if columns is None:
        return Reject("bad_record", locator, n_bytes)
    given = row.get("meta") or row.get("metadata")
    meta = dict(given) if isinstance(given, Mapping) else {}
    meta |= {name: row[name] for name in _PASSED if isinstance(row.get(name), str) and name not in columns}
    for name in _DATES:
        if "date" not in meta and (date := iso_date(row.get(name))):
            meta |= {"date": date, "date_from": f"column {name}"}
    if columns[0] in _QUESTIONS:
        meta.setdefault("profile", "qa")
        meta.setdefault("group", "acquired")
    texts = [str(row[name]) for name in columns if row.get(name)]
    if columns[0] == "instruction" and isinstance(row.get("instances"), list):
        texts += [str(one[side]) for one in row["instances"] for side in ("input", "output") if one.get(side)]
    return Part(clean("\n\n".join(texts).encode("utf-8", "replace").decode()), locator, meta)


def _columns(row: Any) -> tuple[str, ...] | None:
    if not isinstance(row, Mapping):
        return None
    return next((names for names in _TEXTS if isinstance(row.get(names[0]), str)), None)
