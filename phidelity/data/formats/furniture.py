"""What of a page is not its text: menus and other furniture by name, cells of layout, and what is hidden."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from selectolax.lexbor import LexborNode

_CHROME = frozenset(
    (
        *("navigation", "nav", "navbar", "nav-bar", "navigation-bar", "topnav", "site-nav", "main-nav", "search"),
        *("related", "sphinxsidebar", "sidebar", "side-bar", "menu", "menubar", "footer", "site-footer", "page-footer"),
        *("breadcrumb", "breadcrumbs", "banner", "cookie-banner", "cookie-notice", "cookie-consent", "contentinfo"),
        *("advertisement", "ads", "social", "share", "share-buttons", "pagination", "pager", "skip-link", "toolbar"),
        *("headerlink", "linenos", "lineno", "line-numbers", "gutter", "katex-html", "mathjax_preview", "toc"),
        *("mw-editsection", "noprint", "page-header", "language-picker", "complementary", "search-bar"),
    )
)
"""Roles, classes and ids of elements that are furniture."""
_MENU = re.compile(r"(?!(?:has|with|no|without|is|show|open)[-_])[\w-]+[-_](?:nav|menu|navigation)")
"""Further names of menus, such as sidebar-nav."""
_CONSENT = re.compile(
    r"[\w-]*(?:cookie|consent|gdpr)[\w-]*(?:bar|banner|box|dialog|info|layer|law|message|modal|notice|overlay|popup|sdk|wall"
    r"|window)(?![a-z])[\w-]*|cc-(?:window|banner|revoke)|(?:onetrust|cookiebot|cybotcookiebot|didomi|usercentrics|truste"
    r"|qc-cmp2?|sp_message)[\w-]*"
)
"""Names of what asks for consent to cookies, those of common services among them (ours)."""
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "dt"}
_ENDS = re.compile(r"[.!?؟۔։።](?=\s|$)|[。！？।။។]")
_PIECE, _TOLD, _MOST = 200, 3, 0.6
"""Characters and sentences of a piece of a page, and the share from which on one is the page itself (ours)."""


def is_layout(cell: LexborNode) -> bool:
    """Whether a cell holds whole pieces of a page rather than a datum."""
    only: Any = cell.child
    is_plain = only is None or (only.next is None and only.child is None)  # a word needs no search
    if not is_plain and cell.css_first("table, pre, h1, h2, h3") is not None:
        return True
    if not is_plain and cell.css_first("ul, ol, p + p, br + br") is not None:
        return len(cell.text(deep=True)) > _PIECE
    text = cell.text(deep=True) if cell.next is None or cell.prev is None else ""
    return len(text) > _PIECE and len(_ENDS.findall(text)) >= _TOLD


def is_page(node: LexborNode, characters: Callable[[], int]) -> bool:
    """Whether what looks like furniture is most of the page, and told in sentences: a form or a wrapper around it.

    `characters` are those of the whole body, which are counted only where somebody asks.
    """
    text = " ".join(node.text(deep=True, separator=" ").split())
    if len(text) < _PIECE or len(_ENDS.findall(text)) < _TOLD:
        return False
    return len(text) > _MOST * characters()


def is_chrome(node: LexborNode, tag: str) -> bool:
    """Whether an element is furniture by its role, class or id, or is hidden."""
    given = node.attributes
    if not given:
        return False
    if "hidden" in given or "display:none" in (given.get("style") or "").replace(" ", ""):
        return tag != "body"
    if tag in ("body", "main", "article"):
        return False
    others = f"{given.get('role') or ''} {given.get('class') or ''}"
    if not _names_chrome(f"{others} {given.get('id') or ''}"):
        return False
    return _names_chrome(others) or not _is_section(node, tag)


def _is_section(node: LexborNode, tag: str) -> bool:
    """Whether an id was made from a heading: it is the heading's own, or that of a section told in sentences."""
    if tag in _HEADINGS:
        return True
    if tag != "section" and "section" not in (node.attributes.get("class") or "").split():
        return False
    linked = sum(len(link.text(deep=True)) for link in node.css("a[href]"))
    text = node.text(deep=True)
    return node.css_first("h1, h2, h3, h4, h5, h6") is not None and 2 * linked < len(text) and bool(_ENDS.search(text))


@lru_cache(maxsize=4096)  # pages name the same few things again and again
def _names_chrome(names: str) -> bool:
    marks = names.lower().split()
    return not _CHROME.isdisjoint(marks) or any(_MENU.fullmatch(mark) or _CONSENT.fullmatch(mark) for mark in marks)
