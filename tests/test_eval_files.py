"""Damaged evaluation files: one clear line that names the file."""

import gzip

import pytest

from phidelity.config import UserError
from phidelity.eval.files import read_jsonl, read_tsv
from phidelity.eval.folder import load
from phidelity.eval.suite import benchmark


@pytest.mark.parametrize(
    "line",
    [b"null", b"7", b'"question answer"', b"[" * 200_000, b"\xff", b'{"question": 1'],
    ids=lambda line: line[:16],
)
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    (tmp_path / "x.jsonl").write_bytes(b'{"question": "a"}\n' + line + b"\n")
    with pytest.raises(UserError, match=r"x\.jsonl is damaged"):
        read_jsonl(tmp_path / "x.jsonl", ["question"])


def test_damaged_compression_and_encoding_are_named(tmp_path):
    whole = gzip.compress(b'{"question": "a"}\n' * 1000)
    (tmp_path / "x.jsonl.gz").write_bytes(whole[:20] + bytes(20) + whole[40:])
    with pytest.raises(UserError, match=r"x\.jsonl\.gz is damaged"):
        read_jsonl(tmp_path / "x.jsonl.gz", ["question"])
    (tmp_path / "x.tsv").write_bytes(b"a\xff\t1\n")
    with pytest.raises(UserError, match=r"x\.tsv is damaged"):
        read_tsv(tmp_path / "x.tsv")


def test_values_of_another_kind_are_one_line(tmp_path):
    row = b'{"task_id": 1, "prompt": 2, "canonical_solution": 3, "test": 4, "entry_point": 5}\n'
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(gzip.compress(row))
    with pytest.raises(UserError, match="values of another kind") as caught:
        load(benchmark("humaneval"), tmp_path)
    assert "\n" not in str(caught.value)
