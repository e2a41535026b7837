"""The tables of reStructuredText as rows with ` | ` between cells: lists, CSV, grids, and columns under rules."""

import csv
import re
from itertools import pairwise

GRID = re.compile(r"\+(?:[-=]+\+)+")
"""A line between rows of a grid."""
RULE = re.compile(r"=+(?: +=+)+")
"""A line above, in and below a table of columns."""
_ITEM = re.compile(r"(\* +)?- ?(.*)")


def list_rows(body: list[str]) -> list[str]:
    """A list of lists: a star begins a row, a dash as far in as the first one a cell."""
    rows: list[list[str]] = []
    column = -1
    for line in body:
        bare = line.strip()
        found = _ITEM.fullmatch(bare)
        place = len(line) - len(line.lstrip()) + len(found[1] or "") if found else -1
        if found and (found[1] or place == column):
            rows += [[]] if found[1] or not rows else []
            rows[-1].append(found[2])
            column = place
        elif rows and rows[-1] and bare and not bare.startswith(":"):
            rows[-1][-1] += f" {bare}"
    return _joined(rows)


def csv_rows(options: list[str], body: list[str]) -> list[str]:
    """Values between commas, below those of the option `header`."""
    heads = [line.split(":", 2)[2].strip() for line in options if line.strip().startswith(":header:")]
    try:
        return _joined(
            list(csv.reader([*heads, *(line.strip() for line in body if line.strip())], skipinitialspace=True))
        )
    except csv.Error:
        return body


def grid_rows(lines: list[str]) -> list[str]:
    """A table drawn of lines: cells of several lines are put together."""
    rows: list[list[str]] = [[]]
    for line in map(str.strip, lines):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if GRID.fullmatch(line):
            rows += [[]] if rows[-1] else []
        elif len(cells) == len(rows[-1]):
            rows[-1] = [f"{before} {cell}".strip() for before, cell in zip(rows[-1], cells, strict=True)]
        else:
            rows += [cells] if rows[-1] else []
            rows[-1] = cells
    return _joined(rows)


def ruled_rows(lines: list[str]) -> list[str]:
    """Columns as wide as the signs of the first rule; a line without a first cell goes on with the row before."""
    starts = [found.start() for found in re.finditer("=+", lines[0])]
    rows: list[list[str]] = []
    for line in lines[1:]:
        cells = [line[start:end].strip() for start, end in pairwise([0, *starts[1:], None])]
        if not line.strip(" =-"):
            continue
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [f"{before} {cell}".strip() for before, cell in zip(rows[-1], cells, strict=True)]
    return _joined(rows)


def _joined(rows: list[list[str]]) -> list[str]:
    return [" | ".join(row) for row in rows if any(row)]
