"""Text to ids and back: identity, specials as text, hostile lengths, phi-4's published vectors where at hand."""

import random
from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.tokenizer import bpe
from phidelity.tokenizer.bpe import SPECIALS, Tokenizer, train
from phidelity.tokenizer.layout import CL100K_DIGEST, WHITESPACE

SMALL = train(["The cat has 12 keys and 345 more.\n\nDie Katze hat 7 Schlüssel." * 5], 420)
PIECES = (
    "the cat",
    " 12345",
    "\n\n",
    "ü",
    "日本語",
    "<|im_end|>",
    "<|im_start|>user<|im_sep|>",
    "'LL ",
    "\t ",
    "🙂",
    "\r\n",
)


def a_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 8)))


def any_unicode(rng: random.Random, n: int) -> str:
    """Characters from all planes, surrogates left out."""
    points = (
        rng.choice((rng.randrange(0x80), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))) for _ in range(n)
    )
    return "".join(map(chr, points))


@pytest.mark.parametrize("seed", range(20))
def test_decoding_what_was_encoded_is_the_identity(seed: int) -> None:
    rng = random.Random(seed)
    for text in (a_text(rng), any_unicode(rng, 300), rng.randbytes(300).decode("latin-1")):
        assert SMALL.decode(SMALL.encode(text)) == text
        assert SMALL.encode_batch([text, text])[1] == SMALL.encode(text)


def test_any_ids_decode_to_their_bytes_with_broken_characters_replaced() -> None:
    rng = random.Random(0)
    for _ in range(200):
        ids = [rng.randrange(SMALL.vocab_size) for _ in range(20)]
        joined = b"".join(map(SMALL.token_bytes, ids))
        assert SMALL.decode(ids) == joined.decode("utf-8", "replace")


def test_a_lone_surrogate_becomes_a_replacement_character_and_a_pair_is_joined() -> None:
    assert SMALL.decode(SMALL.encode("a\ud800b")) == "a\ufffdb"
    assert SMALL.decode(SMALL.encode("a\udc00")) == "a\ufffd"
    assert SMALL.encode("\ud83d\ude42") == SMALL.encode("🙂")


def test_no_token_but_single_digits_contains_a_digit() -> None:
    with_digits = [token for token in SMALL.ranks if any(48 <= byte <= 57 for byte in token)]
    assert sorted(with_digits) == [bytes([48 + digit]) for digit in range(10)]


def test_special_tokens_follow_the_mergeable_ones_in_phi_4s_order() -> None:
    n = len(SMALL.ranks)
    assert len(SPECIALS) == 96
    assert SMALL.vocab_size == n + 96 == 420
    assert (SMALL.endoftext, SMALL.im_start, SMALL.im_end, SMALL.im_sep) == (n + 1, n + 8, n + 9, n + 10)
    assert SMALL.pad == n + 93, "dummy_85, 100349 in phi-4"
    assert SPECIALS[0] == "<|dummy_0|>"
    assert SPECIALS[21] == "<|dummy_13|>"
    assert SPECIALS[-1] == "<|dummy_87|>"


def test_names_of_special_tokens_are_text_unless_asked_for() -> None:
    text = "a <|im_end|> b<|dummy_8|><|dummy_85|>"
    assert max(SMALL.encode(text)) < len(SMALL.ranks)
    expected = [*SMALL.encode("a "), SMALL.im_end, *SMALL.encode(" b"), SMALL.special_ids["<|dummy_8|>"], SMALL.pad]
    assert SMALL.encode_with_specials(text) == expected
    expected = [*SMALL.encode("a"), SMALL.im_end, *SMALL.encode("b"), SMALL.special_ids["<|dummy_8|>"], SMALL.pad]
    assert SMALL.encode_with_specials(text, strip=True) == expected


def test_whitespace_is_what_the_pattern_takes_for_it() -> None:
    spaces = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000 and chr(point).isspace()]
    probe = bpe.raw_encoding(r"\s", SMALL.ranks)
    assert "".join(space for space in spaces if probe.encode_ordinary(space)) == WHITESPACE


def test_long_runs_of_whitespace_are_cut_where_the_pattern_cuts(monkeypatch) -> None:
    monkeypatch.setattr(bpe, "LONG_RUN", 3)
    rng = random.Random(0)
    others = ("a", "B", "1", ".", '"', "'", "s", "é", "中", "🙂", "\x1c", "\u200b", "\u0301", "\ud800")
    for _ in range(5000):
        drawn = (rng.choice(others if rng.random() < 0.3 else " \n\r\t\u3000\xa0") for _ in range(rng.randint(0, 30)))
        text = "".join(drawn)
        assert SMALL.encode(text) == SMALL._encoding.encode_ordinary(text), ascii(text)


@pytest.mark.parametrize("run", [" " * 150_000, ("\r\n" + "\t" * 70_000) * 2, "\n" * 120_000, "\u3000" * 100_000])
@pytest.mark.parametrize("before", ["", "a", ".", " b"])
@pytest.mark.parametrize("after", ["", "a", "."])
def test_long_runs_have_tiktokens_ids_as_far_as_it_can_go(run: str, before: str, after: str) -> None:
    text = before + run + after + run
    assert SMALL.encode(text) == SMALL._encoding.encode_ordinary(text)


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_200_000 + "x",
        ".\n" + "\r\n" * 300_000 + "\t" * 700_000 + "a",
        "a" * 200_000,
        "=" * 200_000,
        "0" * 200_000,
    ],
    ids=["spaces", "lines", "letters", "signs", "digits"],
)
def test_a_text_of_one_character_repeated_without_end_comes_through(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text)) == text


def test_a_text_too_poor_for_the_vocabulary_fills_it_with_unused_tokens() -> None:
    poor = train(["ab"], 400)
    assert poor.vocab_size == 400
    assert poor.decode(poor.encode("ab ÿþ")) == "ab ÿþ"


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="at least 352"):
        train(["abc"], 300)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [9906, 1917]),
        (" 12345", [220, 4513, 1774]),
        ("foo.bar()", [8134, 22773, 368]),
        ("x\n\n\ny", [87, 1432, 88]),
        ("日本語のテスト", [9080, 22656, 45918, 252, 16144, 57933, 71634]),
        ("system", [9125]),
        ("user", [882]),
        ("assistant", [78191]),
        ("tool", [14506]),
    ],
)
def test_texts_have_the_published_ids(phi_4: Tokenizer, text: str, ids: list[int]) -> None:
    assert phi_4.encode(text) == ids


def test_phi_4s_special_ids_are_the_published_ones(phi_4: Tokenizer) -> None:
    assert (phi_4.endoftext, phi_4.im_end, phi_4.pad, phi_4.vocab_size) == (100257, 100265, 100349, 100352)
    named = {"<|dummy_0|>": 100256, "<|fim_suffix|>": 100260, "<|im_sep|>": 100266, "<|endofprompt|>": 100276}
    assert named.items() <= phi_4.special_ids.items()
    assert phi_4.digest == CL100K_DIGEST
    text = "<|im_start|>Hello<|im_sep|> World<|im_end|><|dummy_85|>"
    assert phi_4.encode_with_specials(text) == [100264, 9906, 100266, 4435, 100265, 100349]
    assert phi_4.encode_with_specials(text, strip=True) == [100264, 9906, 100266, 10343, 100265, 100349]


def test_a_megabyte_of_mixed_text_has_the_ids_of_the_tokenizers_library(phi_4: Tokenizer, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Peer

    phi_4.save(tmp_path)
    peer = Peer.from_file(str(tmp_path / "tokenizer.json"))
    peer.encode_special_tokens = True  # their words for: names of special tokens are text
    rng = random.Random(0)
    sources = sorted(Path(__file__).parent.parent.rglob("*.py"))
    texts = [source.read_text(encoding="utf-8") for source in rng.sample(sources, min(60, len(sources)))]
    texts += [any_unicode(rng, 3000) for _ in range(60)]
    texts += [rng.randbytes(2000).decode("latin-1") for _ in range(60)]
    texts += ["".join(rng.choice(PIECES) for _ in range(600)) for _ in range(60)]
    assert sum(len(text.encode()) for text in texts) > 1_000_000
    for text in texts:
        assert phi_4.encode(text) == peer.encode(text).ids
