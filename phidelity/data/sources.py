"""Where organic documents come from: files, folders and archives, read to `Document`s, or what could not be read.

A source is a built-in name or the path of a file or folder. The two built-in ones need nothing but the machine:
`python:code` and `python:docs` are the modules and the documentation of the running Python's standard library.
Files are read in the order of the hash of their path, so that a byte budget takes an unbiased and fixed choice.
A file SOURCE.txt in a folder says where it is from (`about.py`). What is binary, damaged, hidden, a link, of unknown
format or without any document is no error but an `Unreadable`, which is counted; a source that holds nothing readable
at all is a `UserError`.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from phidelity.config import UserError
from phidelity.data.about import ABOUT, origin_of, read_about
from phidelity.data.formats.blob import Blob, Reject, iso_date
from phidelity.data.formats.table import Found, read_file
from phidelity.data.stdlib import PYTHON_SOURCES, documentation, library_files, modules
from phidelity.language import UNKNOWN, identify
from phidelity.records import Document

Group = Literal["web", "code", "acquired"]
PASSED = "hidden and links"
"""The source that what is passed over at the top of a root is counted under."""
_EXPECTED = (
    "expected files of a known format, such as .txt .md .html .epub .pdf .jsonl .warc.gz or code, or a .tar.gz of them "
    "(docs/data.md, Formats). Put some there, or leave the source out."
)
_UNDATED = {"date": "", "date_from": "unknown"}


class Unreadable(NamedTuple):
    """Something that was met and is no document: counted as read and as dropped."""

    id: str
    source: str
    reason: str
    n_bytes: int
    format: str = ""
    detail: str = ""
    """What was found, where the reason does not say it all."""


class Source(NamedTuple):
    """A source as the recipe may name it."""

    name: str
    """What cards and counts call it."""
    path: str
    """A built-in name, or where it lies."""
    ignore: tuple[str, ...] = ()
    """Patterns of names of files and folders to leave out."""
    group: str = ""
    """The group of the mixture for all of it; "" for that of each format."""
    label: str = ""
    """What the ids of its documents begin with; "" for the name of its folder."""
    columns: tuple[str, ...] = ()
    """Columns that hold the text of its rows, before the usual ones."""
    passed: tuple[str, ...] = ()
    """Hidden names and links at the top of `path`: these alone are listed, to be counted and not read."""


def read_source(source: Source | str) -> Iterator[Document | Unreadable]:
    """The documents of one source, in a fixed order; a source without any is a `UserError`."""
    source = Source(source, source) if isinstance(source, str) else source
    n_readable = n_unreadable = 0
    for item in _reader(source):
        n_readable += isinstance(item, Document)
        n_unreadable += isinstance(item, Unreadable)
        yield item
    if not n_readable:
        found = f"{n_unreadable} files, none of them readable text" if n_unreadable else "nothing"
        raise UserError(f"Source {source.path} holds {found}; {_EXPECTED}")


def source_files(source: Source) -> list[tuple[str, int]] | None:
    """The files of a source in the order of reading, by path from its root, with their sizes.

    None for a built-in source, which is read in one; a source that is not there or holds no file is a `UserError`.
    """
    if source.path in PYTHON_SOURCES:
        return None
    if source.passed:
        return [(name, 0) for name in source.passed]
    root = _existing(source.path)
    files = [(path, size) for path in _files(root, source.ignore) if (size := _size(path)) is not None]
    files += [(path, 0) for path in _passed(root, source.ignore)]
    if not files:
        raise UserError(f"Source {source.path} holds nothing; {_EXPECTED}")
    return [(path.relative_to(root).as_posix(), size) for path, size in files]


def read_files(source: Source, files: Sequence[str] | None) -> Iterator[Document | Unreadable]:
    """The documents of some files of a source, as `source_files` names them; what is gone by now is counted."""
    if files is None:
        return _reader(source)
    root = Path(source.path)
    about = read_about(root if root.is_dir() else root.parent)
    return (item for file in files for item in _file(root / file if file != "." else root, source, root, about))


def sources_below(root: Path, ignore: Sequence[str] = ()) -> list[Source]:
    """A source for each folder that holds a file and each loose file in `root`, by name; last what is passed over."""
    if not root.is_dir():
        raise UserError(
            f"No folder {root}; expected one with a folder, or a loose file, for each source. Put it there, or name "
            "another: --set corpus.root=DIR"
        )
    there = sorted(path for path in root.iterdir() if path.name != ABOUT)
    found = [path for path in there if not _ignored(path.name, ignore)]
    passed = tuple(path.name for path in found if path.name.startswith(".") or path.is_symlink())
    sources = [
        Source(path.name, str(path), tuple(ignore))
        for path in found
        if path.name not in passed and (path.is_file() or (path.is_dir() and not _is_empty(path, ignore)))
    ]
    if not sources:
        left_out = f" but what corpus.ignore ({', '.join(ignore)}) leaves out" if len(found) < len(there) else ""
        left_out = left_out or (" but empty folders, hidden files and links" if found else "")
        raise UserError(
            f"{root} holds nothing{left_out}; expected a folder, or a loose file, for each source. Check corpus.root."
        )
    return sources + ([Source(PASSED, str(root), tuple(ignore), passed=passed)] if passed else [])


def empty_below(root: Path, ignore: Sequence[str] = ()) -> list[str]:
    """The folders in `root` that hold no file and so are no sources."""
    there = sorted(root.iterdir()) if root.is_dir() else []
    shown = (path for path in there if not (is_left_out(path.name, ignore) or path.is_symlink()))
    return [path.name for path in shown if path.is_dir() and _is_empty(path, ignore)]


def is_left_out(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file or folder below a source is not looked into: hidden, or by its name."""
    return name.startswith(".") or _ignored(name, patterns)


