"""Web archives: WARC of any writer, and Common Crawl's WET, by FastWARC.

Chunked transfer and content encodings are undone here, with a limit on what comes out (FastWARC 2.0.1's own undoing
ends an archive early, without a word, after some bodies). The charset is decided from the
bytes, then by the HTTP header, then by the page itself. What is no page (redirects, errors, images) is counted by
its reason. What comes out of a packed archive is held against what went in, record by record. A damaged record costs
itself: reading goes on at the next that begins.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any

import brotli
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType

from phidelity.data.formats.blob import MAX_DOCUMENT, BadFileError, Blob, Part, Reject, is_bomb, iso_date
from phidelity.data.formats.charset import decode
from phidelity.data.formats.html import read_html, read_xhtml
from phidelity.data.formats.page_bounds import too_big
from phidelity.data.formats.plain import clean

_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w:-]{2,40})", re.IGNORECASE)
_HEADER_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w:-]{2,40})", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,7})[^\r\n]{0,200}\r\n")
_START = re.compile(rb"\x1f\x8b\x08|\nWARC/1\.\d\r?\n")
_WINDOW, _AHEAD = 1 << 16, 1 << 12
_RESTARTS = 10_000
"""Damaged places of an archive after which its rest is given up (ours)."""
_TYPES = (WarcRecordType.response, WarcRecordType.conversion)
_PAGES = ("text/html", "application/xhtml")


def read_warc(blob: Blob) -> Iterator[Part | Reject]:
    """The pages of an archive, and a reason for every response that is none.

    After damage reading goes on at the next record that begins in sight, where the archive can be read twice.
    """
    stream: Any = blob.stream
    records, at, restarts = _records(stream), 0, _RESTARTS if not blob.inside and stream.seekable() else 0
    start = n = unpacked = 0
    is_new = True  # the damage is counted once, however often it is met
    while True:
        found: Part | Reject | None = None
        try:
            record = next(records, None)
            if record is None:
                return
            start, is_new = at + record.stream_pos, True
            if record.record_type in _TYPES:
                n += 1
                found, size = _record(record, str(n))
                unpacked += size
        except (EOFError, ValueError, OSError):
            found = Reject("damaged", str(n)) if is_new else None
            is_new = False
        if is_bomb(unpacked, stream.tell()):
            raise BadFileError("bomb")
        if found is not None:
            yield found
        if not is_new or (isinstance(found, Reject) and found.reason in ("damaged", "truncated")):
            restarts -= 1
            following = _next_start(stream, start + 1) if restarts >= 0 else None
            if following is None:
                return
            stream.seek(following)
            records, at, start = _records(stream), following, following


def _records(stream: Any) -> Iterator[Any]:
    return iter(ArchiveIterator(stream, parse_http=False, auto_decode="none"))


def _next_start(stream: Any, at: int) -> int | None:
    """Where from here on a record begins, packed or not."""
    while True:
        stream.seek(at)
        data = stream.read(_WINDOW + _AHEAD)
        for found in _START.finditer(data):
            if found.start() < _WINDOW and (found[0].startswith(b"\n") or _unpacks(data[found.start() :][:_AHEAD])):
                return at + found.start() + found[0].startswith(b"\n")
        if len(data) <= _WINDOW:
            return None
        at += _WINDOW


def _unpacks(data: bytes) -> bool:
    """Whether a record comes out of these bytes."""
    try:
        return zlib.decompressobj(31).decompress(data, 5) == b"WARC/"
    except zlib.error:
        return False


def _record(record: Any, number: str) -> tuple[Part | Reject, int]:
    """What a record gives, and how many bytes it took."""
    if record.record_type == WarcRecordType.response:
        record.parse_http(auto_decode="none")
    declared, data = record.content_length, record.reader.read(MAX_DOCUMENT + 1)
    return _found(record, number, declared, data), declared if len(data) > MAX_DOCUMENT else len(data)


def _found(record: Any, number: str, declared: int, data: bytes) -> Part | Reject:
    url = record.headers.get("WARC-Target-URI", "").strip("<>")
    locator = f"{number} {url}"
    if b"\r\n\r\nWARC/1." in data:  # its length is not what it says, and others lie in it
        return Reject("damaged", locator, len(data))
    if len(data) > MAX_DOCUMENT:
        return Reject("too_large", locator, len(data))
    meta = {"url": url, "date": iso_date(record.headers.get("WARC-Date")), "date_from": "WARC-Date"}
    if len(data) < declared:
        return Reject("truncated", locator, len(data))
    if record.record_type == WarcRecordType.conversion:
        return Part(clean(data.decode("utf-8", "replace")), locator, meta)
    http = record.http_headers
    if http is None:
        return Reject("no_http", locator, len(data))
    if http.status_code != 200:
        return Reject("http_status", locator, len(data))
    kind = (http.get("Content-Type") or "").lower()
    if kind and not kind.startswith(_PAGES):
        return Reject("not_html", locator, len(data))
    body = http_body(data, http)
    if body is None or len(body) > MAX_DOCUMENT or is_bomb(len(body), len(data)):
        return Reject("damaged" if body is None else "bomb", locator, len(data))
    return _page(body, kind, locator, meta)


def declared_charset(data: bytes) -> list[str]:
    """The charset that an HTML page declares of itself, if any."""
    found = _META_CHARSET.search(data[:4096])
    return [found[1].decode("ascii")] if found else []


def http_body(data: bytes, http: Any) -> bytes | None:
    """The bytes that a browser would see; None where they cannot be had. Bodies stored undone are taken as they are."""
    if "chunked" in (http.get("Transfer-Encoding") or "").lower():
        data = _unchunked(data)
    match (http.get("Content-Encoding") or "").strip().lower():
        case "gzip" | "x-gzip" if data.startswith(b"\x1f\x8b"):
            return _inflated(data, 31)
        case "deflate":
            return _inflated(data, 15) or _inflated(data, -15)
        case "br":
            return _unbrotlied(data)
        case "zstd" if data.startswith(b"\x28\xb5\x2f\xfd"):
            return _unzstd(data)
    return data


def _unchunked(data: bytes) -> bytes:
    """A chunked body put together; as it is where it is not chunked after all, and up to the first bad chunk."""
    parts, at = [], 0
    while found := _CHUNK.match(data, at):
        size = int(found[1], 16)
        if size == 0 and parts:
            break
        at = found.end() + size
        parts.append(data[found.end() : at])
        at += data[at : at + 2] == b"\r\n" and 2
        if at >= len(data) or not size:
            break
    return b"".join(parts) or data


def _inflated(data: bytes, window: int) -> bytes | None:
    try:
        return zlib.decompressobj(window).decompress(data, MAX_DOCUMENT + 1)
    except zlib.error:
        return None


def _unbrotlied(data: bytes) -> bytes | None:
    try:
        return brotli.Decompressor().process(data, output_buffer_limit=MAX_DOCUMENT + 1)
    except brotli.error:
        return None


def _unzstd(data: bytes) -> bytes | None:
    try:
        return zstandard.ZstdDecompressor().stream_reader(data).read(MAX_DOCUMENT + 1)
    except zstandard.ZstdError:
        return None


def _page(data: bytes, kind: str, locator: str, meta: dict[str, Any]) -> Part | Reject:
    if not data.strip():
        return Reject("empty", locator, len(data))
    charsets = [found[1] for found in (_HEADER_CHARSET.search(kind),) if found]
    charsets += declared_charset(data)
    text = decode(data, charsets)
    if text is None:
        return Reject("not_text", locator, len(data))
    if reason := too_big(text):
        return Reject(reason, locator, len(data))
    page = read_xhtml(text) if "xhtml" in kind else read_html(text)
    return Part(page.text, locator, {**meta, **page.meta})
