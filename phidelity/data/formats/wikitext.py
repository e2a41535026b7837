"""MediaWiki text to text: templates, files and references go, links keep their words, tables become rows.

Formulas stay between dollars, code in `pre` and `syntaxhighlight` stays as it is. Templates are not expanded.
"""

import html
import re

from phidelity.data.formats.blob import Part
from phidelity.data.formats.plain import clean, enclosed, raised, without

_KEPT = re.compile(r"<(math|pre|syntaxhighlight|source|code)\b[^<>]*>", re.IGNORECASE)
_GONE = re.compile(
    r"(<!--)|<ref\b[^<>]*/>|<(ref|gallery|timeline|imagemap|score)\b[^<>]*>|<references[^<>]*>|__[A-Z]+__",
    re.IGNORECASE,
)
_INNER = re.compile(r"\{\{(?:[^{}]|\{(?!\{)|\}(?!\}))*\}\}")
_LINK = re.compile(r"\[\[([^\[\]|]*)(?:\|([^\[\]]*))?\]\]")
_FILES = re.compile(
    r"^:?(?:file|image|category|datei|bild|kategorie|fichier|catégorie|archivo|categoría|файл|категория|ファイル|plik"
    r"|kategoria|immagine|categoria|ficheiro|bestand|categorie|文件|分类|파일|분류|ملف|تصنيف)\s*:"
    r"|:[^:]*\.(?:jpe?g|png|svg|gif|webp|webm|og[gv]|pdf|tiff?)$",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[^\W\d_]+:\S")
"""A page of another space than that of articles, such as a category in any language; titles have a blank there."""
_OUTER = re.compile(r"\[(?:https?:)?//[^\s\[\]]++\s*+([^\[\]]*+)\]")
_HEADING = re.compile(r"^(={1,6})([^\n]*?)\1[ \t]*$", re.MULTILINE)
_TAIL = {
    *("references", "external links", "see also", "notes", "further reading", "bibliography", "sources", "citations"),
    *(
        "einzelnachweise",
        "weblinks",
        "literatur",
        "siehe auch",
        "quellen",
        "références",
        "liens externes",
        "voir aussi",
    ),
    *("notes et références", "bibliographie", "referencias", "enlaces externos", "véase también", "bibliografía"),
    *("note", "collegamenti esterni", "bibliografia", "voci correlate", "przypisy", "linki zewnętrzne", "примечания"),
    *("ссылки", "литература", "см. также", "脚注", "外部リンク", "参考文献", "関連項目", "参考资料", "外部链接"),
}
"""Titles of sections that list references, and go unless a line that is no item of a list ends as a sentence does."""
_TOLD = re.compile(r"^(?!- |\s)[^\n]{20,}[.!?。！？]$", re.MULTILINE)
_TARGET = re.compile(r"\[\[\w[^\[\]\n]*\]\]")
_TEMPLATE = re.compile(r"\{\{\w")
_HIGH = re.compile(r"<(sup|sub)>([^<>\n]*+)</\1>", re.IGNORECASE)
_DEEPEST = 40
"""Templates inside one another that are looked for (ours)."""


def is_wikitext(text: str) -> bool:
    """Whether a text without a telling suffix is MediaWiki's: links in double brackets, and headings or templates."""
    head = text[:20_000]
    if head.count("[[") * 2000 <= len(head) or not (_TEMPLATE.search(head) or _HEADING.search(head)):
        return False
    return len(_TARGET.findall(head)) * 2000 > len(head)


def read_wikitext(text: str) -> Part:
    """The text of an article, up to its references."""
    kept: list[str] = []
    parts, at = [], 0
    for found, end in enclosed(text, _KEPT, lambda found: f"</{found[1]}>", re.IGNORECASE):
        inner = text[found.end() : end - len(found[1]) - 3]
        parts += [text[at : found.start()], _hold(found[1].lower(), inner, kept)]
        at = end
    text = without("".join([*parts, text[at:]]), _GONE, _gone_until, re.IGNORECASE)
    for _ in range(_DEEPEST):
        text, n = _INNER.subn("", text)
        if not n:
            break
    for _ in range(3):
        text = _LINK.sub(_linked, text)
    text = _OUTER.sub(r"\1", text).replace("'''", "").replace("''", "")
    text = _HIGH.sub(lambda found: raised(found[2], below=found[1].lower() == "sub"), text)
    text = _sections("\n".join(_lines(text)))
    text = html.unescape(re.sub(r"<br\s*/?>", "\n", re.sub(r"</?(?!br)[a-zA-Z][^<>\n]*>", "", text)))
    return Part(clean(re.sub(r"\ue000(\d+)\ue001", lambda found: kept[int(found[1])], text)))


def _gone_until(found: re.Match[str]) -> str:
    return "-->" if found[1] else f"</{found[2]}>" if found[2] else ""


def _hold(name: str, inner: str, kept: list[str]) -> str:
    if name == "math":
        inner = f"${' '.join(inner.split())}$"
    elif name != "code":
        inner = "\n" + inner.strip("\n") + "\n"
    kept.append(inner)
    return f"\ue000{len(kept) - 1}\ue001"


def _linked(found: re.Match[str]) -> str:
    target, words = found[1], found[2]
    if _FILES.search(target) or (words is None and _SPACE.match(target)):
        return ""
    return words.rpartition("|")[2] if words is not None else target


def _lines(text: str) -> list[str]:
    """Lines with list marks as dashes, and tables row by row."""
    lines: list[str] = []
    row: list[str] = []
    depth = 0
    for line in text.split("\n"):
        bare = line.strip()
        if bare.startswith("{|"):
            depth += 1
        elif depth and bare.startswith(("|}", "|-")):
            lines += [" | ".join(row)] if row else []
            row = []
            depth -= bare.startswith("|}")
        elif depth and bare.startswith(("|+", "|", "!")):
            cells = re.split(r"\|\||!!", bare[2:] if bare.startswith("|+") else bare[1:])
            row += [cell.rpartition("|")[2].strip() for cell in cells if cell.strip()]
        elif depth and bare:
            row += [bare]
        elif not depth:
            mark = re.match(r"^([*#:;]+)\s*", line)
            lines.append(("- " if mark[1][-1] in "*#" else "") + line[mark.end() :] if mark else line)
    return lines


def _sections(text: str) -> str:
    """Headings as plain lines; sections that only list references are cut."""
    parts = _HEADING.split(text)
    kept = [parts[0]]
    for title, body in zip(parts[2::3], parts[3::3], strict=True):
        if body.strip() and (title.strip().lower() not in _TAIL or _TOLD.search(body)):
            kept.append(f"\n{title.strip()}\n{body}")
    return "".join(kept)
