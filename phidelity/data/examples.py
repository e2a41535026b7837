"""Examples to fine-tune on, from any set that data/sets.py reads: strictly, and with the number of every row.

All rows must have the first one's form. What is wrong with a row by mistake (no JSON, roles out of order, a chat
template baked into the text) is refused with its number, or dropped where that is asked for; what is merely of no use
(an empty turn, two equal answers, no counterpart) is always dropped. Rows are numbered from 1, as editors do, and in a
folder with the file's name before.
"""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

from phidelity.config import UserError
from phidelity.data.set_forms import FORMS, BadRowError, Preference
from phidelity.data.sets import form_at_head, read_conversations, read_preferences, set_files
from phidelity.records import Conversation, Message, file_sha256

Kind = Literal["sft", "dpo"]
USELESS = ("empty turn", "no turns", "equal sides", "tie", "no score", "unsafe", "no counterpart")
"""Reasons that are nobody's mistake."""
EXPECTED = {
    "bad record": "expected a JSON object in UTF-8 (one a line in .jsonl; .json is one list), its messages as a list",
    "unknown form": "expected one of " + "; ".join(" + ".join(form.keys) for form in FORMS.values()),
    "turns out of order": "expected user and assistant in turn, the user first",
    "ends mid-turn": "expected an assistant's turn last",
    "unknown role": "expected system, user or assistant",
    "template in text": "expected bare text, since the template is put around it here",
    "not text": "expected text, since phi-4 reads nothing else",
    "tools": "phi-4's chat knows none",
    "bad weight": "expected a weight of 0 or 1 a message",
    "prompts differ": "expected one prompt before both answers",
    "no transcript": "expected a `prompt`, or transcripts with `Human:` and `Assistant:`",
    "no preference": "expected an answer that is preferred and one that is not",
    "too large": "expected 32 MB a row at most",
    "unknown format": "expected .jsonl, .json, .parquet or .arrow, packed or not",
}
"""What a row should have been, by what is wrong with it."""


class Example(NamedTuple):
    """One row: a chat that ends with the assistant, or a prompt with a better and a worse answer."""

    row: str
    messages: tuple[Message, ...]
    weights: tuple[int, ...] = ()
    """Of each message, whether it is trained if it is the assistant's; empty for all."""
    chosen: str = ""
    rejected: str = ""


class Examples(NamedTuple):
    """All rows of a set that can be used."""

    kind: Kind
    rows: list[Example]
    n_read: int
    dropped: dict[str, list[str]]
    """The others, by reason."""


def read_examples(path: Path, kind: Kind | None = None, *, split: str = "train", drop_bad: bool = False) -> Examples:
    """The examples of a file or folder, as chats or preferences; by the form of its first row where nobody says."""
    head = form_at_head(path, split)
    kind = kind or ("dpo" if head == "beavertails" or (head and FORMS[head].preference) else "sft")
    strict = _Strict(path, drop_bad)
    read = (read_preferences if kind == "dpo" else read_conversations)(path, split, strict)
    dropped = {reason: [strict.row(where) for where in rows] for reason, rows in read.where.items()}
    return Examples(kind, [_example(strict.row(item.id), item) for item in read.items], read.n_read, dropped)


def examples_sha256(path: Path, split: str) -> str:
    """SHA-256 of a file's bytes, or of those of all files of a folder's split."""
    files = [file_sha256(file) for file in set_files(path, split)]
    return files[0] if len(files) == 1 else hashlib.sha256("".join(files).encode()).hexdigest()


class _Strict:
    """Refuses a row that is wrong, and one of another form than the first."""

    def __init__(self, path: Path, drop_bad: bool) -> None:
        self.path, self.drop_bad, self.is_file = path, drop_bad, path.is_file()
        self.first: tuple[str, str] | None = None

    def row(self, where: str) -> str:
        """`file#7` -> `7`, where there is but one file."""
        return where.partition("#")[2] if self.is_file else where

    def __call__(self, where: str, form: str, wrong: BadRowError | None) -> None:
        row = self.row(where)
        if form and self.first and form != self.first[0]:
            raise UserError(
                f"{self.path}, row {row} is of the form {form!r}, row {self.first[1]} of {self.first[0]!r}; expected "
                "one form in a set. Split it into two."
            )
        self.first = self.first or ((form, row) if form else None)
        if wrong and str(wrong) not in USELESS and not self.drop_bad:
            told = f"{wrong}: {wrong.found}" if wrong.found else str(wrong)
            expected = EXPECTED.get(str(wrong), "expected what can be read")
            if not row:
                raise UserError(f"{self.path}: {told}; {expected}. Mend or rename it.")
            raise UserError(
                f"{self.path}, row {row}: {told}; {expected}. Mend it, or leave such rows out with --drop-bad."
            )


def _example(row: str, item: Conversation | Preference) -> Example:
    if isinstance(item, Conversation):
        return Example(row, item.messages, item.weights)
    return Example(row, item.prompt, (), item.chosen, item.rejected)
