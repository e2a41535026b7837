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
from phidelity.data.formats.mathml import dollars
from phidelity.data.formats.omml import omml_to_tex
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
        yield Part(clean("\n".join(_blocks(body))), meta=meta)


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


def _blocks(around: etree._Element) -> Iterator[str]:
    """Paragraphs with a blank line, and rows of tables, in their order."""
    for element in around:
        name = local(element)
        if name == "p":
            yield f"{_text(element)}\n"
        elif name == "tbl":
            rows = [one for one in element.iter() if local(one) == "tr" and _around(one, "tbl") is element]
            yield from (
                " | ".join(_cell(cell) for cell in row.iter() if local(cell) == "tc" and _around(cell, "tr") is row)
                for row in rows
            )
            yield ""
        elif name not in _UNSEEN:
            yield from _blocks(element)


def _cell(cell: etree._Element) -> str:
    """All paragraphs of a cell in one line; so is a table within it."""
    return " ".join(" ".join(_blocks(cell)).split())


def _around(element: etree._Element, name: str) -> etree._Element | None:
    return next((parent for parent in element.iterancestors() if local(parent) == name), None)


def _text(paragraph: etree._Element) -> str:
    """The text of a paragraph, formulas between dollars; boxes of text in it stand in their place, once."""
    pieces: list[str] = []
    for element in paragraph:
        name = local(element)
        if name in ("oMath", "oMathPara"):
            pieces.append(dollars(omml_to_tex(element), display=name == "oMathPara"))
        elif name == "t":
            pieces.append(element.text or "")
        elif name in _MARKS:
            pieces.append(_MARKS[name])
        elif name == "txbxContent":
            pieces.append(f" {_cell(element)} ")
        elif name not in _UNSEEN:
            pieces.append(_text(element))
    return "".join(pieces)


_MARKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_UNSEEN = {"Fallback", "del", "moveFrom", "instrText", "rPr", "pPr", "sdtPr", "tblPr", "trPr", "tcPr", ""}
"""What is shown in another way beside it, was deleted, or is no text."""
