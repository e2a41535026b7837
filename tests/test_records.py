"""Records at rest: what is written is read, and what is damaged is named by file and line."""

import json

import pytest
import zstandard
from pydantic import ValidationError

from phidelity.config import UserError
from phidelity.records import (
    Conversation,
    Document,
    Message,
    PreferencePair,
    Problem,
    Score,
    atomic,
    read_records,
    write_json,
    write_records,
)

DOCUMENT = Document(id="a/1", text="Grüße,\n\u2028 0 < 1", source="test", meta={"group": "web", "n": 3})
RECORDS = [
    DOCUMENT,
    Conversation(id="c", messages=(Message(role="user", content="hi"), Message(role="assistant", content="ho"))),
    PreferencePair(
        id="p",
        kind="token",
        prompt=(Message(role="user", content="2+2"),),
        prefix=(1, 2),
        chosen=(3,),
        rejected=(4,),
        tokenizer="t",
    ),
    Problem(id="m/0", prompt="2+2?", reference="4", checker="number"),
    Score(value=None, explanation="no sandbox"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.zst"])
def test_a_record_reads_as_it_was_written(tmp_path, record, name):
    assert write_records(tmp_path / name, [record, record]) == 2
    assert list(read_records(tmp_path / name, type(record))) == [record, record]


def test_equal_records_give_equal_bytes(tmp_path):
    for name in ("a.jsonl.zst", "b.jsonl.zst"):
        write_records(tmp_path / name, [DOCUMENT] * 100)
    assert (tmp_path / "a.jsonl.zst").read_bytes() == (tmp_path / "b.jsonl.zst").read_bytes()


def test_a_record_is_frozen_and_refuses_unknown_fields():
    with pytest.raises(ValidationError):
        DOCUMENT.text = "other"
    with pytest.raises(ValidationError):
        Document(id="a", text="b", source="c", language="en")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"No file .*gone.jsonl; expected Document records"):
        list(read_records(tmp_path / "gone.jsonl", Document))


def test_a_line_of_another_kind_is_named_by_its_number(tmp_path):
    path = tmp_path / "mixed.jsonl"
    path.write_text(DOCUMENT.model_dump_json() + "\n" + json.dumps({"question": "?"}) + "\n")
    with pytest.raises(UserError, match=r"mixed.jsonl, line 2: not a Document"):
        list(read_records(path, Document))


def test_a_torn_last_line_is_named(tmp_path):
    path = tmp_path / "torn.jsonl"
    path.write_text(DOCUMENT.model_dump_json() + "\n" + DOCUMENT.model_dump_json()[:20])
    with pytest.raises(UserError, match=r"torn.jsonl, line 2"):
        list(read_records(path, Document))


def test_a_compressed_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "not.jsonl.zst").write_bytes(b"plain text")
    with pytest.raises(UserError, match=r"not.jsonl.zst is damaged"):
        list(read_records(tmp_path / "not.jsonl.zst", Document))


def test_a_truncated_compressed_file_is_not_read_as_whole(tmp_path):
    path = tmp_path / "cut.jsonl.zst"
    write_records(path, [Document(id=str(i), text=f"{i * i}", source="test") for i in range(5000)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cut.jsonl.zst"):
        list(read_records(path, Document))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "x.json").read_text() == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(TypeError), atomic(tmp_path / "x.json", "w") as file:
        file.writelines(["half", None])
    assert json.loads((tmp_path / "x.json").read_text())["b"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_compressed_file_cut_between_two_lines_is_not_read_as_whole(tmp_path):
    whole = zstandard.ZstdCompressor().compressobj()
    record = Document(id="1", text="one", source="test").model_dump_json().encode() + b"\n"
    path = tmp_path / "cut.jsonl.zst"
    path.write_bytes(whole.compress(record) + whole.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    with pytest.raises(UserError, match="damaged after line 1"):
        list(read_records(path, Document))
