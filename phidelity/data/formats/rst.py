"""reStructuredText to text: directives and roles resolved or dropped, code blocks kept, hard-wrapped lines joined."""

import re
from typing import Any

from phidelity.data.formats.blob import Part, last_date
from phidelity.data.formats.plain import unwrap

_FIELDS = re.compile(r"\A(?:[A-Z][\w-]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)++\n")
_DIRECTIVE = re.compile(r"^([ \t]*)\.\. (?:[\w|-]{1,80}\|?[ \t]{0,9}(\w[\w:-]{0,80})?::[ \t]*(.*)|.*)$")
_ROLE = re.compile(r":(?:[\w.+-]{1,40}:){0,4}([\w.+-]{1,40}):`([^`<]*+)(?:<[^`>]*+>)?`")
_LINK = re.compile(r"`([^`<\n]+)\s<[^`>]+>`__?|`([^`\n]+)`__?|(?<=\w)_(?=[\s.,;)])|\s?\[(?:\d+|#\w*)\]_")
_KEPT = {
    "code",
    "code-block",
    "sourcecode",
    "note",
    "warning",
    "tip",
    "important",
    "admonition",
    "math",
    "parsed-literal",
}


def read_rst(text: str) -> Part:
    """The text of a file; title and date from the fields at its head, as Python's enhancement proposals have them."""
    text = text.replace("\r\n", "\n")
    head = _FIELDS.match(text)
    fields = dict(re.findall(r"^([A-Z][\w-]*): *(.*)$", head[0], re.MULTILINE)) if head else {}
    body = _roles("\n".join(_lines(text[head.end() :] if head else text)))
    meta: dict[str, Any] = {"title": fields["Title"]} if "Title" in fields else {}
    meta |= last_date((f"field {name}", fields.get(name)) for name in ("Created", "Last-Modified", "Date"))
    title = f"{fields['Title']}\n\n" if "Title" in fields else ""
    return Part(unwrap(f"{title}{body}"), meta=meta)


def _lines(text: str) -> list[str]:
    """The lines without comments, and without directives that show nothing."""
    kept: list[str] = []
    hidden = -1
    options = False
    for line in text.expandtabs().split("\n"):
        indent = len(line) - len(line.lstrip())
        if hidden >= 0 and (not line.strip() or indent > hidden):
            continue
        hidden = -1
        options = options and bool(re.match(r"\s+:[\w-]+:", line))
        if options:
            continue
        if line.lstrip().startswith(".. "):
            found = _DIRECTIVE.match(line)
            name = re.match(r"\s*\.\. ([\w-]+)::", line)
            if name and name[1] in _KEPT:
                options = True
                title = found[3] if found and name[1] in ("admonition", "math") else ""
                kept += [title] if title else []
            else:
                hidden = indent
            continue
        kept.append(
            line[:-2] + ":" if line.endswith("::") and line.strip() != "::" else "" if line.strip() == "::" else line
        )
    return kept


def _roles(text: str) -> str:
    text = _ROLE.sub(lambda found: _role(found[1], found[2].rstrip()), text)
    text = _LINK.sub(lambda found: found[1] or found[2] or "", text)
    return re.sub(r"``([^`\n]+)``", r"`\1`", text)


def _role(name: str, words: str) -> str:
    return f"PEP {words}" if name == "pep" and words.isdigit() else words
