"""Plain text, Markdown and code: nearly as they stand, in one form of Unicode and of line ends.

Documentation that is wrapped by hand is unwrapped, since a line break in the middle of a sentence means nothing.
"""

import re
import unicodedata
from typing import Any

from phidelity.data.formats.blob import Part, iso_date
from phidelity.data.formats.charset import mend

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\ufeff\u00ad]")
_UNDERLINE = re.compile(r"^([=\-~^*\"'#+`.:_])\1{2,}$")
_NARROWEST = 45
"""Characters; shorter lines were ended on purpose (ours)."""
_CODE = re.compile(r"^\s*(>>>|\.\.\. )|\s#\s|^\w+ = |^[\w.]+\([^)]*\)$")
_ITEM = re.compile(r"^\s*([*+-]|\d{1,3}[.)])\s+")
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\((?:[^()\n]|\([^()\n]*\))*\)|<https?://[^>\s]+>|https?://\S+")
_BOOK_BEGINS = re.compile(r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]*\*\*\*", re.IGNORECASE)
_BOOK_ENDS = re.compile(
    r"\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg", re.IGNORECASE
)


def clean(text: str) -> str:
    """Composed Unicode, plain line ends, no control characters, no trailing space, no runs of blank lines."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", mend(text))
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[^\S\n]+(?=\n)", "", text + "\n")).strip("\n")


def unwrap(text: str) -> str:
    """Join the lines of hard-wrapped paragraphs; indented blocks, list items and examples keep their lines.

    A common indentation is taken away first; lines that only underline a heading go.
    """
    lines = [line for line in clean(_dedent(text)).split("\n") if not _UNDERLINE.match(line.strip())]
    joined: list[str] = []
    for line in lines:
        if joined and _continues(joined[-1], line):
            joined[-1] = f"{joined[-1]} {line.strip()}"
        else:
            joined.append(line)
    return clean("\n".join(joined))


def read_plain(text: str) -> Part:
    """A text as it stands; of a Project Gutenberg file the book, its paragraphs unwrapped."""
    begins = _BOOK_BEGINS.search(text)
    ends = _BOOK_ENDS.search(text, begins.end() if begins else 0)
    if begins or ends:
        book = text[begins.end() if begins else 0 : ends.start() if ends else len(text)]
        return Part(unwrap(book), meta={"license": "public domain in the USA (Project Gutenberg)"})
    return Part(clean(text))


def read_markdown(text: str) -> Part:
    """Markdown as it stands, without front matter and comments; the share of its characters in links beside."""
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    body = clean(re.sub(r"<!--.*?-->", "", text[front.end() :] if front else text, flags=re.DOTALL))
    linked = sum(match.end() - match.start() for match in _LINK.finditer(body))
    meta: dict[str, Any] = {"link_share": round(linked / max(1, len(body)), 4)}
    if front and (title := re.search(r"^title: *(.+)$", front[1], re.MULTILINE)):
        meta["title"] = title[1].strip("\"' ")
    if front and (date := re.search(r"^(date|created|published): *[\"']?([\d-]+)", front[1], re.MULTILINE)):
        meta |= {"date": iso_date(date[2]), "date_from": f"front matter: {date[1]}"}
    return Part(body, meta=meta)


def read_code(text: str) -> Part:
    """Code, its indentation untouched."""
    return Part(text.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))


def _dedent(text: str) -> str:
    """Take away the indentation common to all lines but the first, as `inspect.cleandoc` does."""
    lines = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return "\n".join([lines[0].lstrip(), *(line[margin:] for line in lines[1:])])


def _continues(before: str, line: str) -> bool:
    """Whether `line` goes on with the paragraph or list item that `before` ends."""
    if not before.strip() or not line.strip() or _ITEM.match(line) or _CODE.search(line) or _CODE.search(before):
        return False
    item = _ITEM.match(before)
    indent = len(line) - len(line.lstrip())
    if item:
        return indent == item.end()
    return indent == 0 and before[0] != " " and len(before) >= _NARROWEST
