"""Bytes to text: which charset it really is, and mending what was decoded wrongly before it came to us.

What is valid UTF-8 is UTF-8 whatever was declared, since no 8-bit charset passes for it by chance. The 7-bit ones do:
ISO-2022 is told by its escapes, HZ where it is declared. Else the
declared charset counts, if it decodes; else charset-normalizer guesses from the bytes.
Text that was UTF-8, was read as Windows-1252 and saved again is mended run by run, where the run is UTF-8
when written back. It replaces what ftfy does for this commonest fault.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_CONTROL = 0.001
"""Share of control characters from which a text is binary (ours)."""
_HEAD = 1 << 16
"""Bytes that are looked at to guess a charset (ours)."""
_LEAST = 100
"""Bytes below which a guess is worth nothing (ours)."""
_GUESSED = [
    *("big5", "cp866", "cp874", "cp932", "cp949", "euc_jp", "gb18030", "koi8_r", "koi8_u", "latin_1"),
    *(f"cp{n}" for n in range(1250, 1259)),
    *(f"iso8859_{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
]
"""What is guessed: the charsets of the WHATWG encoding standard but for old Macs', which mislead."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949"}
"""What browsers take for these names (the WHATWG encoding standard)."""

_LATIN = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)}
"""Windows-1252 backwards; its five gaps are the control characters, as in browsers."""
_LATIN |= {chr(byte): byte for byte in range(0x80, 0xA0)}
"""And Latin-1, which has controls where Windows-1252 has signs."""
_RUN = re.compile(f"[{re.escape(''.join(_LATIN))}\ufffd]{{2,}}")
_LATER = "[\u0080-¿‚-‰Œ-œŠ-šŽ-žŸƒˆ˜–—‘’“”†‡•…‹›€™\ufffd]"
_SIGNS = {one: re.compile(one + _LATER) for one in "ÃÂâÐÑÎÏØÙà"} | {
    one: re.compile(f"{one}{_LATER}{{2}}") for one in "ãäåæçèéêëìíîï"
}
"""What runs begin with; a pattern that begins with one letter is looked for many times faster than one with a class."""


def decode(data: bytes, declared: Iterable[str] = ()) -> str | None:
    """The text of some bytes, without a byte-order mark; None for binary posing as text."""
    for mark, charset in _BOMS:
        if data.startswith(mark):
            return _checked(data[len(mark) :].decode(charset, "replace"))
    for charset in _seven_bit(data, declared := tuple(declared)):
        if text := _strictly(data, charset):
            return _checked(text)
    try:
        return _checked(data.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    if _CONTROL.search(data[:_HEAD].decode("latin-1")) and data[:_HEAD].count(b"\0") > len(data[:_HEAD]) // 100:
        return None
    for charset in map(_known, declared):
        text = charset and _strictly(data, charset)
        if text:
            return _checked(text)
    return _checked(_guessed(data))


def mend(text: str) -> str:
    """The text with runs of UTF-8 that were read as Windows-1252 put right; others stay as they are."""
    if text.isascii() or not any(one in text and sign.search(text) for one, sign in _SIGNS.items()):
        return text
    return _RUN.sub(lambda run: _mended(run[0]), text)


def _mended(run: str) -> str:
    """One run of what may be UTF-8's bytes; a lost byte of a quote is taken for the one that Windows-1252 lacks."""
    data = bytes(_LATIN.get(character, 0x9D) for character in run)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return run


def _seven_bit(data: bytes, declared: tuple[str, ...]) -> Iterator[str]:
    if b"\x1b" in data and b"\x1b$" in data:  # one byte is looked for much faster than two
        yield "iso2022_kr" if b"\x1b$)C" in data else "iso2022_jp_2"
    if b"~" in data and b"~{" in data and "hz" in map(_known, declared):
        yield "hz"


def _known(charset: str) -> str:
    try:
        name = codecs.lookup(charset.strip(" \"'")).name
    except (LookupError, ValueError):
        return ""
    return "" if name.startswith("utf") else _SUPERSETS.get(name, name)


def _strictly(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return None


def _guessed(data: bytes) -> str:
    """UTF-8 with a few broken bytes, else the likeliest charset, else Windows-1252."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if len(text) - broken > 200 * broken or sum(map(text.count, "éüäößñçáíó")) > broken:
        return text
    if len(data) < _LEAST:
        return data.decode("cp1252", "replace")
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_HEAD], steps=5, chunk_size=1024, cp_isolation=_GUESSED).best()
    charset = _SUPERSETS.get(best.encoding, best.encoding) if best else "cp1252"
    return data.decode(charset, "replace")


def _checked(text: str) -> str | None:
    """The text, or None where control characters say that it is none."""
    n = len(_CONTROL.findall(text, 0, 1 << 20))
    return None if n > max(4, _MOST_CONTROL * min(len(text), 1 << 20)) else text
