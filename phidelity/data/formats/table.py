"""Which reader a file gets: the literal table of formats by suffix, and how packed files are opened.

A name is read from its end, so that `page.html.ko.euc-kr` is HTML, `posts.jsonl.zst` JSON lines packed by zstd and
`book.tar.gz` an archive of further files. An archive inside an archive is refused.
"""

import gzip
import io
import logging
import lzma
import re
import tarfile
import zlib
from bz2 import BZ2File
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import zstandard

from phidelity.config import UserError
from phidelity.data.formats.blob import BadFileError, Blob, Part, Reader, Reject, Unpacked, read_all, whole
from phidelity.data.formats.charset import decode
from phidelity.data.formats.html import read_html, read_xhtml
from phidelity.data.formats.latex import read_latex
from phidelity.data.formats.page_bounds import too_big
from phidelity.data.formats.pdf import read_pdf
from phidelity.data.formats.plain import read_code, read_markdown, read_plain
from phidelity.data.formats.rows import Row, arrow_stream, documents, json_lines, json_value, parquet
from phidelity.data.formats.rst import read_rst
from phidelity.data.formats.stackexchange import read_posts
from phidelity.data.formats.warc import declared_charset, read_warc
from phidelity.data.formats.wikitext import is_wikitext, read_wikitext
from phidelity.data.formats.xml import declares_entities, read_cnxml, read_pretext, read_xml
from phidelity.data.formats.zipped import read_docx, read_epub

_LOG = logging.getLogger(__name__)


class Format(NamedTuple):
    """A format: who reads it, which rules judge it, and which group of the mixture it belongs to."""

    name: str
    read: Reader
    profile: str = "prose"
    group: str = "web"
    syntax: str = ""
    """The language of code."""


def _text(blob: Blob) -> Iterator[Part | Reject]:
    """Plain text, or MediaWiki's where it looks like that."""
    text = decode(read_all(blob))
    if text is None:
        raise BadFileError("not_text")
    yield read_wikitext(text) if is_wikitext(text) else read_plain(text)


def _html(blob: Blob) -> Iterator[Part | Reject]:
    data = read_all(blob)
    text = decode(data, declared_charset(data))
    if text is None:
        raise BadFileError("not_text")
    if reason := too_big(text):
        raise BadFileError(reason)
    is_xml = text.startswith("<?xml") or ".xhtml" in blob.name.lower()
    yield read_xhtml(text) if is_xml else read_html(text)


def _posts_or_book(blob: Blob) -> Iterator[Part | Reject]:
    """XML by its head: a dump of posts, which is read as a stream, or a book."""
    stream = io.BufferedReader(_Raw(blob.stream), 1 << 16)
    head = stream.peek(1 << 12)[: 1 << 12]
    if declares_entities(head):
        raise BadFileError("xml_entities")
    reader = read_posts if b"<posts" in head else read_xml
    yield from reader(blob._replace(stream=stream))


_PIECE = 256
"""Packed bytes that are unpacked at once: at most 64 blocks, 8 MB, come out of them."""


class _Zstd(io.RawIOBase):
    """A zstd stream of any number of frames; one that is cut off is an `EOFError` (the library would end silently)."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._rest, self._ready = stream, b"", b""
        self._decoder: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready:
            packed = self._rest[:_PIECE] or self._stream.read(_PIECE)
            if not packed and self._decoder:
                raise EOFError("the compressed stream is cut off")
            if not packed:
                return 0
            decoder = self._decoder = self._decoder or zstandard.ZstdDecompressor().decompressobj()
            self._ready = decoder.decompress(packed)
            self._rest = (decoder.unused_data if decoder.eof else b"") + self._rest[_PIECE:]
            self._decoder = None if decoder.eof else decoder
        data, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class _Raw(io.RawIOBase):
    """Any readable stream as a raw one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


_TEXT = Format("text", _text)
_MARKDOWN = Format("markdown", whole(read_markdown))
_HTML = Format("html", _html)
_LATEX = Format("latex", whole(read_latex), group="acquired")
_WARC = Format("warc", read_warc)