def source_digest(source: Source | str) -> str:
    """A hash of everything a source holds, names and contents: its part of a stage's fingerprint."""
    source = Source(source, source) if isinstance(source, str) else source
    total = hashlib.sha256()
    library = source.path in PYTHON_SOURCES
    for path in library_files(source.path) if library else _files(_existing(source.path), source.ignore):
        try:
            with open(path, "rb") as file:
                total.update(os.fsencode(path.name) + b"\0" + hashlib.file_digest(file, "sha256").digest())
        except OSError:
            total.update(os.fsencode(path.name) + b"\0unreadable")
    return total.hexdigest()


def _reader(source: Source) -> Iterator[Document | Unreadable]:
    if source.path in PYTHON_SOURCES:
        texts = modules() if source.path == "python:code" else documentation()
        return (_built_in(source.name, text, meta) for text, meta in texts)
    root = _existing(source.path)
    about = read_about(root if root.is_dir() else root.parent)
    paths = (*_files(root, source.ignore), *_passed(root, source.ignore))
    return (item for path in paths for item in _file(path, source, root, about))


def _built_in(source: str, text: str, meta: dict[str, Any]) -> Document | Unreadable:
    """A document of this source; its id is taken out of `meta`."""
    id_ = meta.pop("id")
    return Document(id=id_, text=text, source=source, meta=meta) if text else Unreadable(id_, source, "empty", 0)


def _ignored(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _is_empty(folder: Path, ignore: Sequence[str]) -> bool:
    """Whether nothing would come of a folder as a source, not even a count."""
    for _, folders, names in os.walk(folder):
        if any(not _ignored(name, ignore) and name != ABOUT for name in names):
            return False
        folders[:] = [name for name in folders if not is_left_out(name, ignore)]
    return not _passed(folder, ignore)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise UserError(f"No source {name!r}; expected a file, a folder, or one of {', '.join(PYTHON_SOURCES)}.")
    return path


def _files(root: Path, ignore: Sequence[str] = ()) -> list[Path]:
    """All files below `root` but hidden ones, by the hash of their path; links are not followed."""
    if root.is_file():
        return [root]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not is_left_out(name, ignore)]
        found += [Path(folder, name) for name in names if not is_left_out(name, ignore)]
    files = [path for path in found if path.is_file() and not path.is_symlink() and path.name != ABOUT]
    return sorted(files, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(root))).digest())


