"""What readers take and give: a bounded stream in; parts, or counted reasons for what is none, out.

No stream gives more than it should: a document has a largest size, and what unpacks to far more than it was packed
from is a bomb. So memory stays bounded whatever a file claims about itself. All limits are ours.
"""

import calendar
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_TIME = r"(?:T\d\d|(?:T|,?\s+(?:at\s+)?)\d\d?:?\d\d.*|Z|[+-]\d\d:?\d\d)?"
_DAY = r"(?P<day>\d\d?)(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_NUMBERS = re.compile(rf"{_YEAR}(?:([-/.])(?P<month>\d\d?)(?:\2(?P<day>\d\d?){_TIME})?)?")
_COMPACT = re.compile(rf"{_YEAR}(?P<month>\d\d)(?P<day>\d\d)(?:\d{{6}}|{_TIME})")
_DAY_FIRST = re.compile(rf"(?:[A-Za-z]+,?\s+)?{_DAY}[\s-](?P<month>[A-Za-z]+)\.?,?[\s-]{_YEAR}{_TIME}")
_MONTH_FIRST = re.compile(rf"(?:[A-Za-z]+,?\s+)?(?P<month>[A-Za-z]+)\.?(?:\s+{_DAY})?(?:\s+[\d:]+)?,?\s+{_YEAR}{_TIME}")
_FORMS = (_NUMBERS, _COMPACT, _DAY_FIRST, _MONTH_FIRST)
_EPOCH = re.compile(r"(\d{9,19})(?:\.\d*)?")


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
    detail: str = ""
    """What was found, where the reason does not say it all."""


class Blob(NamedTuple):
    """A file to read, wherever it lies: on disk, in an archive, or unpacked on the fly."""

    name: str
    """Its file name, whose suffix tells the format."""
    stream: IO[bytes]
    size: int = 0
    """Bytes as stored; 0 where nobody knows."""
    inside: bool = False
    """Whether it comes out of an archive."""
    columns: tuple[str, ...] = ()
    """Columns that hold the text of a row, before the usual ones."""


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


def iso_date(said: Any) -> str:
    """The day of a timestamp as YYYY-MM-DD; "" for what is none or could be two.

    Read are 2024-01-05, 2024/1/5, 20240105, 5 Jan 2024, January 5, 2024, each with or without a time, what mail has,
    and seconds, milli-, micro- and nanoseconds since 1970. A bare year or month is its last day.
    """
    text = f"{said:.0f}" if isinstance(said, float) else str(said or "").strip()[:80]
    for form in _FORMS:
        if found := form.fullmatch(text):
            return _day(found["year"], found["month"], found["day"])
    if found := _EPOCH.fullmatch(text):
        seconds = int(found[1])
        while seconds >= 10**11:
            seconds //= 1000
        return _day(*time.strftime("%Y-%m-%d", time.gmtime(seconds)).split("-"))
    return ""


def last_date(said: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """The last of several dates, as a document carries it, and who says so; nothing where none is one."""
    date, who = max(((iso_date(text), who) for who, text in said), default=("", ""))
    return {"date": date, "date_from": who} if date else {}


def _day(year: str, month: str | None, day: str | None) -> str:
    y, m = int(year), 12
    if month:
        names = [n for n, name in enumerate(_MONTHS, 1) if len(month) > 2 and name.startswith(month.lower())]
        m = int(month) if month.isdigit() else names[0] if names else 0
    if not (1400 < y < 2200 and 1 <= m <= 12):
        return ""
    last = calendar.monthrange(y, m)[1]
    d = int(day or last)
    return f"{y:04}-{m:02}-{d:02}" if 1 <= d <= last else ""
