"""Byte-level BPE with phi-4's pre-tokenizer and its 96 special tokens, for any vocabulary size.

phi-4's own vocabulary is cl100k_base: 100,256 mergeable tokens and 96 specials (phi-4 report §3; ids as in the
release). A small vocabulary keeps the layout: mergeable tokens first, then the same 96 specials in the same
order. In small vocabularies no merge contains a digit (*ours*): one token a digit is what lets a miniature add.
tiktoken encodes and the tokenizers library learns merges; user text that spells a special token stays text.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tiktoken
from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Learner

from phidelity.config import UserError
from phidelity.records import write_json

PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
"""phi-4's (cl100k_base's) pre-tokenizer, in ordered alternatives."""

_NAMED = {
    1: "<|endoftext|>",
    2: "<|fim_prefix|>",
    3: "<|fim_middle|>",
    4: "<|fim_suffix|>",
    8: "<|im_start|>",
    9: "<|im_end|>",
    10: "<|im_sep|>",
    20: "<|endofprompt|>",
}


def _specials() -> tuple[str, ...]:
    dummies = (f"<|dummy_{n}|>" for n in range(88))
    return tuple(_NAMED[offset] if offset in _NAMED else next(dummies) for offset in range(96))


SPECIALS = _specials()
"""The special tokens in id order; the first stands at the count of mergeable tokens (100256 in phi-4)."""


class Tokenizer:
    """Text to ids and back. `ranks` maps each mergeable token's bytes to its id, 0 to n - 1."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        self.ranks = ranks
        n = len(ranks)
        self.special_ids = {token: n + offset for offset, token in enumerate(SPECIALS)}
        self.vocab_size = n + len(SPECIALS)
        self.endoftext = self.special_ids["<|endoftext|>"]
        self.im_start = self.special_ids["<|im_start|>"]
        self.im_end = self.special_ids["<|im_end|>"]
        self.im_sep = self.special_ids["<|im_sep|>"]
        self.pad = self.special_ids["<|dummy_85|>"]
        self._encoding = tiktoken.Encoding(
            "phidelity", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=self.special_ids
        )

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; strings that look like special tokens are encoded as plain text."""
        return self._encoding.encode_ordinary(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` over many texts, on one thread."""
        return self._encoding.encode_ordinary_batch(list(texts), num_threads=1)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; special tokens appear by name, broken UTF-8 as replacement characters."""
        return self._encoding.decode(list(ids))

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one token; a special token's name in ASCII."""
        return self._encoding.decode_single_token_bytes(token)

    @cached_property
    def digest(self) -> str:
        """Hash of vocabulary and order: two tokenizers with one digest give the same ids."""
        hasher = hashlib.sha256()
        for token, rank in sorted(self.ranks.items(), key=lambda item: item[1]):
            hasher.update(rank.to_bytes(4, "little") + len(token).to_bytes(4, "little") + token)
        return hasher.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the tokenizer files of the published release: tokenizer.json, its config and the special tokens map."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "tokenizer.json", _tokenizer_json(self))
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|dummy_85|>"}
        write_json(
            folder / "tokenizer_config.json",
            names
            | {
                "add_prefix_space": False,
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
                "model_max_length": 16384,
                "tokenizer_class": "PreTrainedTokenizerFast",
            },
        )
        write_json(folder / "special_tokens_map.json", names)

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Open the tokenizer.json of a checkpoint folder."""
        path = Path(folder) / "tokenizer.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            vocab: dict[str, int] = data["model"]["vocab"]
            ranks = {bytes(_BYTE_OF[character] for character in token): rank for token, rank in vocab.items()}
        except FileNotFoundError:
            raise UserError(f"No tokenizer at {path}; expected a checkpoint or tokenizer folder.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged or not a byte-level BPE ({error!r}). Fetch or make it again.") from None
        if sorted(ranks.values()) != list(range(len(ranks))):
            raise UserError(
                f"{path}: ids of mergeable tokens are not 0 to {len(ranks) - 1} without a gap. Expected phi-4's layout."
            )
        return cls(ranks)


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn `vocab_size - 96 - 256` merges, none with a digit in it, with phi-4's pre-tokenizer.

    Fewer are learnt when the text runs out of pairs; then the vocabulary is filled up with unused tokens so
    that its size is what the model expects.
    """
    n_mergeable = vocab_size - len(SPECIALS)
    if n_mergeable < 256:
        raise UserError(f"vocab_size {vocab_size} leaves no room: 256 bytes and 96 special tokens need at least 352.")
    learner = Learner(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = [_CHARACTER_OF[byte] for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=n_mergeable, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [bytes(_BYTE_OF[character] for character in left + right) for left, right in merges]
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}
    filler = 0
    while len(ranks) < n_mergeable:
        ranks.setdefault(b"\xff\xfe" + filler.to_bytes(2, "big"), len(ranks))
        filler += 1
    return Tokenizer(ranks)


CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}"
    "{% else %}{{ raise_exception('unknown role ' + message['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
"""For tools that render chats themselves; here `chat.render` does (own wording, phi-4's behaviour)."""


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte, which byte-level tokenizer files are written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_CHARACTER_OF = _byte_characters()
_BYTE_OF = {character: byte for byte, character in _CHARACTER_OF.items()}


def _tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    vocab = {"".join(_CHARACTER_OF[byte] for byte in token): rank for token, rank in tokenizer.ranks.items()}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, token in tokenizer.special_ids.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [
                ["".join(_CHARACTER_OF[byte] for byte in part) for part in pair] for pair in _merges(tokenizer.ranks)
            ],
        },
    }


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair that each token was merged from: apply all earlier merges to its bytes and two parts remain."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1 and len(parts := _apply(ranks, token, rank)) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def _apply(ranks: dict[bytes, int], token: bytes, below: int) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = ((ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1))
        best, i = min(pairs)
        if best >= below:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts
