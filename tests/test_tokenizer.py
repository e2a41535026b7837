"""Text to ids and chats to ids: identity, specials as text, masks, and phi-4's published vectors where at hand."""

import base64
import os
import random
from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.records import Message
from phidelity.tokenizer.bpe import SPECIALS, Tokenizer, train
from phidelity.tokenizer.chat import render, stop_ids, turn_head

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


PIECES += ("\t ", "🙂", "\r\n")


def a_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 8)))


@pytest.mark.parametrize("seed", range(20))
def test_decoding_what_was_encoded_is_the_identity(seed: int) -> None:
    text = a_text(random.Random(seed))
    assert SMALL.decode(SMALL.encode(text)) == text
    assert SMALL.encode_batch([text, text])[1] == SMALL.encode(text)


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


def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path) -> None:
    SMALL.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.digest == SMALL.digest
    assert loaded.encode("The cat has 12 keys") == SMALL.encode("The cat has 12 keys")


def test_a_text_too_poor_for_the_vocabulary_fills_it_with_unused_tokens() -> None:
    poor = train(["ab"], 400)
    assert poor.vocab_size == 400
    assert poor.decode(poor.encode("ab ÿþ")) == "ab ÿþ"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": {"vocab": {"a": 5}}}', b"\xff\xfe"])
def test_a_damaged_tokenizer_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="at least 352"):
        train(["abc"], 300)


@pytest.mark.parametrize("seed", range(50))
def test_only_the_assistants_words_and_their_end_are_trained(seed: int) -> None:
    rng = random.Random(seed)
    roles = ["system"] * rng.randint(0, 1) + ["user", "assistant"] * rng.randint(1, 3)
    messages = [Message(role=role, content=a_text(rng)) for role in roles]
    ids, mask = render(messages, SMALL)
    expected: list[int] = []
    for message in messages:
        if message.role == "assistant":
            expected += [*SMALL.encode(message.content), SMALL.im_end]
    assert [token for token, trained in zip(ids, mask, strict=True) if trained] == expected
    assert ids.count(SMALL.im_start) == ids.count(SMALL.im_end) == len(messages), "text can open or close no turn"


def test_rendering_turn_by_turn_is_rendering_the_whole() -> None:
    messages = [Message(role="user", content=" a "), Message(role="assistant", content="b\n")]
    apart = [token for message in messages for token in render([message], SMALL).ids]
    assert render(messages, SMALL, generation_prompt=True).ids == apart + turn_head("assistant", SMALL)


def test_an_unknown_role_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'tool' was found; phi-4 knows system, user, assistant"):
        turn_head("tool", SMALL)


def test_generation_stops_on_both_ends_and_never_on_padding() -> None:
    assert stop_ids(SMALL) == {SMALL.im_end, SMALL.endoftext}


@pytest.fixture(scope="module")
def phi_4() -> Tokenizer:
    path = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "cl100k_base.tiktoken"
    if not path.exists():
        pytest.skip("cl100k_base.tiktoken is not at hand (PHI_TEST_DATA)")
    lines = (line.split() for line in path.read_text().splitlines())
    return Tokenizer({base64.b64decode(token): int(rank) for token, rank in lines})


USER, ASSISTANT = 882, 78191


@pytest.mark.parametrize(
    ("turns", "prompt", "ids"),
    [
        ([("user", "Hi")], False, [100264, USER, 100266, 13347, 100265]),
        ([("user", "Hi")], True, [100264, USER, 100266, 13347, 100265, 100264, ASSISTANT, 100266]),
        (
            [("system", "You are helpful."), ("user", "Hi")],
            True,
            [100264, 9125, 100266, 2675, 527, 11190, 13, 100265, 100264, USER, 100266, 13347, 100265]
            + [100264, ASSISTANT, 100266],
        ),
        (
            [("user", "Hi"), ("assistant", "Hello!"), ("user", "2+2?")],
            True,
            [100264, USER, 100266, 13347, 100265, 100264, ASSISTANT, 100266, 9906, 0, 100265]
            + [100264, USER, 100266, 17, 10, 17, 30, 100265, 100264, ASSISTANT, 100266],
        ),
    ],
)
def test_chats_have_the_published_ids(phi_4: Tokenizer, turns, prompt: bool, ids: list[int]) -> None:
    messages = [Message(role=role, content=content) for role, content in turns]
    assert render(messages, phi_4, generation_prompt=prompt).ids == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [9906, 1917]),
        (" 12345", [220, 4513, 1774]),
        ("foo.bar()", [8134, 22773, 368]),
        ("x\n\n\ny", [87, 1432, 88]),
        ("日本語のテスト", [9080, 22656, 45918, 252, 16144, 57933, 71634]),
    ],
)
def test_texts_have_the_published_ids(phi_4: Tokenizer, text: str, ids: list[int]) -> None:
    assert phi_4.encode(text) == ids
    assert (phi_4.endoftext, phi_4.im_end, phi_4.pad, phi_4.vocab_size) == (100257, 100265, 100349, 100352)
