"""`phi chat`: a conversation in the terminal, on the engine itself.

Answers go to standard output, all else to standard error; so in a pipe, where every line is a message and an empty
line begins a new conversation, the answers come out alone, and the exit status is 1 where a message was refused.
Editing, history and pasting several lines are readline's, which Python brings: another library for the line would
bring windows and key tables that a chat of plain text has no use for.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from phidelity import terminal
from phidelity.cli.model import described, open_llm
from phidelity.cli.options import (
    ANY,
    adapter_folders,
    adapter_option,
    cache_option,
    device_option,
    kept_prefixes,
    memory_option,
    prefix_options,
    sampling_options,
)
from phidelity.config import UserError
from phidelity.pipeline import status as runs


@click.command()
@click.argument("model", type=ANY)
@click.option("--system", default="", metavar="TEXT", help="System prompt.")
@adapter_option
@sampling_options
@device_option
@memory_option
@cache_option
@prefix_options
def chat(
    model: Path,
    system: str,
    device: str,
    adapters: tuple[str, ...],
    memory: str | None,
    cache: str | None,
    prefix_cache: Path | None,
    prefix_cache_size: str,
    **how: Any,
) -> None:
    """Talk with MODEL; /help lists what can be typed, Ctrl-C stops an answer, Ctrl-D ends."""
    from phidelity.completion import SamplingParams
    from phidelity.model.config import census

    params = SamplingParams(**how)
    where = runs.resolve_model(model)
    named = adapter_folders(adapters)
    llm = open_llm(where, memory, cache, device, adapters=named, **kept_prefixes(prefix_cache, prefix_cache_size))
    from phidelity.cli.dialogue import Dialogue

    what = described(where, census(llm.model.config).total)
    click.echo(f"{what} ({where}, context {llm.context_len:,} tokens).", err=True)
    talking = next(iter(llm.adapted.values()), llm)
    dialogue = Dialogue(talking, params, show=_show, tell=_tell, system=system, models={"base": llm, **llm.adapted})
    if named:
        _tell(f"With the adapter {next(iter(named))}; /adapter NAME changes it: base, {', '.join(named)}.")
    if sys.stdin.isatty():
        _tell("Type a message. /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends.")
    try:
        is_fine = _converse(dialogue)
    finally:
        llm.close()
    if not (is_fine or sys.stdin.isatty()):
        raise SystemExit(1)


def _converse(dialogue: Any) -> bool:
    """Hear one message after another; a mistake ends none but the message it is in. Whether there was none."""
    from phidelity.cli.dialogue import Leave

    is_terminal, is_fine = sys.stdin.isatty(), True
    for line in terminal.ask("> ", _history()):
        try:
            if line.strip():
                dialogue.hear(line)
            elif not is_terminal:
                dialogue.hear("/reset")
        except Leave:
            break
        except KeyboardInterrupt:
            continue  # it came late: the answer was there already
        except UserError as error:
            is_fine = False
            _tell(str(error))
        except BrokenPipeError:
            raise  # nobody reads the answers any more
        except OSError as error:
            is_fine = False
            _tell(f"Cannot read or write {error.filename}: {error.strerror}. Check path and rights.")
    return is_fine


def _show(text: str) -> None:
    """A piece of an answer: on a terminal it cannot move the cursor or change colours."""
    click.echo(terminal.printable(text) if sys.stdout.isatty() else text, nl=False)


def _tell(text: str) -> None:
    click.secho(terminal.printable(text), dim=True, err=True)


def _history() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "phidelity" / "chat_history"
