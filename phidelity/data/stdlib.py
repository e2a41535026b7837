"""The running Python's own standard library as organic text: code and documentation that every machine has.

Modules are read as files and parsed, never imported. Left out are tests, other people's packages, folders that are
mostly tables, and very long modules, which would fill a small corpus by themselves (ours). Documentation is the
language reference behind `help()` (pydoc topics), IDLE's help page, and the docstrings of every module.
"""

import ast
import hashlib
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from phidelity.data.formats.html import html_text
from phidelity.data.formats.plain import unwrap

PYTHON_SOURCES = ("python:code", "python:docs")

_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "pydoc_data", "encodings", "turtledemo", "_bundled"}
_LARGEST = 100_000
"""Bytes of the longest module taken."""

Text = tuple[str, dict[str, Any]]
"""A text and its meta, with the document's id under `id`."""


def library_files(source: str) -> list[Path]:
    """The files that one of `PYTHON_SOURCES` reads, in its order."""
    root = _root()
    files = [path for path in root.rglob("*.py") if _taken(path)]
    files.sort(key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
    written = [path for path in (_topics(), root / "idlelib/help.html") if path.exists()]
    return files if source == "python:code" else written + files


def modules() -> Iterator[Text]:
    """The source of each module."""
    for path in library_files("python:code"):
        yield _read(path).strip("\n"), _meta(path, group="code", format="python", syntax="python")


def documentation() -> Iterator[Text]:
    """The language reference by topic, the help page, then the docstrings of each module."""
    for path in library_files("python:docs"):
        if path == _topics():
            for name, text in _topic_texts(path):
                yield unwrap(text), _meta(path, part=name, format="rst")
        elif path.suffix == ".html":
            yield html_text(path.read_text(encoding="utf-8")), _meta(path, format="html")
        else:
            yield _docstrings(path), _meta(path, part="docstrings", format="docstrings")


@cache
def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _topics() -> Path:
    return _root() / "pydoc_data/topics.py"


def _taken(path: Path) -> bool:
    relative = path.relative_to(_root())
    generated = path.name.startswith("_sysconfigdata") or relative.parts[0].startswith("config-")
    return not (generated or _LEFT_OUT & set(relative.parts)) and 0 < path.stat().st_size <= _LARGEST


def _read(path: Path) -> str:
    with tokenize.open(path) as file:
        return file.read()


def _meta(path: Path, *, group: str = "web", part: str = "", format: str, syntax: str = "") -> dict[str, Any]:
    place = f"python{sys.version_info.major}.{sys.version_info.minor}/{path.relative_to(_root()).as_posix()}"
    return {
        "id": f"{place}#{part}" if part else place,
        "group": group,
        "format": format,
        "language": "en",
        "profile": "code" if syntax else "prose",
        **({"syntax": syntax} if syntax else {}),
        "license": "PSF-2.0",
        **_date(),
    }


@cache
def _date() -> dict[str, str]:
    """When this Python's documentation was made: a comment at the head of its topics says so."""
    if _topics().exists():
        with open(_topics(), encoding="utf-8") as file:
            found = re.search(r"(\w{3} +\d+ [\d:]{8} \d{4})", file.readline() + file.readline())
        if found:
            day = datetime.strptime(" ".join(found[1].split()), "%b %d %H:%M:%S %Y").date()
            return {"date": day.isoformat(), "date_from": "pydoc_data/topics.py"}
    return {"date": "", "date_from": "unknown"}


def _topic_texts(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.parse(_read(path)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            yield from sorted(ast.literal_eval(node.value).items())


def _docstrings(path: Path) -> str:
    """The module's docstring, then those of its classes and functions, each under its signature."""
    parts = path.relative_to(_root()).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    parsed = ast.parse(_read(path))
    described = list(_described(parsed, ""))
    own = unwrap(ast.get_docstring(parsed) or "")
    return "\n\n".join([f"{module}\n\n{own}" if own else module, *described]) if own or described else ""


def _described(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = f"{prefix}{child.name}"
        if text := ast.get_docstring(child):
            signature = f"class {name}" if isinstance(child, ast.ClassDef) else f"{name}({ast.unparse(child.args)})"
            yield f"{signature}\n{unwrap(text)}"
        if isinstance(child, ast.ClassDef):
            yield from _described(child, f"{name}.")
