"""Chats and preferences that people have, as `Conversation`s with weights or as `Preference`s.

OpenAI messages, ShareGPT, Alpaca, UltraFeedback, HH-RLHF, BeaverTails and the plain `prompt` with `completion` or
with `chosen` and `rejected`, as JSON lines, JSON, Parquet or Arrow, packed or not, in a file or in a Hugging Face
folder: where the names of its files tell splits apart, one split is read. What form a row has is told by its keys,
row by row (data/set_forms.py). A row that is wrong costs itself alone and is counted by reason: used + dropped = read.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from phidelity.config import UserError
from phidelity.data.formats.blob import Blob, Reject
from phidelity.data.formats.table import is_table, read_rows
from phidelity.data.set_forms import (
    FORMS,
    BadRowError,
    Preference,
    check_safety_row,
    form_of,
    safety_pairs,
)
from phidelity.records import Conversation, PreferencePair
from phidelity.tokenizer.bpe import Tokenizer

SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval")
_NO_ROWS = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")
"""What `datasets` writes beside its rows."""
T = TypeVar("T")


@dataclass(slots=True)
class Read(Generic[T]):
    """What a set holds that can be used, and what became of its rows."""

    items: list[T] = field(default_factory=list)
    n_read: int = 0
    n_used: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    """Rows by form."""
    where: dict[str, list[str]] = field(default_factory=dict)
    """The rows dropped for each reason, as file#row."""

    @property
    def dropped(self) -> Counter[str]:
        """How many rows cannot be used, by reason."""
        return Counter({reason: len(rows) for reason, rows in self.where.items()})

    def drop(self, reason: str, where: str) -> None:
        """Count a row that cannot be used."""
        self.where.setdefault(reason, []).append(where)


class _Found(NamedTuple):
    id: str
    form: str
    row: Mapping[str, Any]


Heed = Callable[[str, str, BadRowError | None], None]
"""Told of every row where it is, its form and what is wrong with it; it may raise."""


def read_conversations(path: Path, split: str = "train", heed: Heed | None = None) -> Read[Conversation]:
    """The chats of a set, in its order; of preferences the preferred answer. A set without any is a `UserError`."""
    read: Read[Conversation] = Read()

    def take(found: _Found) -> None:
        messages, weights = FORMS[found.form].chat(found.row)
        read.items.append(
            Conversation.model_validate(
                {"id": found.id, "messages": messages, "weights": weights, "source": path.name, "meta": {}}
            )
        )
        read.n_used += 1

    _read(path, split, read, take, heed)
    return _whole(read, path, "chats")


def read_preferences(path: Path, split: str = "train", heed: Heed | None = None) -> Read[Preference]:
    """The preferences of a set, in its order, those made of answers judged one by one (BeaverTails) last."""
    read: Read[Preference] = Read()
    alone: dict[str, Mapping[str, Any]] = {}

    def take(found: _Found) -> None:
        if found.form == "beavertails":
            check_safety_row(found.row)
            alone[found.id] = found.row
            return
        if (preference := FORMS[found.form].preference) is None:
            raise BadRowError("no preference")
        read.items.append(preference(found.row).model_copy(update={"id": found.id, "source": path.name}))
        read.n_used += 1

    _read(path, split, read, take, heed)
    pairs, left = safety_pairs(alone)
    read.items += [pair.model_copy(update={"source": path.name}) for pair in pairs]
    read.n_used += 2 * len(pairs)
    for where in left:
        read.drop("no counterpart", where)
    return _whole(read, path, "preferences")


def tokenised(preference: Preference, tokenizer: Tokenizer) -> PreferencePair:
    """A pair of kind full: both answers as token ids, closed by the end token."""
    sides = {side: (*tokenizer.encode(getattr(preference, side)), tokenizer.im_end) for side in ("chosen", "rejected")}
    return PreferencePair(
        id=preference.id,
        kind="full",
        prompt=preference.prompt,
        tokenizer=tokenizer.digest,
        source=preference.source,
        meta=preference.meta,
        **sides,
    )


def set_files(path: Path, split: str) -> list[Path]:
    """The tables of a set by name; those of `split` alone where names tell splits apart."""
    if not path.exists():
        raise UserError(f"No set {path}; expected a file or folder of chats or preferences. Check the path.")
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.is_file() and _holds_rows(file, path))
    named = {file: _splits(file.relative_to(path)) for file in found}
    if not any(named.values()):
        return found
    chosen = [file for file, names in named.items() if split in names]
    if not chosen:
        there = ", ".join(sorted({name for names in named.values() for name in names}))
        raise UserError(f"{path} has no split {split!r}; it has {there}. Name one of them.")
    return chosen


def _holds_rows(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and is_table(file.name) and file.name not in _NO_ROWS and not file.name.startswith("cache-")


def _splits(file: Path) -> set[str]:
    """What splits a path names: `data/train_prefs-00000-of-00001.parquet` is of `train` and of `train_prefs`."""
    words = re.findall(rf"(?<![a-z])({'|'.join(SPLITS)})((?:_[a-z]+)?)(?![a-z])", file.as_posix().lower())
    return {name for word, rest in words for name in (word, word + rest)}


def form_at_head(path: Path, split: str) -> str:
    """The form of the first row that has one, by which a set is taken for chats or for preferences; "" for none."""
    for file in set_files(path, split):
        for item in _rows(file):
            try:
                if not isinstance(item, Reject):
                    return form_of(item.value)[0]
            except BadRowError:
                continue
    return ""


def _read(path: Path, split: str, read: Read[Any], take: Callable[[_Found], None], heed: Heed | None) -> None:
    for file in set_files(path, split):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for item in _rows(file):
            where, form, wrong = f"{name}#{item.locator}", "", None
            read.n_read += 1
            try:
                if isinstance(item, Reject):
                    raise BadRowError(item.reason.replace("_", " "))
                form, row = form_of(item.value)
                read.forms[form] += 1
                take(_Found(where, form, row))
            except BadRowError as error:
                read.drop(str(error), where)
                wrong = error
            if heed:
                heed(where, form, wrong)


def _rows(file: Path) -> Iterator[Any]:
    with open(file, "rb") as stream:
        yield from read_rows(Blob(file.name, stream, file.stat().st_size))


def _whole(read: Read[T], path: Path, what: str) -> Read[T]:
    if not read.items:
        reasons = ", ".join(f"{n} {reason} (first {read.where[reason][0]})" for reason, n in read.dropped.most_common())
        keys = "; ".join(f"{name}: {', '.join(form.keys)}" for name, form in FORMS.items())
        raise UserError(
            f"{path} holds no {what}: of {read.n_read} rows, {reasons or 'none'}. Expected JSON lines, JSON, "
            f"Parquet or Arrow with the columns of one of these forms ({keys})."
        )
    return read
