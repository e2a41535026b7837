"""Where organic documents come from: files, folders and archives, read to `Document`s, or what could not be read.

A source is a built-in name or the path of a file or folder. The two built-in ones need nothing but the machine:
`python:code` and `python:docs` are the modules and the documentation of the running Python's standard library.
Files are read in the order of the hash of their path, so that a byte budget takes an unbiased and fixed choice.
A file SOURCE.txt in a folder says where it is from: `source:` and `commit` stand with every document, `licence:` holds
for what names no other, and the day after `commit` dates what has no date of its own. What is binary, damaged, hidden,
a link or of unknown format is no error but an `Unreadable`, which is counted; a source that holds nothing readable at
all is a `UserError`.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from phidelity.config import UserError
from phidelity.data.formats.blob import Blob, Reject, iso_date
from phidelity.data.formats.table import FORMATS, Found, read_file
from phidelity.data.stdlib import PYTHON_SOURCES, documentation, library_files, modules
from phidelity.language import UNKNOWN, identify
from phidelity.records import Document

ABOUT = "SOURCE.txt"
Group = Literal["web", "code", "acquired"]
_UNDATED = {"date": "", "date_from": "unknown"}
_COMMIT = re.compile(r"commit:? [0-9a-f]{7,40} (\d{4}-\d\d-\d\d)")
_ORIGIN = re.compile(r"(https?://\S+)(?: (?:commit )?([0-9a-f]{7,40})\b)?")
_REVISION = re.compile(r"^commit:? ([0-9a-f]{7,40})\b", re.MULTILINE)
_FROM = re.compile(r"^(?:source|made from): *(.+)$", re.MULTILINE)
_LICENSE = re.compile(r"^licen[cs]e\w*: *(.+)$", re.MULTILINE)


class Unreadable(NamedTuple):
    """Something that was met and is no document: counted as read and as dropped."""

    id: str
    source: str
    reason: str
    n_bytes: int
    format: str = ""


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
        raise UserError(f"Source {source.path} holds {found}; expected text in {', '.join(FORMATS)} or a .tar of them.")


def source_files(source: Source) -> list[tuple[str, int]] | None:
    """The files of a source in the order of reading, by path from its root, with their sizes.

    None for a built-in source, which is read in one; a source that is not there or holds no file is a `UserError`.
    """
    if source.path in PYTHON_SOURCES:
        return None
    root = _existing(source.path)
    files = [(path, size) for path in _files(root, source.ignore) if (size := _size(path)) is not None]
    if not files:
        raise UserError(f"Source {source.path} holds nothing; expected text in {', '.join(FORMATS)} or a .tar of them.")
    listed = [(path.relative_to(root).as_posix(), size) for path, size in files]
    return listed + [(path.relative_to(root).as_posix(), 0) for path in _passed(root, source.ignore)]


def read_files(source: Source, files: Sequence[str] | None) -> Iterator[Document | Unreadable]:
    """The documents of some files of a source, as `source_files` names them; what is gone by now is counted."""
    if files is None:
        return _reader(source)
    root = Path(source.path)
    about = _about(root if root.is_dir() else root.parent)
    return (item for file in files for item in _file(root / file if file != "." else root, source, root, about))


def sources_below(root: Path, ignore: Sequence[str] = ()) -> list[Source]:
    """A source for each folder and each loose file in `root`, by name."""
    if not root.is_dir():
        raise UserError(
            f"No folder {root}; expected one with a folder, or a loose file, for each source. Put it there, or name "
            "another: --set corpus.root=DIR"
        )
    found = sorted(path for path in root.iterdir() if path.name != ABOUT and not is_left_out(path.name, ignore))
    chosen = (path for path in found if path.is_dir() or (path.is_file() and not path.is_symlink()))
    sources = [Source(path.name, str(path), tuple(ignore)) for path in chosen]
    if not sources:
        left_out = f" but what corpus.ignore ({', '.join(ignore)}) leaves out" if ignore else ""
        raise UserError(
            f"{root} holds nothing{left_out}; expected a folder, or a loose file, for each source. Check corpus.root."
        )
    return sources


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
    about = _about(root if root.is_dir() else root.parent)
    paths = (*_files(root, source.ignore), *_passed(root, source.ignore))
    return (item for path in paths for item in _file(path, source, root, about))


def _built_in(source: str, text: str, meta: dict[str, Any]) -> Document | Unreadable:
    """A document of this source; its id is taken out of `meta`."""
    id_ = meta.pop("id")
    return Document(id=id_, text=text, source=source, meta=meta) if text else Unreadable(id_, source, "empty", 0)


def _ignored(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


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


def _about(folder: Path) -> dict[str, Any]:
    """Licence, origin, commit and date that SOURCE.txt gives a whole folder; of several dates the newest."""
    try:
        text = (folder / ABOUT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, Any] = {"license": licenses[0].strip()} if (licenses := _LICENSE.findall(text)) else {}
    found["origins"] = _ORIGIN.findall(" ".join(_FROM.findall(text)))
    found["commit"] = " ".join(_REVISION.findall(text))
    dates = _COMMIT.findall(text)
    return found | ({"date": max(dates), "date_from": f"commit in {ABOUT}"} if dates else {})


def _origin(id_: str, about: dict[str, Any]) -> dict[str, str]:
    """Where a document's folder is from, and at which commit; of several places those that its name tells, else all."""
    origins = about.get("origins", [])
    named = [pair for pair in origins if pair[0].rstrip("/").rsplit("/", 1)[-1].lower() in id_.lower()]
    chosen = named if len(origins) > 1 and named else origins
    commits = " ".join(dict.fromkeys(commit for _, commit in chosen if commit)) or about.get("commit", "")
    found = {"origin": " ".join(dict.fromkeys(url for url, _ in chosen)), "commit": commits}
    return {key: value for key, value in found.items() if value}


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
            for found in read_file(Blob(path.name, stream, size)):
                yield _item(found, id_, source, about)
    except OSError:
        yield Unreadable(id_, source.name, "unreadable", 0)


def _item(found: Found, id_: str, source: Source, about: dict[str, Any]) -> Document | Unreadable:
    item, format = found.item, found.format
    id_ = "#".join(part for part in (id_, found.member, item.locator) if part)
    name = format.name if format else ""
    if isinstance(item, Reject):
        return Unreadable(id_, source.name, item.reason, item.n_bytes, name)
    assert format is not None
    text = item.text.encode("utf-8", "replace").decode() if _has_surrogates(item.text) else item.text
    meta = {"group": format.group, "profile": format.profile, "format": name, "locator": id_, **_given(item.meta)}
    if source.group:
        meta["group"] = source.group
    if not meta.get("date"):
        meta |= {"date": about["date"], "date_from": about["date_from"]} if "date" in about else _UNDATED
    meta.setdefault("license", about.get("license", "unknown"))
    meta = _origin(id_, about) | meta
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
