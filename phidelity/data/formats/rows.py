"""Tables: JSON lines, Parquet, and Hugging Face datasets as they lie on disk; as rows, and with a document a row.

Which columns hold the text is told by their names; `_TEXTS` is the list. Long lines are passed over without being
held, and a line that is no record costs itself only. What a row says of itself is believed for its address, licence,
language, title and date; the rest of its `meta` stands under `row`, where it chooses no rule and forges no origin.
Parquet and Arrow need the extra `formats` (pyarrow).
"""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from phidelity.config import UserError
from phidelity.data.formats.blob import (
    MAX_DOCUMENT,
    MAX_ELEMENTS,
    BadFileError,
    Blob,
    Part,
    Reader,
    Reject,
    iso_date,
    last_date,
    read_all,
)
from phidelity.data.formats.charset import decode
from phidelity.data.formats.plain import clean

_TEXTS: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("content",),
    ("question", "answer", "answers"),
    ("instruction", "input", "output"),
    ("prompt", "completion"),
    ("problem", "solution"),
    ("body",),
)
"""Columns whose texts, in this order, make a document; the first row whose first column has a text counts."""
_COLUMNS = {name for names in _TEXTS for name in names}
_QUESTIONS = {"question", "instruction", "prompt", "problem"}
_PASSED = ("url", "license", "language", "title")
_DATES = (
    "date",
    "created",
    "created_at",
    "published",
    "timestamp",
    "updated",
    "updated_at",
    "modified",
    "last_modified",
)
"""Columns that date a row; the last of the dates counts."""
MAX_TABLE = 256 << 20
"""Bytes of a Parquet file inside an archive, which has to be held to be read (ours)."""


MAX_GROUP = 512 << 20
"""Bytes of a row group, unpacked, that is looked into (ours); its columns are held one page at a time."""


class Row(NamedTuple):
    """A record of a table, before anybody asks what it says."""

    value: Any
    locator: str
    n_bytes: int = 0


def json_lines(blob: Blob) -> Iterator[Row | Reject]:
    """A row per line."""
    for number, line in enumerate(_lines(blob.stream), 1):
        if line is None:
            yield Reject("too_large", str(number), MAX_DOCUMENT)
        elif line.strip():
            yield _line(line, str(number))


def json_value(blob: Blob) -> Iterator[Row | Reject]:
    """A file of one JSON value: a list of records, or a single one."""
    try:
        data = _parsed(read_all(blob))
    except (ValueError, RecursionError):
        raise BadFileError("bad_record") from None
    for number, row in enumerate(data if isinstance(data, list) else [data], 1):
        yield Row(row, str(number))


def parquet(blob: Blob) -> Iterator[Row | Reject]:
    """The rows of a Parquet file, a row group at a time."""
    arrow = _pyarrow()
    source = blob.stream if blob.stream.seekable() and not blob.inside else io.BytesIO(read_all(blob, MAX_TABLE))
    try:
        file = arrow.parquet.ParquetFile(source)
        number = 0
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            if about.total_byte_size > MAX_GROUP:
                yield Reject("too_large", f"{number + 1}-{number + about.num_rows}", about.total_byte_size)
                number += about.num_rows
                continue
            for batch in file.iter_batches(batch_size=8, row_groups=[group], use_threads=False):
                yield from _rows(batch, number)
                number += batch.num_rows
    except (arrow.ArrowException, OSError):
        raise BadFileError("damaged") from None


def arrow_stream(blob: Blob) -> Iterator[Row | Reject]:
    """The rows of a file that `datasets` saved."""
    arrow = _pyarrow()
    try:
        number = 0
        for batch in arrow.ipc.open_stream(blob.stream):
            yield from _rows(batch, number)
            number += batch.num_rows
    except (arrow.ArrowException, OSError):
        raise BadFileError("damaged") from None


def _rows(batch: Any, before: int) -> Iterator[Row | Reject]:
    """The rows of a batch one by one; one larger than a document may be is never made into Python's own."""
    for place in range(batch.num_rows):
        row, number = batch.slice(place, 1), str(before + place + 1)
        size = row.get_total_buffer_size() if batch.num_rows == 1 else row.nbytes
        yield Reject("too_large", number, size) if size > MAX_DOCUMENT else _python(row, number, size)


