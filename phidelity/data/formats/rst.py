"""reStructuredText to text: what directives hold is kept, code indented, tables as rows, hard-wrapped lines joined.

Of a directive its argument and its body stay, but for those that show nothing a reader would read (`_SILENT`).
"""

import re
from typing import Any

from phidelity.data.formats.blob import Part, last_date
from phidelity.data.formats.plain import unwrap
from phidelity.data.formats.rst_tables import GRID, RULE, csv_rows, grid_rows, list_rows, ruled_rows

_FIELDS = re.compile(r"\A(?:[A-Z][\w-]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)++\n")
_DIRECTIVE = re.compile(r"\.\. ([\w+:-]{1,80}?) ?::(?: +(.*))?")
_REPLACED = re.compile(r"^[ \t]*\.\. \|([^|\n]{1,80})\| replace:: *([^\n]*)$", re.MULTILINE)
_OPTION = re.compile(r" +:[\w-]+:(?: |$)")
_MATH = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":(?:[\w.+-]{1,40}:){0,4}([\w.+-]{1,40}):`([^`<]*+)(?:<[^`>]*+>)?`")
_LINK = re.compile(r"`([^`<\n]+)\s<[^`>]+>`__?|`([^`\n]+)`__?|(?<=\w)_(?=[\s.,;)])|\s?\[(?:\d+|#\w*)\]_")
_CODE = {"code", "code-block", "sourcecode", "parsed-literal", "prompt", "doctest", "testcode", "testoutput"}
_SILENT = {
    *("image", "toctree", "contents", "index", "include", "literalinclude", "raw", "meta", "highlight", "target-notes"),
    *("currentmodule", "module", "sectnum", "section-numbering", "role", "default-role", "class", "cssclass", "header"),
    *("footer", "title", "tabularcolumns", "bibliography", "plot", "graphviz", "digraph", "graph", "only", "ifconfig"),
    *("inheritance-diagram", "testsetup", "testcleanup", "codeauthor", "sectionauthor", "moduleauthor", "todo", "date"),
    *(
        "todolist",
        "uml",
        "mermaid",
        "video",
        "youtube",
        "program",
        "default-domain",
        "unicode",
        "replace",
        "minigallery",
    ),
}


def read_rst(text: str) -> Part:
    """The text of a file; title and date from the fields at its head, as Python's enhancement proposals have them."""
    text = text.replace("\r\n", "\n")
    head = _FIELDS.match(text)
    fields = dict(re.findall(r"^([A-Z][\w-]*): *(.*)$", head[0], re.MULTILINE)) if head else {}
    text = text[head.end() :] if head else text
    named = dict(_REPLACED.findall(text))
    body = "\n".join(_Reader(text).lines())
    if named:
        body = re.sub(r"\|([^|\n]{1,80})\|", lambda found: named.get(found[1], found[0]), body)
    meta: dict[str, Any] = {"title": fields["Title"]} if "Title" in fields else {}
    meta |= last_date((f"field {name}", fields.get(name)) for name in ("Created", "Last-Modified", "Date"))
    title = f"{fields['Title']}\n\n" if "Title" in fields else ""
    return Part(unwrap(f"{title}{_roles(body)}"), meta=meta)


class _Reader:
    """Reads a text line by line; each line is looked at once."""

    def __init__(self, text: str) -> None:
        self.todo = text.expandtabs().split("\n")
        self.at = 0
        self.kept: list[str] = []
        self.around: list[tuple[int, int]] = []
        """Of the directives around us the indentation, and how far what they hold is to be moved to the left."""
        self.ruled = True
        """Whether a rule may still begin a table."""

    def lines(self) -> list[str]:
        """The lines that are left of the text."""
        while self.at < len(self.todo):
            line = self.todo[self.at]
            self.at += 1
            bare, indent = line.strip(), _indent(line)
            while bare and self.around and indent <= self.around[-1][0]:
                self.around.pop()
            shift = self.around[-1][1] if self.around else 0
            if bare == ".." or bare.startswith(".. "):
                self._directive(bare, indent, shift)
            elif GRID.fullmatch(bare):
                self.kept += grid_rows([bare, *self._while("|+")])
            elif self.ruled and RULE.fullmatch(bare) and (end := self._end_of_ruled()):
                table, self.at = self.todo[self.at - 1 : end], end
                self.kept += ruled_rows([one[indent:] for one in table])
            elif bare.endswith("::"):
                self.kept += ["" if bare == "::" else line[min(shift, indent) : -1]]
                self.kept += [one[min(shift, _indent(one)) :] for one in self._held(indent)]
            else:
                self.kept.append(line[min(shift, indent) :])
        return self.kept

    def _directive(self, bare: str, indent: int, shift: int) -> None:
        found = _DIRECTIVE.match(bare)
        name = found[1].rpartition(":")[2] if found else ""
        if found is None or name in _SILENT or name.startswith("auto"):
            self._held(indent)
            return
        said = found[2] or ""
        options = self._options(indent)
        if name in _CODE:
            margin = " " * (max(0, indent - shift) + 4)
            self.kept += ["", *(margin + one if one else "" for one in _dedented(self._held(indent))), ""]
        elif name == "math":
            formula = " ".join(" ".join([said, *self._held(indent)]).split())
            self.kept += ["", f"$${formula}$$", ""]
        elif name in ("list-table", "csv-table"):
            body = self._held(indent)
            rows = list_rows(body) if name == "list-table" else csv_rows(options, body)
            self.kept += ["", *([said, ""] if said else []), *rows, ""]
        else:
            self.kept += ["", " " * max(0, indent - shift) + said if said else "", ""]
            following = next((one for one in self.todo[self.at : self.at + 3] if one.strip()), "")
            if _indent(following) > indent:
                self.around.append((indent, shift + _indent(following) - indent))

    def _options(self, indent: int) -> list[str]:
        """The options of a directive, which stand before its body."""
        begin = self.at
        while self.at < len(self.todo) and _OPTION.match(self.todo[self.at]) and _indent(self.todo[self.at]) > indent:
            self.at += 1
        return self.todo[begin : self.at]

    def _held(self, indent: int) -> list[str]:
        """The lines that follow and are indented further, and blank ones."""
        begin = self.at
        while self.at < len(self.todo) and (not self.todo[self.at].strip() or _indent(self.todo[self.at]) > indent):
            self.at += 1
        return self.todo[begin : self.at]

    def _while(self, signs: str) -> list[str]:
        begin = self.at
        while self.at < len(self.todo) and self.todo[self.at].lstrip()[:1] in tuple(signs):
            self.at += 1
        return self.todo[begin : self.at]

    def _end_of_ruled(self) -> int:
        """Where a table of columns ends: at a rule with nothing below it; 0 where there is none."""
        for place in range(self.at, len(self.todo)):
            below = self.todo[place + 1].strip() if place + 1 < len(self.todo) else ""
            if not below and RULE.fullmatch(self.todo[place].strip()):
                return place + 1
        self.ruled = False
        return 0


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _dedented(lines: list[str]) -> list[str]:
    margin = min((_indent(line) for line in lines if line.strip()), default=0)
    return [line[margin:].rstrip() for line in lines]


def _roles(text: str) -> str:
    text = _MATH.sub(lambda found: f"${' '.join(found[1].split())}$", text)
    text = _ROLE.sub(lambda found: _role(found[1], found[2].rstrip()), text)
    text = _LINK.sub(lambda found: found[1] or found[2] or "", text)
    return re.sub(r"``([^`\n]+)``", r"`\1`", text)


def _role(name: str, words: str) -> str:
    return f"PEP {words}" if name == "pep" and words.isdigit() else words
