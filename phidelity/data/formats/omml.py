"""Office's formulas (OMML) to TeX, element by element; what is not known gives what it holds."""

from collections.abc import Callable
from typing import Any

from lxml import etree

from phidelity.data.formats.mathml import SIGNS

_LARGE = {"∑": "\\sum", "∏": "\\prod", "∫": "\\int", "∮": "\\oint", "⋃": "\\bigcup", "⋂": "\\bigcap", "∬": "\\iint"}
_ACCENTS = {"̂": "\\hat", "̃": "\\tilde", "̄": "\\bar", "̅": "\\overline", "⃗": "\\vec", "̇": "\\dot", "̈": "\\ddot"}
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim", "max", "min", "det", "gcd"}


def omml_to_tex(element: Any) -> str:
    """The TeX of an `oMath`, without dollars."""
    return " ".join(_inside(element).split())


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _inside(element: Any) -> str:
    return "".join(map(_tex, element))


def _part(element: Any, name: str) -> str:
    return "".join(_inside(child).strip() for child in element if _name(child) == name)


def _said(element: Any, name: str, default: str) -> str:
    """A property: the value of an element below the one of properties."""
    for child in element:
        if _name(child).endswith("Pr"):
            for one in child:
                if _name(one) == name:
                    return next((value for key, value in one.attrib.items() if key.rpartition("}")[2] == "val"), "")
    return default


def _tex(element: Any) -> str:
    name = _name(element)
    if name == "t":
        text = element.text or ""
        return f"\\{text} " if text in _FUNCTIONS else text.translate(SIGNS)
    if name.endswith("Pr") or not name:
        return ""
    return _SHAPES[name](element) if name in _SHAPES else _inside(element)


def _scripts(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    return (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    return f"\\sqrt{f'[{degree}]' if degree else ''}{{{_part(element, 'e')}}}"


def _large(element: Any) -> str:
    sign = _said(element, "chr", "∫")
    return f"{_LARGE.get(sign, sign)}{_scripts(element)} {_part(element, 'e')}"


def _delimited(element: Any) -> str:
    parts = [_inside(child).strip() for child in element if _name(child) == "e"]
    signs = [_said(element, *one).translate(SIGNS) for one in (("begChr", "("), ("sepChr", "|"), ("endChr", ")"))]
    return signs[0] + signs[1].join(parts) + signs[2]


def _accented(element: Any) -> str:
    accent = _ACCENTS.get(_said(element, "chr", "̂"), "\\hat")
    return f"{accent}{{{_part(element, 'e')}}}"


def _matrix(element: Any) -> str:
    rows = [" & ".join(_inside(cell).strip() for cell in row) for row in element if _name(row) == "mr"]
    return "\\begin{matrix} " + " \\\\ ".join(rows) + " \\end{matrix}"


_SHAPES: dict[str, Callable[[etree._Element], str]] = {
    "f": lambda element: f"\\frac{{{_part(element, 'num')}}}{{{_part(element, 'den')}}}",
    **dict.fromkeys(("sSup", "sSub", "sSubSup"), lambda element: _part(element, "e") + _scripts(element)),
    "sPre": lambda element: f"{{}}{_scripts(element)}{_part(element, 'e')}",
    "rad": _root,
    "nary": _large,
    "d": _delimited,
    "acc": _accented,
    "bar": lambda element: f"\\overline{{{_part(element, 'e')}}}",
    "m": _matrix,
    "limLow": lambda element: f"{_part(element, 'e')}_{{{_part(element, 'lim')}}}",
    "limUpp": lambda element: f"{_part(element, 'e')}^{{{_part(element, 'lim')}}}",
    "func": lambda element: f"{_part(element, 'fName')} {_part(element, 'e')}",
}
"""How the parts of an element go together."""
