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
    example test invalid""".split()  # noqa: SIM905 (a list to read)
)
"""Last parts of a domain of more than two letters; any two letters are a country's."""

_AT = re.compile(r"@|[\[({<](?:at|AT)[\])}>]")
_LOCAL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?\Z")
_HOST = re.compile(
    r" ?(?:[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.| ?[\[({<](?:dot|DOT)[\])}>] ?))+"
    r"([A-Za-z]{2,24}|[^\W\d_A-Za-z]{2,24})(?![A-Za-z0-9_(\[]|\.\w)"
)
_SPELT = re.compile(r"\b[A-Za-z0-9._%+-]{1,64} AT [A-Za-z0-9-]+(?: DOT [A-Za-z0-9-]+)* DOT ([A-Za-z]{2,24})\b")
"""With the signs as words in capitals."""
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


def _is_mail(local: str, host: re.Match[str], text: str) -> bool:
    """Whether the host is one, and the whole no remote such as git@host.org:repository."""
    last = host[1].lower()
    remote = local in ("git", "hg", "svn") or _REMOTE.match(text, host.end(), host.end() + 80)
    return _is_last(last) and not remote


def _is_last(last: str) -> bool:
    return len(last) == 2 or last in _DOMAINS or not last.isascii()


_V4 = re.compile(r"\d(?<![\w.-].)(?<![A-Za-z]/.)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.[\w-])")
_PORT = re.compile(r":\d{2,5}\b")
_V6 = re.compile(r"[23](?<![\w:.].)[0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")
_NUMBERED = re.compile(
    r"(?:version|release|revision|section|chapter|build|update|ver|rev|v)s?[ .:=-]*\Z", re.IGNORECASE
)
_ADDRESSED = re.compile(
    r"(?:\bip|address|host|server|dns|ping|://|from|connect\w*) ?(?:is|at|to|:|=)? ?\Z", re.IGNORECASE
)


def v4(text: str) -> Iterator[tuple[int, int]]:
    """Public addresses of version 4; four single digits are a version or a section unless called an address."""
    for match in _V4.finditer(text):
        before = text[max(0, match.start() - 16) : match.start()]
        small = all(len(part) == 1 for part in match[0].split(".")) and not (
            _ADDRESSED.search(before) or _PORT.match(text, match.end())
        )
        if not small and not _NUMBERED.search(before) and _is_public(match[0]):
            yield match.span()


def v6(text: str) -> Iterator[tuple[int, int]]:
    """Global unicast addresses of version 6 (2000::/3) of at least three written groups."""
    for match in _V6.finditer(text) if text.count(":") > 2 else ():
        address = match[0].removesuffix(":") if match[0].endswith(":") and not match[0].endswith("::") else match[0]
        if sum(map(bool, address.split(":"))) > 2 and _is_public(address):
            yield match.start(), match.start() + len(address)


def _is_public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
