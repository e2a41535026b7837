"""The terminal chat: its commands on a small model of random weights, in a pipe and on a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_world import small_model
from conftest import phi_process

from phidelity.cli.dialogue import COMMANDS, Dialogue, Leave
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import LLM, open_model
from phidelity.records import Conversation, Message, read_records, write_records
from phidelity.terminal import ask, printable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def llm(folder):
    llm = open_model(folder, n_running=2)
    yield llm
    llm.close()


class Heard:
    """A dialogue and all that it showed and told."""

    def __init__(self, llm: LLM, **how: object) -> None:
        self.shown: list[str] = []
        self.told: list[str] = []
        params = SamplingParams(**{"max_tokens": 6, "ignore_end": True, **how})
        self.dialogue = Dialogue(llm, params, show=self.shown.append, tell=self.told.append)

    def __call__(self, *lines: str) -> str:
        """What was told of these lines; answers lie in `turns`."""
        before = len(self.told)
        for line in lines:
            self.dialogue.hear(line)
        return "\n".join(self.told[before:])

    @property
    def turns(self) -> list[str]:
        return [turn.content for turn in self.dialogue.turns]


def test_an_answer_is_that_of_the_engine_and_its_figures_are_told(llm):
    heard = Heard(llm)
    told = heard("the cat")
    asked = Conversation(id="x", messages=(Message(role="user", content="the cat"),))
    (completion,) = llm.complete([asked], heard.dialogue.params)
    assert heard.turns == ["the cat", completion.text]
    assert "".join(heard.shown) == completion.text + "\n"
    assert "6 tokens, " in told
    assert "first after " in told
    assert f"context {completion.usage.prompt_tokens + 6} of 160, cut off at max_tokens 6" in told


def test_the_system_prompt_is_part_of_what_is_asked_until_it_is_off(llm):
    heard = Heard(llm)
    assert heard("/system the mat") == "System prompt: the mat"
    heard("the cat")
    roles = [Message(role="system", content="the mat"), Message(role="user", content="the cat")]
    (completion,) = llm.complete([Conversation(id="x", messages=tuple(roles))], heard.dialogue.params)
    assert heard.turns[1] == completion.text
    assert heard("/system off") == "No system prompt." == heard("/system")


def test_retry_asks_again_with_other_chances_and_undo_takes_back(llm):
    heard = Heard(llm, temperature=1.5, max_tokens=12)
    heard("the cat")
    first = heard.turns
    heard("/retry")
    assert heard.turns[0] == first[0]
    assert heard.turns[1] != first[1]
    assert "0 turns are left" in heard("/undo")
    with pytest.raises(UserError, match="nothing to take back"):
        heard("/undo")
    with pytest.raises(UserError, match="no question"):
        heard("/retry")
    greedy = Heard(llm)
    greedy("the cat")
    before = greedy.turns
    assert "temperature 0.8" in greedy("/retry")
    assert greedy.turns == before


def test_what_cannot_be_set_is_refused_and_changes_nothing(llm):
    heard = Heard(llm)
    assert heard("/set temperature 0.7") == "temperature is now 0.7."
    assert heard("/set stop 'a b' c") == "stop is now 'a b' 'c'."
    assert heard("/set top_p") == "top_p is 1.0."
    before = heard.dialogue.params
    for line, why in (
        ("/set temperature hot", "expected a number"),
        ("/set temperature -1", "0 or more"),
        ("/set colour red", "expected one of temperature"),
        ("/set stop 'open", "in quotes"),
    ):
        with pytest.raises(UserError, match=why):
            heard(line)
    assert heard.dialogue.params == before
    assert "max_tokens           6" in heard("/set")


def test_a_saved_conversation_is_loaded_again_and_is_a_record(llm, tmp_path):
    heard = Heard(llm)
    heard("/system be kind", "the cat", "the mat", f"/save {tmp_path / 'a b.jsonl'}")
    (record,) = read_records(tmp_path / "a b.jsonl", Conversation)
    assert [message.role for message in record.messages] == ["system", *["user", "assistant"] * 2]
    other = Heard(llm)
    other(f"/load {tmp_path / 'a b.jsonl'}")
    assert (other.turns, other.dialogue.system) == (heard.turns, "be kind")
    write_records(tmp_path / "odd.jsonl", [Conversation(id="x", messages=(Message(role="assistant", content="a"),))])
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "no.jsonl").write_text("{}\n")
    for name, why in (("odd", "by turns"), ("empty", "is empty"), ("no", "not a Conversation"), ("gone", "No file")):
        with pytest.raises(UserError, match=why):
            other(f"/load {tmp_path / name}.jsonl")
    assert other.turns == heard.turns, "what failed changed nothing"
    for line in ("/save", "/load"):
        with pytest.raises(UserError, match="No file was named"):
            other(line)


def test_tokens_shows_each_token_of_the_answer_with_its_chances(llm):
    heard = Heard(llm, logprobs=3)
    heard("the cat")
    lines = heard("/tokens").splitlines()
    assert len(lines) == 6
    request = heard.dialogue.last
    assert request
    said = request.result()
    for line, token, logprob in zip(lines, said.tokens, said.logprobs, strict=True):
        assert line.startswith(repr(llm.tokenizer.decode([token])))
        assert f"{logprob:.3f}" in line
    with pytest.raises(UserError, match="no answer"):
        heard("/reset", "/tokens")


def test_turns_that_do_not_fit_are_left_out_aloud_and_a_message_too_long_is_refused(llm):
    heard = Heard(llm)
    told = ""
    while "left out" not in told:
        told = heard("the cat sat on the mat and 12 cats sat there")
    assert re.match(r"The first [24] turns no longer fit 160 tokens and are left out\.\n", told)
    before = heard.turns
    with pytest.raises(UserError, match=r"The prompt has \d+ tokens; the context holds 160"):
        heard("word " * 200)
    assert heard.turns == before


def test_unknown_commands_are_named_and_slashes_can_be_said(llm):
    heard = Heard(llm)
    with pytest.raises(UserError, match="/nope is no command"):
        heard("/nope")
    heard("//etc/hosts")
    assert heard.turns[0] == "/etc/hosts"
    listed = heard("/help")
    assert all(f"/{name}" in listed for name in COMMANDS)
    with pytest.raises(Leave):
        heard("/quit")


def test_an_interrupt_stops_the_answer_and_keeps_what_was_said(llm):
    heard = Heard(llm, max_tokens=100)

    def interrupt(text: str) -> None:
        heard.shown.append(text)
        if len(heard.shown) == 3:
            raise KeyboardInterrupt

    heard.dialogue.show = interrupt
    told = heard("the cat")
    assert ", stopped" in told
    assert heard.turns[1] == "".join(heard.shown[:3])
    assert llm.stats()["running"] == 0


def test_in_a_pipe_only_answers_come_out_and_an_empty_line_begins_anew(phi, folder):
    done = phi("chat", folder, "--max-tokens", 5, stdin="the cat\n\nthe cat\n/nope\n/quit\nunheard\n")
    assert done.returncode == 1, "a message was refused"
    (completion,) = {phi("generate", folder, "--prompt", "the cat", "--max-tokens", 5).stdout}
    assert done.stdout == completion * 2
    assert "/nope is no command" in done.stderr
    assert "parameters (" in done.stderr


def test_messages_of_several_lines(monkeypatch):
    import io

    typed = 'one\\\ntwo\n"""three\n\n four\n"""\n"""five"""\nsix'
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert list(ask("> ")) == ["one\ntwo", "three\n\n four", "five", "six"]


def test_an_answer_cannot_steer_the_terminal():
    assert printable("a\x1b[2Jb\x07\x9bc\td\né\r") == "a␛[2Jb␇�c\td\né␍"


def _until(master: int, what: bytes, seconds: float = 30, after: bytes = b"") -> bytes:
    """What a program prints until `what` is in it, behind `after`."""
    seen, end = b"", time.monotonic() + seconds
    while not (after in seen and what in seen[seen.index(after) :]) and time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 4096)
    assert what in seen, seen
    return seen


def test_on_a_terminal_interrupts_end_the_answer_and_then_the_line_but_not_the_program(folder, tmp_path):
    program, master = pty.fork()
    if not program:
        os.environ |= {"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "OMP_NUM_THREADS": "1"}
        command = ["-m", "phidelity.cli.main", "chat", str(folder), "--max-tokens", "150"]
        os.execv(sys.executable, [sys.executable, *command])
    try:
        assert b"Ctrl-D ends" in _until(master, b"> ")
        os.write(master, b"\x1b[200~the cat\nsat\x1b[201~\r")
        _until(master, b"> ", after=b"context")
        os.write(master, b"half")
        _until(master, b"half")
        time.sleep(0.5)  # Python's readline sees a signal that comes while it reads a key only with the next key
        os.write(master, b"\x03")
        _until(master, b"/quit leaves")
        os.write(master, f"/save {tmp_path / 'talk.jsonl'}\r".encode())
        _until(master, b"2 turns in")
        os.write(master, b"\x04")
        assert os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]) == 0
        program = 0
    finally:
        if program:
            os.kill(program, signal.SIGKILL)
            os.waitpid(program, 0)
        os.close(master)
    said = json.loads((tmp_path / "talk.jsonl").read_text())
    assert said["messages"][0]["content"] == "the cat\nsat"
    history = tmp_path / "phidelity" / "chat_history"
    assert "the cat" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_in_a_pipe_nothing_is_dropped_and_what_was_refused_shows_in_the_status(phi, folder, tmp_path):
    whole = phi("chat", folder, "--max-tokens", 5, stdin='"""the\ncat"""\n')
    cut = phi("chat", folder, "--max-tokens", 5, stdin='"""the\ncat\n')
    assert (cut.returncode, cut.stdout) == (0, whole.stdout)
    assert cut.stdout.strip()
    assert phi("chat", folder, stdin="the cat " * 500).returncode == 1
    saved = phi(
        "chat",
        folder,
        "--max-tokens",
        5,
        stdin=f"the cat\n/save {tmp_path}/none/x.jsonl\n/adapter\n/load {tmp_path}/no\n",
    )
    assert saved.returncode == 1
    assert "no folder" in saved.stderr
    assert "No adapter was named" in saved.stderr
    assert "expected one as /save writes it" in saved.stderr
    assert not (tmp_path / "none").exists()


def test_a_chat_that_nobody_reads_ends_without_a_word_about_files(folder):
    process = phi_process("chat", folder, "--max-tokens", "20", stdin=subprocess.PIPE)
    process.stdout.close()
    process.stdout = None
    _, error = process.communicate("the cat\n" * 20, timeout=100)
    assert process.returncode == 1
    assert "None" not in error
    assert "Traceback" not in error
