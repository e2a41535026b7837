"""Writing a tokenizer as the published release rests: tokenizer.json, its config and the special tokens map.

The names of the fixed release (January 2025) are written, and no special token eats the whitespace beside it.
"""

import json
from pathlib import Path
from typing import Any

from phidelity.records import atomic, write_json
from phidelity.tokenizer.layout import CHAT_TEMPLATE, PATTERN, ROLE_TOKENS, SPECIALS, spelt


def write(folder: Path, ranks: dict[bytes, int], class_name: str) -> None:
    """Write the files from which transformers, vLLM and `readers.read` make the same tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "tokenizer.json", "w") as file:
        file.write(json.dumps(tokenizer_json(ranks), ensure_ascii=False) + "\n")
    write_json(
        folder / "tokenizer_config.json",
        ROLE_TOKENS
        | {
            "add_prefix_space": False,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 16384,
            "tokenizer_class": class_name,
        },
    )
    write_json(folder / "special_tokens_map.json", ROLE_TOKENS)


def tokenizer_json(ranks: dict[bytes, int]) -> dict[str, Any]:
    """The content of tokenizer.json, as the tokenizers library reads it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(ranks) + n, "content": name} | flags for n, name in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                split,
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
            "vocab": {spelt(token): rank for token, rank in _in_order(ranks)},
            "merges": [[spelt(left), spelt(right)] for left, right in merges(ranks)],
        },
    }


def merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair that each token was merged from, in the order of ids; a filled-up token has none."""
    pairs = (_pair(ranks, token, rank) for token, rank in _in_order(ranks) if len(token) > 1)
    return [pair for pair in pairs if pair]


def _in_order(ranks: dict[bytes, int]) -> list[tuple[bytes, int]]:
    return sorted(ranks.items(), key=lambda item: item[1])


def _pair(ranks: dict[bytes, int], token: bytes, rank: int) -> tuple[bytes, bytes] | None:
    """The two parts that remain when all earlier merges are applied to a token's bytes."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        best, i = min((ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1))
        if best >= rank:
            return None
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]
