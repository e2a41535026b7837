"""Web archives: WARC of any writer, and Common Crawl's WET, by FastWARC.

Chunked transfer and content encodings are undone here, with a limit on what comes out (FastWARC 2.0.1's own undoing
ends an archive early, without a word, after some bodies). The charset is decided from the
bytes, then by the HTTP header, then by the page itself. What is no page (redirects, errors, images) is counted by
its reason. What comes out of a packed archive is held against what went in, record by record. An archive that ends in
the middle of a record gives all records before it.
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
_PAGES = ("text/html", "application/xhtml")


def read_warc(blob: Blob) -> Iterator[Part | Reject]:
    """The pages of an archive, and a reason for every response that is none."""
    kinds = WarcRecordType.response | WarcRecordType.conversion
    stream: Any = blob.stream
    records = iter(ArchiveIterator(stream, record_types=kinds, parse_http=True, auto_decode="none"))
    n = unpacked = 0
    while True:
        n += 1
        try:
            record = next(records, None)
            if record is None:
                return
            unpacked += record.content_length
            if is_bomb(unpacked, stream.tell()):
                raise BadFileError("bomb")
            yield _record(record, str(n))
        except (EOFError, ValueError, OSError):
            yield Reject("damaged", str(n))
            return


def _record(record: Any, number: str) -> Part | Reject:
    url = record.headers.get("WARC-Target-URI", "").strip("<>")
    locator = f"{number} {url}"
    declared, data = record.content_length, record.reader.read(MAX_DOCUMENT + 1)
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
