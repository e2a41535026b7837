"""Files of prompts: answered in order, resumed after a kill, and refused by line where they are wrong."""

import errno
import json
import time
from pathlib import Path

import pytest

from phidelity.cached import CachedCompleter
from phidelity.completion import Capabilities, Completion, SamplingParams, Usage, asked
from phidelity.config import UserError
from phidelity.engine.offline import answer_file, check_out
from phidelity.engine.prompts import read_prompts
from phidelity.records import Conversation

PARAMS = SamplingParams(temperature=0.5, max_tokens=9)


class Echo:
    """Answers with what it was asked and how; may die on the way."""

    name = "echo"
    capabilities = Capabilities()

    def __init__(self, dies_after: int = 10**9) -> None:
        self.n_paid, self.dies_after = 0, dies_after

    def complete(self, prompts, params, on_done=None):
        completions = {}
        asks = asked(prompts, params)
        for place in reversed(range(len(asks))):
            prompt, repeat, choice = asks[place]
            if self.n_paid >= self.dies_after:
                raise KeyboardInterrupt
            self.n_paid += 1
            said = prompt.messages[-1].content if isinstance(prompt, Conversation) else prompt
            is_long = len(said) > 50
            completions[place] = Completion(
                text="" if is_long else f"{said}/{repeat}/{params.temperature}/{params.seed}",
                finish_reason="context_exceeded" if is_long else "stop",
                usage=Usage(prompt_tokens=len(said), completion_tokens=1),
                index=choice,
            )
            if on_done:
                on_done(place, completions[place])
        return [completions[place] for place in range(len(asks))]

    def logprobs(self, prompts):
        raise TypeError


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_answers_come_in_the_order_of_the_prompts_with_their_ids(tmp_path):
    chat = {"id": "b", "messages": [{"role": "user", "content": "hello"}]}
    source = write(
        tmp_path / "in.jsonl", [{"prompt": "one"}, "", chat, {"prompt": "line\u2028break"}, {"prompt": "x" * 60}]
    )
    assert answer_file(Echo(), source, tmp_path / "out.jsonl", PARAMS) == 4
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == ["0", "b", "2", "3"]
    assert [row["text"] for row in rows] == ["one/0/0.5/0", "hello/0/0.5/0", "line\u2028break/0/0.5/0", ""]
    assert rows[3]["finish_reason"] == "context_exceeded"
    assert set(rows[0]) == {"id", "text", "tokens", "logprobs", "finish_reason", "usage"}
    assert not list(tmp_path.glob("*.partial"))


def test_a_line_may_have_parameters_of_its_own(tmp_path):
    rows = [
        {"prompt": "a"},
        {"prompt": "a", "params": {"seed": 5, "n": 2}},
        {"prompt": "a", "params": {"temperature": 0}},
    ]
    source = write(tmp_path / "in.jsonl", [*rows, {"prompt": "a"}])
    assert answer_file(Echo(), source, tmp_path / "out.jsonl", PARAMS, raw=True) == 5
    told = rows_of(tmp_path / "out.jsonl")
    assert [row["text"] for row in told] == ["a/0/0.5/0", "a/0/0.5/5", "a/1/0.5/5", "a/0/0.0/0", "a/1/0.5/0"]
    assert [row.get("index", 0) for row in told] == [0, 0, 1, 0, 0]


