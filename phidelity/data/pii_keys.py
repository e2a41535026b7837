"""Where keys, tokens and passwords stand in a text: `[start, end)` of each.

Those of well-known services by their published prefixes, private keys by their frame, and values that look drawn
where they are assigned to something that is called a key, a secret, a token or a password.
"""

import re
from collections.abc import Iterator

_PREFIXED = (
    ("AKIA", "[0-9A-Z]{16}"),
    ("ASIA", "[0-9A-Z]{16}"),
    ("ghp_", "[A-Za-z0-9]{36,255}"),
    ("gho_", "[A-Za-z0-9]{36,255}"),
    ("ghu_", "[A-Za-z0-9]{36,255}"),
    ("ghs_", "[A-Za-z0-9]{36,255}"),
    ("ghr_", "[A-Za-z0-9]{36,255}"),
    ("github_pat_", "[A-Za-z0-9_]{22,255}"),
    ("glpat-", "[A-Za-z0-9_-]{20,}"),
    ("xox", "[abeoprs]-[A-Za-z0-9-]{10,250}"),
    ("xapp-", "[A-Za-z0-9-]{10,250}"),
    ("whsec_", "[A-Za-z0-9+/]{24,100}"),
    ("ATATT", "[A-Za-z0-9_=-]{20,300}"),
    ("sk-", "(?:proj-|ant-)?(?=(?:[A-Za-z_-]{0,80}[0-9]){3})[A-Za-z0-9_-]{20,}"),
    ("sk_live_", "[A-Za-z0-9]{16,}"),
    ("sk_test_", "[A-Za-z0-9]{16,}"),
    ("rk_live_", "[A-Za-z0-9]{16,}"),
    ("AIza", "[A-Za-z0-9_-]{35}"),
    ("ya29.", "[A-Za-z0-9_-]{20,}"),
    ("eyJ", r"[A-Za-z0-9_-]{8,2000}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{10,}"),
    ("npm_", "[A-Za-z0-9]{36}"),
    ("pypi-", "[A-Za-z0-9_-]{40,}"),
    ("hf_", "[A-Za-z0-9]{30,}"),
    ("SG.", r"[A-Za-z0-9_-]{16,100}+\.[A-Za-z0-9_-]{16,}"),
    ("dop_v1_", "[0-9a-f]{64}"),
    ("gsk_", "[A-Za-z0-9]{40,}"),
    ("xai-", "[A-Za-z0-9]{40,}"),
    ("nvapi-", "[A-Za-z0-9_-]{40,}"),
    ("glsa_", "[A-Za-z0-9_]{32,}"),
    ("shpat_", "[0-9a-fA-F]{32}"),
)
"""How the keys of well-known services begin and go on."""
_KEYS = [
    (start, re.compile(rf"{re.escape(start)}(?<![A-Za-z0-9_]{'.' * len(start)}){form}(?![A-Za-z0-9_])"))
    for start, form in _PREFIXED
]
_FRAME = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]{20,8000}?-----END [A-Z ]*-----")
_ASSIGNED = re.compile(r"[=:]>? {0,3}[\"']?([A-Za-z0-9+/_-]{20,200}={0,2})(?![\w(.])")
_NAMED = re.compile(
    r"(?:api[_-]?key|secret|token|passw(?:or)?d|access[_-]?key|auth|(?-i:[A-Z]_KEY))[\w-]{0,20}[\"']? {0,3}\Z",
    re.IGNORECASE,
)


_AWS = r"(?i:secret_?(?:access_?)?key)[\"']? {0,3}[=:]>? {0,3}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"
_PASSWORD = (
    r"(?:[Pp]assw(?:or)?d|PASSW(?:OR)?D|[Pp]wd|PWD|[Pp]assphrase|PASSPHRASE)[\"']? {0,2}[=:] {0,2}[\"']?"
    r"((?=[^\s\d]{0,40}\d)(?=\S{0,40}?[A-Za-z])"
    r"[^\s\"'(){}<>,;\[]{6,64})(?![(\w])"
)
_SAID = (
    ("secret", re.compile(_AWS)),
    ("Key=", re.compile(r"(?:AccountKey|SharedAccessKey|PrimaryKey)=([A-Za-z0-9+/]{30,120}={0,2})")),
    ("hooks.slack.com", re.compile(r"(https://hooks\.slack\.com/(?:services|workflows|triggers)/[\w/-]{20,120})")),
    ("api/webhooks/", re.compile(r"(https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{5,30}/[\w-]{30,120})")),
    ("earer ", re.compile(r"\b[Bb]earer {1,3}((?=[A-Za-z._~+/-]{0,80}\d)[A-Za-z0-9._~+/-]{20,2000}={0,2})")),
    ("://", re.compile(r"://([^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,128})@[\w\[]")),
    *((words, re.compile(_PASSWORD)) for words in ("passw", "passphrase", "pwd")),
    ("curl ", re.compile(r"curl [^\n]{0,200}?(?:-u|--user) ?[\"']?([\w.@-]{1,64}:[^\s\"':$<{]{4,64})")),
    ("SECRET", re.compile(r"\w*SECRET\w* {0,3}[=:] {0,3}[\"']((?=[^\"'\n]{0,99}[!#$%^&*@])[^\"'\s]{20,200})[\"']")),
)
"""What names itself: the words that must be there, and the form."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KEY = re.compile(r"key|secret|passw", re.IGNORECASE)


def keys(text: str) -> Iterator[tuple[int, int]]:
    """Keys of services, private keys, and drawn values of things that are called secret."""
    for start, form in _KEYS:
        if start in text:
            yield from (match.span() for match in form.finditer(text))
    if "PRIVATE KEY" in text:
        yield from (match.span() for match in _FRAME.finditer(text))
    folded = text.lower()
    for words, form in _SAID:
        if words in (folded if words.islower() else text):
            yield from (match.span(1) for match in form.finditer(text))
    for match in _ASSIGNED.finditer(text):
        before = text[max(0, match.start() - 48) : match.start()]
        number = _UUID.fullmatch(match[1]) and not _KEY.search(before)
        if _is_drawn(match[1]) and _NAMED.search(before) and not number:
            yield match.span(1)


def _is_drawn(value: str) -> bool:
    """Whether a value looks drawn at random: digits among letters, no words, many different signs."""
    digits = sum(map(str.isdigit, value))
    longest = max(map(len, re.findall(r"[a-z]+|[A-Z]+", value)), default=0)
    return 3 <= digits < len(value) and longest <= 6 and len(set(value)) >= 10
