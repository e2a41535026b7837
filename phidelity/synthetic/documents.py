"""Rewrites of organic documents by rules: questions and answers, exercises in reverse, gaps to fill.

The report rewrites pages with a strong model; here rules pick out what a text says of itself and put it in
another form (phi-4 §2.2): docstrings become questions with answers, short functions become exercises whose solution
they are (instruction reversal), headings ask for the first sentences below them, and a sentence loses its longest word
(fill-in-the-middle). Only what the source states is ever said; pieces stay short enough for a small context.
"""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document

_SENTENCE = re.compile(r"(?<!\S)[A-Z](?:[^.!?]|\.(?=\w)){20,240}[.](?=\s|$)")
"""A sentence, over line ends; a point inside a name does not end it."""
_MAX_PIECES = 60
"""Rewrites of one source document, at most: many sources rather than long ones."""
_MAX_CHARACTERS = 360
"""Of one piece: about 120 tokens of a vocabulary of 2,000."""
_MIN_WORDS = 8
"""Of a sentence with a gap: fewer words leave nothing to infer it from."""


class Piece(NamedTuple):
    """A rewritten part of a document and the way it was rewritten."""

    form: str
    text: str


def rewrites(bank: Bank, sources: Iterable[Document], n: int) -> Iterator[Document]:
    """At most `n` rewrites, spread evenly over the sources."""
    pieces = [(source, _pieces(source)) for source in sources]
    rounds = zip_longest(*([(source, piece) for piece in found] for source, found in pieces))
    spread = (one for turn in rounds for one in turn if one is not None)
    for index, (source, piece) in zip(range(n), spread, strict=False):
        meta = {"family": piece.form, "rewritten": source.id, "license": source.meta.get("license", "")}
        yield document("web_rewrites", "web_rewrites", piece.text, bank, index, **meta)


def _pieces(source: Document) -> list[Piece]:
    code = source.meta.get("group") == "code"
    found = _of_code(source.text) if code else (*_headings(source.text), *_gaps(source.text))
    return [piece for piece in found if len(piece.text) <= _MAX_CHARACTERS][:_MAX_PIECES]


def _of_code(text: str) -> Iterator[Piece]:
    """Questions about functions and classes, and short functions as the solution of an exercise."""
    for node in _definitions(text):
        sentence = _first_sentence(ast.get_docstring(node) or "")
        if not sentence or node.name.startswith("_"):
            continue
        question = f"What is the class {node.name}?" if isinstance(node, ast.ClassDef) else f"What does {node.name} do?"
        yield Piece("question", f"{question}\n{sentence}")
        if isinstance(node, ast.FunctionDef):
            yield Piece("reversal", f"Exercise: Write {node.name}. {sentence}\n\n{_without_docstring(node)}")


def _definitions(text: str) -> list[ast.FunctionDef | ast.ClassDef]:
    """The functions and classes of a module in order; none if this Python cannot parse it."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _without_docstring(node: ast.FunctionDef) -> str:
    """The function as source, uniformly laid out, without comments and docstring."""
    bare = ast.FunctionDef(
        node.name, node.args, node.body[1:] or [ast.Pass()], [], node.returns, None, lineno=1, col_offset=0
    )
    return ast.unparse(bare)


def _headings(text: str) -> Iterator[Piece]:
    """For each heading with text below it, a question with the first sentences as the answer."""
    title = ""
    for block in re.split(r"\n\s*\n", text):
        heading = re.sub(r"[#*=\-~^`\"]+", " ", block.strip().split("\n")[0]).strip(" :")
        if len(block.strip()) < 60 and re.fullmatch(r"[A-Z][\w ,]{3,50}", heading):
            title = heading
        elif title and (sentences := _sentences(block)):
            yield Piece("heading", f"What does the page say about {title}?\n{' '.join(sentences[:2])}")
            title = ""


def _gaps(text: str) -> Iterator[Piece]:
    """Every third sentence, its longest word to be filled in."""
    for sentence in _sentences(text)[::3]:
        word = max(re.findall(r"[A-Za-z_]{5,}", sentence[1:]), key=len, default="")
        if word and sentence.count(word) == 1 and len(sentence.split()) >= _MIN_WORDS:
            yield Piece("gap", f"Fill the gap. {sentence.replace(word, '...')}\nAnswer: {word}")


def _sentences(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", sentence) for sentence in _SENTENCE.findall(text)]


def _first_sentence(doc: str) -> str:
    """The first sentence of a docstring, or its first paragraph with a point put after it."""
    paragraph = re.sub(r"\s+", " ", doc.split("\n\n")[0]).strip()
    sentence = re.split(r"(?<=[.])\s", paragraph)[0].rstrip(".:")
    return f"{sentence}." if len(sentence) > 15 else ""