def test_a_killed_run_goes_on_and_ends_in_the_bytes_of_an_unbroken_one(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": f"p{n % 7}", "params": {"seed": n % 2}} for n in range(20)])
    answer_file(Echo(), source, tmp_path / "whole.jsonl", PARAMS)
    out, n_paid = tmp_path / "out.jsonl", 0
    for dies_after in (1, 5, 0, 9):
        echo = Echo(dies_after)
        with pytest.raises(KeyboardInterrupt):
            answer_file(echo, source, out, PARAMS)
        n_paid += echo.n_paid
        assert not out.exists()
        torn = (tmp_path / "out.jsonl.partial").read_bytes()[:-3]
        (tmp_path / "out.jsonl.partial").write_bytes(torn)
    last = Echo()
    answer_file(last, source, out, PARAMS)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert n_paid + last.n_paid <= 20 + 4, "only what was torn is asked again"
    assert not list(tmp_path.glob("*.partial"))


def test_answers_of_other_parameters_are_not_taken_for_these(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    with pytest.raises(KeyboardInterrupt):
        answer_file(Echo(1), source, tmp_path / "out.jsonl", PARAMS)
    answer_file(Echo(), source, tmp_path / "out.jsonl", SamplingParams(temperature=0.25))
    assert [row["text"] for row in rows_of(tmp_path / "out.jsonl")] == ["a/0/0.25/0", "b/0/0.25/0"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{bad", r"line 2: found '\{bad'"),
        ("[1]", r"line 2: .*\(a list, no object\)"),
        ("7", r"line 2: .*\(a number, no object\)"),
        ('{"text": "a"}', "unknown: 'text'"),
        ('{"id": "a"}', "no 'prompt'"),
        ('{"prompt": 5}', "the prompt is no text"),
        ('{"prompt": ""}', "or an empty one"),
        ('{"messages": []}', "no messages"),
        ('{"messages": [{"role": "judge", "content": "a"}]}', "role"),
        ('{"prompt": "a", "params": {"temperature": -1}}', "temperature is -1.0; expected 0 or more"),
        ('{"prompt": "a", "params": {"temprature": 1}}', "temprature: Extra inputs are not permitted"),
        ('{"prompt": "a", "params": {"top_p": "high"}}', "top_p: "),
        ('{"prompt": "a", "params": [1]}', "params: a list, no object"),
        ('{"prompt": "a", "params": []}', "params: a list, no object"),
        ('{"prompt": "a", "params": ""}', "params: a text, no object"),
        ('{"prompt": "a", "params": 0}', "params: a number, no object"),
        ('{"prompt": "a", "parms": {}}', "unknown: 'parms'"),
        ('{"prompt": "a", "messages": [{"role": "user", "content": "a"}]}', "both a prompt and messages"),
        ('{"prompt": "\\ud800x"}', "half of a surrogate pair"),
        ('{"id": "\\ud800", "prompt": "a"}', "half of a surrogate pair"),
        ('{"id": [1], "prompt": "a"}', "id: a list, neither text nor number"),
        ('{"id": true, "prompt": "a"}', "id: true or false"),
        ("[" * 100_000, "nested too deep"),
        ('{"prompt": "a", "params": {"top_k": 2147483648}}', "top_k is 2147483648"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, message):
    source = write(tmp_path / "in.jsonl", [{"prompt": "fine"}, line])
    with pytest.raises(UserError, match=message):
        read_prompts(source, PARAMS)


def test_an_id_that_is_given_twice_is_refused_with_both_lines(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "id": "x"}, {"prompt": "b"}, {"prompt": "c", "id": "x"}])
    with pytest.raises(UserError, match=r"line 3: .*\(id 'x' is line 1's already\)"):
        read_prompts(source, PARAMS)


def test_a_line_without_an_id_gets_one_that_no_other_has(tmp_path):
    rows = [{"id": "1"}, {}, {"id": None}, {"id": None}, {"id": "3"}]
    source = write(tmp_path / "in.jsonl", [{**row, "prompt": "a"} for row in rows])
    assert [line.id for line in read_prompts(source, PARAMS)] == ["1", "#1", "2", "#3", "3"]


def test_all_bad_lines_are_named_up_to_five_and_nothing_is_asked(tmp_path):
    source = write(tmp_path / "in.jsonl", ["x"] * 8)
    echo = Echo()
    with pytest.raises(UserError, match=r"line 1: .*line 5: .*; 3 more. Expected one JSON object"):
        answer_file(echo, source, tmp_path / "out.jsonl", PARAMS)
    assert echo.n_paid == 0
    assert not (tmp_path / "out.jsonl.partial").exists()


def test_files_that_are_empty_binary_or_their_own_answer_are_refused(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        read_prompts(write(tmp_path / "empty.jsonl", ["", ""]), PARAMS)
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text"):
        read_prompts(tmp_path / "binary.jsonl", PARAMS)
    source = write(tmp_path / "in.jsonl", [{"prompt": "a"}])
    with pytest.raises(UserError, match="would be overwritten"):
        answer_file(Echo(), source, source, PARAMS)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        answer_file(Echo(), source, tmp_path / "folder", PARAMS)


@pytest.mark.parametrize("name", ["out.jsonl.partial", "out.jsonl.tmp"])
def test_prompts_that_the_answers_would_be_kept_in_are_left_alone(tmp_path, name):
    source = write(tmp_path / name, [{"prompt": "a"}])
    before = source.read_bytes()
    with pytest.raises(UserError, match="would be overwritten"):
        answer_file(Echo(), source, tmp_path / "out.jsonl", PARAMS)
    assert source.read_bytes() == before


def test_a_file_in_the_way_of_the_kept_answers_is_left_alone(tmp_path):
    source, notes = write(tmp_path / "in.jsonl", [{"prompt": "a"}]), tmp_path / "out.jsonl.partial"
    for text in ("my notes", "{}\n", '{"prompt": "b"}\n'):
        notes.write_text(text)
        with pytest.raises(UserError, match="holds no answers of an earlier run"):
            answer_file(Echo(), source, tmp_path / "out.jsonl", PARAMS)
        assert notes.read_text() == text
    for torn in ("", '{"k', '{"key": "ab'):
        notes.write_text(torn)
        check_out(source, tmp_path / "out.jsonl")


def test_a_second_run_of_the_same_answers_is_refused_while_the_first_goes_on(tmp_path):
    source, out = write(tmp_path / "in.jsonl", [{"prompt": "a"}]), tmp_path / "out.jsonl"

    class Second(Echo):
        def complete(self, prompts, params, on_done=None):
            with pytest.raises(UserError, match="Another run is writing"):
                answer_file(Echo(), source, out, PARAMS)
            return super().complete(prompts, params, on_done)

    assert answer_file(Second(), source, out, PARAMS) == 1
    assert [row["text"] for row in rows_of(out)] == ["a/0/0.5/0"]


def test_a_run_that_is_stopped_begins_nothing_more(tmp_path):
    rows = [{"prompt": "a", "params": {"seed": seed}} for seed in range(1000)]
    echo = Slow(dies_after=1)
    with pytest.raises(KeyboardInterrupt):
        answer_file(echo, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", PARAMS)
    assert echo.n_begun < 900


class Slow(Echo):
    """Takes a moment for each call."""

    n_begun = 0

    def complete(self, prompts, params, on_done=None):
        self.n_begun += 1
        time.sleep(0.02)
        return super().complete(prompts, params, on_done)


def test_parameters_that_the_model_cannot_follow_are_told_with_their_line(tmp_path):
    def check(params: SamplingParams) -> None:
        if params.stop_ids:
            raise UserError("stop_ids names token 9")

    source = write(tmp_path / "in.jsonl", [{"prompt": "a"}, {"prompt": "b", "params": {"stop_ids": [9]}}])
    echo = Echo()
    with pytest.raises(UserError, match=r"line 2: .*\(stop_ids names token 9\)"):
        answer_file(echo, source, tmp_path / "out.jsonl", PARAMS, check=check)
    assert echo.n_paid == 0


class Full:
    """A file on a disk without room."""

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_with_the_file(tmp_path):
    cached = CachedCompleter(Echo(), tmp_path / "out.jsonl.partial")
    cached.close()
    cached._file = Full()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(OSError, match=r"No space left on device: .*out\.jsonl\.partial"):
        cached.complete(["a"], PARAMS)
