"""What a person sees while work goes on: bars with rate and time left on a terminal, plain lines elsewhere.

`Bars` and `Lines` are both a `Progress`, and both print the story that the package's loggers tell. A task shorter
than two seconds is never drawn; a plain log repeats a long task every ten seconds.
"""

import atexit
import logging
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Task as RichTask
from rich.text import Text

from phidelity.progress import Pace, Task
from phidelity.progress import Progress as Watcher

DRAW_AFTER = 2.0
LOG_EVERY = 10.0
FENCE = '"""'


@contextmanager
def watching(stream: TextIO | None = None) -> Iterator[Watcher]:
    """Show progress and the package's log on `stream` (standard output), as fits what it is."""
    target: TextIO = stream or sys.stdout
    if not target.isatty():
        with _story(partial(_print_timed, target)):
            yield Lines(partial(_print_timed, target, indent="  "))
        return
    console = Console(file=target, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn(), _Speed())
    with Progress(*columns, console=console, transient=True) as drawing, _story(partial(console.print, markup=False)):
        yield Bars(drawing)


def ask(prompt: str, history: Path | None = None) -> Iterator[str]:
    """What a person types until the end of input, a message at a time.

    A line that ends in a backslash goes on with the next; three double quotes begin a message of several lines and
    end it, as does the end of input; what is pasted is one message. On a terminal Ctrl-C clears the line, and
    `history` keeps what was typed.
    """
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        _editing(history)
    while True:
        try:
            yield _message(prompt if is_terminal else "", "  " if is_terminal else "")
        except EOFError:
            if is_terminal:
                print()
            return
        except KeyboardInterrupt:
            if not is_terminal:
                return
            print("\n(Ctrl-D or /quit leaves.)")


def _message(prompt: str, more: str) -> str:
    line = input(prompt)
    if not line.startswith(FENCE):
        while line.endswith("\\"):
            line = line[:-1] + "\n" + _more(more).removesuffix(FENCE)
        return line
    lines = [line.removeprefix(FENCE)]
    while not lines[-1].rstrip().endswith(FENCE):
        lines.append(_more(more))
    lines[-1] = lines[-1].rstrip().removesuffix(FENCE)
    return "\n".join(lines).strip("\n")


def _more(prompt: str) -> str:
    """The next line of a message; the end of input ends the message, too."""
    try:
        return input(prompt)
    except EOFError:
        return FENCE


