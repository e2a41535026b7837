"""HTML to text by walking lexbor's tree: furniture out, code in fences, formulas as TeX, tables as rows.

phi-4 §2.3 asks for a tree pruned by tag, class, length and depth that keeps TeX and MathML, code, tables and threads.
Left out are elements by tag, role, class or id, what is hidden, and blocks that are nothing but links. How much of a
page was furniture and how much of the rest was links are told beside the text, and rules decide on them. Lexbor (by
selectolax) parses as browsers do; its walk from Python was the fastest measured (docs/benchmarks.md).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from selectolax.lexbor import LexborHTMLParser, LexborNode

from phidelity.data.formats.blob import Part, last_date
from phidelity.data.formats.charset import mend
from phidelity.data.formats.furniture import is_chrome, is_layout, is_page
from phidelity.data.formats.mathml import dollars, to_tex
from phidelity.data.formats.plain import clean, raised

_UNSEEN = {"style", "noscript", "template", "svg", "iframe", "object", "head", "select", "textarea", "audio", "video"}
_FURNITURE = {"nav", "footer", "form", "button", "dialog", "menu"}
_TIGHT = {"li", "tr", "dt", "dd", "br"}
_BLOCK = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"),
    *("fieldset", "figure", "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p"),
    *("pre", "section", "summary", "table", "tbody", "thead", "tfoot", "tr", "ul"),
}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_CELLS = {"td", "th"}
_MATH = {"math", "m:math", "mml:math"}
_ACTED = _BLOCK | _CELLS | _UNSEEN | _FURNITURE | _MATH | {"br", "script", "img", "sup", "sub"}
"""Elements that mean something to us; of others only the contents are taken."""
_LEFT = _BLOCK | _CELLS | {"a"}
"""Elements whose end means something."""
_NEVER_ALL = {"nav", "footer", "button", "dialog", "menu"}
"""Elements that are furniture even where there is nothing else."""
_ONLY_LINKS = 0.8
"""Share of characters in links from which a block without a sentence is furniture (ours)."""
_CODE_CLASS = re.compile(r"(?:language|lang|highlight|brush)[-:]\s?([A-Za-z][\w+#]{0,14})")
_DATES = {
    *("article:published_time", "article:modified_time", "og:updated_time", "date", "last-modified", "revised"),
    *("dc.date", "dc.date.issued", "dc.date.created", "dc.date.modified", "dcterms.date", "dcterms.created"),
    *("dcterms.issued", "dcterms.modified", "datepublished", "datemodified", "datecreated"),
}
"""Names of meta elements that date a page; the last of the dates counts."""


_SELF_CLOSED = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)[\s/>])([A-Za-z][\w:.-]*+)"
    r"""((?:[^<>"'/]|/(?!>)|"[^"<]*+"|'[^'<]*+')*+)/>""",
)
"""An element of XML that ends where it begins; to a parser of HTML it would only begin."""


@dataclass(slots=True)
class _Page:
    """What is collected on the walk."""

    lines: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    """Pieces of the block under way."""
    prefix: str = ""
    lists: list[int] = field(default_factory=list)
    """For each list around us the number of its next item; 0 for one without numbers."""
    katex: bool = False
    """Whether the page shows formulas twice, once for the eye."""
    pre: int = 0
    code: str = ""
    """The language that the code under way is said to be in."""
    cells: int = 0
    """Cells of data around us."""
    layouts: list[bool] = field(default_factory=list)
    """For each cell around us whether it is one of layout."""
    linking: bool = False
    links: int = 0
    """Characters of links in the block under way."""
    n_links: int = 0
    n_text: int = 0
    n_kept: int = 0
    n_chrome: int = 0
    body: Any = None
    whole: int = -1
    """Characters of the body, once somebody asked."""

    def characters(self) -> int:
        """How many the whole body has."""
        if self.whole < 0:
            self.whole = len(" ".join(self.body.text(deep=True, separator=" ").split()))
        return self.whole

    def end_line(self) -> None:
        """Begin a new line of code, but where one begins already."""
        if self.text and not self.text[-1].endswith("\n"):
            self.text.append("\n")

    def end_block(self, *, tight: bool = False, heading: bool = False) -> None:
        """Finish the block under way; a loose one is followed by a blank line."""
        if self.text:
            text = "".join(self.text)
            text = _fenced(text, self.code) if self.pre else " ".join(text.replace("¶", "").split())
            links, self.links, self.text = self.links, 0, []
            if text:
                self.n_text += len(text)
                self.n_links += min(links, len(text))
                if links > _ONLY_LINKS * len(text) and not heading and text[-1] not in ".!?。！？":
                    self.n_chrome += len(text)
                else:
                    self.n_kept += len(text)
                    self.lines.append(self.prefix + text)
                self.prefix = ""
        if not tight and self.lines and self.lines[-1]:
            self.lines.append("")


def read_html(html: str) -> Part:
    """The text of a page, and its title, language, date, and shares of links and of furniture."""
    tree = LexborHTMLParser(mend(html))
    page = _Page(katex="katex-html" in html)
    if tree.body is not None:
        page.body = tree.body
        _walk(tree.body, page)
    page.end_block()
    chrome = page.n_chrome / (page.n_chrome + page.n_kept) if page.n_chrome else 0.0
    shares = {"link_share": page.n_links / max(1, page.n_text), "chrome_share": chrome}
    return Part(clean("\n".join(page.lines)), meta={**_head(tree), **{key: round(n, 4) for key, n in shares.items()}})


def read_xhtml(xhtml: str) -> Part:
    """The same of a page that is XML, in books and by its own word: elements that are closed at once hold nothing."""
    return read_html(_SELF_CLOSED.sub(r"<\1\2></\1>", xhtml) if "/>" in xhtml else xhtml)


def html_text(html: str) -> str:
    """The visible text of a page or a piece of one."""
    return read_html(html).text


def _walk(root: LexborNode, page: _Page) -> None:
    """All nodes below `root` in order, without recursion, so that depth costs nothing."""
    node: Any = root
    around: list[tuple[Any, str]] = []
    acted = _ACTED | {"span"} if page.katex else _ACTED
    while True:
        tag = node.tag
        below = None
        if tag == "-text":
            text = node.text_content
            if text and (page.text or page.pre or not text.isspace()):  # blanks begin no block
                page.text.append(text)
                if page.linking:
                    page.links += len(text.strip())
        elif tag == "a":
            below = node.child
            page.linking = below is not None and "href" in node.attributes  # else it is the aim of one
        elif tag not in acted or _enter(node, tag, page):
            below = node.child
            if below is None and tag in _LEFT:
                _leave(tag, page, node)
        if below is not None:
            around.append((node, tag))
            node = below
            continue
        following = node.next if around else None
        while around and following is None:
            node, tag = around.pop()
            if tag in _LEFT:
                _leave(tag, page, node)
            following = node.next if around else None
        if following is None:
            return
        node = following


def _enter(node: LexborNode, tag: str, page: _Page) -> bool:
    """Take note of an element; whether to look inside."""
    if tag in _UNSEEN:
        return False
    if tag in _FURNITURE or ((tag in _BLOCK or tag == "span") and is_chrome(node, tag)):
        text = " ".join(node.text(deep=True).split())
        if tag in _NEVER_ALL or not is_page(node, page.characters):
            page.n_chrome += len(text)
            return False
    if tag in _BLOCK:
        if page.pre and tag != "pre":
            page.end_line()
            return True
        if not page.cells:
            page.end_block(tight=tag in _TIGHT or bool(page.lists))
        _open(node, tag, page)
    elif tag in _CELLS:
        layout = is_layout(node)
        if layout and is_chrome(node, tag):
            return False
        page.layouts.append(layout)
        page.cells += not layout
        if page.layouts[-1] and not page.cells:
            page.end_block()
        elif "".join(page.text).strip():
            page.text.append(" | ")
    elif tag == "br":
        if page.pre:
            page.text.append("\n")
        else:
            page.text.append(" ") if page.cells else page.end_block(tight=True)
    elif tag in _MATH:
        page.text.append(_math(node))
        return False
    elif tag == "script":
        kind = node.attributes.get("type") or ""
        if kind.startswith("math/tex"):
            page.text.append(dollars(_inner(node).strip(), display="display" in kind))
        return False
    elif tag in ("sup", "sub"):
        only: Any = node.child
        if only is None or only.next is not None or only.tag != "-text":
            return True
        page.text.append(raised(only.text_content or "", below=tag == "sub"))
        return False
    elif tag == "img":
        page.text.append(_formula_image(node))
    return True


def _inner(script: Any) -> str:
    """What stands in a script."""
    return (script.child.text_content or "") if script.child is not None else ""


def _open(node: LexborNode, tag: str, page: _Page) -> None:
    if tag == "pre":
        page.pre += 1
        inner: Any = node.child
        names = f"{node.attributes.get('class') or ''} {inner.attributes.get('class') or '' if _is_code(inner) else ''}"
        page.code = next((found[1].lower() for found in [_CODE_CLASS.search(names)] if found), "")
    elif tag in ("ul", "ol"):
        page.lists.append(1 if tag == "ol" else 0)
    elif tag == "li" and not page.cells:
        number = page.lists[-1] if page.lists else 0
        page.prefix = "  " * (len(page.lists) - 1) + (f"{number}. " if number else "- ")
        if number:
            page.lists[-1] += 1


def _leave(tag: str, page: _Page, node: LexborNode) -> None:
    if tag == "a":
        page.linking = False
        return
    if tag in _CELLS:
        page.cells -= not page.layouts.pop()
        return
    if page.pre and tag != "pre":
        following: Any = node.next
        if following is None or following.tag != "-text" or not (following.text_content or "").startswith("\n"):
            page.end_line()
        return
    if tag in ("ul", "ol") and page.lists:
        page.lists.pop()
    if page.cells:
        page.text.append(" ")
    else:
        page.end_block(tight=tag in _TIGHT or bool(page.lists), heading=tag in _HEADINGS)
    page.pre = max(0, page.pre - (tag == "pre"))


def _is_code(node: Any) -> bool:
    return node is not None and node.tag == "code"


def _fenced(text: str, language: str) -> str:
    """Code as Markdown has it; nothing where there is none."""
    text = text.strip("\n").rstrip()
    return f"```{language}\n{text}\n```" if text else ""


def _math(node: LexborNode) -> str:
    """A formula as TeX between dollars."""
    try:
        element = etree.fromstring(node.html or "", etree.XMLParser(recover=True, resolve_entities=False))
    except etree.XMLSyntaxError:
        element = None
    if element is None:
        return node.text(deep=True)
    return dollars(to_tex(element), display=node.attributes.get("display") == "block")


def _formula_image(node: LexborNode) -> str:
    """The TeX that stands in for a picture of a formula; nothing of other pictures."""
    given = node.attributes
    names = (given.get("class") or "").lower()
    if "fallback" in names or not any(name in names for name in ("tex", "math")):
        return ""
    return dollars((given.get("alt") or "").strip("$ "), display=False)


def _head(tree: LexborHTMLParser) -> dict[str, Any]:
    found: dict[str, Any] = {}
    title = tree.css_first("head > title")
    if title is not None:
        found["title"] = " ".join(title.text(deep=True).split())
    language = tree.root.attributes.get("lang") if tree.root is not None else None
    if language:
        found["declared_language"] = language.split("-")[0].lower()
    return found | last_date((f"meta {name}", content) for name, content in _metas(tree) if name in _DATES)


def _metas(tree: LexborHTMLParser) -> Iterator[tuple[str, str]]:
    for node in tree.css("meta[content]"):
        given = node.attributes
        yield (
            (
                given.get("property") or given.get("name") or given.get("itemprop") or given.get("http-equiv") or ""
            ).lower(),
            given["content"] or "",
        )
