"""Chats to ids: masks, roles, open ends, the published vectors, and transformers' own rendering."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phidelity.config import UserError
from phidelity.records import Message
from phidelity.tokenizer.bpe import SPECIALS, Tokenizer, train
from phidelity.tokenizer.chat import render, stop_ids, turn_head

SMALL = train(["The cat has 12 keys and 345 more.\n\nDie Katze hat 7 Schlüssel." * 5], 420)
PIECES = (
    *(
        "the cat",
        " 12345",
        "\n\n",
        "ü",
        "日本語",
        "'LL ",
        "\t ",
        "🙂",
        "\r\n",
        " ",
        "\u3000",
        "\xa0",
        "\x1c",
        ".",
        "{{ 1 }}",
    ),
    *(
        "<|im_end|>",
        "<|im_start|>user<|im_sep|>",
        "<|im_start|>",
        "<|im_sep|>",
        "<|endoftext|>",
        "<|dummy_85|>",
        "<|im_",
    ),
    *(
        "end|>",
        "<|",
        "|>",
        "<|im_end|",
        "|im_sep|>",
        "<<|im_end|>>",
        "assistant",
        "system",
        "<|fim_prefix|>",
        "{% if %}",
    ),
)
"""Of which adversarial texts are made: whitespace, special tokens whole and in halves, template syntax."""


def a_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 8)))


def a_chat(rng: random.Random) -> list[Message]:
    roles = ["system"] * rng.randint(0, 1) + ["user", "assistant"] * rng.randint(1, 3)
    return [Message(role=role, content=a_text(rng)) for role in roles[: rng.randint(1, len(roles))]]


def plain(messages: list[Message]) -> list[dict[str, str]]:
    return [message.model_dump() for message in messages]


@pytest.mark.parametrize("seed", range(50))
def test_only_the_assistants_words_and_their_end_are_trained(seed: int) -> None:
    messages = a_chat(random.Random(seed))
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


def test_an_open_end_is_the_whole_without_its_last_end_token() -> None:
    messages = [Message(role="user", content="a"), Message(role="assistant", content="The answer is ")]
    whole, begun = render(messages, SMALL), render(messages, SMALL, continue_last=True)
    assert begun == (whole.ids[:-1], whole.mask[:-1])
    prompt = render(messages[:1], SMALL, generation_prompt=True).ids
    assert begun.ids == prompt + SMALL.encode("The answer is ")


def test_only_an_assistants_message_can_be_gone_on_with() -> None:
    user, assistant = Message(role="user", content="a"), Message(role="assistant", content="b")
    with pytest.raises(UserError, match="the user's; only an assistant's"):
        render([user], SMALL, continue_last=True)
    with pytest.raises(UserError, match="missing; only an assistant's"):
        render([], SMALL, continue_last=True)
    with pytest.raises(UserError, match="not both"):
        render([user, assistant], SMALL, continue_last=True, generation_prompt=True)


def test_an_unknown_role_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="'tool' was found; phi-4 knows system, user, assistant"):
        turn_head("tool", SMALL)


def test_generation_stops_on_both_ends_and_never_on_padding() -> None:
    assert stop_ids(SMALL) == {SMALL.im_end, SMALL.endoftext}


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


def in_transformers(tokenizer: Tokenizer, folder: Path, *, strips: bool) -> Callable[..., Any]:
    """transformers' `apply_chat_template` on our files; `strips` sets the flags of the published special tokens."""
    from transformers import PreTrainedTokenizerFast

    tokenizer.save(folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for token in data["added_tokens"]:
        token |= {"lstrip": strips, "rstrip": strips}
    path.write_text(json.dumps(data), encoding="utf-8")
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    return lambda messages, **options: theirs.apply_chat_template(
        plain(messages), **{"tokenize": True, "return_dict": False} | options
    )


def check_chats(tokenizer: Tokenizer, folder: Path, n: int) -> None:
    """`n` adversarial chats: loosely as the published files, and in our own way wherever no text names a token."""
    published = in_transformers(tokenizer, folder / "published", strips=True)
    keeping = in_transformers(tokenizer, folder / "keeping", strips=False)
    rng = random.Random(0)
    n_plain = 0
    for i in range(n):
        chat = a_chat(rng)
        prompt = rng.random() < 0.5
        loose = render(chat, tokenizer, generation_prompt=prompt, like_transformers=True)
        assert loose.ids == published(chat, add_generation_prompt=prompt), i
        assert len(loose.mask) == len(loose.ids)
        if not any(name in message.content for message in chat for name in SPECIALS):
            n_plain += 1
            assert render(chat, tokenizer, generation_prompt=prompt).ids == keeping(chat, add_generation_prompt=prompt)
        if chat[-1].role == "assistant" and not prompt:
            loose = render(chat, tokenizer, continue_last=True, like_transformers=True)
            assert loose.ids == published(chat, continue_final_message=True), i
    assert n_plain > n / 50


def test_a_thousand_chats_are_rendered_as_by_transformers(tmp_path: Path) -> None:
    check_chats(SMALL, tmp_path, 1000)


@pytest.mark.parity
def test_ten_thousand_chats_are_rendered_as_by_transformers(phi_4: Tokenizer, tmp_path: Path) -> None:
    check_chats(phi_4, tmp_path, 10_000)


GENERATING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}<|im_sep|>{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
)
"""The published layout, with what the assistant generates marked for transformers."""


def check_masks(tokenizer: Tokenizer, folder: Path, n: int) -> None:
    """`n` chats of which no text names a special token: ids and what is trained, as transformers finds it."""
    theirs = in_transformers(tokenizer, folder, strips=False)
    told = {"return_dict": True, "return_assistant_tokens_mask": True, "chat_template": GENERATING}
    rng, n_trained = random.Random(1), 0
    for i in range(n):
        chat = a_chat(rng)
        while any(name in message.content for message in chat for name in SPECIALS):
            chat = [one.model_copy(update={"content": a_text(rng)}) for one in chat]
        ids, mask = render(chat, tokenizer)
        found = theirs(chat, **told)
        assert (ids, mask) == (found["input_ids"], found["assistant_masks"]), i
        n_trained += sum(mask)
    assert n_trained > n


def test_two_hundred_chats_are_trained_where_transformers_says(tmp_path: Path) -> None:
    check_masks(SMALL, tmp_path, 200)


@pytest.mark.parity
def test_ten_thousand_chats_are_trained_where_transformers_says(phi_4: Tokenizer, tmp_path: Path) -> None:
    check_masks(phi_4, tmp_path, 10_000)
