"""PDF with a text layer, by pdfium. A scan without one, and a file that asks for a password, are refused.

Needs the extra `formats` (pypdfium2): a C++ library in a wheel.
"""

import re
from collections import Counter
from collections.abc import Iterator

from phidelity.config import UserError
from phidelity.data.formats.blob import BadFileError, Blob, Part, Reject, iso_date, read_all
from phidelity.data.formats.plain import unwrap

MAX_PDF = 256 << 20
"""Bytes (ours)."""
MAX_PAGES = 5000
_LEAST = 20
"""Characters a page on the average below which a file is taken for a scan (ours)."""


def read_pdf(blob: Blob) -> Iterator[Part | Reject]:
    """The text of all pages: lines joined, words put together, running heads and page numbers left out."""
    try:
        import pypdfium2
    except ImportError:
        raise UserError("PDF files need pypdfium2: pip install 'phidelity[formats]'.") from None
    try:
        document = pypdfium2.PdfDocument(read_all(blob, MAX_PDF))
    except pypdfium2.PdfiumError as error:
        raise BadFileError("encrypted" if "assword" in str(error) or "ecurity" in str(error) else "damaged") from None
    with document:
        pages = []
        for number in range(min(len(document), MAX_PAGES)):
            page = document[number]
            pages.append(page.get_textpage().get_text_bounded().replace("\r\n", "\n"))
            page.close()
        about = document.get_metadata_dict(skip_empty=True)
    if sum(map(len, pages)) < _LEAST * max(1, len(pages)):
        raise BadFileError("no_text_layer")
    meta = {"title": about["Title"]} if "Title" in about else {}
    if date := _date(about.get("ModDate") or about.get("CreationDate") or ""):
        meta |= {"date": date, "date_from": "document information"}
    yield Part(_joined(pages), meta=meta)


def _date(text: str) -> str:
    found = re.match(r"D:(\d{4})(\d\d)?(\d\d)?", text)
    return iso_date("-".join(part for part in found.groups() if part)) if found else ""


def _joined(pages: list[str]) -> str:
    """Pages one after the other, without what stands at the head or the foot of most of them."""
    edges: Counter[str] = Counter()
    for page in pages:
        lines = [line.strip() for line in page.split("\n") if line.strip()]
        edges.update({re.sub(r"\d+", "#", line) for line in {*lines[:1], *lines[-1:]}})
    running = {line for line, n in edges.items() if n > 2 and 2 * n > len(pages)}
    kept = [line for page in pages for line in page.split("\n") if re.sub(r"\d+", "#", line.strip()) not in running]
    return unwrap(re.sub(r"(\w)[\u00ad\ufffe-]\n(?=[a-zß-ÿ])", r"\1", "\n".join(kept)))
