"""Reading what a teacher replied: headed sections, one JSON object, scores, and signs that a reply is not to be used.

A reply that holds a chat's control tokens is refused, for a model that trains on it would learn to end turns there; so
is one that repeats the prompt's own instructions. Nothing in a reply is ever run or followed here.
"""

import json
import re
from typing import Any

from phidelity.synthetic.template import Template

MARKER = re.compile(r"<\|[\w ]{2,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>", re.IGNORECASE)
"""Control tokens of the chat templates in use."""
_HEAD = re.compile(r"^#{1,4} *([A-Za-z][A-Za-z ]{1,30}?) *:? *$", re.MULTILINE)
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_FENCE = re.compile(r"```[ \t]*\w*[ \t]*\n(.*?)\n?```", re.DOTALL)
_ECHO = 60
"""Characters of a line of a template that a reply may not repeat (*ours*)."""


def unusable(text: str, asked: Template, finish_reason: str) -> str:
    """Why a reply cannot be used whatever it says, or nothing."""
    if finish_reason in ("error", "context_exceeded", "length", "cancelled", "content_filter"):
        return {"length": "cut_short", "context_exceeded": "too_long", "error": "no_answer"}.get(
            finish_reason, finish_reason
        )
    if not text.strip():
        return "empty"
    if MARKER.search(text):
        return "marker"
    said = " ".join(text.split())
    lines = (" ".join(line.split()) for line in asked.text.splitlines() if "{{" not in line)
    return "echo" if any(len(line) >= _ECHO and line in said for line in lines) else ""


def sections(text: str, *names: str) -> dict[str, str] | None:
    """What stands under each of the headings `names`, in that order and each once; None for any other form."""
    parts = _HEAD.split(text)
    found = [(head.strip().lower(), body.strip()) for head, body in zip(parts[1::2], parts[2::2], strict=True)]
    wanted = [(head, body) for head, body in found if head in names]
    if [head for head, _ in wanted] != list(names) or not all(body for _, body in wanted):
        return None
    return dict(wanted)


def json_object(text: str) -> dict[str, Any] | None:
    """The one JSON object of a reply, whatever stands around it; None without one."""
    found = _OBJECT.search(text)
    try:
        value = json.loads(found.group()) if found else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def marks(value: dict[str, Any] | None, names: tuple[str, ...], highest: int) -> dict[str, float] | None:
    """Scores under `names`, all numbers from 0 to `highest`; None where one is missing or no such number."""
    scores = {}
    for name in names:
        score = (value or {}).get(name)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= highest:
            return None
        scores[name] = float(score)
    return scores


def code(text: str) -> str:
    """The one fenced block of a section, or the section as it stands."""
    blocks = _FENCE.findall(text)
    return blocks[0] if len(blocks) == 1 else text
