"""LaTeX to text: the prose with its formulas left as they were written.

No macros are expanded: of a command that is not known its arguments stay, without the braces. Preamble, comments,
figures, labels, references and index entries go; headings stand on lines of their own, lists become lists, tables
rows, verbatim is kept. A file that another one includes is a document of its own.
"""

import re

from phidelity.data.formats.blob import Part
from phidelity.data.formats.plain import clean, enclosed, unwrap, without

_COMMENT = re.compile(r"(?<!\\)%[^\n]*\n?[ \t]*")
_KEPT = re.compile(
    r"\\begin\{(verbatim|lstlisting|minted|Verbatim)\*?\}"
    r"|\\begin\{(equation|align|gather|multline|eqnarray|displaymath|math|alignat)(\*?)\}"
    r"|(\\\[|\\\(|\$\$)|(?<!\\)\$(?:\\.|[^$\\])++\$",
    re.DOTALL,
)
"""What begins a formula or a listing; one between single dollars is the whole."""
_ENDS = {"\\[": r"\\\]", "\\(": r"\\\)", "$$": r"\$\$"}
_VERBATIM = re.compile(
    r"\\begin\{(?:verbatim|lstlisting|minted|Verbatim)\*?\}(?:\[[^\]]*\])?(?:\{\w+\})?\n?(.*)\\end", re.DOTALL
)
_DROPPED = re.compile(r"\\begin\{(tikzpicture|figure\*?|filecode|asy|pspicture|picture|thebibliography|comment)\}")
_SILENT = re.compile(
    r"\\(?:[a-zA-Z]*label|index|[a-zA-Z]*cite[a-z]*|[a-zA-Z]*ref(?:v[A-Z]*)?|olfileid|documentclass|usepackage|input|include"
    r"|includegraphics|vspace|hspace|vskip|hskip|setcounter|addtocounter|bibliography\w*|pagestyle|thispagestyle|newcommand"
    r"|renewcommand|def|providecommand|hypersetup|graphicspath|chaptermark|sectionmark|addcontentsline|phantomsection"
    r"|sectionnotes|noindent|medskip|bigskip|smallskip|clearpage|newpage|centering|maketitle|tableofcontents|footnotesize"
    r"|small|large|Large|normalsize|par|item(?=sep)|raggedright|hfill|vfill|qedhere|protect|allowbreak|linebreak|pagebreak)"
    r"(?![a-zA-Z])\*?(?:\[[^\[\]\n]*\]|\{[^{}\n]*\})*"
)
_HEADING = re.compile(
    r"\\(?:part|chapter|(?:sub)*section|paragraph|olsection|title)\*?(?:\[[^\[\]]*\])?\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_BEGIN = re.compile(r"\\begin\{(\w+)\*?\}((?:\[[^\[\]\n]*\]|\{[^{}\n]*\})*)|\\end\{\w+\*?\}(?:\{[^{}\n]*\})*")
_ITEM = re.compile(r"\\item(?![a-zA-Z])\s*(?:\[([^\[\]]*)\])?[ \t]*")
_COMMAND = re.compile(r"\\[a-zA-Z@]+\*?(?:\[[^\[\]\n]*\])?\s?")
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
    text = _COMMENT.sub("", text.replace("\r\n", "\n"))
    begins, ends = text.find("\\begin{document}"), text.find("\\end{document}")
    text = text[begins + len("\\begin{document}") if begins >= 0 else 0 : ends if ends > 0 else len(text)]
    title = _HEADING.search(text)
    kept: list[str] = []
    text = without(text, _DROPPED, lambda found: rf"\\end\{{{re.escape(found[1])}\}}")
    parts, at = [], 0
    for found, end in enclosed(text, _KEPT, _kept_until):
        parts += [text[at : found.start()], _hold(text[found.start() : end], kept)]
        at = end
    body = "".join([*parts, text[at:]])
    body = _prose(body)
    wide = sum(map(len, kept)) / max(1, len(body))
    body = re.sub(r"\ue000(\d+)\ue001", lambda found: kept[int(found[1])], unwrap(body))
    meta = {"profile": "mathematics"} if wide > 0.03 else {}
    return Part(clean(body), meta=meta | ({"title": _plain(title[1])} if title else {}))


def _kept_until(found: re.Match[str]) -> str:
    """The pattern of the end of what begins so."""
    if found[1]:
        return rf"\\end\{{{found[1]}\*?\}}"
    if found[2]:
        return rf"\\end\{{{found[2]}{re.escape(found[3])}\}}"
    return _ENDS.get(found[4] or "", "")


def _hold(text: str, kept: list[str]) -> str:
    """Put a formula or a listing aside; a private character stands for it, alone on its line where it is displayed."""
    verbatim = _VERBATIM.match(text)
    shown = text.startswith(("\\begin", "\\[", "$$"))
    kept.append(verbatim[1].strip("\n") if verbatim else re.sub(r"\\label\{[^{}]*\}", "", text))
    place = f"\ue000{len(kept) - 1}\ue001"
    return f"\n\n{place}\n\n" if verbatim or (shown and "\n" in text) else place


def _prose(text: str) -> str:
    text = _HEADING.sub(lambda found: f"\n\n{found[1]}\n\n", text)
    text = _SILENT.sub("", text)
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
    text = text.replace("\\\\", "\n").replace("~", " ").replace("``", "“").replace("''", "”")
    text = text.replace("---", "—").replace("--", "–").replace("\\dots", "…").replace("\\ldots", "…")
    text = re.sub(r"\\([`'^\"~=.uvHc])\{?(\w)\}?", lambda found: _accented(found[1], found[2]), text)
    text = _COMMAND.sub("", text)
    text = (
        re.sub(r"(?<!\\)[{}]", "", text).replace("\\ ", " ").replace("\\@", "").replace("\\,", " ").replace("\\/", "")
    )
    text = _ESCAPED.sub(r"\1", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"\n[ \t]+", "\n", text))


def _accented(accent: str, letter: str) -> str:
    marks = {"`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307"}
    return letter + marks[accent] if accent in marks else letter
