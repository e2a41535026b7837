"""How tests and candidate talk: length-prefixed JSON of plain values with tags.

No pickle: what the candidate sends is read by the process that holds the token. Whatever is not a plain value
arrives opaque and equals nothing, so an object whose `__eq__` always agrees passes no test. A generator is run to its
end (or its first MAX_ITEMS) before it is sent, and arrives as an iterator over what it gave.
"""

import os
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from decimal import Decimal
from fractions import Fraction
from itertools import islice

MAX_MESSAGE = 1 << 25
MAX_ITEMS = 100_000
LONG_INT = 1 << 12
"""Bits beyond which an integer travels in hexadecimal digits, whose reading takes linear time."""


def send(fd, message):
    """Write a message after its length."""
    data = len(message).to_bytes(4, "big") + message
    while data:
        data = data[os.write(fd, data) :]


def receive(fd):
    """Read one message, byte for byte and no further; an early end is an OSError."""
    length = int.from_bytes(exactly(fd, 4), "big")
    if length > MAX_MESSAGE:
        raise OSError("message too long")
    return exactly(fd, length)


def exactly(fd, n):
    """Read exactly `n` bytes."""
    data = bytearray()
    while len(data) < n:
        piece = os.read(fd, n - len(data))
        if not piece:
            raise OSError("the other side has hung up")
        data += piece
    return bytes(data)


def encode(value):
    """A plain value as JSON with tags; whatever else becomes an opaque object."""
    if isinstance(value, int) and value.bit_length() > LONG_INT:
        return {"int": hex(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in value]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    return encode_further(value)


def encode_further(value):
    """Numbers and collections beyond the literals: ranges, fractions, decimals, views, queues, iterators."""
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    for kind in (Fraction, Decimal):
        if isinstance(value, kind):
            return {kind.__name__: str(value)}
    for kind in (deque, KeysView, ValuesView, ItemsView, Iterator):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in islice(value, MAX_ITEMS)]}
    return {"opaque": type(value).__name__}


def decode(value):
    """The inverse of `encode`."""
    if not isinstance(value, (list, dict)):
        return value
    ((tag, inner),) = value.items() if isinstance(value, dict) else [("list", value)]
    return DECODERS[tag](inner)


class Opaque:
    """A value that is not plain: equal to nothing, not even to itself."""

    def __init__(self, kind):
        self.kind = str(kind)

    def __eq__(self, other):
        return False

    def __hash__(self):
        raise TypeError(f"unhashable type: {self.kind}")

    def __repr__(self):
        return f"<{self.kind}>"


DECODERS: dict = {
    "dict": lambda items: {decode(key): decode(item) for key, item in items},
    "list": lambda items: list(map(decode, items)),
    "tuple": lambda items: tuple(map(decode, items)),
    "set": lambda items: set(map(decode, items)),
    "frozenset": lambda items: frozenset(map(decode, items)),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "int": lambda digits: int(digits, 16),
    "range": lambda ends: range(*ends),
    "Fraction": Fraction,
    "Decimal": Decimal,
    "deque": lambda items: deque(map(decode, items)),
    "KeysView": lambda items: dict.fromkeys(map(decode, items)).keys(),
    "ValuesView": lambda items: dict(enumerate(map(decode, items))).values(),
    "ItemsView": lambda items: dict(map(decode, items)).items(),
    "Iterator": lambda items: iter(list(map(decode, items))),
    "opaque": Opaque,
}
