"""The tokenizer in GGUF metadata: a list of tokens spelt in characters for bytes, merges, and ids by role.

The ranks decide the ids and the pre-tokenizer is always cl100k's (`dbrx` is llama.cpp's name for it). Copies from
before January 2025 name `<|endoftext|>` as end and padding; what differs from the fixed release is put right and
noted, as for any other form (phi-4's release history: research of its files).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phidelity.config import UserError
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.layout import BYTE_OF, CHAT_TEMPLATE, SPECIALS, TEMPLATE_KINDS
from phidelity.tokenizer.readers import check_merges, check_ranks

PRE_TOKENIZER = "dbrx"
"""llama.cpp's name for cl100k's pattern, by which phi-4's files go."""


def role_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Metadata keys of special ids, as the fixed release has them."""
    return {
        "tokenizer.ggml.bos_token_id": tokenizer.endoftext,
        "tokenizer.ggml.eos_token_id": tokenizer.im_end,
        "tokenizer.ggml.padding_token_id": tokenizer.pad,
    }


def read_tokenizer(path: Path, metadata: Mapping[str, Any]) -> tuple[Tokenizer, tuple[str, ...]]:
    """The tokenizer that metadata describes, and what of it was not as the fixed release has it."""
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        found = metadata.get("tokenizer.ggml.model")
        raise UserError(f"{path}: tokenizer {found!r:.40}; expected 'gpt2', a byte-level BPE. This is not phi-4's.")
    tokens = _texts(path, metadata, "tokenizer.ggml.tokens")
    n = tokens.index(SPECIALS[0]) if SPECIALS[0] in tokens else len(tokens) - len(SPECIALS)
    notes = _check_specials(path, tokens, n)
    tokenizer = Tokenizer(_ranks(path, tokens[:n]))
    vocab = {token: rank for rank, token in enumerate(tokens[:n])}
    notes += check_merges(path, tokenizer.ranks, vocab, _texts(path, metadata, "tokenizer.ggml.merges"))
    for key, token in role_ids(tokenizer).items():
        if metadata.get(key) != token:
            notes += (f"{key.removeprefix('tokenizer.ggml.')} is {metadata.get(key)!r:.40}; here {token}.",)
    pre = metadata.get("tokenizer.ggml.pre")
    if pre != PRE_TOKENIZER:
        notes += (f"its pre-tokenizer is called {pre!r:.40}, not {PRE_TOKENIZER!r}; phi-4's is used.",)
    return tokenizer, notes + _template_notes(metadata.get("tokenizer.chat_template"))


def _texts(path: Path, metadata: Mapping[str, Any], key: str) -> list[str]:
    texts = metadata.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path}: metadata lacks {key}, a list of texts. Convert the model again, with its tokenizer.")
    return texts


def _check_specials(path: Path, tokens: list[str], n: int) -> tuple[str, ...]:
    """Special tokens must stand where phi-4 has them; other names for unused places are noted."""
    notes = []
    for offset, name in enumerate(SPECIALS):
        found = tokens[n + offset] if 0 <= n + offset < len(tokens) else None
        if found is None or (found != name and "dummy" not in name):
            raise UserError(f"{path}: token {n + offset} is {found!r:.80}; expected {name}.")
        if found != name:
            notes.append(f"token {n + offset} is named {found!r:.80}; here {name}.")
    return tuple(notes)


def _ranks(path: Path, tokens: list[str]) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for rank, token in enumerate(tokens):
        try:
            ranks[bytes(BYTE_OF[character] for character in token)] = rank
        except KeyError as error:
            raise UserError(
                f"{path}: token {rank}, {token!r:.80}, has {error}, which spells no byte. Not phi-4's."
            ) from None
    return check_ranks(path, ranks)


def _template_notes(template: Any) -> tuple[str, ...]:
    kind = TEMPLATE_KINDS.get(hashlib.sha256(str(template).strip().encode("utf-8", "replace")).hexdigest())
    if template in (None, CHAT_TEMPLATE) or kind == "fixed":
        return ()
    found = "the one from before January 2025" if kind == "old" else "none that phi-4 was published with"
    return (f"its chat template is {found}; chats are laid out as phi-4's are.",)
