"""What is drawn: plain lines with a clock that we turn, and bars on a terminal of our own."""

import io
import logging
import os
import pty
import sys

from rich.console import Console
from rich.progress import Progress

from phidelity.progress import Pace
from phidelity.terminal import Bars, Lines, aligned, clock_time, speed, watching


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_leaves_out_what_a_resumed_task_reports_at_once():
    clock = Clock()
    pace = Pace(1000, clock)
    assert pace.seconds_left is None
    pace.advance(500)
    clock.now = 10
    pace.advance(100)
    assert pace.rate == 10
    assert pace.seconds_left == 40
    assert speed(pace, "tokens") == "10 tokens/s, 0:40 left"


def test_a_log_repeats_a_long_task_every_ten_seconds():
    clock, lines = Clock(), []
    with Lines(lines.append, clock).task("pretrain", 100, "steps") as task:
        for _ in range(100):
            clock.now += 0.25
            task.advance(note="loss 2.5")
    assert len(lines) == 3
    assert lines[0].startswith("pretrain: 40/100, 4.00 steps/s, 0:15 left, loss 2.5")
    assert lines[-1].startswith("pretrain: 100/100")


def test_the_last_line_of_a_long_task_stands_once():
    clock, lines = Clock(), []
    with Lines(lines.append, clock).task("reading", 2, "shards") as task:
        for _ in range(2):
            clock.now += 20
            task.advance()
    assert [line.split(",")[0] for line in lines] == ["reading: 1/2", "reading: 2/2"]


def test_a_short_task_leaves_no_line():
    clock, lines = Clock(), []
    with Lines(lines.append, clock).task("quick", 3) as task:
        clock.now = 1.0
        task.advance(3)
    assert lines == []


def test_a_bar_appears_only_after_two_seconds(monkeypatch):
    screen = io.StringIO()
    with Progress(console=Console(file=screen, force_terminal=True, width=80)) as drawing:
        with Bars(drawing).task("quick", 2) as task:
            task.advance()
            assert not drawing.tasks[0].visible
        with Bars(drawing).task("slow", 2) as task:
            task._start -= 3
            task.advance(note="loss 1.0")
            assert drawing.tasks[0].visible
            assert drawing.tasks[0].fields["note"] == "loss 1.0"
        assert not drawing.tasks


def test_the_story_goes_to_a_log_with_the_time():
    out = io.StringIO()
    with watching(out):
        logging.getLogger("phidelity.test").info("corpus: begins")
        logging.getLogger("other").info("not ours")
    logging.getLogger("phidelity.test").info("too late")
    assert out.getvalue()[8:] == " corpus: begins\n"


def test_the_story_on_a_terminal_takes_no_markup():
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        with watching(stream) as progress:
            logging.getLogger("phidelity.test").info("table [sft] is missing")
            with progress.task("work", 1) as task:
                task.advance()
        stream.flush()
        shown = os.read(master, 65536).decode()
    os.close(master)
    assert "table [sft] is missing" in shown


def test_facts_are_aligned_and_nested():
    assert aligned({"total": 1234567, "parts": {"norm": 0.5, "ok": True}}) == (
        f"{'total':<26} 1,234,567\nparts\n  {'norm':<26} 0.5\n  {'ok':<26} True"
    )


def test_clock_times():
    assert [clock_time(s) for s in (42.4, 725, 10869)] == ["0:42", "12:05", "3:01:09"]


def test_lines_are_asked_until_the_input_ends(monkeypatch, capsys):
    from phidelity.terminal import ask

    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo"))
    assert list(ask("> ")) == ["one", "", "two"]
