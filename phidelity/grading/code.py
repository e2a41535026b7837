"""Programs in answers: how they are read out of a response and run against tests in the sandbox.

`run_program` gives an untrusted program two processes of its own (`sandbox/runner.py`): the candidate's, which
knows neither tests nor token, and the tests', which calls the candidate's function through a pipe of plain values.
Only a verdict that carries the secret token of this call counts. The host's user, files, network, environment and
processes are out of reach: namespaces (mount, pid, network, ipc), an unprivileged user, resource limits, a
scratch folder in memory, and a kill of everything at the deadline. Where only a dropped user is to be had, the
network and what that user may read stay within reach, and `isolation()` says so; where neither is, nothing runs and
the outcome is undetermined. Only the standard library is there.
"""

import functools
import hmac
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

START = (
    "import sys; sys.path.insert(0, sys.argv.pop()); from phidelity.grading.sandbox import runner; "
    "del sys.path[0]; runner.main()"
)
PACKAGE = str(Path(__file__).parents[2])
MAX_SOURCE = 1_000_000
"""Characters of source or tests that are run; more is a failure."""
MEMORY_MIB = 1024
"""Address space of each sandboxed process."""
MAX_VERDICT = 65_536
NO_VERDICT = "the tests ended without a verdict"

_FENCE = re.compile(r"```[ \t]*(\w*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_INNER_IMPORT = re.compile(r"^[ \t]+(import [\w., ]+|from [\w.]+ import [\w., ]+)$", re.MULTILINE)


class Outcome(NamedTuple):
    """Whether the tests passed (None: could not be run), why, and what isolated the program."""

    passed: bool | None
    explanation: str
    isolation: str = ""


def program(shown: str, response: str, entry_point: str) -> str:
    """The whole program of a response: what the prompt showed, then the answer's function, or its bare body.

    Takes the first fenced block that defines the function, else the first block, else the response itself, so
    every reply shape that models are known to use is read: any fence tag, own imports, helpers before or after.
    """
    blocks = [block for _, block in _FENCE.findall(response)] or [response]
    defines = re.compile(rf"^(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    chosen = next((block for block in map(textwrap.dedent, blocks) if defines.search(block)), None)
    if chosen is not None:
        return f"{complete(shown)}\n{_inner_imports(shown)}\n{chosen.rstrip()}\n"
    body = textwrap.dedent(_aligned(blocks[0])).strip("\n")
    return f"{shown.rstrip()}\n{textwrap.indent(body, '    ')}\n"


def complete(shown: str) -> str:
    """The code of a prompt made whole: its last function, shown without a body, gets an empty one."""
    return f"{shown.rstrip()}\n    pass\n"


def run_program(source: str, tests: str, entry_point: str, timeout: float = 3.0, preamble: str = "") -> Outcome:
    """Run `check(entry_point)` of `tests` on the program; `preamble` gives the tests the names they use.

    `timeout` is in seconds of processor time; the wall clock ends it all after three times that and a second, so a
    busy machine fails no correct program. Tests that end without a verdict count as failed only where the sandbox
    is known to work.
    """
    if max(len(source), len(tests)) > MAX_SOURCE:
        return Outcome(False, "the program is too long to run")
    outcome = _run(source, tests, entry_point, timeout, preamble)
    if outcome.explanation == NO_VERDICT and isolation().startswith("none"):
        return Outcome(None, f"undetermined: {isolation()}")
    return outcome


@functools.cache
def isolation() -> str:
    """What isolates programs on this machine, or `none: ...` with the reason why nothing would run."""
    outcome = _run("def one():\n    return 1\n", "def check(f):\n    assert f() == 1\n", "one", timeout=10)
    return outcome.isolation if outcome.passed else f"none: {outcome.explanation}"


def _run(source: str, tests: str, entry_point: str, timeout: float, preamble: str = "") -> Outcome:
    token = secrets.token_hex(16)
    limits = {"cpu": timeout, "memory": MEMORY_MIB << 20}
    candidate = {"source": source, "entry_point": entry_point, "limits": limits}
    trusted = {"tests": tests, "preamble": preamble, "entry_point": entry_point, "token": token}
    reply = _converse([candidate, trusted], deadline=3 * timeout + 1)
    return Outcome(False, "ran past its time") if reply is None else _outcome(reply, token)


def _outcome(reply: bytes, token: str) -> Outcome:
    try:
        verdict = json.loads(reply)
        authentic = hmac.compare_digest(str(verdict["token"]), token)
        kind, explanation, isolated = verdict["kind"], str(verdict["explanation"]), str(verdict["isolation"])
    except (ValueError, KeyError, TypeError):
        return Outcome(False, NO_VERDICT)
    if not authentic:
        return Outcome(False, "a verdict without the completion token")
    passed = {"passed": True, "failed": False}.get(kind)
    return Outcome(passed, explanation if passed is not None else f"undetermined: {explanation}", isolated)


def _converse(messages: list[dict], deadline: float) -> bytes | None:
    """Start the runner, send it the messages, return what it printed; None if it had to be killed."""
    sent = b"".join(len(data).to_bytes(4, "big") + data for data in (json.dumps(m).encode() for m in messages))
    with tempfile.TemporaryDirectory(prefix="phidelity-") as scratch:
        process = subprocess.Popen(
            [sys.executable, "-s", "-S", "-P", "-c", START, PACKAGE],  # as -I, but for the hash seed below
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env={"PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        try:
            return process.communicate(sent, timeout=deadline)[0][:MAX_VERDICT]
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process)


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.communicate()


def _inner_imports(shown: str) -> str:
    """What the prompt imports inside the function's head, for answers that leave it out there (HumanEval/115)."""
    return "".join(f"{line}\n" for line in _INNER_IMPORT.findall(shown))


def _aligned(body: str) -> str:
    """A body whose first line lost its indentation (as models do) gets it back from the second."""
    first, newline, rest = body.lstrip("\n").partition("\n")
    indent = re.match(r"[ \t]*", rest).group() if rest else ""  # type: ignore[union-attr]
    lost = not first[:1].isspace() and indent and not first.rstrip().endswith(":")
    return (indent + first if lost else first) + newline + rest
