"""EPUB and DOCX: zip archives of markup. A document is a chapter of a book, or the whole of a letter.

Members are read with a limit on what each and all may unpack to. A book under DRM, and any encrypted member, is
refused as `encrypted`; fonts may be obfuscated.
"""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from lxml import etree

from phidelity.data.formats.blob import (
    MAX_DOCUMENT,
    BadFileError,
    Blob,
    Part,
    Reject,
    is_bomb,
    iso_date,
    read_all,
)
from phidelity.data.formats.charset import decode
from phidelity.data.formats.html import read_xhtml
from phidelity.data.formats.page_bounds import too_big
from phidelity.data.formats.plain import clean
from phidelity.data.formats.xml import local, parse

MAX_BOOK = 128 << 20
"""Bytes of a book as it lies in its archive, and of all the chapters that are read from it (ours)."""
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(blob: Blob) -> Iterator[Part | Reject]:
    """The chapters of a book in reading order."""
    with _opened(blob) as book:
        if "META-INF/rights.xml" in book.namelist() or _locked(book):
            raise BadFileError("encrypted")
        package = _package(book)
        root = parse(_member(book, package))
        meta = _about(root)
        paths = {item.get("id"): item.get("href") or "" for item in root.iter() if local(item) == "item"}
        read = 0
        seen: set[str] = set()
        for item in root.iter():
            if local(item) == "itemref" and item.get("idref") in paths:
                path = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(paths[item.get("idref")])))
                if path in seen:
                    yield Reject("repeated_member", path)
                    continue
                seen.add(path)
                read += book.getinfo(path).file_size if path in book.NameToInfo else 0
                if read > MAX_BOOK:
                    raise BadFileError("too_large")
                yield _chapter(book, path, meta)


def read_docx(blob: Blob) -> Iterator[Part | Reject]:
    """The paragraphs and tables of a document of Word."""
    with _opened(blob) as file:
        body = parse(_member(file, "word/document.xml"))
        meta: dict[str, Any] = {}
        if "docProps/core.xml" in file.namelist():
            meta = _about(parse(_member(file, "docProps/core.xml")))
        lines = [_row(element) if local(element) == "tr" else _paragraph(element) for element in _pieces(body)]
        yield Part(clean("\n".join(lines)), meta=meta)


@contextmanager
def _opened(blob: Blob) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(read_all(blob, MAX_BOOK))) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError):
        raise BadFileError("damaged") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise BadFileError("encrypted")
    with archive.open(info) as file:
        data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise BadFileError("too_large")
    if is_bomb(len(data), info.compress_size):
        raise BadFileError("bomb")
    return data


def _locked(book: zipfile.ZipFile) -> bool:
    """Whether anything but fonts is encrypted."""
    if "META-INF/encryption.xml" not in book.namelist():
        return False
    root = parse(_member(book, "META-INF/encryption.xml"))
    ways = [element.get("Algorithm") for element in root.iter() if local(element) == "EncryptionMethod"]
    return any(way not in _FONTS for way in ways) or not ways


def _package(book: zipfile.ZipFile) -> str:
    root = parse(_member(book, "META-INF/container.xml"))
    for element in root.iter():
        if local(element) == "rootfile" and element.get("full-path"):
            return element.get("full-path") or ""
    raise BadFileError("damaged")


def _about(root: etree._Element) -> dict[str, Any]:
    """Title, language, licence and date from Dublin Core."""
    found: dict[str, Any] = {}
    for element in root.iter():
        name, text = local(element), (element.text or "").strip() if isinstance(element.tag, str) else ""
        if name == "title" and text:
            found.setdefault("title", text)
        elif name == "language" and text:
            found.setdefault("declared_language", text.split("-")[0].lower())
        elif name == "rights" and text:
            found.setdefault("license", " ".join(text.split())[:300])
        elif name in ("date", "modified", "created") and iso_date(text):
            found |= {"date": max(iso_date(text), found.get("date", "")), "date_from": f"metadata: {name}"}
    return found


def _chapter(book: zipfile.ZipFile, path: str, meta: dict[str, Any]) -> Part | Reject:
    if path not in book.NameToInfo:
        return Reject("missing_member", path)
    text = decode(_member(book, path))
    if text is None:
        return Reject("not_text", path)
    if reason := too_big(text):
        return Reject(reason, path, len(text))
    page = read_xhtml(text)
    own = {key: value for key, value in page.meta.items() if key not in ("link_share", "chrome_share")}
    return Part(page.text, path, {**own, **meta})


def _pieces(body: etree._Element) -> Iterator[etree._Element]:
    """Paragraphs outside of tables, and the rows of tables, in their order."""
    for element in body.iter():
        if local(element) == "tr" or (local(element) == "p" and not _in_table(element)):
            yield element


def _in_table(element: etree._Element) -> bool:
    return any(local(parent) == "tbl" for parent in element.iterancestors())


def _paragraph(element: etree._Element) -> str:
    """The text of a paragraph and a blank line; formulas between dollars."""
    return f"{_text(element)}\n"


def _row(element: etree._Element) -> str:
    return " | ".join(" ".join(_text(cell).split()) for cell in element if local(cell) == "tc")


def _text(element: etree._Element) -> str:
    pieces: list[str] = []
    for inner in element.iter():
        name = local(inner)
        if name == "oMath":
            pieces.append("$" + "".join(part.text or "" for part in inner.iter() if local(part) == "t") + "$")
        elif name == "t" and not any(local(parent) == "oMath" for parent in inner.iterancestors()):
            pieces.append(inner.text or "")
        elif name in ("tab", "br"):
            pieces.append("\t" if name == "tab" else "\n")
    return "".join(pieces)
