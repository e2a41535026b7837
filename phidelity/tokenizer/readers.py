"""Reading a tokenizer from any form it is published in: tokenizer.json, vocab.json with merges.txt, or tiktoken ranks.

The ranks alone decide the ids; the pre-tokenizer is always cl100k's, whatever class or pattern a copy names
(`side_files` says what was found instead). Files are untrusted: sizes are bounded, nothing in them is run, and what
is damaged or of another kind is one `UserError`.
"""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.config import UserError
from phidelity.tokenizer.layout import (
    BYTE_OF,
    CL100K_DIGEST,
    CL100K_SHA256,
    FILLER,
    N_CL100K,
    PATTERN,
    SPECIALS,
    digest,
)
from phidelity.tokenizer.side_files import read_bounded, read_json, side_notes

RANKS_FILE = "cl100k_base.tiktoken"


class Vocabulary(NamedTuple):
    """What a tokenizer is made from."""

    ranks: dict[bytes, int]
    """Each mergeable token's bytes and id, 0 to n - 1; ids are the order of merging."""
    notes: tuple[str, ...]
    """What differs from the fixed release and was put right or passed over, one sentence each."""


def read(path: Path) -> Vocabulary:
    """Read a file of one of the three forms, or a folder's: the first of them that it holds."""
    for name, reader in _READERS.items():
        file = path / name if path.is_dir() else path
        if file.name == name and file.is_file():
            ranks, notes = reader(file)
            return Vocabulary(ranks, _kind_notes(ranks) + notes + side_notes(file.parent))
    raise UserError(
        f"No tokenizer at {path}; expected a folder with tokenizer.json, with vocab.json and merges.txt, or with "
        f"{RANKS_FILE}. Copy the tokenizer's files there."
    )


def _read_tokenizer_json(path: Path) -> Vocabulary:
    data = read_json(path)
    model = data.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else model
        raise UserError(f"{path}: the model is {kind!r:.80}; expected a byte-level BPE. Fetch phi-4's own file.")
    added = data.get("added_tokens") or []
    try:
        named = {str(token["content"]): token["id"] for token in added}
        n_stripping = sum(bool(token.get("lstrip") or token.get("rstrip")) for token in added)
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: added_tokens is not a list of named ids. Fetch or make the file again.") from None
    ranks = _ranks(path, model.get("vocab"))
    notes = check_merges(path, ranks, model["vocab"], model.get("merges"))
    notes += _check_specials(path, len(ranks), named) + _splitting_notes(path, data)
    if n_stripping:
        notes += (f"{path.name}: {n_stripping} special tokens eat the whitespace beside them; here it is kept.",)
    return Vocabulary(ranks, notes)


def _read_vocab_json(path: Path) -> Vocabulary:
    vocab = read_json(path)
    ranks = _ranks(path, vocab)
    merges = path.with_name("merges.txt")
    lines = read_bounded(merges).decode("utf-8", "replace").split("\n")
    notes = check_merges(merges, ranks, vocab, [line for line in lines if line and not line.startswith("#version")])
    added = path.with_name("added_tokens.json")
    if added.exists():
        notes += _check_specials(added, len(ranks), read_json(added))
    return Vocabulary(ranks, notes)


def _read_ranks(path: Path) -> Vocabulary:
    content = read_bounded(path)
    found = hashlib.sha256(content).hexdigest()
    if found != CL100K_SHA256:
        raise UserError(
            f"{path}: sha256 {found} was found, {CL100K_SHA256} expected (cl100k_base). Fetch the file again."
        )
    lines = (line.split() for line in content.splitlines())
    return Vocabulary({base64.b64decode(token): int(rank) for token, rank in lines}, ())


_READERS = {"tokenizer.json": _read_tokenizer_json, "vocab.json": _read_vocab_json, RANKS_FILE: _read_ranks}


def check_ranks(source: Path | str, ranks: dict[bytes, int]) -> dict[bytes, int]:
    """`ranks`, if they are a whole byte-level vocabulary in phi-4's layout; else a `UserError` that names `source`."""
    problem = None
    if len(set(ranks.values())) < len(ranks):
        problem = "two tokens share one id"
    elif min(ranks.values(), default=0) < 0 or max(ranks.values(), default=0) != len(ranks) - 1:
        problem = f"ids of the {len(ranks)} mergeable tokens are not 0 to {len(ranks) - 1} without a gap"
    elif b"" in ranks:
        problem = "one token is empty"
    elif missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        problem = f"{len(missing)} of the 256 bytes have no token (the first is {missing[0]:#04x})"
    if problem:
        raise UserError(f"{source}: {problem}. Expected phi-4's layout; fetch or make the tokenizer again.")
    return ranks


def _ranks(path: Path, vocab: Any) -> dict[bytes, int]:
    if not isinstance(vocab, dict) or not vocab:
        raise UserError(f"{path} is damaged: it holds no table of tokens. Fetch or make it again.")
    ranks = {}
    for name, rank in vocab.items():
        if type(rank) is not int:
            raise UserError(f"{path}: token {name!r:.80} has id {rank!r:.80}; expected a whole number. Fetch it again.")
        if name not in _SPECIAL_NAMES:
            ranks[_bytes(path, name)] = rank
    return check_ranks(path, ranks)


