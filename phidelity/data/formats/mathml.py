"""MathML to TeX: the formula as it was written where an annotation keeps it, else rebuilt from the elements.

Nothing is lost that a reader would see; layout (spacing, alignment, fonts) is. Works on lxml elements with or without
namespaces, so HTML, CNXML and EPUB share it.
"""

from lxml import etree

_SIGNS = {
    "×": "\\times ",
    "÷": "\\div ",
    "·": "\\cdot ",
    "⋅": "\\cdot ",
    "±": "\\pm ",
    "≤": "\\le ",
    "≥": "\\ge ",
    "≠": "\\ne ",
    "≈": "\\approx ",
    "→": "\\to ",
    "∞": "\\infty ",
    "∑": "\\sum ",
    "∏": "\\prod ",
    "∫": "\\int ",
    "∂": "\\partial ",
    "∇": "\\nabla ",
    "√": "\\surd ",
    "∈": "\\in ",
    "∉": "\\notin ",
    "⊂": "\\subset ",
    "⊆": "\\subseteq ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∅": "\\emptyset ",
    "∀": "\\forall ",
    "∃": "\\exists ",
    "¬": "\\neg ",
    "∧": "\\land ",
    "∨": "\\lor ",
    "⇒": "\\Rightarrow ",
    "⇔": "\\Leftrightarrow ",
    "−": "-",
    "α": "\\alpha ",
    "β": "\\beta ",
    "γ": "\\gamma ",
    "δ": "\\delta ",
    "ε": "\\epsilon ",
    "θ": "\\theta ",
    "λ": "\\lambda ",
    "μ": "\\mu ",
    "π": "\\pi ",
    "ρ": "\\rho ",
    "σ": "\\sigma ",
    "τ": "\\tau ",
    "φ": "\\phi ",
    "ω": "\\omega ",
    "Δ": "\\Delta ",
    "Σ": "\\Sigma ",
    "Ω": "\\Omega ",
    "…": "\\ldots ",
    "%": "\\%",
    "$": "\\$",
    "\u2061": "",
    "\u2062": "",
    "\u2063": ",",
    "\u00a0": " ",
    "{": "\\{",
    "}": "\\}",
    "&": "\\&",
    "#": "\\#",
}
SIGNS = str.maketrans(_SIGNS)
"""Signs to what TeX calls them."""
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim", "max", "min", "det", "gcd", "arcsin"}
_ACCENTS = {"¯": "\\bar", "‾": "\\overline", "^": "\\hat", "→": "\\vec", "⃗": "\\vec", "˙": "\\dot", "~": "\\tilde"}
_DEEPEST = 100
"""Elements inside one another before a formula is taken as plain text (ours)."""


def to_tex(math: etree._Element) -> str:
    """The TeX of a `math` element, without dollars."""
    for element in math.iter():
        if _name(element) == "annotation" and "tex" in (element.get("encoding") or "").lower():
            return " ".join((element.text or "").split())
    return " ".join(_row(math, 0).split())


def dollars(tex: str, *, display: bool) -> str:
    """A formula in running text, or on a line of its own."""
    return (f"$${tex}$$" if display else f"${tex}$") if tex else ""


def _name(element: etree._Element) -> str:
    """The tag without its namespace; "" for comments."""
    return element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(element.tag, str) else ""


def _row(element: etree._Element, depth: int) -> str:
    return "".join(_tex(child, depth + 1) for child in element)


def _tex(element: etree._Element, depth: int) -> str:
    name = _name(element)
    if depth > _DEEPEST:
        return "".join(map(str, element.itertext()))
    if name in ("mi", "mn", "mo", "ms", "mtext"):
        return _token(name, "".join(map(str, element.itertext())).strip())
    if name == "mspace":
        return " "
    if name in ("annotation", "annotation-xml", "mphantom", ""):
        return ""
    parts = [_tex(child, depth + 1) for child in element if _name(child)]
    if name in _SHAPES and len(parts) >= _SHAPES[name][0]:
        return _SHAPES[name][1].format(*(part.strip() for part in parts))
    if name in ("mover", "munder") and len(parts) >= 2:
        accent = _ACCENTS.get(parts[1].strip().removesuffix(" ").replace("\\to", "→"))
        sign = "^" if name == "mover" else "_"
        return f"{accent}{{{parts[0].strip()}}}" if accent and name == "mover" else f"{parts[0]}{sign}{{{parts[1]}}}"
    if name == "msqrt":
        return f"\\sqrt{{{''.join(parts).strip()}}}"
    if name == "mfenced":
        inner = (element.get("separators") or ",")[:1].join(parts)
        return f"{element.get('open') or '('}{inner}{element.get('close') or ')'}"
    if name == "mtable":
        rows = " \\\\ ".join(parts)
        return f"\\begin{{matrix}} {rows} \\end{{matrix}}"
    if name in ("mtr", "mlabeledtr"):
        return " & ".join(part.strip() for part in parts)
    return "".join(parts)


_SHAPES = {
    "mfrac": (2, "\\frac{{{0}}}{{{1}}}"),
    "msup": (2, "{0}^{{{1}}}"),
    "msub": (2, "{0}_{{{1}}}"),
    "msubsup": (3, "{0}_{{{1}}}^{{{2}}}"),
    "munderover": (3, "{0}_{{{1}}}^{{{2}}}"),
    "mroot": (2, "\\sqrt[{1}]{{{0}}}"),
}
"""Elements whose children have places: how many, and where they go."""


def _token(name: str, text: str) -> str:
    if name == "mtext":
        return f"\\text{{{text}}}" if text else " "
    if text in _FUNCTIONS:
        return f"\\{text} "
    written = text.translate(SIGNS)
    if name == "mi" and len(text) > 1 and written == text and text.isalpha():
        return f"\\mathrm{{{text}}}"
    return f" {written} " if name == "mo" and text in ("=", "+", "−", "-", "<", ">") else written
