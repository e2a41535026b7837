"""What readers take and give: a bounded stream in; parts, or counted reasons for what is none, out.

No stream gives more than it should: a document has a largest size, and what unpacks to far more than it was packed
from is a bomb. So memory stays bounded whatever a file claims about itself. All limits are ours.
"""

import calendar
import io
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from phidelity.data.formats.charset import decode

MAX_DOCUMENT = 32 << 20
"""Bytes of the largest single document."""
MAX_RATIO = 250
"""Bytes that one packed byte may become; text seldom goes beyond 20."""
FREE = 16 << 20
"""Bytes that may come out of a packed stream before the ratio counts."""
MAX_ELEMENTS = 1_000_000
"""Elements of a page or a book in XML, lists and records of one JSON value: each costs some hundred bytes of memory."""
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")


class Part(NamedTuple):
    """A text found in a file, and what the format says of it."""

    text: str
    locator: str = ""
    """Where in the file: a line, a record, a member; empty for the whole."""
    meta: Mapping[str, Any] = MappingProxyType({})
    """Any of url, license, language, date, date_from, title, profile, group, link_share, chrome_share, syntax, meta."""


class Reject(NamedTuple):
    """Something in a file that gives no text, and why."""

    reason: str
    locator: str = ""
    n_bytes: int = 0


class Blob(NamedTuple):
    """A file to read, wherever it lies: on disk, in an archive, or unpacked on the fly."""

    name: str
    """Its file name, whose suffix tells the format."""
    stream: IO[bytes]
    size: int = 0
    """Bytes as stored; 0 where nobody knows."""
    inside: bool = False
    """Whether it comes out of an archive."""


Reader = Callable[[Blob], Iterator[Part | Reject]]


class BadFileError(Exception):
    """What a reader raises to give a whole file up; its text is the reason that is counted."""


class Unpacked(io.RawIOBase):
    """A stream of unpacked bytes that stops, as a `BadFileError`, when too many come out of too few."""

    def __init__(self, unpacked: IO[bytes], packed: IO[bytes]) -> None:
        self._unpacked, self._packed, self._n = unpacked, packed, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, as `RawIOBase` asks."""
        data = self._unpacked.read(len(buffer))
        self._n += len(data)
        if is_bomb(self._n, self._packed.tell()):
            raise BadFileError("bomb")
        buffer[: len(data)] = data
        return len(data)


def is_bomb(n_unpacked: int, n_packed: int) -> bool:
    """Whether too many bytes came out of too few."""
    return n_unpacked > FREE and n_unpacked > MAX_RATIO * max(1, n_packed)


def read_all(blob: Blob, limit: int = MAX_DOCUMENT) -> bytes:
    """Everything in a stream, or a `BadFileError` where that is too much."""
    data = blob.stream.read(limit + 1)
    if len(data) > limit:
        raise BadFileError("too_large")
    return data


def read_text(blob: Blob) -> str:
    """The whole file as text; binary that poses as text is a `BadFileError`."""
    data = read_all(blob)
    text = decode(data)
    if text is None:
        raise BadFileError("not_text")
    return text


def whole(extract: Callable[[str], str | Part]) -> Reader:
    """The reader of a format whose files are one text each."""

    def read(blob: Blob) -> Iterator[Part | Reject]:
        found = extract(read_text(blob))
        yield found if isinstance(found, Part) else Part(found)

    return read


def iso_date(text: Any) -> str:
    """The date at the head of a timestamp as YYYY-MM-DD (a bare year or month is its last day); "" for none."""
    found = _DATE.match(str(text or "").strip())
    if not found or not 1400 < int(found[1]) < 2200:
        return ""
    year, month = int(found[1]), int(found[2] or 12)
    if not 1 <= month <= 12:
        return ""
    last = calendar.monthrange(year, month)[1]
    day = int(found[3] or last)
    return f"{year:04}-{month:02}-{day:02}" if 1 <= day <= last else ""
