"""Where numbers of persons stand in a text: payment cards, bank accounts, US social security, telephones.

Each is `[start, end)`. What has a check digit is held against it; a telephone number without a calling code needs its
country's form, or a word such as "tel" before it.
"""

import re
from collections.abc import Iterator

_CALLING = frozenset(
    """1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84
    86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 235 236
    237 238 239 240 241 242 243 244 245 246 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266
    267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 380
    381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597
    598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 850 852 853 855
    856 880 886 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 993 994 995 996
    998""".split()  # noqa: SIM905 (a list to read)
)
"""Calling codes in use (ITU-T E.164)."""

_CARD = re.compile(
    r"[2-6](?<![\w.,+-].)\d{3}(?:(?:[ -]?\d{4}){2}(?:[ -]?\d{1,7})?|[ -]?\d{6}[ -]?\d{4,5})(?![\w-]|[.,]\d)"
)
_NETWORKS = (
    (re.compile(r"4"), (13, 16, 19)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),
    (re.compile(r"3[47]"), (15,)),
    (re.compile(r"30[0-5]|36|3[89]"), (14, 16, 19)),
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),
    (re.compile(r"50|5[6-9]|6"), (16, 17, 18, 19)),
)
"""How the numbers of each network begin (ISO/IEC 7812) and how long they are."""


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Payment cards: a network's beginning and length, and a right check digit."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        lengths = next((lengths for begin, lengths in _NETWORKS if begin.match(digits)), ())
        if len(digits) in lengths and _luhn(digits) and len(set(digits)) > 1:
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


_IBAN = re.compile(r"[A-Z](?<!\w.)[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Bank accounts whose letters and digits leave 1 modulo 97 (ISO 13616); what follows in capitals is cut off."""
    for match in _IBAN.finditer(text):
        gaps = [match.start() + gap.start() for gap in re.finditer(" ", match[0])]
        for end in (match.end(), *reversed(gaps)):
            code = text[match.start() : end].replace(" ", "")
            if 15 <= len(code) <= 34 and int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1:
                yield match.start(), end
                break


_SSN = re.compile(r"\d(?<![\w.,-].)\d{2}-(?<!000-)(?<!666-)(?!00)\d\d-(?!0000)\d{4}(?![\w-]|[.,]\d)")
_SAID_SSN = re.compile(r"(?:\bSSN|ocial [Ss]ecurity)\D{0,24}(\d{3}[ -]?\d{2}[ -]?\d{4})(?!\w)")


def social_security(text: str) -> Iterator[tuple[int, int]]:
    """US social security and taxpayer numbers, with dashes or said to be one."""
    yield from (match.span() for match in _SSN.finditer(text))
    if "SSN" in text or "ocial " in text:
        yield from (match.span(1) for match in _SAID_SSN.finditer(text))


_ABROAD = re.compile(
    r"(?:\+(?<![\w+.)\-].)|00(?<![\w+.)\-]..)(?=[1-9]))\d{1,3}(?:[ .\u00a0-]?\(0?\d{0,4}\))?"
    r"(?:[ ./\u00a0-]?\d){5,12}(?!\w|[.,-]\d)"
)
_AMERICAN = re.compile(
    r"(?:1(?<![\w.,+-].)[ .-]\(?[2-9]\d\d\)?[ .\u2011-]|\([2-9]\d\d\) ?|[2-9](?<![\w.,+-].)\d\d[ .\u2011-])"
    r"[2-9]\d\d[ .\u2011-]\d{4}(?!\w|[.,-]\d)"
)
_DIALLED = re.compile(r"[(\d](?<![\w+.,-].)(?:[ ./()-]{0,2}\d){6,14}(?!\w|[.,-]\d)")
_CALLED = re.compile(
    r"(?:\b(?:tel|telephone|phone|telefon|telefono|teléfono|téléphone|fon|fax|mobile|mobil|cell|call|whatsapp)"
    r"|电话|電話|телефон|тел)[.:]{0,2} ?(?:(?:us|me|at|on|number|nr\.?|no\.?|is) ?){0,3}[:=]? ?\Z",
    re.IGNORECASE,
)
_BOOK = re.compile(r"(?:ISBN|ISSN|EAN|doi)\S{0,12}[ :]*\Z", re.IGNORECASE)
_YEARS = re.compile(r"(?:1[5-9]|20)\d\d[-/ ](?:1[5-9]|20)\d\d")


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Telephone numbers: with a calling code, of the American form, or called one."""
    for match in _ABROAD.finditer(text):
        digits = re.sub(r"\D", "", match[0].replace("(0)", "")).removeprefix("00")
        code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in _CALLING), "")
        if code and _can_be_dialled(code, digits[len(code) :], match[0]):
            yield match.span()
    yield from (match.span() for match in _AMERICAN.finditer(text) if not _BOOK.search(_before(text, match)))
    for match in _DIALLED.finditer(text):
        if _CALLED.search(_before(text, match)) and _is_dialled(match[0]):
            yield match.span()


def _can_be_dialled(code: str, rest: str, whole: str) -> bool:
    """Whether the digits after a calling code can be; after 00 without any gap they look like any number."""
    if code == "1":
        return len(rest) == 10 and rest[0] in "23456789"
    return 7 <= len(code) + len(rest) <= 15 and (whole[0] == "+" or not whole.isdigit())


def _is_dialled(number: str) -> bool:
    """Whether digits can be a number to call: not two years, and pairs only where they begin with 0."""
    pairs = all(len(group) < 3 for group in re.findall(r"\d+", number))
    return not _YEARS.fullmatch(number) and (not pairs or number.lstrip("(")[0] == "0")


def _before(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 32) : match.start()]