def _passed(root: Path, ignore: Sequence[str] = ()) -> list[Path]:
    """What below `root` is not looked into: hidden files and folders, and links."""
    if root.is_file():
        return []
    found = []
    for folder, folders, names in os.walk(root):
        inside = [Path(folder, name) for name in (*folders, *names) if not _ignored(name, ignore)]
        found += [path for path in inside if path.name.startswith(".") or path.is_symlink()]
        folders[:] = [name for name in folders if not is_left_out(name, ignore)]
    return sorted(found)


def _file(path: Path, source: Source, root: Path, about: dict[str, Any]) -> Iterator[Document | Unreadable]:
    """The documents of one file; one that vanished or cannot be opened is counted."""
    id_ = (
        "/".join((source.label or root.name, *path.relative_to(root).parts))
        .encode("utf-8", "replace")
        .decode()
        .replace("\n", " ")
    )
    if path != root and (path.name.startswith(".") or path.is_symlink()):
        yield Unreadable(id_, source.name, "hidden" if path.name.startswith(".") else "link", 0)
        return
    try:
        with open(path, "rb") as stream:
            size = path.stat().st_size
            nothing = True
            for found in read_file(Blob(path.name, stream, size, columns=source.columns)):
                nothing = False
                yield _item(found, id_, source, about)
            if nothing:
                yield Unreadable(id_, source.name, "no_document", size)
    except OSError:
        yield Unreadable(id_, source.name, "unreadable", 0)


def _item(found: Found, id_: str, source: Source, about: dict[str, Any]) -> Document | Unreadable:
    item, format = found.item, found.format
    id_ = "#".join(part for part in (id_, found.member, item.locator) if part)
    name = format.name if format else ""
    if isinstance(item, Reject):
        return Unreadable(id_, source.name, item.reason, item.n_bytes, name, item.detail)
    assert format is not None
    text = item.text.encode("utf-8", "replace").decode() if _has_surrogates(item.text) else item.text
    meta = {"group": format.group, "profile": format.profile, "format": name, "locator": id_, **_given(item.meta)}
    if source.group:
        meta["group"] = source.group
    if not meta.get("date"):
        meta |= {"date": about["date"], "date_from": about["date_from"]} if "date" in about else _UNDATED
    meta.setdefault("license", about.get("license", "unknown"))
    meta = origin_of(id_, about) | meta
    if format.syntax:
        return Document(
            id=id_, text=text, source=source.name, meta={**meta, "language": UNKNOWN, "syntax": format.syntax}
        )
    guess = identify(text)
    return Document(id=id_, text=text, source=source.name, meta=_language(meta, guess.code, guess.sureness))


def _given(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its document, where it can be believed: known groups only, dates as dates."""
    given = {key: value for key, value in meta.items() if value not in (None, "")}
    if given.get("group") not in get_args(Group):
        given.pop("group", None)
    if given.get("profile") not in ("prose", "mathematics", "qa", "code"):
        given.pop("profile", None)
    if date := iso_date(given.pop("date", "")):
        given |= {"date": date, "date_from": given.get("date_from", "meta")}
    return given


def _language(meta: dict[str, Any], code: str, sureness: float) -> dict[str, Any]:
    """The identified language; one that a record states itself counts where the text is too short to tell."""
    stated = meta.get("language")
    if isinstance(stated, str) and len(stated) == 2 and sureness < 0.5:
        return meta
    return {**meta, "language": code, "language_sureness": sureness}


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