FORMATS: dict[str, Format] = {
    **dict.fromkeys((".txt", ".text"), _TEXT),
    **dict.fromkeys((".md", ".markdown", ".mdx"), _MARKDOWN),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _HTML),
    **dict.fromkeys((".warc", ".wet"), _WARC),
    ".rst": Format("rst", whole(read_rst)),
    ".tex": _LATEX,
    ".latex": _LATEX,
    ".wiki": Format("wikitext", whole(read_wikitext)),
    ".wikitext": Format("wikitext", whole(read_wikitext)),
    ".jsonl": Format("jsonl", documents(json_lines)),
    ".ndjson": Format("jsonl", documents(json_lines)),
    ".parquet": Format("parquet", documents(parquet)),
    ".arrow": Format("arrow", documents(arrow_stream)),
    ".cnxml": Format("cnxml", read_cnxml, group="acquired"),
    ".ptx": Format("pretext", read_pretext, "mathematics", "acquired"),
    ".xml": Format("xml", _posts_or_book, group="acquired"),
    ".epub": Format("epub", read_epub, group="acquired"),
    ".docx": Format("docx", read_docx, group="acquired"),
    ".pdf": Format("pdf", read_pdf, group="acquired"),
}
"""Format by suffix; code follows."""

_CODE = {
    "py": "python",
    "pyi": "python",
    "sh": "shell",
    "rb": "ruby",
    "pl": "perl",
    "r": "r",
    "jl": "julia",
    "c": "c",
    "h": "c",
    "cc": "cpp",
    "cpp": "cpp",
    "hpp": "cpp",
    "cs": "csharp",
    "java": "java",
    "kt": "kotlin",
    "js": "javascript",
    "mjs": "javascript",
    "jsx": "javascript",
    "ts": "typescript",
    "tsx": "typescript",
    "rs": "rust",
    "go": "go",
    "swift": "swift",
    "scala": "scala",
    "php": "php",
    "css": "css",
    "sql": "sql",
    "lua": "lua",
    "hs": "haskell",
    "lisp": "lisp",
    "scm": "scheme",
    "clj": "clojure",
    "m": "matlab",
    "yaml": "yaml",
    "yml": "yaml",
    "toml": "toml",
    "cmake": "cmake",
    "ml": "ocaml",
    "ex": "elixir",
}
FORMATS |= {f".{suffix}": Format("code", whole(read_code), "code", "code", name) for suffix, name in _CODE.items()}
FORMATS[".json"] = Format("json", documents(json_value))

TABLES: dict[str, Callable[[Blob], Iterator[Row | Reject]]] = {
    "jsonl": json_lines,
    "json": json_value,
    "parquet": parquet,
    "arrow": arrow_stream,
}
"""Who reads rows, by name of the format."""

_PACKED: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".zst": lambda stream: io.BufferedReader(_Zstd(stream), 1 << 18),
    ".bz2": BZ2File,
    ".xz": lzma.LZMAFile,
}
_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_HEADER = 1 << 20
"""Bytes of names and attributes of one member of an archive (ours)."""
_ARCHIVES = {".tar": "", ".tgz": ".gz"}
_FURNISHED = 0.5
"""Share of furniture from which on a page without any text goes for that, as by the rule of this name."""
_KNOWN_LAST = 3
"""Suffixes from the end of a name among which the telling one is looked for (ours)."""

DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, tarfile.TarError)
"""What a damaged stream raises, whoever reads it."""


class Found(NamedTuple):
    """A part or a reject, and the file that it comes from: members of archives have names of their own."""

    item: Part | Reject
    format: Format | None
    member: str = ""