_SPECIAL_NAMES = frozenset(SPECIALS)


def _bytes(path: Path, name: str) -> bytes:
    try:
        return bytes(BYTE_OF[character] for character in name)
    except KeyError as error:
        raise UserError(
            f"{path}: token {name!r:.80} has the character {error}, which spells no byte. Expected a byte-level BPE "
            "such as phi-4's, not a SentencePiece vocabulary."
        ) from None


def check_merges(path: Path, ranks: dict[bytes, int], vocab: dict[str, int], merges: Any) -> tuple[str, ...]:
    """Merges must make the tokens in the order of their ids: only then do the ranks alone give the same ids."""
    if merges is None:
        return (f"{path.name}: it holds no merges; the order of ids is taken for theirs.",)
    last = -1
    for n, merge in enumerate(merges if isinstance(merges, list) else [merges]):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, str) for part in parts)):
            raise UserError(f"{path}: merge {n} is {merge!r:.80}; expected two parts. Fetch or make the file again.")
        rank = vocab.get(parts[0] + parts[1], -1)
        if rank <= last or not (parts[0] in vocab and parts[1] in vocab):
            raise UserError(
                f"{path}: merge {n}, {merge!r:.80}, makes no token later than the merge before it. Expected merges in "
                "the order of ids, as phi-4 has them; vocabulary and merges do not belong together."
            )
        last = rank
    n_without = sum(len(token) > 1 and not token.startswith(FILLER) for token in ranks) - len(merges)
    return (f"{path.name}: {n_without} tokens have no merge; the order of ids decides.",) if n_without > 0 else ()


def _check_specials(path: Path, n: int, named: dict[str, Any]) -> tuple[str, ...]:
    """Special tokens must stand where phi-4 has them; other names for unused places are noted."""
    expected = {name: n + offset for offset, name in enumerate(SPECIALS)}
    for name, token in named.items():
        if type(token) is not int or not n <= token < n + len(SPECIALS):
            raise UserError(
                f"{path}: added token {name!r:.80} has id {token!r:.80}; phi-4's special tokens are {n} to "
                f"{n + len(SPECIALS) - 1}. A tokenizer with tokens of its own is not phi-4's."
            )
        if expected.get(name, token) != token:
            raise UserError(f"{path}: {name} has id {token}; expected {expected[name]}. Fetch phi-4's own tokenizer.")
    names = {token: name for name, token in named.items()}
    others = [(token, names[token], name) for name, token in expected.items() if names.get(token, name) != name]
    missing = [name for name, token in expected.items() if token not in names]
    for token, found, name in others:
        if "dummy" not in name:
            raise UserError(f"{path}: id {token} is {found!r:.80}; expected {name}. Fetch phi-4's own tokenizer.")
    notes = tuple(f"{path.name}: id {token} is named {found!r:.80}; here {name}." for token, found, name in others)
    return notes + ((f"{path.name}: {len(missing)} special tokens are missing; put back.",) if missing else ())


def _kind_notes(ranks: dict[bytes, int]) -> tuple[str, ...]:
    """Say so when a vocabulary has phi-4's size and is not phi-4's."""
    if len(ranks) != N_CL100K or digest(ranks) == CL100K_DIGEST:
        return ()
    return (f"The {N_CL100K:,} mergeable tokens are not cl100k_base's: this is not phi-4's tokenizer.",)


def _splitting_notes(path: Path, data: dict[str, Any]) -> tuple[str, ...]:
    """What the file says on how text is split, where that is not phi-4's way."""
    notes = []
    if data.get("normalizer"):
        notes.append(f"{path.name}: it has a normalizer; text is taken as it is.")
    patterns = list(_patterns(data.get("pre_tokenizer")))
    if not patterns:
        notes.append(f"{path.name}: it has no pattern that splits text; phi-4's cl100k pre-tokenizer is used.")
    elif len(patterns) > 1 or patterns[0] not in _SAME_SPLITS:
        found = " then ".join(f"{pattern:.60}" for pattern in patterns[:3])
        notes.append(f"{path.name}: it splits text by {found}; phi-4's cl100k pre-tokenizer is used.")
    return tuple(notes)


_SAME_SPLITS = (
    PATTERN,
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"
    r"\s++$|\s*[\r\n]|\s+(?!\S)|\s",
)
"""cl100k's pattern as first published, and tiktoken's later wording of it."""


def _patterns(pre_tokenizer: Any) -> Iterable[str]:
    """The regular expressions by which a pre-tokenizer splits, as far as it names any; GPT-2's is built in."""
    if not isinstance(pre_tokenizer, dict):
        return
    parts = pre_tokenizer.get("pretokenizers")
    for part in parts if isinstance(parts, list) else [pre_tokenizer]:
        if isinstance(part, dict) and part.get("type") == "Split":
            pattern = part.get("pattern")
            yield str(pattern.get("Regex", pattern) if isinstance(pattern, dict) else pattern)
        elif isinstance(part, dict) and part.get("type") == "ByteLevel" and part.get("use_regex", True):
            yield "GPT-2's own rule"