def _python(row: Any, number: str, size: int) -> Row | Reject:
    """A row as Python's own values. One that Python has no value for is left out, where the text does not need it."""
    arrow = _pyarrow()
    faults = (ValueError, OverflowError, KeyError, arrow.ArrowException)
    try:
        return Row(row.to_pylist()[0], number)
    except faults:
        values: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            if arrow.types.is_timestamp(column.type):  # Python's have no nanoseconds
                column = column.cast(arrow.timestamp("us"), safe=False)
            values.setdefault(name, column[0].as_py())
        except faults:
            if name.lower() in _COLUMNS:
                return Reject("bad_record", number, size)
    return Row(values, number)


def documents(rows: Callable[[Blob], Iterator[Row | Reject]]) -> Reader:
    """The reader that takes each of `rows` for a document."""
    return lambda blob: (_record(row, blob.columns) if isinstance(row, Row) else row for row in rows(blob))


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


def _line(line: bytes, locator: str) -> Row | Reject:
    try:
        return Row(_parsed(line), locator, len(line))
    except (ValueError, RecursionError) as error:
        return Reject("bad_record", locator, len(line), f"no JSON: {error}")


def _parsed(data: bytes) -> Any:
    """A value of JSON; one of more lists and records than `MAX_ELEMENTS` is none that a document would need."""
    if data.count(b"[") + data.count(b"{") > MAX_ELEMENTS:
        raise ValueError("too many values")
    return json.loads(data)


def _record(found: Row, given: Sequence[str]) -> Part | Reject:
    """The document of a row; a row that is made as none of ours is, is counted and costs itself only."""
    try:
        return _document(*found, given)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError, OverflowError):
        return Reject("bad_record", found.locator, found.n_bytes)


def _document(row: Any, locator: str, n_bytes: int, given: Sequence[str]) -> Part | Reject:
    if not isinstance(row, Mapping):
        return Reject("bad_record", locator, n_bytes, "no record of columns")
    row = {**{str(name).lower(): value for name, value in row.items()}, **row}
    row |= {name: decode(row[name]) for name in _COLUMNS.union(given) & row.keys() if isinstance(row[name], bytes)}
    columns = _columns(row, given)
    if columns is None:
        return Reject("bad_record", locator, n_bytes, _without_text(row, given))
    meta = _told(row.get("meta") or row.get("metadata"))
    meta |= {name: row[name] for name in _PASSED if isinstance(row.get(name), str) and name not in columns}
    said = [(f"column {name}", row.get(name)) for name in _DATES]
    meta |= last_date([*said, (meta.get("date_from", ""), meta.get("date"))])
    if columns[0] in _QUESTIONS:
        meta.setdefault("profile", "qa")
        meta.setdefault("group", "acquired")
    texts = [text for name in columns if (text := _words(row.get(name)))]
    if columns[0] == "instruction" and isinstance(row.get("instances"), list):
        instances = [one for one in row["instances"] if isinstance(one, Mapping)]
        texts += [str(one[side]) for one in instances for side in ("input", "output") if one.get(side)]
    return Part(clean("\n\n".join(texts).encode("utf-8", "replace").decode()), locator, meta)


def _told(given: Any) -> dict[str, Any]:
    """What of a row's `meta` may stand beside our own: words of a few names, a date; other values below `row`."""
    if not isinstance(given, Mapping):
        return {}
    meta: dict[str, Any] = {name: given[name] for name in _PASSED if isinstance(given.get(name), str)}
    if given.get("group") in ("web", "acquired"):
        meta["group"] = given["group"]
    if date := iso_date(given.get("date")):
        said = given.get("date_from")
        meta |= {"date": date, "date_from": said if isinstance(said, str) and said else "meta"}
    rest = {str(key): one for key, one in given.items() if key not in (*meta, "date", "date_from") and _is_plain(one)}
    return meta | ({"row": rest} if rest else {})


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _without_text(row: Mapping[str, Any], given: Sequence[str]) -> str:
    """Why a record gives no text: what it has, and what it was looked for."""
    if chat := next((name for name in ("messages", "conversations") if name in row), ""):
        return f"a chat ({chat}), which is no document"
    wanted = ", ".join([*given, *(names[0] for names in _TEXTS)])
    return f"no text in a column {wanted}; found: {', '.join(list(row)[:8])[:120] or 'none'}"


def _columns(row: Mapping[str, Any], given: Sequence[str]) -> tuple[str, ...] | None:
    """The columns that make the document: the first with words, else the first that are there at all."""
    there = [names for names in (*((name,) for name in given), *_TEXTS) if isinstance(row.get(names[0]), str)]
    return next((names for names in there if row[names[0]].strip()), there[0] if there else None)


def _words(value: Any) -> str:
    """A value as text: numbers and truths as JSON has them, lists line by line, each line once."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        return "\n".join(dict.fromkeys(map(_words, value)))
    return str(value or "")
