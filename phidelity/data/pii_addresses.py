"""Where e-mail and public IP addresses stand in a text: `[start, end)` of each.

A pattern begins with the rarest character that it can, and what must not stand before is looked at after that: so the
regex engine leaps from one to the next.
"""

import ipaddress
import re
from collections.abc import Iterator

_DOMAINS = frozenset(
    """com org net edu gov mil int info biz name pro aero coop museum jobs mobi asia cat tel travel post app dev page
    blog shop store site online tech club xyz cloud email agency company group team live news world life today work
    works space design studio media network systems digital services solutions academy school university health
    bank bar beer berlin best bio blue boutique build builders business buzz cafe camera camp capital care careers cash
    casa center charity chat church city clinic clothing coach codes coffee college community computer consulting
    construction contact cool country courses credit dance date deals delivery dental dentist diamonds directory doctor
    dog domains earth education energy engineer engineering enterprises equipment estate events exchange expert express
    family fan farm fashion finance financial fish fit fitness florist foundation fun fund furniture futbol fyi gallery
    game games garden gifts gives glass global gmbh gold golf graphics green guide guru haus help hiphop holdings
    holiday homes horse hospital host hosting house icu immo immobilien industries ink institute insure international
    investments jetzt kaufen kim koeln kitchen koeln land law lawyer lease legal life lighting link live llc loan lol
    london love ltd maison management market marketing mba memorial men moda money moscow movie nagoya name network new
    ngo ninja nyc okinawa one ong onl ooo osaka paris partners parts party pet pharmacy photo photography photos pics
    pictures pink pizza place plumbing plus press productions promo properties property pub quebec radio recipes red
    rehab reise reisen rent rentals repair report republican rest restaurant review reviews rip rocks ruhr run saarland
    sale sarl scot security sexy shoes show singles ski soccer social software solar stockholm style supplies supply
    support surf surgery swiss sydney taipei tax taxi technology tennis theater tienda tips tires today tokyo tools top
    tours town toys trade training tube vegas ventures vet viajes video villas vin vip vision vlaanderen vodka vote
    voyage wales wang watch webcam website wedding wien wiki wine wtf yoga yokohama zone
    example test invalid""".split()  # noqa: SIM905 (a list to read)
)
"""Last parts of a domain of more than two letters; any two letters are a country's."""

