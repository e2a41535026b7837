"""LaTeX to text: the prose with its formulas left as they were written.

No macros are expanded: of a command that is not known its arguments stay, without the braces. Preamble, comments,
figures, labels, references and index entries go; headings stand on lines of their own, lists become lists, tables
rows, verbatim is kept. A file that another one includes is a document of its own.
"""

import re

from phidelity.data.formats.blob import Part
from phidelity.data.formats.plain import clean, replaced, unwrap

_LISTING = re.compile(
    r"\\begin\{(verbatim|lstlisting|minted|Verbatim)(\*?)\}((?:\[[^\]\n]*\])?(?:\{\w+\})?)"
    r"|\\(?:verb\*?|lstinline(?:\[[^\]\n]*\])?)(?![a-zA-Z*])([^\s\w{])(?P<code>(?:(?!\4)[^\n])*+)\4"
    r"|\\(?:url|nolinkurl|path)\{(?P<address>[^{}\n]*+)\}|(?P<target>\\href\{[^{}\n]*+\})"
    r"|(?<!\\)(?P<breaks>(?:\\\\)*+)%[^\n]*+(?:\n[ \t]*+(?!\n))?"
)
"""Listings, code in a line, addresses, comments: read before all else, since each may hold the signs of the others."""
_LANGUAGE = re.compile(r"language=\{?(\w+)|\{(\w+)\}")
_KEPT = re.compile(
    r"\\begin\{(equation|align|gather|multline|eqnarray|displaymath|math|alignat)(\*?)\}"
    r"|(\\\[|\\\(|\$\$)|(?<!\\)\$(?:\\.|[^$\\])++\$",
    re.DOTALL,
)
"""What begins a formula; one between single dollars is the whole."""
_ENDS = {"\\[": r"\\\]", "\\(": r"\\\)", "$$": r"\$\$"}
_DROPPED = re.compile(r"\\begin\{(tikzpicture|figure\*?|filecode|asy|pspicture|picture|thebibliography|comment)\}")
_SILENT = re.compile(
    r"\\(?:[a-zA-Z]*label|index|[a-zA-Z]*cite[a-z]*|[a-zA-Z]*ref(?:v[A-Z]*)?|olfileid|documentclass|usepackage|input|include"
    r"|includegraphics|vspace|hspace|vskip|hskip|setcounter|addtocounter|bibliography\w*|pagestyle|thispagestyle|newcommand"
    r"|renewcommand|def|providecommand|hypersetup|graphicspath|chaptermark|sectionmark|addcontentsline|phantomsection"
    r"|sectionnotes|noindent|medskip|bigskip|smallskip|clearpage|newpage|centering|maketitle|tableofcontents|footnotesize"
    r"|small|large|Large|normalsize|par|item(?=sep)|raggedright|hfill|vfill|qedhere|protect|allowbreak|linebreak|pagebreak)"
    r"(?![a-zA-Z])\*?(?:\[[^\[\]\n]*\]|\{(?:[^{}\n]|\{[^{}\n]*+\})*+\})*"
)
_HEADING = re.compile(
    r"\\(?:part|chapter|(?:sub)*section|paragraph|olsection|title)\*?(?:\[[^\[\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_NOTE = re.compile(r"\\footnote(?:\[\d*\])?\{((?:[^{}]|\{[^{}]*\})*)\}")
_BEGIN = re.compile(r"\\begin\{(\w+)\*?\}((?:\[[^\[\]\n]*\]|\{[^{}\n]*\})*)|\\end\{\w+\*?\}(?:\{[^{}\n]*\})*")
_ITEM = re.compile(r"\\item(?![a-zA-Z])\s*(?:\[([^\[\]]*)\])?[ \t]*")
_COMMAND = re.compile(r"\\[a-zA-Z@]+\*?(?:\[[^\[\]\n]*\])?\s?")
_SIGNS = dict(
    re.findall(
        r"(\w+)=(\S+)",
        "ss=ß o=ø O=Ø l=ł L=Ł ae=æ AE=Æ oe=œ OE=Œ aa=å AA=Å i=ı j=ȷ dh=ð th=þ S=§ P=¶ copyright=© pounds=£ "
        "dots=… ldots=… textdegree=° euro=€ texteuro=€ LaTeX=LaTeX TeX=TeX",
    )
)
_SIGN = re.compile(rf"\\({'|'.join(sorted(_SIGNS, key=len, reverse=True))})(?![a-zA-Z])(?:\{{\}}|[ \t])?")
_MARKS = dict(
    zip(
        "`'^\"~=.uvHckrdb",
        "\u0300\u0301\u0302\u0308\u0303\u0304\u0307\u0306\u030c\u030b\u0327\u0328\u030a\u0323\u0331",
        strict=True,
    )
)
_ACCENT = re.compile(
    r"(?<!\\)\\(?:([`'^\"~=.])|([uvHckrdb])(?=\{|[ \t]+\w))(?:\{|[ \t]+)?(?:\\([ij])(?![a-zA-Z])|([^\W\d_]))\}?"
)
"""An accent of a letter needs a brace or a blank before what it marks, or it begins another command."""
_ESCAPED = re.compile(r"\\([%&$#_{}~^])")
_STATEMENTS = {
    "thm",
    "theorem",
    "lemma",
    "lem",
    "prop",
    "proposition",
    "cor",
    "corollary",
    "defn",
    "definition",
    "proof",
}


def read_latex(text: str) -> Part:
    """The prose of a LaTeX file; whether it is mathematics by how much of it are formulas."""
    kept: list[str] = []
    text = text.replace("\r\n", "\n").replace("\ue000", "")
    text = replaced(text, _LISTING, _listing_until, lambda found, inner: _listed(found, inner, kept))
    begins, ends = text.find("\\begin{document}"), text.find("\\end{document}")
    text = text[begins + len("\\begin{document}") if begins >= 0 else 0 : ends if ends > 0 else len(text)]
    title = _HEADING.search(text)
    text = replaced(text, _DROPPED, lambda found: rf"\\end\{{{re.escape(found[1])}\}}", lambda *_: "")
    n_listings = len(kept)
    body = _prose(replaced(text, _KEPT, _formula_until, lambda found, inner: _formula(found[0] + inner, kept)))
    wide = sum(map(len, kept[n_listings:])) / max(1, len(body))
    body = re.sub(r"\ue000(\d+)\ue001", lambda found: kept[int(found[1])], unwrap(body))
    meta = {"profile": "mathematics"} if wide > 0.03 else {}
    return Part(clean(body), meta=meta | ({"title": _plain(title[1])} if title else {}))


def _listing_until(found: re.Match[str]) -> str:
    return rf"\\end\{{{found[1]}{re.escape(found[2])}\}}" if found[1] else ""


def _formula_until(found: re.Match[str]) -> str:
    return rf"\\end\{{{found[1]}{re.escape(found[2])}\}}" if found[1] else _ENDS.get(found[3] or "", "")


def _listed(found: re.Match[str], inner: str, kept: list[str]) -> str:
    """What stands for a listing, for code in a line, and for a comment: the ends of lines before it."""
    if found["breaks"] is not None:
        return found["breaks"]
    if found["target"] is not None:
        return ""
    if found["address"] is not None:
        return _hold(found["address"], kept)
    if found["code"] is not None:
        return _hold(f"`{found['code']}`", kept)
    named = _LANGUAGE.search(found[3])
    code = inner.rpartition("\\end")[0].strip("\n").rstrip()
    fence = f"```{(named[1] or named[2]).lower() if named else ''}\n{code}\n```"
    return f"\n\n{_hold(fence, kept)}\n\n" if code else ""


def _formula(text: str, kept: list[str]) -> str:
    """What stands for a formula; one that is displayed over several lines has them to itself."""
    place = _hold(re.sub(r"\\label\{[^{}]*\}", "", text), kept)
    return f"\n\n{place}\n\n" if text.startswith(("\\begin", "\\[", "$$")) and "\n" in text else place


def _hold(text: str, kept: list[str]) -> str:
    """Put a text aside; private characters stand for it."""
    kept.append(text)
    return f"\ue000{len(kept) - 1}\ue001"


def _prose(text: str) -> str:
    text = _HEADING.sub(lambda found: f"\n\n{found[1]}\n\n", text)
    text = _SILENT.sub("", text)
    text = _NOTE.sub(r" (\1)", text)
    text = _BEGIN.sub(_environment, text)
    text = _ITEM.sub(lambda found: f"\n- {found[1] + ' ' if found[1] else ''}", text)
    return _plain(text)


def _environment(found: re.Match[str]) -> str:
    name = found[1]
    if name in _STATEMENTS:
        title = re.search(r"\[([^\]]+)\]", found[2] or "")
        return f"\n\n{name.capitalize()}{f' ({title[1]})' if title else ''}. "
    return "\n\n"


def _plain(text: str) -> str:
    """What commands leave of running text."""
    text = re.sub(r"\\(?:hline|toprule|midrule|bottomrule|cline\{[^{}]*\})", "", text)
    text = re.sub(r"(?<!\s)\s*+(?<!\\)&\s*+", " | ", text)
    text = _ACCENT.sub(lambda found: (found[3] or found[4]) + _MARKS[found[1] or found[2]], text)
    text = _SIGN.sub(lambda found: _SIGNS[found[1]], text)
    text = re.sub(r"\\\\(?:\*|\[[^\[\]\n]*\])?", "\n", text).replace("~", " ").replace("``", "“").replace("''", "”")
    text = text.replace("---", "—").replace("--", "–")
    text = _COMMAND.sub("", text)
    text = (
        re.sub(r"(?<!\\)[{}]", "", text).replace("\\ ", " ").replace("\\@", "").replace("\\,", " ").replace("\\/", "")
    )
    text = _ESCAPED.sub(r"\1", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"\n[ \t]+", "\n", text))
