"""What flows between rooms, and how it rests on disk: typed records in JSON lines.

Records are frozen and cross files as `*.jsonl` or `*.jsonl.zst`, one object a line in UTF-8. Files are
written under a temporary name and renamed, so a reader never meets half of one.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Self, TypeVar

import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from phidelity.config import UserError

Role = Literal["system", "user", "assistant"]


def whole_characters(text: str) -> str:
    """`text` with each half of a surrogate pair replaced: UTF-8 has no bytes for it, and endpoints do send them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Record(BaseModel):
    """Base of every record: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Record):
    """A text with its provenance."""

    id: str
    text: str
    source: str
    meta: dict[str, Any] = Field(default_factory=dict)
    """language, license, group (the mixture group), url, quality, ..."""


class Message(Record):
    """One turn of a conversation."""

    role: Role
    content: str


class Conversation(Record):
    """A chat; training takes its assistant turns, generation goes on after its last turn."""

    id: str
    messages: tuple[Message, ...]
    weights: tuple[Literal[0, 1], ...] = Field(default=(), exclude_if=lambda weights: not weights)
    """Of each message, whether it is trained if it is the assistant's; empty for all of them."""
    source: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.messages):
            raise ValueError(f"{len(self.weights)} weights for {len(self.messages)} messages")
        return self


class PreferencePair(Record):
    """Two continuations of one prompt as token ids. Only kind `full` ends with the end token.

    The ids that a model reads are `chat ids of prompt + prefix + (chosen | rejected)`; the prefix ends inside
    the assistant's turn and is a literal slice of sampled ids (phi-4 report §4.3).
    """

    id: str
    kind: Literal["token", "prefix", "full"]
    prompt: tuple[Message, ...]
    prefix: tuple[int, ...] = ()
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    tokenizer: str
    """Hash of the tokenizer that the ids belong to."""
    source: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)


class Problem(Record):
    """A question with its reference and the name of the checker that decides."""

    id: str
    prompt: str
    reference: str
    checker: str
    meta: dict[str, Any] = Field(default_factory=dict)


class Score(Record):
    """What a checker says of one answer. `value` is None when undetermined."""

    value: float | None
    extracted: str | None = None
    explanation: str = ""
    parts: dict[str, float] = Field(default_factory=dict)
    """Further measures of the same answer: exact match beside F1, the loose reading beside the strict one."""


R = TypeVar("R", bound=BaseModel)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path`; flush, sync and rename it when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(
            temporary, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else ""
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to fill, renamed when the block ends well and else removed.

    What stands at `path` is never written over: anything but an empty folder is a `UserError`.
    """
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise UserError(f"{path} is there already; expected a new folder. Give another name or remove it.")
    if files := [parent for parent in path.parents if parent.exists() and not parent.is_dir()]:
        raise UserError(f"{path} cannot be made: {files[0]} is a file. Give another name.")
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    with atomic(path, "w") as file:
        file.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote: of our own files alone, whose damage is our own mistake."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_records(path: Path, records: Iterable[BaseModel]) -> int:
    """Write records as JSON lines (zstd if the name ends in .zst), atomically; returns how many."""
    n = 0
    with record_writer(path) as write:
        for record in records:
            write(record)
            n += 1
    return n


@contextmanager
def record_writer(path: Path) -> Iterator[Callable[[BaseModel], Any]]:
    """A function that appends a record to a file of JSON lines, which is there whole when the block has ended well."""
    with atomic(path) as raw:
        sink = zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) if path.suffix == ".zst" else raw
        yield lambda record: sink.write(record.model_dump_json().encode() + b"\n")
        if sink is not raw:
            sink.close()


def concatenate(path: Path, parts: Iterable[Path]) -> list[int]:
    """Join files byte by byte, atomically, and give the size of each: JSON lines stay such, packed by zstd or not."""
    sizes = []
    with atomic(path) as file:
        for part in parts:
            with open(part, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
            sizes.append(part.stat().st_size)
    return sizes


def read_records(path: Path | str, cls: type[R], *, offset: int = 0, size: int | None = None) -> Iterator[R]:
    """Yield the records of a JSON-lines file, or of `size` bytes of it from `offset` on: one of its joined parts.

    A bad or cut-off line is a `UserError` that names file and line.
    """
    path, number = Path(path), 0
    try:
        with open(path, "rb") as whole:
            raw = whole if size is None else _Stretch(whole, offset, size)
            for line in zstd_lines(raw) if path.suffix == ".zst" else raw:
                number += 1
                yield cls.model_validate_json(line)
    except FileNotFoundError:
        raise UserError(f"No file {path}; expected {cls.__name__} records. Run the stage that writes it.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        raise UserError(
            f"{path}, line {number}: not a {cls.__name__} ({detail['msg']}). The file is damaged or of another kind; "
            "make it again."
        ) from None
    except (zstandard.ZstdError, EOFError) as error:
        raise UserError(f"{path} is damaged after line {number} ({error}). Make it again.") from None


class _Stretch(io.RawIOBase):
    """A part of an open file as a file of its own."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._left = file, size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def zstd_lines(file: IO[bytes] | io.RawIOBase) -> Iterator[bytes]:
    """Lines of a zstd file; a frame that is cut off is an `EOFError` (the library's reader would end silently)."""
    decoder, rest = None, b""
    while data := file.read(1 << 20):
        while data:
            decoder = decoder or zstandard.ZstdDecompressor().decompressobj()
            *lines, rest = (rest + decoder.decompress(data)).split(b"\n")
            yield from lines
            data, decoder = (decoder.unused_data, None) if decoder.eof else (b"", decoder)
    if decoder:
        raise EOFError("the compressed stream is cut off")
    if rest:
        yield rest
