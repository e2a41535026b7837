"""The exact prompts of openai/simple-evals, read from the user's checkout without running any of it.

The project holds none of their sentences: `import_prompts` finds each text by its place in the syntax tree (a
constant, a stripped constant, a dictionary of constants, the statements that build DROP's message), checks it
against the first 16 digits of its SHA-256, which are the same in both revisions (a8e85cc, November 2024, and
ee3b031, July 2025), and keeps all of them in one JSON file. A parity run then asks byte for byte as they do.
"""

import ast
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from phidelity.config import UserError
from phidelity.records import write_json

CACHE = "simple-evals-prompts.json"
ORIGIN = "https://github.com/openai/simple-evals"
HASHES: Mapping[str, str] = {
    "multiple_choice": "d4d85337bbd54659", "math": "231d269274b6a047", "equality": "c9385e2f8120f01b",
    "mgsm/bn": "b4f359d8ca97e11f", "mgsm/de": "6d18189a512edae1", "mgsm/en": "7d80c5affb9a3f23",
    "mgsm/es": "3dd6945dc1534283", "mgsm/fr": "2feeb475ee101dcb", "mgsm/ja": "fa5dd274bdc29593",
    "mgsm/ru": "0aa2334f7ac7017f", "mgsm/sw": "85cee65edc44ac4e", "mgsm/te": "f1d4f0b0dcf26a58",
    "mgsm/th": "51c4c886da19a0d3", "mgsm/zh": "848ccb58316240bc",
    "drop/head": "87bc1f25c406b63c", "drop/tail": "7d955bb6f6df918e",
    "drop/examples": "c44107db617f2f30", "drop/task": "8f8eb7b056e0d9bf", "drop/passage": "bf4a3f2527682272",
    "humaneval": "92936abf07c2712e", "simpleqa": "063c04ea798f91c4", "system": "75357d685f238b6a",
}  # fmt: skip
"""First digits of the SHA-256 of each text."""

Reader = Callable[[ast.Module], dict[str, str]]


class ImportReport(NamedTuple):
    """What an import found."""

    path: Path
    """Where the texts are kept."""
    n_texts: int
    n_checked: int
    """Texts whose hash was checked."""


def import_prompts(checkout: Path, cache: Path, hashes: Mapping[str, str] = HASHES) -> ImportReport:
    """Read the texts of a checkout, check them, keep them in the folder `cache`; nothing is kept if one is wrong."""
    texts: dict[str, str] = {}
    for file, read in _FILES.items():
        texts |= _texts(checkout / file, read)
    if lacking := [name for name in hashes if name not in texts]:
        raise UserError(
            f"{checkout} lacks the texts {', '.join(lacking)}; expected a checkout of {ORIGIN} at a8e85cc or ee3b031."
        )
    changed = [
        f"{name} ({digest(texts[name])}, expected {wanted})"
        for name, wanted in hashes.items()
        if digest(texts[name]) != wanted
    ]
    if changed:
        raise UserError(
            f"Texts in {checkout} are not those that the report's scores were made with: {', '.join(changed)}. "
            f"Check out a8e85cc or ee3b031 of {ORIGIN}."
        )
    write_json(cache / CACHE, texts)
    return ImportReport(cache / CACHE, len(texts), len(hashes))


def read_prompts(cache: Path) -> dict[str, str]:
    """The imported texts by name; a `UserError` says how to get them."""
    path = cache / CACHE
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"No file {path}: the official prompts have not been imported. Get a checkout of {ORIGIN} and run "
            "`phi import-prompts DIR`; without them answers are asked for in our own words, and graders that need an "
            "official judge's prompt are undetermined."
        ) from None
    except ValueError:
        raise UserError(f"{path} is damaged. Run `phi import-prompts DIR` again.") from None
    return {str(name): str(text) for name, text in texts.items()}


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _texts(path: Path, read: Reader) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"No file {path}; expected a checkout of {ORIGIN} at a8e85cc or ee3b031.")
    try:
        with warnings.catch_warnings(action="ignore"):  # their patterns have escapes that Python warns of
            return read(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no Python file that can be read ({error}). Get the checkout again.") from None


def _constant(name: str, variable: str) -> Reader:
    """A reader of the first text assigned to `variable`, wherever in the file it stands."""

    def read(tree: ast.Module) -> dict[str, str]:
        found = [text for target, value in _assignments(tree) if target == variable and (text := _text(value))]
        return {name: found[0]} if found else {}

    return read


def _common(tree: ast.Module) -> dict[str, str]:
    read = (_constant("multiple_choice", "QUERY_TEMPLATE_MULTICHOICE"), _constant("equality", "EQUALITY_TEMPLATE"))
    return {name: text for one in read for name, text in one(tree).items()}


def _mgsm(tree: ast.Module) -> dict[str, str]:
    for target, value in _assignments(tree):
        if target == "LANG_TO_INSTRUCTIONS" and isinstance(value, ast.Dict):
            pairs = zip(value.keys, value.values, strict=True)
            return {f"mgsm/{_text(key)}": text for key, one in pairs if (text := _text(one))}
    return {}


def _drop(tree: ast.Module) -> dict[str, str]:
    """DROP's message is built in steps: head, title, the task's title, one layout per passage, the tail."""
    steps = [text for target, value in _assignments(tree) if target == "prompt" and (text := _text(value))]
    names = ("drop/head", "drop/examples", "drop/task", "drop/passage", "drop/tail")
    return dict(zip(names, steps, strict=True)) if len(steps) == len(names) else {}


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of all assignments (`=` and `+=`), in the order of the file."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.AugAssign))]
    for node in sorted(nodes, key=lambda node: node.lineno):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                yield target.id, node.value


def _text(node: ast.expr | None) -> str:
    """A constant text, `"...".strip()`, the text of `"..." if x else ""`, or an f-string with {} for what it fills."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="strip"), args=[]):
            return text.strip()
        case ast.IfExp(body=body):
            return _text(body)
        case ast.JoinedStr(values=parts):
            return "".join("{}" if isinstance(part, ast.FormattedValue) else _text(part) for part in parts)
        case _:
            return ""


_FILES: dict[str, Reader] = {
    "common.py": _common,
    "math_eval.py": _constant("math", "QUERY_TEMPLATE"),
    "mgsm_eval.py": _mgsm,
    "drop_eval.py": _drop,
    "humaneval_eval.py": _constant("humaneval", "instruction"),
    "simpleqa_eval.py": _constant("simpleqa", "GRADER_TEMPLATE"),
    "sampler/chat_completion_sampler.py": _constant("system", "OPENAI_SYSTEM_MESSAGE_API"),
}
