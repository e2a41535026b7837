"""Who may ask: keys that are kept as SHA-256 digests and compared in constant time.

A key file has one key a line: `sha256:` and 64 hexadecimal digits, or the key itself (which then lies readable in
that file; whoever serves is told). Empty lines and lines that begin with # are skipped. `printf %s KEY | sha256sum`
makes a digest, and the ` -` that it puts behind may stay. Keys are random strings, so a fast digest is enough; one
that a person would choose is not.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from phidelity.config import UserError

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})(\s+\*?-)?")


@dataclass(frozen=True, slots=True)
class Keys:
    """Digests of the keys that open the server; none: it is open."""

    digests: tuple[bytes, ...] = ()
    n_readable: int = 0
    """Keys that lay readable in the file."""

    def __bool__(self) -> bool:
        return bool(self.digests)

    def admits(self, authorization: str) -> bool:
        """Whether the value of an Authorization header holds one of the keys; all are compared, whichever fits.

        The value is the header's bytes as latin-1; a key beyond ASCII is UTF-8 in them, as in the file.
        """
        scheme, _, key = authorization.partition(" ")
        digest = hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
        found = [hmac.compare_digest(digest, one) for one in self.digests]
        return scheme.lower() == "bearer" and any(found)


def read_keys(path: Path) -> Keys:
    """The keys of a file; an empty one is refused, since it would leave the server open."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise UserError(f"{path} is no UTF-8 text; expected one API key a line. Give another file.") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UserError(f"{path} holds no key; expected one a line. Add one, or leave --api-key-file out.")
    found = [_DIGEST.fullmatch(key) for key in keys]
    for key, match in zip(keys, found, strict=True):
        if key.lower().startswith("sha256:") and not match:
            told = f"{path}, line {lines.index(key) + 1}: sha256: is followed by {len(key) - 7} characters"
            raise UserError(f"{told}; expected the 64 hexadecimal digits of `printf %s KEY | sha256sum`.")
    digests = [
        bytes.fromhex(match[1]) if match else hashlib.sha256(key.encode()).digest()
        for key, match in zip(keys, found, strict=True)
    ]
    return Keys(tuple(digests), sum(1 for match in found if not match))
