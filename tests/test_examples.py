"""Every file of examples/ runs as its docstring says, on a small model of random weights."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from chat_world import small_model

from phidelity.records import Conversation, Message, write_records

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


def run(name: str, *arguments: str | Path) -> str:
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_batch_gives_every_answer_in_order(model):
    lines = [line for line in run("batch.py", model).splitlines() if line.startswith("What is ")]
    assert [line.split("'")[0].split('"')[0].strip() for line in lines] == [
        f"What is {n} + {n}? [{i}]" for n in (2, 13, 40) for i in (0, 1)
    ]


def test_a_stream_prints_and_ends(model):
    assert run("stream.py", model, "Where is the cat?").strip()


def test_structured_answers_keep_to_the_schema(model):
    pytest.importorskip("llguidance")
    found = json.loads(run("structured.py", model))
    assert set(found) == {"apples", "sure"}
    assert 0 <= found["apples"] <= 99


def test_texts_are_scored(model):
    first, second = run("score.py", model).splitlines()
    assert first.startswith("'7 apples.': -")
    assert " nats over " in second


def test_a_stage_trains_on_conversations_of_ones_own(model, tmp_path):
    said = (Message(role="user", content="Where is the cat?"), Message(role="assistant", content="On the mat."))
    write_records(tmp_path / "talk.jsonl", [Conversation(id=str(i), messages=said) for i in range(12)])
    out = run("train_stage.py", model, tmp_path / "talk.jsonl", tmp_path / "out")
    assert "phi chat" in out
    assert json.loads((tmp_path / "out" / "sft" / "model" / "config.json").read_text())["num_hidden_layers"] == 2


def test_the_page_names_every_example_and_only_names_that_are_there():
    page = (EXAMPLES.parent / "docs" / "python.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"examples/{path.name}" not in page] == []
    rows = re.findall(r"^\| (`phidelity.*?) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 10
    for where, names in rows:
        modules = [importlib.import_module(name) for name in re.findall(r"`(phidelity[\w.]*)`", where)]
        for name in re.findall(r"`(\w+)`", names):
            assert any(hasattr(module, name) for module in modules), name
