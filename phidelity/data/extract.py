"""Text out of marked-up and hard-wrapped sources, with code blocks and their indentation kept.

phi-4 §2.3 asks for extraction that preserves code, tables and structure. HTML goes through the standard
library's parser: chrome (scripts, navigation, forms) is left out, block elements become paragraphs, `pre` is
copied verbatim, table cells are parted by ` | `. Documentation that is wrapped by hand is unwrapped, since a
line break in the middle of a sentence means nothing.
"""

import re
import unicodedata
from html.parser import HTMLParser

_HIDDEN = {"script", "style", "head", "nav", "footer", "form", "button", "svg", "noscript", "template", "iframe"}
_BLOCK = {
    *("address", "article", "aside", "blockquote", "dd", "details", "div", "dl", "dt", "fieldset", "figure"),
    *("figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre"),
    *("section", "summary", "table", "tbody", "thead", "tr", "ul", "body"),
}
_TIGHT = {"li", "tr", "dt", "dd"}
_LISTS = {"ul", "ol"}
_CHROME = {"navigation", "search", "related", "sphinxsidebar", "sidebar", "navbar", "menu", "footer", "breadcrumbs"}
"""Roles and classes of elements that are left out."""
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u200c\ufeff\u00ad]")
_UNDERLINE = re.compile(r"^([=\-~^*\"'#+`.:_])\1{2,}$")
_NARROWEST = 45
"""Characters; shorter lines were ended on purpose (ours)."""
_CODE = re.compile(r"^\s*(>>>|\.\.\. )|\s#\s|^\w+ = |^[\w.]+\([^)]*\)$")
_ITEM = re.compile(r"^\s*([*+-]|\d{1,3}[.)])\s+")


def html_to_text(html: str) -> str:
    """The visible text of an HTML page: a blank line between blocks, code as it stands."""
    parser = _Reader()
    parser.feed(html)
    parser.close()
    parser.end_block()
    return clean("\n".join(parser.lines))


def clean(text: str) -> str:
    """Composed Unicode, plain line ends, no control characters, no trailing space, no runs of blank lines."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    lines = (line.rstrip() for line in _CONTROL.sub("", text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


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


def markdown_text(text: str) -> str:
    """Markdown as it stands, without front matter and comments."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text.replace("\r\n", "\n"), flags=re.DOTALL)
    return clean(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))


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


class _Reader(HTMLParser):
    """Collects lines; knows whether it is inside something hidden, preformatted or listed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._text: list[str] = []
        self._hidden: list[str] = []
        """The hidden element and those of the same tag that are open inside it."""
        self._pre = self._lists = 0
        self._prefix = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            self._hidden += [tag] if tag == self._hidden[0] else []
            return
        if _is_chrome(tag, attrs):
            self._hidden = [tag]
        if tag in _BLOCK:
            self.end_block(tight=tag in _TIGHT or self._lists > 0)
        self._pre += tag == "pre"
        self._lists += tag in _LISTS
        if tag == "li":
            self._prefix = "- "
        elif tag in {"td", "th"} and "".join(self._text).strip():
            self._text.append(" | ")
        elif tag == "br" and self._pre:
            self._text.append("\n")
        elif tag == "br":
            self.end_block(tight=True)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden = self._hidden[1:] if tag == self._hidden[0] else self._hidden
            return
        self._lists = max(0, self._lists - (tag in _LISTS))
        if tag in _BLOCK:
            self.end_block(tight=tag in _TIGHT or self._lists > 0)
        self._pre = max(0, self._pre - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data)

    def end_block(self, tight: bool = False) -> None:
        """Finish the paragraph under way; a loose one is followed by a blank line."""
        text = "".join(self._text)
        self._text = []
        text = text.strip("\n") if self._pre else " ".join(text.replace("¶", "").split())
        if text:
            self.lines.append(self._prefix + text)
            self._prefix = ""
        if not tight and self.lines and self.lines[-1]:
            self.lines.append("")


def _is_chrome(tag: str, attrs: list[tuple[str, str | None]]) -> bool:
    """Whether an element is the page's furniture rather than its text."""
    if tag in _VOID:
        return False
    given = dict(attrs)
    marks = {given.get("role") or "", *(given.get("class") or "").lower().split()}
    return tag in _HIDDEN or bool(marks & _CHROME)
