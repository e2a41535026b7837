"""What stands beside a tokenizer: tokenizer_config.json, the special tokens map, the chat template.

None of it changes an id here; what differs from the fixed release is told. The release of December 2024 named
`<|endoftext|>` as end and as padding and carried a template that glued an assistant's header to every user turn;
copies froze that state, or padding by dummy_87 (facts: release history). A template is told by its hash and never run.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from phidelity.config import UserError
from phidelity.tokenizer.layout import CHAT_TEMPLATE, ROLE_TOKENS, TEMPLATE_KINDS

MAX_BYTES = 32 << 20
"""Largest tokenizer file that is read, *ours*: phi-4's tokenizer.json has 7 MB."""

KNOWN_CLASSES = ("GPT2Tokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
"""The release's class, by which llama.cpp's converter knows phi-4, and those that split as tokenizer.json says."""

TemplateKind = Literal["fixed", "old", "ours", "other", "none"]


def read_bounded(path: Path) -> bytes:
    """The bytes of a tokenizer file; a missing or too large one is a `UserError`."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UserError(f"{path} has {size:,} bytes; expected at most {MAX_BYTES:,}. This is no file of phi-4's.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}). Fetch it from where the model came from.") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; too large, nested too deep, damaged or another kind of value is a `UserError`."""
    content = read_bounded(path)
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!s:.200}. Fetch or make it again.") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}; expected an object. Fetch or make it again.")
    return data


def side_notes(folder: Path) -> tuple[str, ...]:
    """One sentence for each thing beside the tokenizer that is not as in the fixed release."""
    config = _read_if_there(folder / "tokenizer_config.json")
    maps = {
        "tokenizer_config.json": config,
        "special_tokens_map.json": _read_if_there(folder / "special_tokens_map.json"),
    }
    notes = [_name_note(key, maps) for key in ROLE_TOKENS]
    name = config.get("tokenizer_class", KNOWN_CLASSES[0])
    if name not in KNOWN_CLASSES:
        notes.append(
            f"tokenizer_class is {name!s:.60}; whatever it says, text is split by phi-4's cl100k pre-tokenizer."
        )
    if config.get("add_prefix_space"):
        notes.append("add_prefix_space is set; no space is put before a text.")
    notes.append(_TEMPLATE_NOTES.get(template_kind(folder), ""))
    return tuple(note for note in notes if note)


def template_kind(folder: Path) -> TemplateKind:
    """Which chat template a folder carries: phi-4's since January 2025, the one before, ours, another, or none."""
    template = _template(folder)
    if not template:
        return "none"
    if template.strip() == CHAT_TEMPLATE:
        return "ours"
    return TEMPLATE_KINDS.get(hashlib.sha256(template.strip().encode("utf-8", "replace")).hexdigest(), "other")


_TEMPLATE_NOTES = {
    "old": "The chat template is the one from before January 2025; chats are laid out as since then.",
    "other": "The chat template is none that phi-4 was published with; chats are laid out as phi-4's are.",
}


def _template(folder: Path) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_bounded(path).decode("utf-8", "replace")
    template = _read_if_there(folder / "tokenizer_config.json").get("chat_template") or ""
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict)]
        default = next((entry for entry in named if entry.get("name") == "default"), named[0] if named else {})
        template = default.get("template", "")
    return template if isinstance(template, str) else repr(template)


def _name_note(key: str, maps: dict[str, dict[str, Any]]) -> str:
    """What is told of one of bos_token, eos_token and pad_token, where a file names another token than the release."""
    named = {file: _content(values[key]) for file, values in maps.items() if values.get(key) is not None}
    odd = {file: name for file, name in named.items() if name != ROLE_TOKENS[key]}
    found = " and ".join(dict.fromkeys(f"{name!s:.60}" for name in odd.values()))
    return f"{key} is {found} in {' and '.join(odd)}; {ROLE_TOKENS[key]} is used." if odd else ""


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
