"""Books in XML: CNXML and PreTeXt to text by one walk and a table of what each element is; XML found by its root.

Parsers expand no entities and fetch nothing; a file that declares entities is refused, since that is what an entity
bomb is made of. Formulas become TeX: CNXML has MathML, PreTeXt holds TeX already.
"""

from collections.abc import Iterator
from typing import Any

from lxml import etree

from phidelity.data.formats.blob import MAX_ELEMENTS, BadFileError, Blob, Part, Reject, read_all
from phidelity.data.formats.mathml import dollars, to_tex
from phidelity.data.formats.plain import clean, raised

Actions = dict[str, str]
"""Element -> block, line, item, pre, row, cell, skip, math, tex, display, code, quote, break, sup or sub; else running
text."""

_CNXML: Actions = {
    **dict.fromkeys(
        ("para", "section", "title", "note", "exercise", "problem", "solution", "example", "table"), "block"
    ),
    **dict.fromkeys(("equation", "figure", "caption", "definition", "list", "glossary", "abstract", "quote"), "block"),
    **dict.fromkeys(("statement", "proof", "rule", "commentary", "content", "subfigure", "tgroup"), "block"),
    **dict.fromkeys(("metadata", "media", "colspec", "label"), "skip"),
    "item": "item",
    "row": "row",
    "entry": "cell",
    "math": "math",
    "newline": "break",
    "code": "code",
    "preformat": "pre",
    "sup": "sup",
    "sub": "sub",
    "meaning": "line",
}
_PRETEXT: Actions = {
    **dict.fromkeys(("p", "title", "section", "subsection", "subsubsection", "chapter", "paragraphs"), "block"),
    **dict.fromkeys(("statement", "solution", "answer", "hint", "proof", "example", "exercise", "task"), "block"),
    **dict.fromkeys(("introduction", "conclusion", "theorem", "definition", "remark", "investigation"), "block"),
    **dict.fromkeys(("blockquote", "caption", "assemblage", "objectives", "ol", "ul", "dl", "tabular"), "block"),
    **dict.fromkeys(("idx", "notation", "image", "sage", "webwork", "col", "fn", "latex-image", "asymptote"), "skip"),
    **dict.fromkeys(("description", "shortdescription", "var", "pg-code", "feedback", "response", "docinfo"), "skip"),
    "li": "item",
    "row": "row",
    "cell": "cell",
    "m": "tex",
    "me": "display",
    "men": "display",
    "md": "display",
    "mdn": "display",
    "c": "code",
    "pre": "pre",
    "program": "pre",
    "console": "pre",
    "q": "quote",
    "choice": "item",
    "block": "item",
}
_GLYPHS = {"ellipsis": "…", "ndash": "–", "mdash": "—", "nbsp": " ", "times": "×", "latex": "LaTeX", "tex": "TeX"}


def parse(data: bytes) -> etree._Element:
    """The root of a document; damage and declared entities are a `BadFileError`."""
    if declares_entities(data):
        raise BadFileError("xml_entities")
    if data.count(b"<") > MAX_ELEMENTS:
        raise BadFileError("too_many_elements")
    try:
        return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    except (etree.XMLSyntaxError, ValueError):
        raise BadFileError("bad_xml") from None


def declares_entities(data: bytes) -> bool:
    """Whether an entity is declared anywhere, in UTF-16 and UTF-32 too."""
    return b"<!ENTITY" in data or (b"\0" in data[:64] and b"<!ENTITY" in data.replace(b"\0", b""))


