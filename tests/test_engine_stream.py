"""Text as it comes: whole characters, and nothing that a stop string may still take back."""

import random

import pytest

from phidelity.engine.stream import TextStream, said_text
from phidelity.tokenizer.bpe import train

TOKENIZER = train(["plain words"] * 2, 360)


def pieces(text: bytes, stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(TOKENIZER, stop)
    return [stream.push(byte_id(byte)) for byte in text] + [stream.finish()]


def byte_id(byte: int) -> int:
    return TOKENIZER.ranks[bytes([byte])]


def test_characters_come_whole() -> None:
    assert pieces("aé日🙂".encode()) == ["a", "", "é", "", "", "日", "", "", "", "🙂", ""]


def test_broken_bytes_become_replacement_characters_at_the_end() -> None:
    broken = "a日".encode()[:-1]
    assert "".join(pieces(broken)) == broken.decode(errors="replace")


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_known() -> None:
    assert pieces(b"xab-", ("abc",)) == ["x", "", "", "ab-", ""]
    assert pieces(b"xab", ("abc",)) == ["x", "", "", "ab"]
    assert pieces(b"xaababcd", ("abc",)) == ["x", "", "a", "", "ab", "", "", "", ""]


class Pieces:
    """A tokenizer whose tokens are the given bytes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.special_ids = pieces, dict[str, int]()

    def token_bytes(self, token: int) -> bytes:
        return self.pieces[token]


def split(text: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def expected_text(text: bytes, stop: tuple[str, ...]) -> str:
    """The slow way: character by character, until the text ends in a stop string."""
    whole = text.decode(errors="replace")
    for end in range(1, len(whole) + 1):
        ended = [one for one in stop if whole[:end].endswith(one)]
        if ended:
            return whole[: end - max(map(len, ended))]
    return whole


@pytest.mark.parametrize("seed", range(20))
def test_text_is_the_same_however_it_is_split_and_stop_text_never_leaks(seed: int) -> None:
    rng = random.Random(seed)
    letters = ["a", "b", "ab", "é", "日", "🙂", "\n"]
    for _ in range(60):
        text = "".join(rng.choices(letters, k=rng.randrange(1, 14))).encode()
        if rng.random() < 0.4:
            text = text[: rng.randrange(len(text) + 1)] + rng.choice([b"", b"\xff", b"\xe6\x97"])
        if rng.random() < 0.3:
            text = text[:2] + b"\xf0\x9f" + text[2:]
        stop = tuple("".join(rng.choices(letters, k=rng.randrange(1, 4))) for _ in range(rng.randrange(4)))
        parts = split(text, rng)
        stream = TextStream(Pieces(parts), stop)  # pyright: ignore[reportArgumentType]
        shown = ""
        for token in range(len(parts)):
            shown += stream.push(token)
            assert expected_text(text, stop).startswith(shown), "nothing that a stop string takes back was shown"
            if stream.is_stopped:
                break
        assert shown + stream.finish() == expected_text(text, stop)


def test_of_two_stop_strings_the_one_that_is_complete_first_cuts() -> None:
    for parts in ([b"xabcd"], [b"xab", b"cd"], [b"x", b"a", b"b", b"c", b"d"]):
        stream = TextStream(Pieces(parts), ("abcd", "bc"))  # pyright: ignore[reportArgumentType]
        assert "".join(stream.push(token) for token in range(len(parts))) + stream.finish() == "xa"
        assert stream.is_stopped


def test_the_earliest_of_several_stop_strings_cuts() -> None:
    assert "".join(pieces(b"one two three", ("three", "two"))) == "one "


def test_special_tokens_leave_no_text() -> None:
    end, cat = TOKENIZER.special_ids["<|endoftext|>"], TOKENIZER.encode("plain")
    stream = TextStream(TOKENIZER)
    assert "".join(map(stream.push, [end, *cat, end])) + stream.finish() == "plain"
    assert said_text(TOKENIZER, [end, *cat, end]) == "plain"
