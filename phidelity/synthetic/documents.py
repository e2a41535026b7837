"""Rewrites of organic documents by rules: what a function does, what a page is about, in questions and answers.

The report rewrites pages with a strong model (phi-4 §2.2, rewrite and augment); here rules pick out what a text says of
itself - docstrings, headings with their first sentence - and put it as questions and as summaries. Pieces stay
short enough for a small context. Only what the source states is ever said.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document

_FUNCTION = re.compile(
    r'^[ \t]*(def|class)[ \t]+(\w+)[^\n]*:\n\s+[rR]?"""\s*([A-Z][^"]{15,300}?)(?:\.\s|\.?"""|\n\s*\n)', re.MULTILINE
)
"""A definition and the first sentence of its docstring."""
_SENTENCE = re.compile(r"[A-Z][^\n.!?]{20,200}(?:\n[^\n.!?]{1,120}){0,2}[.]")
_MAX_PIECES = 12
"""Rewrites of one source document, at most: many sources rather than long ones."""


def rewrites(bank: Bank, sources: Iterable[Document], n: int) -> Iterator[Document]:
    """At most `n` rewrites, spread evenly over the sources."""
    pieces = [(source, _pieces(source)) for source in sources]
    rounds = zip_longest(*([(source, text) for text in texts] for source, texts in pieces))
    found = (piece for turn in rounds for piece in turn if piece is not None)
    for index, (source, text) in zip(range(n), found, strict=False):
        meta = {"family": "rewrite", "rewritten": source.id, "license": source.meta.get("license", "")}
        yield document("web_rewrites", "web_rewrites", text, bank, index, **meta)


def _pieces(source: Document) -> list[str]:
    rewrite: Callable[[Document], list[str]] = _of_code if source.meta.get("group") == "code" else _of_page
    return rewrite(source)[:_MAX_PIECES]


def _of_code(source: Document) -> list[str]:
    """Questions about functions and classes, and a summary of what a module defines."""
    found = [(kind, name, _one_line(doc)) for kind, name, doc in _FUNCTION.findall(source.text) if name[0] != "_"]
    asked = [_about_code(kind, name, doc) for kind, name, doc in found]
    texts = ["\n\n".join(asked[start : start + 2]) for start in range(0, len(asked), 2)]
    if len(found) > 2:
        names = [name for _, name, _ in found[:8]]
        texts.append(f"What does this module define?\nIt defines {', '.join(names[:-1])} and {names[-1]}.")
    return texts


def _about_code(kind: str, name: str, doc: str) -> str:
    question = f"What does {name} do?" if kind == "def" else f"What is the class {name}?"
    return f"{question}\n{doc}."


def _of_page(source: Document) -> list[str]:
    """For each heading and the text below it, a question with the first sentences as the answer."""
    texts = []
    for title, body in _sections(source.text):
        sentences = [_one_line(sentence) for sentence in _SENTENCE.findall(body)[:2]]
        if sentences:
            texts.append(f"What does the page say about {title}?\n{' '.join(sentences)}")
    return texts


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Short lines without an end mark that are followed by running text, with that text."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]
    title = ""
    for block in blocks:
        heading = re.sub(r"[#*=\-~^`\"]+", " ", block.split("\n")[0]).strip(" :")
        if len(block) < 60 and re.fullmatch(r"[A-Z][\w ,]{3,50}", heading):
            title = heading
        elif title:
            yield title, block
            title = ""


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