def local(element: Any) -> str:
    """The name of an element without its namespace; "" for what is none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def read_xml(blob: Blob) -> Iterator[Part | Reject]:
    """A file of XML, read as what its root says it is."""
    data = read_all(blob)
    root = parse(data)
    kind = local(root)
    if kind == "document" and "cnxml" in (root.tag or ""):
        yield _cnxml(root)
    elif kind in ("pretext", "mathbook", "section", "chapter", "exercises", "worksheet", "exercise"):
        yield _pretext(root)
    else:
        raise BadFileError("unknown_format")


def read_cnxml(blob: Blob) -> Iterator[Part | Reject]:
    """A module of a textbook of OpenStax or Connexions."""
    yield _cnxml(parse(read_all(blob)))


def read_pretext(blob: Blob) -> Iterator[Part | Reject]:
    """A file of a textbook in PreTeXt; one that only includes others has no text."""
    yield _pretext(parse(read_all(blob)))


def _cnxml(root: etree._Element) -> Part:
    title = next((element.text for element in root if local(element) == "title"), "") or ""
    return Part(blocks_of(root, _CNXML), meta={"title": title, **_profile(root)})


def _pretext(root: etree._Element) -> Part:
    title = next((element.text for element in root if local(element) == "title"), "") or ""
    return Part(blocks_of(root, _PRETEXT), meta={"title": " ".join(title.split()), "profile": "mathematics"})


def _profile(root: etree._Element) -> dict[str, str]:
    """Mathematics, where a formula comes with every third paragraph or more often (ours)."""
    names = [local(element) for element in root.iter()]
    return {"profile": "mathematics"} if 3 * names.count("math") > names.count("para") else {}


def blocks_of(root: etree._Element, actions: Actions) -> str:
    """The text below `root`: a blank line between blocks, a dash before items, ` | ` between cells."""
    writer = _Writer(actions)
    writer.walk(root)
    writer.end()
    return clean("\n".join(writer.lines))


class _Writer:
    """Collects lines; the text under way is a list of pieces."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.lines: list[str] = []
        self.pieces: list[str] = []
        self.prefix = ""
        self.cells = 0

    def walk(self, element: etree._Element) -> None:
        """An element and all in it, but not what follows."""
        name = local(element)
        action = self.actions.get(name, "")
        if action == "skip" or not name:
            return
        if action in _WHOLE:
            self._whole(element, action)
            return
        self._open(action)
        self.pieces.append(_GLYPHS.get(name, "") + (element.text or ""))
        for child in element:
            self.walk(child)
            self.pieces.append(child.tail or "")
        self._close(action)

    def end(self, *, tight: bool = False) -> None:
        """Finish the block under way."""
        text = " ".join("".join(self.pieces).split())
        self.pieces = []
        if text:
            self.lines.append(self.prefix + text)
            self.prefix = ""
        if not tight and self.lines and self.lines[-1]:
            self.lines.append("")

    def _whole(self, element: etree._Element, action: str) -> None:
        """Elements whose contents are one thing."""
        text = _written(element)
        if action == "math":
            parent = element.getparent()
            alone = parent is not None and local(parent) == "equation"
            self.pieces.append(dollars(to_tex(element), display=alone))
        elif action in ("sup", "sub"):
            self.pieces.append(raised(text, below=action == "sub"))
        elif not self.cells and text.strip() and (action == "pre" or _is_block(element, text)):
            self.end()
            language = element.get("lang") or element.get("language") or ""
            self.lines += [f"```{language}\n{_dedented(text)}\n```", ""]
        elif action in ("code", "pre"):
            self.pieces.append(f"`{' '.join(text.split())}`")
        else:
            self.pieces.append(dollars(" ".join(text.split()), display=action == "display"))

    def _open(self, action: str) -> None:
        if action in ("block", "item", "row", "line") and not self.cells:
            self.end(tight=action in ("item", "row", "line"))
        if action == "item":
            self.prefix = "- "
        elif action == "cell":
            if "".join(self.pieces).strip():
                self.pieces.append(" | ")
            self.cells += 1
        elif action in ("quote", "break"):
            self.pieces.append("“" if action == "quote" else " ")

    def _close(self, action: str) -> None:
        if action == "cell":
            self.cells -= 1
        elif action == "quote":
            self.pieces.append("”")
        elif action in ("block", "item", "row", "line"):
            if self.cells:
                self.pieces.append(" ")
            else:
                self.end(tight=action != "block")


_WHOLE = {"math", "tex", "display", "pre", "code", "sup", "sub"}


def _written(element: etree._Element) -> str:
    """All text of an element, an element `newline` as what it is called."""
    pieces = [element.text or ""]
    for child in element:
        pieces += ["\n" if local(child) == "newline" else _written(child) if local(child) else "", child.tail or ""]
    return "".join(pieces)


def _is_block(element: etree._Element, text: str) -> bool:
    """Whether code has lines of its own."""
    return element.get("display") == "block" or "\n" in text.strip()


def _dedented(text: str) -> str:
    lines = text.strip("\n").rstrip().expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
