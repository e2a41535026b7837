"""The documentation as a folder of plain pages, `site/`: the Markdown of README and docs in the house's own style.

No script, no network, no theme: markdown-it makes the text, `page/layout.html` the sheet. A link to a file of the
sources opens a page with its text. Whatever leads nowhere, a file, a heading or a page that no part lists, ends the
build with its name.

    python docs/site_pages.py [OUT]
"""

import itertools
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from phidelity.page.layout import render_page

HERE = Path(__file__).parent
ROOT = HERE.parent
PARTS = {
    "Start": ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"],
    "The road": ["docs/tour-token.md", "docs/data.md", "docs/problems.md", "docs/synthetic.md", "docs/tokenizer.md",
                 "docs/training.md", "docs/post-training.md", "docs/safety.md", "docs/studies.md"],
    "A model in use": ["docs/tour-request.md", "docs/engine.md", "docs/serving.md", "docs/chat.md", "docs/python.md",
                       "docs/fine-tuning.md", "docs/evaluation.md", "docs/benchmarks/*.md"],
    "Weights": ["docs/checkpoints.md", "docs/packed.md", "docs/kernels.md", "docs/gguf.md"],
    "Reference": ["docs/recipe.md", "docs/data-rules.md", "docs/fidelity.md", "docs/benchmarks.md", "docs/log.md",
                  "docs/roadmap.md"],
}  # fmt: skip
ELSEWHERE = ("http", "https", "mailto")


class Page(NamedTuple):
    """A Markdown file and where its page stands in the site."""

    source: str
    address: str
    title: str
    tokens: list[Token]

    @property
    def anchors(self) -> set[str]:
        """Names of its headings."""
        return {str(token.attrs["id"]) for token in self.tokens if token.type == "heading_open"}


class Site:
    """All pages, and the files that they show."""

    def __init__(self, root: Path = ROOT, parts: dict[str, list[str]] = PARTS) -> None:
        self.root = root.resolve()
        self._markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
        self._markdown.add_render_rule("table_open", lambda *_: '<div class="scroll"><table>')
        self._markdown.add_render_rule("table_close", lambda *_: "</table></div>")
        self.parts = {part: [self._read(path) for path in self._files(patterns)] for part, patterns in parts.items()}
        self.pages = {page.source: page for pages in self.parts.values() for page in pages}
        self._shown: set[str] = set()
        self.faults = [
            f"{path.relative_to(self.root)}: no part of PARTS in docs/site_pages.py lists it"
            for path in sorted((self.root / "docs").rglob("*.md"))
            if str(path.relative_to(self.root)) not in self.pages
        ]

    def write(self, out: Path) -> None:
        """Every page, the pictures and sources they point to; raises SystemExit with all faults."""
        for page in self.pages.values():
            for token in _flat(page.tokens):
                for name in {"href", "src"} & set(token.attrs):
                    token.attrs[name] = self._target(page, str(token.attrs[name]), out)
        if self.faults:
            sys.exit("\n".join(self.faults))
        for page in self.pages.values():
            text = Markup(self._markdown.renderer.render(page.tokens, self._markdown.options, {}))
            self._put(out, page.address, page.title, text)
        for path in self._shown:
            text = Markup("<h1>{}</h1>\n<pre>{}</pre>").format(path, (self.root / path).read_text(encoding="utf-8"))
            self._put(out, f"source/{path}.html", path, text)

    def _files(self, patterns: list[str]) -> list[Path]:
        return [path for pattern in patterns for path in sorted(self.root.glob(pattern))]

    def _read(self, path: Path) -> Page:
        source = str(path.relative_to(self.root))
        tokens = self._markdown.parse(path.read_text(encoding="utf-8"))
        title, seen = path.stem, dict[str, int]()
        for token, inline in itertools.pairwise(tokens):
            if token.type == "heading_open":
                slug = re.sub(r"[^\w\- ]", "", _plain(inline).lower()).replace(" ", "-")
                seen[slug] = seen.get(slug, -1) + 1
                token.attrs["id"] = f"{slug}-{seen[slug]}" if seen[slug] else slug
                title = _plain(inline) if token.tag == "h1" else title
        address = source.removeprefix("docs/").removesuffix(".md") + ".html"
        return Page(source, "index.html" if source == "README.md" else address, title, tokens)

    def _target(self, page: Page, link: str, out: Path) -> str:
        """Where `link` of `page` leads in the site; pictures and sources are brought along."""
        parts = urlsplit(link)
        if parts.scheme in ELSEWHERE:
            return link
        here = self.root / page.source
        path = here.parent / unquote(parts.path) if parts.path else here
        if not path.resolve().is_relative_to(self.root) or not path.exists():
            self.faults.append(f"{page.source}: {link} leads to no file")
            return link
        source = str(path.resolve().relative_to(self.root))
        up = "../" * page.address.count("/")
        if source in self.pages:
            if parts.fragment and parts.fragment not in self.pages[source].anchors:
                self.faults.append(f"{page.source}: {link} leads to no heading of {source}")
            return up + self.pages[source].address + (f"#{parts.fragment}" if parts.fragment else "")
        if path.suffix in (".svg", ".png"):
            target = out / "pictures" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            return f"{up}pictures/{path.name}"
        if path.is_dir():
            path = path / "__init__.py" if (path / "__init__.py").exists() else next(iter(sorted(path.glob("*.*"))))
            source = str(path.resolve().relative_to(self.root))
        self._shown.add(source)
        return f"{up}source/{source}.html"

    def _put(self, out: Path, address: str, title: str, text: Markup) -> None:
        up = "../" * address.count("/")
        values = {"title": title, "text": text, "up": up, "address": address, "parts": list(self.parts.items())}
        target = out / address
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render_page(HERE, "site.html", **values), encoding="utf-8")


def _flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])


def _plain(inline: Token) -> str:
    return "".join(token.content for token in inline.children or [] if token.type in ("text", "code_inline"))


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    shutil.rmtree(where, ignore_errors=True)
    site = Site()
    site.write(where)
    print(f"{len(site.pages)} pages in {where}")
