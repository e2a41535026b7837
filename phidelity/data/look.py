"""Looking at data: what records a file or a folder holds, in which groups, and a few of them as they are."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

import zstandard
from pydantic import ValidationError

from phidelity.config import UserError
from phidelity.data.look_funnel import funnel_file, show_funnel
from phidelity.data.mixture import mixture_page
from phidelity.data.set_forms import Preference
from phidelity.data.sets import read_conversations, read_preferences
from phidelity.records import Conversation, Document, PreferencePair, Problem, Record, read_records
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render

_KINDS: dict[str, type[Record]] = {
    "text": Document,
    "messages": Conversation,
    "chosen": PreferencePair,
    "checker": Problem,
}
TRAINED, PLAIN = "\x1b[32m", "\x1b[0m"
"""What is trained of a chat stands in green."""
_LONGEST = 1200
"""Characters shown of a record (*ours*)."""


def look(path: Path, n: int = 3) -> Iterator[str]:
    """A paragraph of counts for each file of records under `path`, followed by its first `n` records."""
    if not path.exists():
        raise UserError(f"{path} does not exist; expected a file of records or a folder with some. Check the path.")
    funnel = funnel_file(path)
    if (path / "corpus.partial").is_dir() and not (path / "corpus").is_dir():
        yield f"The stage corpus of {path} is not done: the same phi run goes on, or says what is wrong."
    if funnel:
        yield from show_funnel(funnel, n)
    if path.name == "dropped.json":
        return
    if plan := next((one for one in (path / "mixture.json", path / "shards/mixture.json") if one.is_file()), None):
        yield _mixture(plan)
    files = [path] if path.is_file() else sorted([*path.rglob("*.jsonl"), *path.rglob("*.jsonl.zst")])
    if (path / "corpus").is_dir() or (path / "corpus.partial").is_dir():  # the run's own test problems lie beside
        files = [file for file in files if file.relative_to(path).parts[0] != "benchmarks"]
    kinds = {file: kind for file in files if (kind := kind_of(file))}
    if not kinds and not funnel and not plan and (shown := _set(path, n)):
        yield from shown
        return
    if not kinds and not funnel and not plan:
        raise UserError(
            f"{path} holds no records; expected *.jsonl or *.jsonl.zst of documents as the stage corpus writes them "
            "(id, text, source), chats, pairs or problems. Rows of your own are read by phi run corpus."
        )
    for file, kind in kinds.items():
        yield _count(file, kind)
        tokenizer = _tokenizer_of(file) if kind in (PreferencePair, Conversation) else None
        yield from (show(record, tokenizer) for record in islice(read_records(file, kind), n))


def kind_of(path: Path) -> type[Record] | None:
    """Which records a file holds, told by the keys of its first line; None for other files."""
    try:
        with open(path, "rb") as raw:
            head = zstandard.ZstdDecompressor().stream_reader(raw) if path.suffix == ".zst" else raw
            first = json.loads(_first_line(head))
    except (ValueError, zstandard.ZstdError):
        return None
    kind = next((kind for key, kind in _KINDS.items() if isinstance(first, dict) and key in first), None)
    try:
        return kind if kind and kind.model_validate(first) else None
    except ValidationError:
        return None


def show(record: Record, tokenizer: Tokenizer | None = None) -> str:
    """One record for a reader: where it is from, then its text; ids of pairs as text where the tokenizer is known."""
    match record:
        case Document():
            head, body = f"{record.id} ({record.source})", record.text
        case Conversation():
            return f"--- {record.id} ({record.source})\n{_coloured(record, tokenizer)}"
        case PreferencePair():
            lengths = (
                f"prefix {len(record.prefix)}, chosen {len(record.chosen)}, rejected {len(record.rejected)} tokens"
            )
            said = [m.content for m in record.prompt]
            if tokenizer and tokenizer.digest == record.tokenizer:
                parts = ("prefix", "chosen", "rejected")
                said += [f"[{part}] {tokenizer.decode(getattr(record, part))}" for part in parts]
            head, body = f"{record.id} ({record.kind}; {lengths})", "\n".join(said)
        case Problem():
            head, body = f"{record.id} ({record.checker})", f"{record.prompt}\n-> {record.reference}"
        case _:
            head, body = "record", record.model_dump_json()
    more = f" ... ({len(body):,} characters)" if len(body) > _LONGEST else ""
    return f"--- {head}\n{body[:_LONGEST]}{more}"


def _set(path: Path, n: int) -> list[str]:
    """Counts and first records of a set of other people's chats or preferences; nothing where it is none."""
    for read_set in (read_preferences, read_conversations):
        try:
            read = read_set(path)
        except UserError:
            continue
        forms = ", ".join(f"{count:,} {form}" for form, count in read.forms.most_common())
        lines = [f"{path}: {read.n_read:,} rows ({forms}), {read.n_used:,} of use"]
        lines += [
            f"  {count:>8,}  dropped: {why} (first {read.where[why][0]})" for why, count in read.dropped.most_common()
        ]
        return ["\n".join(lines), *(_told(item) for item in read.items[:n])]
    return []