def read_file(blob: Blob) -> Iterator[Found]:
    """Everything in a file, packed or not; whatever is wrong with it becomes a reject."""
    format, packed, archive = _kind(blob.name)
    try:
        if not archive and format is None:
            yield Found(Reject("unknown_format", n_bytes=blob.size), None)
            return
        if format is not None and format.name == "warc" and packed == ".gz":
            packed = ""  # FastWARC unpacks record by record, and faster
        if packed:
            blob = blob._replace(stream=_unpacked(blob.stream, packed), size=0)
        if archive:
            yield from _members(blob)
        else:
            yield from _parts(blob, format)
    except UserError:
        raise
    except BadFileError as error:
        yield Found(Reject(str(error), "", blob.size, _detail(error.__context__)), format)
    except DAMAGE as error:
        missing = isinstance(error, OSError) and error.errno is not None
        yield Found(Reject("unreadable" if missing else "damaged", "", blob.size, _detail(error)), format)
    except Exception:
        _LOG.warning("No reader expected what %s holds.", blob.name, exc_info=True)
        yield Found(Reject("reader_failed", n_bytes=blob.size), format)


def _detail(error: BaseException | None) -> str:
    """What a library says of a file, but for addresses in memory, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error or "").split()))[:120]


def read_rows(blob: Blob) -> Iterator[Row | Reject]:
    """The rows of a table, packed or not; whatever is wrong with it becomes a reject."""
    format, packed, archive = _kind(blob.name)
    if archive or format is None or format.name not in TABLES:
        yield Reject("unknown_format", n_bytes=blob.size)
        return
    try:
        yield from TABLES[format.name](blob._replace(stream=_unpacked(blob.stream, packed)) if packed else blob)
    except BadFileError as error:
        yield Reject(str(error), n_bytes=blob.size)
    except DAMAGE:
        yield Reject("damaged", n_bytes=blob.size)


def is_table(name: str) -> bool:
    """Whether `read_rows` reads files of this name."""
    format, _, archive = _kind(name)
    return not archive and format is not None and format.name in TABLES


def _unpacked(stream: IO[bytes], packed: str) -> IO[bytes]:
    return io.BufferedReader(Unpacked(_PACKED[packed](stream), stream), 1 << 18)


def _parts(blob: Blob, format: Format | None) -> Iterator[Found]:
    assert format is not None
    for item in format.read(blob):
        if isinstance(item, Part) and not item.text:
            furnished = float(item.meta.get("chrome_share") or 0) > _FURNISHED
            item = Reject("ours_boilerplate" if furnished else "empty", item.locator)
        yield Found(item, format)


def _members(blob: Blob) -> Iterator[Found]:
    """The files of a tar archive, one after the other."""
    if blob.inside:
        raise BadFileError("nested_archive")
    seen: Counter[str] = Counter()
    with tarfile.open(fileobj=blob.stream, mode="r|", tarinfo=_Member) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isdir():
                continue
            name = member.name.encode("utf-8", "replace").decode().replace("\n", " ")
            seen[name] += 1
            name += f"~{seen[name]}" if seen[name] > 1 else ""
            if any(part.startswith(".") and part not in ("..", ".") for part in path.parts):
                yield Found(Reject("hidden", n_bytes=member.size), None, name)
            elif path.is_absolute() or ".." in path.parts:
                yield Found(Reject("unsafe_path", n_bytes=member.size), None, name)
            elif not member.isfile() or (stream := archive.extractfile(member)) is None:
                yield Found(Reject("link", n_bytes=member.size), None, name)
            else:
                inner = Blob(path.name, stream, member.size, inside=True, columns=blob.columns)
                yield from (found._replace(member=name) for found in read_file(inner))


class _Member(tarfile.TarInfo):
    """A member whose long name and further headers, which have to be held, are bounded."""

    def _proc_member(self, tarfile_: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and self.size > _MAX_HEADER:
            raise BadFileError("too_large")
        return super()._proc_member(tarfile_)  # type: ignore[misc]


def _kind(name: str) -> tuple[Format | None, str, bool]:
    """The format, how it is packed ("" for not at all), and whether it is an archive."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    packed = ""
    for suffix in reversed(suffixes[-_KNOWN_LAST:]):
        if suffix in _PACKED and not packed:
            packed = suffix
        elif suffix in _ARCHIVES:
            return None, packed or _ARCHIVES[suffix], True
        elif suffix in FORMATS:
            return FORMATS[suffix], packed, False
    return None, packed, False
