"""Where numbers of persons stand in a text: payment cards, bank accounts, US social security, telephones.

Each is `[start, end)`. What has a check digit is held against it; a telephone number without a calling code needs its
country's form, or a word such as "tel" before it.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

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
    r"[2-6](?<![A-Za-z0-9_.,+-].)\d{3}(?:(?:[ \u00a0\u202f-]?\d{4}){2}(?:[ \u00a0\u202f-]?\d{1,7})?"
    r"|[ \u00a0\u202f-]?\d{6}[ \u00a0\u202f-]?\d{4,5}|(?:\.\d{4}){3})(?![A-Za-z0-9_-]|[.,]\d| ?[*/+%^<>&|] ?\w)"
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
        right = len(digits) in lengths and _luhn(digits) and len(set(digits)) > 1
        if right and not _BOOK.search(_before(text, match)):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


_IBAN = re.compile(
    r"[A-Z](?<![A-Za-z0-9_].)[A-Z]\d{2}(?:[ \u00a0\u202f-]?[A-Z0-9]{4}){2,7}(?:[ \u00a0\u202f-]?[A-Z0-9]{1,3})?(?!\w)"
)
_GAP = re.compile("[ \u00a0\u202f-]")


_SMALL_IBAN = re.compile(
    r"\d(?<=[a-z]{2}\d)(?<![A-Za-z0-9_]...)\d(?:[ \u00a0\u202f-]?\d{4}){2,7}(?:[ \u00a0\u202f-]?\d{1,3})?(?!\w)"
)
"""In small letters only where digits alone follow: a checksum of another kind has letters among them."""


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Bank accounts whose letters and digits leave 1 modulo 97 (ISO 13616); what follows in capitals is cut off."""
    yield from (found for match in _IBAN.finditer(text) if (found := _account(text, *match.span())))
    for match in _SMALL_IBAN.finditer(text):
        if found := _account(text, match.start() - 2, match.end()):
            yield found


def _account(text: str, start: int, end: int) -> tuple[int, int] | None:
    gaps = [start + gap.start() for gap in _GAP.finditer(text[start:end])]
    for last in (end, *reversed(gaps)):
        code = _GAP.sub("", text[start:last])
        if 15 <= len(code) <= 34 and int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1:
            return start, last
    return None


_SSN = re.compile(r"\d(?<![\w.,-].)\d{2}-(?<!000-)(?<!666-)(?!00)\d\d-(?!0000)\d{4}(?![\w-]|[.,]\d)")
_SAID_SSN = re.compile(r"(?:\b(?:SSN|ssn)|ocial [Ss]ecurity)\D{0,24}(\d{3}[ -]?\d{2}[ -]?\d{4})(?!\w)")


_PAGED = re.compile(
    r"\b(?:pages?|pp\.|part|serial|order|item|model|sku|nhs|invoice|case|ticket|ref(?:erence)?)"
    r"(?: (?:no\.?|number|nr\.?)|[.:#])? ?\Z|(?<!tel\. )(?<!phone )(?<!contact )\bno\. ?\Z",
    re.IGNORECASE,
)


def social_security(text: str) -> Iterator[tuple[int, int]]:
    """US social security and taxpayer numbers, with dashes or said to be one."""
    yield from (match.span() for match in _SSN.finditer(text) if not _PAGED.search(_before(text, match)))
    if "SSN" in text or "ssn" in text or "ocial " in text:
        yield from (match.span(1) for match in _SAID_SSN.finditer(text))


