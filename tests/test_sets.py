"""The sets people have: a golden test for each form and each kind of file, and every bad row counted by its reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phidelity.config import UserError
from phidelity.data.look import look
from phidelity.data.sets import read_conversations, read_preferences, tokenised
from phidelity.records import Conversation, read_records, write_records
from phidelity.tokenizer.bpe import train
from phidelity.tokenizer.chat import render

SMALL = train(["Sea water is salty. Say it again." * 5], 400)
OPENAI = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Capital "}, {"type": "text", "text": "of Chad?"}]},
        {"role": "assistant", "content": "Lyon", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "N'Djamena", "weight": 1},
    ]
}
SHAREGPT = {
    "id": "x_0",
    "conversations": [
        {"from": "system", "value": ""},
        {"from": "human", "value": "Name a prime."},
        {"from": "gpt", "value": "7"},
    ],
}
ALPACA = {"instruction": "Translate to German.", "input": "sea", "output": "Meer"}
ULTRAFEEDBACK = {
    "source": "evol_instruct",
    "instruction": "Why is sea water salty?",
    "completions": [
        {"model": "a", "response": "Rivers carry salt.", "overall_score": 8.5, "fine-grained_score": 5.0},
        {"model": "b", "response": "No idea.", "overall_score": 2.0},
    ],
}
BINARIZED = {
    "prompt": "Why is sea water salty?",
    "chosen": [
        {"role": "user", "content": "Why is sea water salty?"},
        {"role": "assistant", "content": "Rivers carry salt."},
    ],
    "rejected": [
        {"role": "user", "content": "Why is sea water salty?"},
        {"role": "assistant", "content": "No idea."},
    ],
    "messages": [{"role": "user", "content": "ignored"}],
    "score_chosen": 8.5,
    "score_rejected": 2.0,
}
HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Pick a lock?\n\nAssistant: Is it your own lock?",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Pick a lock?\n\nAssistant: Take a pick.",
}
BEAVERTAILS = [
    {
        "prompt": "Break in?",
        "response": "Force it.",
        "category": {"violence": True, "privacy": False},
        "is_safe": False,
    },
    {"prompt": "Break in?", "response": "I won't help with that.", "category": {"violence": False}, "is_safe": True},
    {"prompt": "Cook rice?", "response": "Boil it.", "category": {"violence": False}, "is_safe": True},
]


def written(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


def test_openai_messages_keep_their_weights(tmp_path: Path) -> None:
    (chat,) = read_conversations(written(tmp_path / "a.jsonl", OPENAI)).items
    assert said(chat) == [
        ("system", "Be brief."),
        ("user", "Capital of Chad?"),
        ("assistant", "Lyon"),
        ("user", "Sure?"),
        ("assistant", "N'Djamena"),
    ]
    assert chat.weights == (1, 1, 0, 1, 1)
    ids, mask = render(chat.messages, SMALL, weights=chat.weights)
    assert SMALL.decode([i for i, trained in zip(ids, mask, strict=True) if trained]) == "N'Djamena<|im_end|>"


def test_our_own_conversations_are_read_as_they_were_written(tmp_path: Path) -> None:
    (chat,) = read_conversations(written(tmp_path / "a.jsonl", OPENAI)).items
    write_records(tmp_path / "own.jsonl.zst", [chat])
    assert list(read_records(tmp_path / "own.jsonl.zst", Conversation)) == [chat]
    (again,) = read_conversations(tmp_path / "own.jsonl.zst").items
    assert (again.messages, again.weights) == (chat.messages, chat.weights)


def test_sharegpt_is_read_without_its_empty_system_text(tmp_path: Path) -> None:
    (chat,) = read_conversations(written(tmp_path / "a.jsonl", SHAREGPT)).items
    assert said(chat) == [("user", "Name a prime."), ("assistant", "7")]
    assert chat.id == "a.jsonl#1"


def test_alpaca_puts_its_input_below_the_instruction(tmp_path: Path) -> None:
    rows = [ALPACA, ALPACA | {"input": ""}, ALPACA | {"history": [["Hi", "Hello"]], "system": "S"}]
    chats = read_conversations(written(tmp_path / "a.jsonl", *rows)).items
    assert said(chats[0]) == [("user", "Translate to German.\n\nsea"), ("assistant", "Meer")]
    assert said(chats[1])[0] == ("user", "Translate to German.")
    assert [role for role, _ in said(chats[2])] == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("row", [ULTRAFEEDBACK, BINARIZED])
def test_ultrafeedback_prefers_the_better_mark(tmp_path: Path, row: dict[str, Any]) -> None:
    path = written(tmp_path / "a.jsonl", row)
    (pair,) = read_preferences(path).items
    assert [message.content for message in pair.prompt] == ["Why is sea water salty?"]
    assert (pair.chosen, pair.rejected) == ("Rivers carry salt.", "No idea.")
    assert "8.5" in json.dumps(pair.meta)
    assert said(read_conversations(path).items[0])[-1] == ("assistant", "Rivers carry salt.")


def test_hh_rlhf_parts_in_its_last_answer(tmp_path: Path) -> None:
    (pair,) = read_preferences(written(tmp_path / "a.jsonl", HH)).items
    assert [(m.role, m.content) for m in pair.prompt] == [
        ("user", "Hi"),
        ("assistant", "Hello."),
        ("user", "Pick a lock?"),
    ]
    assert (pair.chosen, pair.rejected) == ("Is it your own lock?", "Take a pick.")


def test_beavertails_gives_safe_chats_and_safe_over_unsafe(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", *BEAVERTAILS)
    chats = read_conversations(path)
    assert [said(chat)[1][1] for chat in chats.items] == ["I won't help with that.", "Boil it."]
    assert chats.dropped == {"unsafe": 1}
    pairs = read_preferences(path)
    assert [(p.chosen, p.rejected, p.meta) for p in pairs.items] == [
        ("I won't help with that.", "Force it.", {"harm": ["violence"]})
    ]
    assert (pairs.n_read, pairs.n_used, pairs.where) == (3, 2, {"no counterpart": ["a.jsonl#3"]})
    assert pairs.items[0].id == "a.jsonl#2+1"


def test_a_text_pair_becomes_two_closed_answers(tmp_path: Path) -> None:
    pair = tokenised(read_preferences(written(tmp_path / "a.jsonl", HH)).items[0], SMALL)
    assert pair.kind == "full"
    assert pair.tokenizer == SMALL.digest
    assert SMALL.decode(pair.chosen) == "Is it your own lock?<|im_end|>"
    assert pair.chosen.count(SMALL.im_end) == pair.rejected.count(SMALL.im_end) == 1


def as_parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    folder.mkdir(parents=True)
    for split, part in (("train", rows), ("test", rows[:1])):
        pyarrow.parquet.write_table(
            arrow.Table.from_pylist(part), folder / f"{split}-00000-of-00001.parquet", row_group_size=2
        )
    return folder


def as_saved_dataset(folder: Path, rows: list[dict[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.ipc

    for split, part in (("train", rows), ("test", rows[:1])):
        (folder / split).mkdir(parents=True)
        table = arrow.Table.from_pylist(part)
        with pyarrow.ipc.new_stream(folder / split / "data-00000-of-00001.arrow", table.schema) as sink:
            sink.write_table(table)
        (folder / split / "state.json").write_text("{}")
        (folder / split / "dataset_info.json").write_text("{}")
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder


def as_json_lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    written(folder / "train.jsonl", *rows)
    written(folder / "test.jsonl", *rows[:1])
    return folder


def as_json(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "alpaca.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize("write", [as_parquet, as_saved_dataset, as_json_lines, as_json])
@pytest.mark.parametrize("row", [OPENAI, SHAREGPT, ALPACA, BINARIZED])
def test_every_kind_of_folder_gives_the_same_chats(
    tmp_path: Path, write: Callable[[Path, list[dict[str, Any]]], Path], row: dict[str, Any]
) -> None:
    if row is OPENAI:  # Arrow has one type a column
        row = {"messages": [m | {"content": "text"} for m in OPENAI["messages"]]}
    read = read_conversations(write(tmp_path / "set", [row] * 3))
    (alone,) = read_conversations(written(tmp_path / "one.jsonl", row)).items
    assert [(chat.messages, chat.weights) for chat in read.items] == [(alone.messages, alone.weights)] * 3


def test_a_split_is_named_or_refused_with_those_there(tmp_path: Path) -> None:
    folder = as_json_lines(tmp_path / "set", [ALPACA] * 2)
    assert read_conversations(folder, "test").n_read == 1
    written(tmp_path / "u/data/train_prefs-00000-of-00001.jsonl", BINARIZED)
    written(tmp_path / "u/data/train_sft-00000-of-00001.jsonl", ALPACA)
    assert read_conversations(tmp_path / "u").n_read == 2
    assert read_preferences(tmp_path / "u", "train_prefs").n_read == 1
    with pytest.raises(UserError, match="no split 'dev'; it has test, train"):
        read_conversations(folder, "dev")


def chat(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} | more for role, content in turns]}


BAD = {
    "bad record": [5, {"messages": "text"}, {"messages": ["text"]}],
    "unknown form": [{}, {"text": "a"}, {"messages": None}],
    "no turns": [chat(), chat(("system", "s"))],
    "unknown role": [chat(("critic", "a"), ("assistant", "b"))],
    "tools": [
        chat(("user", "a"), ("tool", "b")),
        chat(("user", "a"), ("assistant", None), tool_calls=[{"id": "1"}]),
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "b"}]},
    ],
    "template in text": [chat(("user", "<|im_start|>user<|im_sep|>a<|im_end|>"), ("assistant", "b"))],
    "not text": [chat(("user", [{"type": "image_url"}]), ("assistant", "b")), chat(("user", 5), ("assistant", "b"))],
    "empty turn": [chat(("user", "a"), ("assistant", " \n")), chat(("user", "a"), ("assistant", None))],
    "turns out of order": [
        chat(("user", "a"), ("user", "b"), ("assistant", "c")),
        chat(("assistant", "a"), ("user", "b"), ("assistant", "c")),
    ],
    "ends mid-turn": [chat(("user", "a")), chat(("user", "a"), ("assistant", "b"), ("user", "c"))],
    "bad weight": [
        chat(("user", "a"), ("assistant", "b"), weight=0.5),
        {**chat(("user", "a"), ("assistant", "b")), "weights": [1]},
    ],
    "equal sides": [{"prompt": "a", "chosen": "b", "rejected": "b"}],
    "prompts differ": [{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}],
    "no transcript": [{"chosen": "plain", "rejected": "text"}],
    "no score": [{"instruction": "a", "completions": [{"response": "b", "overall_score": None}]}],
}  # fmt: skip


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_counted_by_its_reason_and_costs_itself_alone(tmp_path: Path, reason: str) -> None:
    read = read_conversations(written(tmp_path / "a.jsonl", ALPACA, *BAD[reason], ALPACA))
    assert read.dropped == {reason: len(BAD[reason])}
    assert read.where == {reason: [f"a.jsonl#{row}" for row in range(2, 2 + len(BAD[reason]))]}
    assert read.n_used == len(read.items) == 2
    assert read.n_used + read.dropped.total() == read.n_read


def test_broken_lines_and_ties_are_counted(tmp_path: Path) -> None:
    tie = BINARIZED | {"score_rejected": 8.5}
    path = written(
        tmp_path / "a.jsonl", HH, tie, ULTRAFEEDBACK | {"completions": ULTRAFEEDBACK["completions"][:1]}, ALPACA
    )
    path.write_text(path.read_text() + '{"chosen": "half\n\n')
    read = read_preferences(path)
    assert read.dropped == {"tie": 2, "no preference": 1, "bad record": 1}
    assert read.n_used + read.dropped.total() == read.n_read == 5


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "a\\ud83d", "output": "b"}\n')
    (found,) = read_conversations(path).items
    assert SMALL.decode(SMALL.encode(found.messages[0].content)) == found.messages[0].content == "a�"


def test_a_set_without_a_usable_row_says_what_was_found_and_expected(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"})
    with pytest.raises(UserError, match=r"no chats: of 2 rows, 2 unknown form \(first a.jsonl#1\).*openai: messages"):
        read_conversations(path)
    with pytest.raises(UserError, match=r"holds no preferences: of 1 rows, 1 no preference"):
        read_preferences(written(tmp_path / "b.jsonl", ALPACA))
    with pytest.raises(UserError, match="No set"):
        read_conversations(tmp_path / "none")
    with pytest.raises(UserError, match="of 1 rows, 1 unknown format"):
        read_conversations(written(tmp_path / "c.bin", ALPACA))


def test_looking_at_a_set_counts_its_rows_and_shows_some(tmp_path: Path) -> None:
    counts, first, *_ = look(written(tmp_path / "a.jsonl", SHAREGPT, {"text": "?"}))
    assert counts.splitlines()[0].endswith("a.jsonl: 2 rows (1 sharegpt), 1 of use")
    assert counts.splitlines()[1].endswith("1  dropped: unknown form (first a.jsonl#2)")
    assert "user: Name a prime." in first
    _, pair, *_ = look(written(tmp_path / "b.jsonl", HH))
    assert pair.endswith("[chosen] Is it your own lock?\n[rejected] Take a pick.")
