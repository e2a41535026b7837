"""SOURCE.txt: what a folder says of itself, for all documents in it that say nothing of their own.

`source:` and `commit` stand with every document, `licence:` holds for what names no other, and the day after `commit`,
or that of a line `date:`, dates what has no date of its own. Any line may be absent; others are passed over.
"""

import re
from pathlib import Path
from typing import Any

from phidelity.data.formats.blob import iso_date

ABOUT = "SOURCE.txt"
_HASH = r"[0-9a-f]{4,64}"
_DAY = r"(\d{4}-\d\d-\d\d)(?!\d)"
_DATED = re.compile(rf"\bcommit:? {_HASH} {_DAY}|^(?:commit|date): *(?:\S+ +)?{_DAY}", re.MULTILINE)
_ORIGIN = re.compile(r"(https?://\S+)(?: (?:commit )?([0-9a-f]{7,40})\b)?")
_REVISION = re.compile(rf"^commit:? ({_HASH})(?!\S)", re.MULTILINE)
_FROM = re.compile(r"^(?:source|made from): *(.+)$", re.MULTILINE)
_LICENSE = re.compile(r"^licen[cs]e\w*: *(.+)$", re.MULTILINE)


def read_about(folder: Path) -> dict[str, Any]:
    """Licence, origin, commit and date that SOURCE.txt gives a whole folder; of several dates the newest."""
    try:
        text = (folder / ABOUT).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found: dict[str, Any] = {"license": licenses[0].strip()} if (licenses := _LICENSE.findall(text)) else {}
    found["origins"] = _ORIGIN.findall(" ".join(_FROM.findall(text)))
    found["commit"] = " ".join(_REVISION.findall(text))
    days = [day for pair in _DATED.findall(text) for day in pair if iso_date(day)]
    said_by = "date" if re.search(rf"^date: *{_DAY}", text, re.MULTILINE) else "commit"
    return found | ({"date": max(days), "date_from": f"{said_by} in {ABOUT}"} if days else {})


def origin_of(id_: str, about: dict[str, Any]) -> dict[str, str]:
    """Where a document's folder is from, and at which commit; of several places those that its name tells, else all."""
    origins = about.get("origins", [])
    named = [pair for pair in origins if pair[0].rstrip("/").rsplit("/", 1)[-1].lower() in id_.lower()]
    chosen = named if len(origins) > 1 and named else origins
    commits = " ".join(dict.fromkeys(commit for _, commit in chosen if commit)) or about.get("commit", "")
    found = {"origin": " ".join(dict.fromkeys(url for url, _ in chosen)), "commit": commits}
    return {key: value for key, value in found.items() if value}
