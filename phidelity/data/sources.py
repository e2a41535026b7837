"""Where organic documents come from: readers that yield `Document`s, or say what they could not read.

A source is a built-in name or the path of a file or folder. The two built-in ones need nothing but the machine:
`python:code` and `python:docs` are the modules and the documentation of the running Python's standard library.
Files are read in the order of the hash of their path, so that a byte budget takes an unbiased and fixed choice.
What is binary, damaged or of unknown format is no error but an `Unreadable`, which is counted; a source that
holds nothing readable at all is a `UserError`.
"""

import gzip
import hashlib
import io
import json
import os
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

from phidelity.config import UserError
from phidelity.data.extract import clean, html_to_text, markdown_text
from phidelity.data.stdlib import PYTHON_SOURCES, documentation, library_files, modules
from phidelity.records import Document, zstd_lines

_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")
_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_GROUPS = {"web", "code", "acquired"}


class Unreadable(NamedTuple):
    """Something that was met and is no document: counted as read and as dropped."""

    id: str
    source: str
    reason: str
    n_bytes: int


def read_source(name: str) -> Iterator[Document | Unreadable]:
    """The documents of one source, in a fixed order; a source without any is a `UserError`."""
    n_readable = n_unreadable = 0
    for item in _reader(name):
        n_readable += isinstance(item, Document)
        n_unreadable += isinstance(item, Unreadable)
        yield item
    if not n_readable:
        found = f"{n_unreadable} files, none of them readable text" if n_unreadable else "nothing"
        raise UserError(f"Source {name} holds {found}; expected {', '.join((*_FORMATS, *_LINES))} with text in them.")


def source_digest(name: str) -> str:
    """A hash of everything a source holds, names and contents: its part of a stage's fingerprint."""
    total = hashlib.sha256()
    for path in library_files(name) if name in PYTHON_SOURCES else _files(_existing(name)):
        total.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _reader(name: str) -> Iterator[Document | Unreadable]:
    if name == "python:code":
        return (_document(name, text, meta) for text, meta in modules())
    if name == "python:docs":
        return (_document(name, text, meta) for text, meta in documentation())
    root = _existing(name)
    return (item for path in _files(root) for item in _file(path, name, root))


def _document(source: str, text: str, meta: dict[str, Any]) -> Document | Unreadable:
    """A document of this source; its id is taken out of `meta`."""
    id_ = meta.pop("id")
    return Document(id=id_, text=text, source=source, meta=meta) if text else Unreadable(id_, source, "empty", 0)


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise UserError(f"No source {name!r}; expected a file, a folder, or one of {', '.join(PYTHON_SOURCES)}.")
    return path


def _files(root: Path) -> list[Path]:
    """All files below `root` but hidden ones, by the hash of their path; links are not followed."""
    if root.is_file():
        return [root]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    return sorted(files, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(root))).digest())


def _file(path: Path, source: str, root: Path) -> Iterator[Document | Unreadable]:
    """The documents of one file, by its suffix."""
    id_ = "/".join((root.name, *path.relative_to(root).parts)).encode("utf-8", "replace").decode().replace("\n", " ")
    try:
        n_bytes = path.stat().st_size
        if path.name.endswith(_LINES):
            yield from _json_lines(path, id_, source)
        elif path.suffix not in _FORMATS:
            yield Unreadable(id_, source, "unknown_format", n_bytes)
        elif (text := _decoded(path.read_bytes(), path.suffix)) is None:
            yield Unreadable(id_, source, "not_text", n_bytes)
        elif not (text := _FORMATS[path.suffix](text)):
            yield Unreadable(id_, source, "empty", n_bytes)
        else:
            group = "code" if path.suffix == ".py" else "web"
            yield Document(id=id_, text=text, source=source, meta={"group": group, "format": path.suffix[1:]})
    except OSError:
        yield Unreadable(id_, source, "unreadable", 0)


def _decoded(data: bytes, suffix: str) -> str | None:
    """The text of a file; None when it is binary posing as text."""
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0] if suffix == ".py" else "utf-8-sig"
        text = data.decode(encoding)
    except (UnicodeDecodeError, SyntaxError, LookupError):
        return None
    return None if _BINARY.search(text) else text


def _json_lines(path: Path, id_: str, source: str) -> Iterator[Document | Unreadable]:
    """A document per line that has a string `text`; id and meta are kept where given."""
    number = 0
    try:
        for number, line in enumerate(_lines(path), 1):
            if line.strip():
                yield _line(line, f"{id_}#{number}", source)
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError):
        yield Unreadable(f"{id_}#{number + 1}", source, "damaged", 0)


def _line(line: bytes, id_: str, source: str) -> Document | Unreadable:
    try:
        data = json.loads(line)
        text = clean(data["text"])
        given = data.get("meta")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Unreadable(id_, source, "bad_record", len(line))
    if not text:
        return Unreadable(id_, source, "empty", len(line))
    meta = {"group": "web", "format": "jsonl", **(given if isinstance(given, dict) else {})}
    meta["group"] = meta["group"] if meta["group"] in _GROUPS else "web"
    return Document(id=id_, text=text, source=source, meta=meta)


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield from stream
        return
    with open(path, "rb") as file:
        yield from zstd_lines(file) if path.suffix == ".zst" else file


def _code(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")


_FORMATS: dict[str, Callable[[str], str]] = {
    ".txt": clean,
    ".md": markdown_text,
    ".html": html_to_text,
    ".htm": html_to_text,
    ".py": _code,
}