def _told(item: Conversation | Preference) -> str:
    if isinstance(item, Conversation):
        return show(item)
    said = [f"{m.role}: {m.content}" for m in item.prompt]
    body = "\n".join([*said, f"[chosen] {item.chosen}", f"[rejected] {item.rejected}"])
    return f"--- {item.id} ({item.source})\n{body[:_LONGEST]}"


def _coloured(chat: Conversation, tokenizer: Tokenizer | None) -> str:
    """A chat with what is trained in colour: token by token where the tokenizer is known, else turn by turn."""
    if tokenizer:
        rendered = render(chat.messages, tokenizer, weights=chat.weights)
        stretches = [
            (tokenizer.decode([token for token, _ in group]), trained)
            for trained, group in groupby(zip(*rendered, strict=True), key=lambda pair: pair[1])
        ]
    else:
        weights = chat.weights or (1,) * len(chat.messages)
        stretches = [
            part
            for message, weight in zip(chat.messages, weights, strict=True)
            for part in (
                (f"{message.role}: ", False),
                (message.content, message.role == "assistant" and bool(weight)),
                ("\n", False),
            )
        ]
    left, shown = _LONGEST, ""
    for text, trained in stretches:
        shown += f"{TRAINED}{text[:left]}{PLAIN}" if trained and left else text[:left]
        left = max(0, left - len(text))
    total = sum(len(text) for text, _ in stretches)
    return shown.rstrip("\n") + (f" ... ({total:,} characters)" if total > _LONGEST else "")


def _mixture(path: Path) -> str:
    """The mixture that the stage `shards` planned."""
    try:
        return "\n".join([f"{path}:", *mixture_page(json.loads(path.read_text(encoding="utf-8")))])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged or of another version. Make it again with --force shards.") from None


def _count(path: Path, kind: type[Record]) -> str:
    groups: Counter[str] = Counter()
    for record in read_records(path, kind):
        meta = getattr(record, "meta", {})
        groups[str(meta.get("group") or getattr(record, "source", "") or getattr(record, "checker", ""))] += 1
    lines = [f"{path}: {groups.total():,} x {kind.__name__}, {path.stat().st_size:,} bytes"]
    return "\n".join(lines + [f"  {count:>8,}  {group or '-'}" for group, count in groups.most_common(20)])


def _tokenizer_of(path: Path) -> Tokenizer | None:
    """The tokenizer of the run that a file lies in."""
    folders = (parent / "tokenizer" for parent in path.resolve().parents)
    found = next((folder for folder in folders if (folder / "tokenizer.json").is_file()), None)
    return Tokenizer.load(found) if found else None


def _first_line(stream) -> bytes:
    line = b""
    while b"\n" not in line and (piece := stream.read(1 << 16)):
        line += piece
    return line.partition(b"\n")[0]
