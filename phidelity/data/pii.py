"""Personal data in text, found by form and check digit and replaced by what kind of thing stood there.

E-mail addresses, telephone numbers, public IP addresses, payment cards (Luhn), bank accounts (IBAN, modulus 97),
US social security numbers, keys and passwords. What is no person's is left alone: private, reserved and documentation
addresses, version numbers, ISBNs, dates, decorators, remotes of version control. Names and postal addresses are not
looked for: no rule finds them reliably. phi-4 does not tell how it treats personal data; all of this is ours.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from phidelity.data import pii_addresses, pii_keys, pii_numbers

Finder = Callable[[str], Iterator[tuple[int, int]]]

_FINDERS: dict[str, Finder] = {
    "API_KEY": pii_keys.keys,
    "EMAIL": pii_addresses.emails,
    "IBAN": pii_numbers.ibans,
    "IPV6_PUBLIC": pii_addresses.v6,
    "IPV4_PUBLIC": pii_addresses.v4,
    "CREDIT_CARD": pii_numbers.cards,
    "US_SSN": pii_numbers.social_security,
    "PHONE": pii_numbers.phones,
}
"""In order of precedence where two overlap."""
KINDS = tuple(_FINDERS)


class Span(NamedTuple):
    """Characters `[start, end)` of a text and what they are, one of `KINDS`."""

    start: int
    end: int
    kind: str


class Redacted(NamedTuple):
    """A text whose personal data are placeholders such as [EMAIL], and how many of each there are."""

    text: str
    counts: dict[str, int]
    spans: tuple[Span, ...] = ()
    """Where they stood in the text as it was."""

    def placed(self) -> Iterator[tuple[int, Span]]:
        """Where each placeholder stands, and what it stands for."""
        return ((self.moved(span.start), span) for span in self.spans)

    def moved(self, place: int) -> int:
        """Where a character of the text as it was, outside the spans, is now."""
        before = (span for span in self.spans if span.end <= place)
        return place + sum(len(span.kind) + 2 - (span.end - span.start) for span in before)


def find_personal(text: str) -> list[Span]:
    """What is personal in `text`, in order, without overlaps."""
    taken: list[Span] = []
    for kind, finder in _FINDERS.items():
        for start, end in finder(text):
            place = bisect_left(taken, (start,))
            before_ends = place == 0 or taken[place - 1].end <= start
            if before_ends and (place == len(taken) or end <= taken[place].start):
                taken.insert(place, Span(start, end, kind))
    return taken


def redact(text: str) -> Redacted:
    """`text` with a typed placeholder for everything personal."""
    spans = find_personal(text)
    parts, last = [], 0
    for span in spans:
        parts += [text[last : span.start], f"[{span.kind}]"]
        last = span.end
    return Redacted("".join([*parts, text[last:]]), dict(Counter(span.kind for span in spans)), tuple(spans))
