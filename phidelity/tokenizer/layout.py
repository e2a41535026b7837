"""The facts of phi-4's tokenizer: pre-tokenizer, special tokens, chat template, how bytes are spelt in files.

phi-4 takes cl100k_base: 100,256 mergeable tokens, then 96 specials (report §3; order as in the released files). A
small vocabulary keeps the layout: its mergeable tokens first, then the same specials in the same order. Everything
else in this room, and whoever writes a tokenizer in another format, takes its facts from here.
"""

import hashlib
from typing import Literal

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

WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""Unicode's White_Space, which `\\s` means in the pattern; `str.isspace` counts four control characters more."""

CL100K_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""Hash of cl100k_base.tiktoken, the rank file that the release was made from."""

CL100K_DIGEST = "3494aad2103f500f"
"""`Tokenizer.digest` of those ranks: what any faithful copy of phi-4's tokenizer has."""

N_CL100K = 100_256
"""Mergeable tokens of phi-4."""

FILLER = b"\xff\xfe"
"""How the unused tokens begin with which a small vocabulary is filled up: no UTF-8 has these bytes."""

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

ROLE_TOKENS = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|dummy_85|>"}
"""What the release names these since January 2025."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] in ['system', 'user', 'assistant'] %}"
    "{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}"
    "{% else %}{{ raise_exception('unknown role ' + message['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
"""For tools that render chats themselves; here `chat.render` does (own wording, phi-4's behaviour)."""

TEMPLATE_KINDS: dict[str, Literal["fixed", "old"]] = {
    "fe4120415a3858b873955c92ce3a103a95bc97c2cb00b72e62659aaf0f891ee5": "fixed",
    "a41fb8727c4f1e722e53cb1ea935038a1177b8bdf09387f3b048f9da5255ef3e": "old",
}
"""The published templates by the SHA-256 of their text: 462 characters since January 2025, 377 before."""


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte, which byte-level tokenizer files are written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


CHARACTER_OF = _byte_characters()
"""The character that stands for a byte in tokenizer files."""

BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}
"""The byte that a character of a tokenizer file stands for."""


def spelt(token: bytes) -> str:
    """How a tokenizer file writes the bytes of a token."""
    return "".join(CHARACTER_OF[byte] for byte in token)


def digest(ranks: dict[bytes, int]) -> str:
    """Hash of vocabulary and order, 16 characters."""
    hasher = hashlib.sha256()
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        hasher.update(rank.to_bytes(4, "little") + len(token).to_bytes(4, "little") + token)
    return hasher.hexdigest()[:16]