_AT = re.compile(r"@|[\[({<](?:at|AT)[\])}>]")
_LOCAL = re.compile(
    r"(?:[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9._%+\u00c0-\u024f-]{0,62}[A-Za-z0-9_%+\u00c0-\u024f-])?"
    r"|\{(?=[\w.-])[\w.,;| -]{1,62}\}|\"[^\s\"@]{1,62}\")\Z"
)
"""One name, also between quotes, or several of one host between brackets."""
_HOST = re.compile(
    r" ?(?:[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.| ?[\[({<](?:dot|DOT)[\])}>] ?))+"
    r"([A-Za-z]{2,24}|[^\W\d_A-Za-z]{2,24})(?![A-Za-z0-9]|_\w|\.\w)"
)
_SPELT = re.compile(r"\b[A-Za-z0-9._%+-]{1,64} AT [A-Za-z0-9-]+(?: DOT [A-Za-z0-9-]+)* DOT ([A-Za-z]{2,24})\b")
"""With the signs as words in capitals."""
_SAID = re.compile(
    r"\b[a-z0-9._%+-]{2,64} at (?!(?:an?|the|this|that|every|each|which|one|my|our|your) )[a-z0-9-]{2,63}"
    r"(?: dot [a-z0-9-]{1,63}){0,3}? dot (?:com|org|net|edu|gov|info|de|co dot uk|ac dot uk)\b"
)
"""With the signs as words in small letters: only of the commonest domains."""
_LISTED = re.compile(r"<([A-Za-z0-9._%+-]{1,64} at (?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,24})>")
"""As list archives write it."""
_REMOTE = re.compile(r":[\w~./-]*(?:/|\.git)")


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses, also with [at] and [dot], or `<name at host.org>`."""
    for at in _AT.finditer(text):
        plain = at[0] == "@"
        before = text[max(0, at.start() - 65) : at.start()]
        local = _LOCAL.search(before if plain else before.removesuffix(" "))
        host = _HOST.match(text, at.end())
        if local and host and _is_mail(local[0], host, text) and not (plain and host[0].startswith(" ")):
            yield at.start() - len(before) + local.start(), host.end()
    for match in _LISTED.finditer(text):
        yield match.span(1)
    if " DOT " in text:
        yield from (match.span() for match in _SPELT.finditer(text) if _is_last(match[1].lower()))
    if " dot " in text:
        yield from (match.span() for match in _SAID.finditer(text))


def _is_mail(local: str, host: re.Match[str], text: str) -> bool:
    """Whether the host is one, and the whole no remote (git@host.org:repository), no call and no release (a@v1.de)."""
    last = host[1].lower()
    remote = local in ("git", "hg", "svn") or _REMOTE.match(text, host.end(), host.end() + 80)
    file = last in _SUFFIXES and host[0].count(".") == 1
    called = text.startswith(("(", "["), host.end()) and len(last) < 3
    return _is_last(last) and not (remote or file or called or _RELEASE.match(host[0]))


_RELEASE = re.compile(r"v\d")
_SUFFIXES = frozenset(["py", "js", "ts", "sh", "so", "rb", "vb", "cs", "cc", "hs", "kt", "ps", "gz", "xz"])
"""Ends of file names; a country's where a name stands below another, as in example.com.py."""


def _is_last(last: str) -> bool:
    return len(last) == 2 or last in _DOMAINS or not last.isascii()


_V4 = re.compile(r"\d(?<![\w.].)(?<![A-Za-z]/.)(?<![0-9.]-.)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.[\w-])")
_PORT = re.compile(r":\d{2,5}\b")
_V6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_NUMBERED = re.compile(
    r"(?<![A-Za-z])(?:version|release|revision|section|chapter|build|update|article|clause|ver|rev|v|§|kernel|jdk|jre"
    r"|java|openjdk|firmware|driver|sdk|runtime|assembly|package|patch|plugin|linux|windows|android|chrome|firefox)s?"
    r"[ .:=-]*\Z",
    re.IGNORECASE,
)
_ADDRESSED = re.compile(
    r"(?:\bip|address|адрес|адреса|host|server|resolver|gateway|router|dns|ping|://|from|connect\w*)"
    r" ?(?:is|at|to|:|=)? ?\Z",
    re.IGNORECASE,
)


def v4(text: str) -> Iterator[tuple[int, int]]:
    """Public addresses of version 4; four single digits, unless all are one, are a version unless called an address."""
    for match in _V4.finditer(text):
        before = text[max(0, match.start() - 16) : match.start()]
        parts = match[0].split(".")
        small = (
            len(set(parts)) > 1
            and all(len(part) == 1 for part in parts)
            and not (_ADDRESSED.search(before) or _PORT.match(text, match.end()))
        )
        if not small and not _NUMBERED.search(before) and _is_public(match[0]):
            yield match.span()


def v6(text: str) -> Iterator[tuple[int, int]]:
    """Global unicast addresses of version 6 (2000::/3): three written groups, or two with a letter; no time of day."""
    for match in _V6.finditer(text) if text.count(":") > 1 else ():
        address = match[0].removesuffix(":") if match[0].endswith(":") and not match[0].endswith("::") else match[0]
        groups = [group for group in address.split(":") if group]
        enough = len(groups) > 2 or (len(groups) == 2 and not groups[0].isdigit())
        time = "::" not in address and all(len(group) < 3 and group.isdigit() for group in groups[1:])
        if enough and not time and _is_public(address):
            yield match.start(), match.start() + len(address)


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
