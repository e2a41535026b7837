"""Plain text, Markdown and code: nearly as they stand, in one form of Unicode and of line ends.

Documentation that is wrapped by hand is unwrapped, since a line break in the middle of a sentence means nothing.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from phidelity.data.formats.blob import Part, last_date
from phidelity.data.formats.charset import mend

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\ufeff\u00ad]")
_UNDERLINE = re.compile(r"^([=\-~^*\"'#+`.:_])\1{2,}$")
_NARROWEST = 45
"""Characters; shorter lines were ended on purpose (ours)."""
_CODE = re.compile(r"^\s*(>>>|\.\.\. )|\s#\s|^\w+ = |^[\w.]+\([^)]*\)$")
_ITEM = re.compile(r"^\s*([*+-]|\d{1,3}[.)])\s+")
_COMMENT = re.compile(r"<!--|^ {0,3}(?P<fence>`{3,8}|~{3,8})|`[^`\n]+`", re.MULTILINE)
"""A comment, or code that may hold one."""
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_FRONT_DATE = re.compile(r"^(date|created|published|updated|modified|lastmod|last_modified): *(.+)$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]\n]{0,150})\]\((?:[^()\n]|\([^()\n]*+\))*+\)|<https?://[^<>\s]+>|https?://\S+")
_HIGH = "0123456789+-−()="
_RAISED = str.maketrans(_HIGH, "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁽⁾⁼")
_LOWERED = str.maketrans(_HIGH, "₀₁₂₃₄₅₆₇₈₉₊₋₋₍₎₌")
_BOOK_BEGINS = re.compile(r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]*\*\*\*", re.IGNORECASE)
_BOOK_ENDS = re.compile(
    r"\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg", re.IGNORECASE
)


def clean(text: str) -> str:
    """Composed Unicode, plain line ends, no control characters, no trailing space, no runs of blank lines."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", mend(text))
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(map(str.rstrip, text.split("\n")))).strip("\n")


def raised(text: str, *, below: bool = False) -> str:
    """What stands above or below the line: digits as Unicode has them, a letter after ^ or _, words as they are."""
    if text and not text.strip(_HIGH):
        return text.translate(_LOWERED if below else _RAISED)
    return f"{'_' if below else '^'}{text}" if len(text) == 1 and text.isalpha() else text


def enclosed(
    text: str, opens: re.Pattern[str], closer: Callable[[re.Match[str]], str], flags: int = 0
) -> Iterator[tuple[re.Match[str], int]]:
    """Each opening and where what it opens ends, in linear time: a `closer` that is not found is not looked for again.

    `closer` gives the pattern of an opening's end, "" where the opening is the whole; what has no end is none.
    """
    missing: set[str] = set()
    at = 0
    while found := opens.search(text, at):
        pattern, end = closer(found), found.end()
        if pattern:
            close = None if pattern in missing else re.compile(pattern, flags).search(text, end)
            if close is None:
                missing.add(pattern)
                at = found.start() + 1
                continue
            end = close.end()
        yield found, end
        at = max(end, found.start() + 1)


def replaced(
    text: str,
    opens: re.Pattern[str],
    closer: Callable[[re.Match[str]], str],
    by: Callable[[re.Match[str], str], str],
    flags: int = 0,
) -> str:
    """The text with all that is `enclosed` given to `by`: the opening, and what follows it up to and with its end."""
    parts, at = [], 0
    for found, end in enclosed(text, opens, closer, flags):
        parts += [text[at : found.start()], by(found, text[found.end() : end])]
        at = end
    return "".join([*parts, text[at:]])


def without(text: str, opens: re.Pattern[str], closer: Callable[[re.Match[str]], str], flags: int = 0) -> str:
    """The text without all that is `enclosed`."""
    return replaced(text, opens, closer, lambda *_: "", flags)


def unwrap(text: str) -> str:
    """Join the lines of hard-wrapped paragraphs; indented blocks, list items and examples keep their lines.

    A common indentation is taken away first; lines that only underline a heading go.
    """
    lines = [line for line in clean(_dedent(text)).split("\n") if not _UNDERLINE.match(line.strip())]
    joined: list[list[str]] = []
    length = 0
    for line in lines:
        if joined and _continues(joined[-1], length, line):
            joined[-1].append(line.strip())
            length += 1 + len(joined[-1][-1])
        else:
            joined.append([line])
            length = len(line)
    return clean("\n".join(map(" ".join, joined)))


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
    body = clean(replaced(text[front.end() :] if front else text, _COMMENT, _comment_until, _uncommented, re.MULTILINE))
    linked = sum(match.end() - match.start() for match in _LINK.finditer(body))
    meta: dict[str, Any] = {"link_share": round(linked / max(1, len(body)), 4)}
    if front and (title := re.search(r"^title: *(.+)$", front[1], re.MULTILINE)):
        meta["title"] = title[1].strip("\"' ")
    said = _FRONT_DATE.findall(front[1]) if front else []
    meta |= last_date((f"front matter: {name}", date.strip("\"' ")) for name, date in said)
    return Part(body, meta=meta)


def _comment_until(found: re.Match[str]) -> str:
    return rf"^ {{0,3}}{found['fence']}" if found["fence"] else "-->" if found[0] == "<!--" else ""


def _uncommented(found: re.Match[str], inner: str) -> str:
    return "" if found[0] == "<!--" else found[0] + inner


def read_code(text: str) -> Part:
    """Code, its indentation untouched."""
    return Part(text.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))


def _dedent(text: str) -> str:
    """Take away the indentation common to all lines but the first, as `inspect.cleandoc` does."""
    lines = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return "\n".join([lines[0].lstrip(), *(line[margin:] for line in lines[1:])])


def _continues(before: list[str], length: int, line: str) -> bool:
    """Whether `line` goes on with the paragraph or list item of these lines, which joined have this length."""
    first = before[0]
    if not first.strip() or not line.strip() or _ITEM.match(line) or _CODE.search(line) or _CODE.search(first):
        return False
    item = _ITEM.match(first)
    indent = len(line) - len(line.lstrip())
    if item:
        return indent == item.end()
    return indent == 0 and first[0] != " " and length >= _NARROWEST
