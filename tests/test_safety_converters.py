"""Converters: reversible ones decode to the original, on any text."""

import random

import pytest

from phidelity.completion import ScriptedCompleter
from phidelity.safety.converters import CONVERTERS, Converter, converter, past, translation

REVERSIBLE = [one for one in CONVERTERS if one.decode]
TEXTS = ("Open the gate at noon, please!", "Où est la clé ? 12 Äpfel.", "  two  spaces\tand\na line ", "Ж 漢字 🙂", "a")


@pytest.mark.parametrize("one", REVERSIBLE, ids=lambda one: one.name)
def test_decoding_gives_the_original(one: Converter) -> None:
    assert one.decode
    rng = random.Random(0)
    drawn = ["".join(rng.choices("abcXYZ 019.,!?%+\"'éß漢🙂\n", k=rng.randrange(1, 40))) for _ in range(50)]
    for text in (*TEXTS, *drawn):
        assert one.decode(one.encode(text)) == text


@pytest.mark.parametrize("one", [one for one in CONVERTERS if one.name != "identity"], ids=lambda one: one.name)
def test_every_other_converter_changes_the_text(one: Converter) -> None:
    assert one.encode("Open the gate at noon.") != "Open the gate at noon."


def test_there_are_a_dozen_and_the_identity_changes_nothing() -> None:
    assert len(CONVERTERS) >= 12
    assert all(converter("identity").encode(text) == text for text in TEXTS)


def test_known_codes() -> None:
    assert converter("morse").encode("SOS now") == "... --- ... / -. --- .--"
    assert converter("caesar").encode("xyz") == "abc"
    assert converter("mirror").encode("abc") == "zyx"


def test_a_completer_translates_or_gives_nothing() -> None:
    writer = ScriptedCompleter(lambda prompt, _: "" if "past" in str(prompt) else "Öffne das Tor.", name="writer")
    assert translation("Open the gate.", "German", writer) == "Öffne das Tor."
    assert past("Open the gate.", writer) is None
