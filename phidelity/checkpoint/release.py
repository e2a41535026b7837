"""The known faults of the release and its copies: which ids config.json and generation_config.json name.

At release bos, eos and padding were all `<|endoftext|>` (100257), so models never learnt to stop where padding was
masked; since January 2025 eos is `<|im_end|>` (100265) and padding `<|dummy_85|>` (100349). Derived copies froze either
state, or padding by dummy_87. Here the tokenizer's layout decides, generation stops on both ends and never on padding;
what a copy says instead is told, one line each (facts: release history; phi-4's tokenizer files have their own notes).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phidelity.checkpoint.naming import read_json
from phidelity.tokenizer.bpe import Tokenizer


def release_notes(folder: Path, tokenizer: Tokenizer) -> tuple[str, ...]:
    """What the folder's config.json and generation_config.json say of ids and was normalised."""
    config, generation = (read_json(folder / name) or {} for name in ("config.json", "generation_config.json"))
    return (
        *id_notes("config.json", config, tokenizer),
        *id_notes("generation_config.json", generation, tokenizer),
        *_stop_notes(generation, tokenizer),
    )


def id_notes(where: str, ids: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[str, ...]:
    """Compare `bos_token_id`, `eos_token_id` and `pad_token_id`, as far as given, with what phi-4's should be."""
    ends = {tokenizer.im_end, tokenizer.endoftext}
    right = {
        "bos_token_id": ({tokenizer.endoftext}, tokenizer.endoftext),
        "eos_token_id": ({tokenizer.im_end}, tokenizer.im_end),
        "pad_token_id": ({tokenizer.pad}, tokenizer.pad),
    }
    notes = []
    for key, (allowed, used) in right.items():
        found = _ids(ids.get(key))
        if found and found != allowed and not (key == "eos_token_id" and found == ends):
            named = " and ".join(f"{token} ({_name(token, tokenizer)})" for token in sorted(found))
            notes.append(f"{where}: {key} is {named}; {used} ({_name(used, tokenizer)}) is used.")
    return tuple(notes)


def _stop_notes(generation: Mapping[str, Any], tokenizer: Tokenizer) -> tuple[str, ...]:
    missing = {tokenizer.im_end, tokenizer.endoftext} - _ids(generation.get("eos_token_id"))
    if "eos_token_id" not in generation or not missing:
        return ()
    names = " and ".join(f"{token} ({_name(token, tokenizer)})" for token in sorted(missing))
    return (f"generation_config.json: generation stops on {names} as well.",)


def _ids(value: Any) -> set[int]:
    values = value if isinstance(value, list) else [value]
    return {token for token in values if isinstance(token, int)}


def _name(token: int, tokenizer: Tokenizer) -> str:
    known = {number: name for name, number in tokenizer.special_ids.items()}
    return known.get(token, "no special token")