def _editing(history: Path | None) -> None:
    """Editing and history of `input`, where the system has it; the file is for its owner alone."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")  # what is pasted is one message; Python turns it off
    if not history:
        return
    history.parent.mkdir(parents=True, exist_ok=True)
    history.touch(mode=0o600)
    with suppress(OSError):  # a history of another library's form is begun anew
        readline.read_history_file(history)
    readline.set_history_length(1000)
    atexit.register(readline.write_history_file, history)


def printable(text: str) -> str:
    """`text` without what steers a terminal: escape and its like become the signs that stand for them."""
    return "".join(_sign(char) if unicodedata.category(char) == "Cc" and char not in "\n\t" else char for char in text)


def _sign(char: str) -> str:
    return chr(0x2400 + ord(char)) if ord(char) < 0x20 else "\u2421" if char == "\x7f" else "\ufffd"


class Lines:
    """A Progress for logs: one line every ten seconds of a task, one at the end of a task that had any."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """Begin a task; see `phidelity.progress.Progress`."""
        task = _LineTask(self._tell, self._clock, name, total, unit)
        yield task
        task.end()


class _LineTask:
    def __init__(
        self, tell: Callable[[str], None], clock: Callable[[], float], name: str, total: float | None, unit: str
    ) -> None:
        self._tell, self._clock, self._name, self._unit = tell, clock, name, unit
        self._pace, self._note = Pace(total, clock), ""
        self._due, self._told, self._said = clock() + LOG_EVERY, False, 0.0

    def advance(self, n: float = 1, note: str = "") -> None:
        self._pace.advance(n)
        self._note = note or self._note
        if self._clock() >= self._due:
            self._due = self._clock() + LOG_EVERY
            self._say()

    def end(self) -> None:
        if self._told and self._pace.done != self._said:
            self._say()

    def _say(self) -> None:
        self._told, self._said = True, self._pace.done
        of = f"/{self._pace.total:,.0f}" if self._pace.total is not None else ""
        parts = (f"{self._name}: {self._pace.done:,.0f}{of}", speed(self._pace, self._unit), self._note)
        self._tell(", ".join(part for part in parts if part))


class Bars:
    """A Progress drawn by rich."""

    def __init__(self, drawing: Progress) -> None:
        self._drawing = drawing

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        """Begin a task; see `phidelity.progress.Progress`."""
        pace = Pace(total)
        drawn = self._drawing.add_task(name, total=total, visible=False, pace=pace, unit=unit, note="")
        try:
            yield _BarTask(self._drawing, drawn, pace)
        finally:
            self._drawing.remove_task(drawn)


class _BarTask:
    def __init__(self, drawing: Progress, drawn: TaskID, pace: Pace) -> None:
        self._drawing, self._drawn, self._pace, self._note = drawing, drawn, pace, ""
        self._start = time.monotonic()

    def advance(self, n: float = 1, note: str = "") -> None:
        self._pace.advance(n)
        visible = time.monotonic() - self._start > DRAW_AFTER
        self._note = note or self._note
        self._drawing.update(self._drawn, advance=n, visible=visible, note=self._note)


class _Speed(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        parts = (speed(task.fields["pace"], task.fields["unit"]), task.fields["note"])
        return Text("  ".join(part for part in parts if part), style="dim")


def speed(pace: Pace, unit: str) -> str:
    """`1,234 tokens/s, 0:42 left`, as far as it is known."""
    if not pace.rate:
        return ""
    figure = f"{pace.rate:,.0f}" if pace.rate >= 10 else f"{pace.rate:.2f}"
    left = f", {clock_time(pace.seconds_left)} left" if pace.seconds_left else ""
    return f"{figure} {unit or 'steps'}/s{left}"


def clock_time(seconds: float) -> str:
    """`0:42`, `12:05` or `3:01:09`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def aligned(facts: dict[str, Any], indent: str = "") -> str:
    """Nested facts, one `name  value` a line."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", aligned(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<26} {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def bench_row(row: dict[str, Any]) -> str:
    """One row of a benchmark's table."""
    ours = f"{row['what']:<20}{row['ours']:>12,.4g} {row['unit']:<12}"
    note = f"  ({row['note']})" if row.get("note") else ""
    return ours + (f"{row['peer']} {row['theirs']:,.4g}, ratio {row['ratio']:.2f}{note}" if row["theirs"] else "")


def _print_timed(stream: TextIO, line: str, indent: str = "") -> None:
    print(f"{time.strftime('%H:%M:%S')} {indent}{line}", file=stream, flush=True)


@contextmanager
def _story(tell: Callable[[str], object]) -> Iterator[None]:
    """Print what the package's loggers say at INFO and above."""
    handler = _Teller(tell)
    logger = logging.getLogger("phidelity")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def outline(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Nested facts a line each; what is in a list, or holds nothing nested below the top, takes one line."""
    for key, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}"
            yield from (f"{indent}  {_listed(one)}" for one in value)
        elif not isinstance(value, dict):
            yield f"{indent}{key}: {value!r}" if "\n" in str(value) else f"{indent}{key}: {_plain(value)}"
        elif indent and not any(isinstance(inner, dict | list) for inner in value.values()):
            yield f"{indent}{key}: {_listed(value)}"
        else:
            yield f"{indent}{key}"
            yield from outline(value, indent + "  ")


def _listed(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in facts.items())


def _plain(value: Any) -> str:
    """A value as words: what is in a list beside one another."""
    return (", ".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)