_ABROAD = re.compile(
    r"(?:\+(?<![\w+.)\-].)|00(?<![\w+.)\-]..)(?=[1-9]))\d{1,3}\)?(?:[ .\u00a0\u2011\u2013-]?\(0?\d{0,4}\))?"
    r"(?:[ ./\u00a0\u2011\u2013-]?\d){5,12}(?!\w|[.,-]\d)"
)
_AMERICAN = re.compile(
    r"(?:1(?<![\w.,+-].)[ .\u2011\u2013-]\(?[2-9]\d\d\)?[ .\u2011\u2013-]|\([2-9]\d\d\) ?"
    r"|[2-9](?<![\w.,+-].)\d\d[ .\u2011\u2013-])"
    r"[2-9]\d\d[ .\u2011\u2013-]\d{4}(?!\w|[.,-]\d)"
)
_RUSSIAN = re.compile(r"8(?<![\w.,+-].)[ -]?\(?[3-9]\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d(?!\w|[.,-]\d)")
_FRENCH = re.compile(r"0(?<![\w.,+-].)[1-9](?:\.\d\d){4}(?!\w|[.,-]\d)")
_AT_HOME = re.compile(
    r"0(?<![\w.,+-].)(?<![0-9A-Fa-f]{2} .)[1-9](?:\d{0,3}[ -]\d{3,4}[ -]\d{3,4}|(?: \d\d){4}|(?:-\d\d){4})"
    r"(?!\w|[.,-]\d|[ -][0-9A-Fa-f]{2}\b)|\((?<!\w.)(?<!\w .)[1-9]\d\) ?9?\d{4}-\d{4}(?!\w|[.,-]\d)"
)
"""With the 0 of a national number, nine digits or more in groups, or an area of Brazil; no bytes in hexadecimals."""
_DIALLED = re.compile(r"[(\d](?<![A-Za-z0-9_+.,-].)(?:[ ./()\u00a0\u2011\u2013-]{0,3}\d){6,14}(?![A-Za-z0-9_]|[.,-]\d)")
_JOINED = (
    r"[.:：]{0,2} ?(?:(?:us|me|at|on|number|numéro|número|numero|nummer|номер|nr\.?|no\.?|nº|is|al|au|le|el|unter"
    r"|номеру|по|는|은|번호|は|番号|号码|號碼|नंबर|है|رقم|:|：) ?){0,3}[:=：]? ?[(]?\Z"
)
_CALLED = re.compile(
    r"(?:\b(?:tel|telephone|telephone number|phone|telefone?|telefono|teléfono|téléphone|telefoon|telefonszám"
    r"|fon|fax|mob|ph(?=[.:])|contact|hotline|helpline|móvil|celular|telemóvel|cellulare|gsm|tlf|tfn|puh|puhelin|sími|tálefón|τηλ|τηλέφωνο|κινητό"
    r"|điện thoại|telepon|simu|whatsapp|viber|llám[ae](?:me|nos)|appelez|rufen sie)"
    r"|电话|電話|手机|手機|携帯|传真|傳真|전화|핸드폰|휴대폰|휴대전화|연락처|팩스|телефону?|тел|моб|факс|звоните"
    r"|هاتف|جوال|موبايل|تلفن|فاكس|טלפון|נייד|फ़ोन|फोन|मोबाइल|टेलीफोन|ফোন|மொபைல்|โทร|โทรศัพท์|მობ|ტელ|հեռ)" + _JOINED,
    re.IGNORECASE,
)
_ASKED = re.compile(r"\b(?:call|cell|text|dial|mobile?|handy|ring|office|reach)" + _JOINED, re.IGNORECASE)
"""Words that stand before other numbers too ("call 1234567 times")."""
_JOINS = re.compile(r"(?:[:：=(]|\b(?:number|nummer|no\.?|nr\.?|me|us|at|on|is|unter)) ?\Z", re.IGNORECASE)
"""What makes such a word speak of a telephone."""
_COUNTED = re.compile(
    r" (?!(?:for|to|or|and|now|today|if|after|before|between|during|from|any|with|in|on|ext|is|was|oder|und|ab|von|ou"
    r"|et|y|e|или|и)\b)[^\W\d_A-Z]"
)
"""A word in small letters after a number, unless a sentence goes on with it: what is counted."""
_BOOK = re.compile(r"(?:ISBN|ISSN|EAN|UPC|IMEI|GTIN|doi|barcode)(?:-1[03])?\S{0,12}[ :]*\Z", re.IGNORECASE)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ \u00a0]\d{3})+")
_DAY = re.compile(r"(?:19|20)\d\d[-./](?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12]\d|3[01])(?!\d)")
_POWERS = frozenset(["2147483647", "2147483648", "4294967295", "4294967296"])
"""What 31 and 32 bits hold."""
_MANY_YEARS = re.compile(r"(?:(?:1[5-9]|20)\d\d[-/, ]{0,2}){2,}")


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Telephone numbers: with a calling code, of the American form, or called one."""
    for match in _ABROAD.finditer(text):
        digits = re.sub(r"\D", "", match[0].replace("(0)", "")).removeprefix("00")
        code = next((digits[:n] for n in (1, 2, 3) if digits[:n] in _CALLING), "")
        right = code and _can_be_dialled(code, digits[len(code) :], match[0])
        if right and not _is_series(match[0]) and not _PAGED.search(_before(text, match)):
            yield match.span()
    for match in _AMERICAN.finditer(text):
        before = _before(text, match)
        if not (_BOOK.search(before) or _PAGED.search(before)) and (
            not match[0].startswith("1 ") or _CALLED.search(before)
        ):
            yield match.span()
    yield from (match.span() for form in (_RUSSIAN, _FRENCH) for match in form.finditer(text))
    for match in _AT_HOME.finditer(text):
        enough = sum(map(str.isdigit, match[0])) > 9
        if (
            enough
            and not _is_series(match[0])
            and not (_BOOK.search(_before(text, match)) or _PAGED.search(_before(text, match)))
        ):
            yield match.span()
    for match in _DIALLED.finditer(text):
        before = _before(text, match)
        counted = match[0].isdigit() and bool(_COUNTED.match(text, match.end()))
        asked = _ASKED.search(before) and not counted and (_JOINS.search(before) or _is_written(match[0]))
        if (_CALLED.search(before) or asked) and _is_dialled(match[0]):
            yield match.span()


def _can_be_dialled(code: str, rest: str, whole: str) -> bool:
    """Whether the digits after a calling code can be; after 00 without any gap they look like any number."""
    if code == "1":
        return len(rest) == 10 and rest[0] in "23456789"
    return 7 <= len(code) + len(rest) <= 15 and (whole[0] == "+" or not whole.isdigit())


def _is_dialled(number: str) -> bool:
    """Whether digits can be a number to call: no years, days or series, and pairs from four on or from 0."""
    groups = re.findall(r"\d+", number)
    pairs = all(len(group) < 3 for group in groups)
    paired = len(groups) > 3 and all(len(group) == 2 for group in groups)
    odd = _MANY_YEARS.fullmatch(number) or _DAY.match(number) or _is_series(number) or number in _POWERS
    return not odd and (not pairs or paired or number.lstrip("(")[0] == "0")


def _is_series(number: str) -> bool:
    """Whether the groups of a number grow by equal steps, as 20 25 30 35 do."""
    groups = [int(group) for group in re.findall(r"\d+", number)]
    return len(groups) > 2 and len({b - a for a, b in pairwise(groups)}) == 1


def _is_written(number: str) -> bool:
    """Whether digits are written as those of a telephone rather than a count: ten or more, parted, or begun by 0."""
    parted = not number.isdigit() and not _THOUSANDS.fullmatch(number)
    return parted or number[0] == "0" or sum(map(str.isdigit, number)) > 9


def _before(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - 32) : match.start()]
