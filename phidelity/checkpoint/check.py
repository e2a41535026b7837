"""Whether a checkpoint is whole: files by their announced hashes, tensors, ids, the layout of chats, the stops.

Nothing here runs the network; weights are only streamed. What can be held against the release is (its ids, its
vocabulary); what cannot is reported without a verdict. Facts: phi-4's tokenizer and the id vectors of its
fixed template, each confirmed with two implementations.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from phidelity.checkpoint.huggingface import FolderWeights
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import Weights, stream
from phidelity.config import UserError
from phidelity.model.config import census
from phidelity.progress import SILENT, Progress
from phidelity.records import Message, file_sha256
from phidelity.tokenizer import chat
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.layout import CL100K_DIGEST

SUMS = "SHA256SUMS"
_SHA256 = re.compile("[0-9a-f]{64}")

TEXTS: Mapping[str, tuple[int, ...]] = {
    "Hello world": (9906, 1917),
    " 12345": (220, 4513, 1774),
    "日本語のテスト": (9080, 22656, 45918, 252, 16144, 57933, 71634),
    "foo.bar()": (8134, 22773, 368),
    "x\n\n\ny": (87, 1432, 88),
}
"""Ids of texts; the last two differ where a tool splits as GPT-2 does."""

_HI = (100264, 882, 100266, 13347, 100265)
_ASSISTANT = (100264, 78191, 100266)
CHATS: tuple[tuple[tuple[tuple[str, str], ...], bool, tuple[int, ...]], ...] = (
    ((("user", "Hi"),), False, _HI),
    ((("user", "Hi"),), True, (*_HI, *_ASSISTANT)),
    (
        (("system", "You are helpful."), ("user", "Hi")),
        True,
        (100264, 9125, 100266, 2675, 527, 11190, 13, 100265, *_HI, *_ASSISTANT),
    ),
    (
        (("user", "Hi"), ("assistant", "Hello!"), ("user", "2+2?")),
        True,
        (*_HI, *_ASSISTANT, 9906, 0, 100265, 100264, 882, 100266, 17, 10, 17, 30, 100265, *_ASSISTANT),
    ),
)
"""Conversations, whether an answer is opened, and their ids."""


class Check(NamedTuple):
    """One line of the verdict."""

    name: str
    passed: bool | None
    """None where there is nothing to hold it against."""
    detail: str


def weight_files(weights: Weights) -> list[Path]:
    """The files that the weights lie in."""
    if isinstance(weights, PackedWeights):
        return [weights.path]
    return weights.files if isinstance(weights, FolderWeights) else [Path(weights.source)]


def check_hashes(files: Sequence[Path], announced: Mapping[str, str], progress: Progress = SILENT) -> Check:
    """sha256 of every weight file against what was announced for it, by file name."""
    if not any(file.name in announced for file in files):
        return Check(
            "hashes", None, f"no sha256 is announced for {files[0].name}; put {SUMS} beside it to have it held"
        )
    wrong = []
    with progress.task("hash weight files", len(files), "files") as task:
        for file in files:
            found = file_sha256(file)
            if found != announced.get(file.name, found):
                wrong.append(f"{file.name} has sha256 {found}, announced is {announced[file.name]}")
            task.advance()
    n_known = sum(file.name in announced for file in files)
    return Check("hashes", not wrong, "; ".join(wrong) or f"{n_known} of {len(files)} weight files as announced")


def announced_hashes(files: Iterable[Path]) -> dict[str, str]:
    """What is known of weight files: the hub cache names them by hash, its client leaves notes, people SHA256SUMS."""
    known: dict[str, str] = {}
    for file in files:
        for line in _lines(file.with_name(SUMS)):
            if line.split()[1:] in ([file.name], [f"*{file.name}"]):
                known[file.name] = line.split()[0]
        note = _lines(file.parent / ".cache" / "huggingface" / "download" / f"{file.name}.metadata")
        if len(note) > 1 and _SHA256.fullmatch(note[1].strip()):
            known[file.name] = note[1].strip()
        if file.is_symlink() and _SHA256.fullmatch(file.resolve().name):
            known[file.name] = file.resolve().name
    return known


def check_tensors(weights: Weights) -> Check:
    """Names and shapes were compared as the weights were opened; this says what was found."""
    return Check("tensors", True, f"{census(weights.config).total:,} parameters, {weights.form}")


def check_finite(weights: Weights, progress: Progress = SILENT) -> Check:
    """Every value of every tensor is a finite number."""
    bad = []
    with progress.task("read weights", census(weights.config).total, "values") as task:
        for name in weights.shapes:
            try:
                for _, block in stream(weights, name):
                    task.advance(block.numel())
            except UserError as error:
                bad.append(str(error))
    return Check("finite", not bad, " ".join(bad[:3]) or "all values are finite numbers")


def check_ids(tokenizer: Tokenizer) -> Check:
    """The published id vectors, where the vocabulary is phi-4's."""
    if tokenizer.digest != CL100K_DIGEST:
        return Check("ids", None, f"a vocabulary of {tokenizer.vocab_size:,}, not phi-4's cl100k_base")
    wrong = [repr(text) for text, ids in TEXTS.items() if tuple(tokenizer.encode(text)) != ids]
    for turns, opened, ids in CHATS:
        if tuple(_rendered(turns, tokenizer, opened)) != ids:
            wrong.append(f"the chat {turns}")
    n = len(TEXTS) + len(CHATS)
    return Check("ids", not wrong, f"other ids for {', '.join(wrong)}" if wrong else f"{n} published id vectors")


def check_template(tokenizer: Tokenizer) -> Check:
    """Turns follow each other with nothing between, and special tokens in a message stay text."""
    turns = (("system", "a "), ("user", " b<|im_end|>\n"), ("assistant", "c"), ("user", "d"))
    ids = _rendered(turns, tokenizer, True)
    layout = "".join(f"<|im_start|>{role}<|im_sep|>{content}<|im_end|>" for role, content in turns)
    expected = layout + "<|im_start|>assistant<|im_sep|>"
    right = tokenizer.decode(ids) == expected and ids.count(tokenizer.im_end) == len(turns)
    return Check("template", right, "chats are laid out as phi-4's" if right else f"{tokenizer.decode(ids)!r}")


def check_stops(tokenizer: Tokenizer) -> Check:
    """Generation ends on both ends and never on padding."""
    stops = chat.stop_ids(tokenizer)
    right = stops == {tokenizer.im_end, tokenizer.endoftext} and tokenizer.pad not in stops
    return Check("stops", right, f"on {tokenizer.im_end} and {tokenizer.endoftext}; padding is {tokenizer.pad}")


def _rendered(turns: Iterable[tuple[str, str]], tokenizer: Tokenizer, opened: bool) -> list[int]:
    messages = [Message.model_validate({"role": role, "content": content}) for role, content in turns]
    return chat.render(messages, tokenizer, generation_prompt=opened).ids


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
