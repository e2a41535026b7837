"""Text as it comes: whole characters, and nothing that a stop string may still take back."""

from phidelity.engine.stream import TextStream
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


def test_the_earliest_of_several_stop_strings_cuts() -> None:
    assert "".join(pieces(b"one two three", ("three", "two"))) == "one "
