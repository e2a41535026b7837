"""The inside of the sandbox, started by `code.run_program`; imports the standard library alone.

Three processes. The *launcher* enters the namespaces and waits. Its child is process 1 of the new pid namespace:
the *tests*. Its child again is the *candidate*, forked before tests and token are read from the pipe, so it holds
neither in memory. It cannot trace its parent (another user, not dumpable, no /proc) and never has the pipe
that carries the verdict. The tests call the candidate's function by messages, so arguments are copies.
"""

import builtins
import contextlib
import json
import os
import re
import resource
import signal
import sys

from phidelity.grading.sandbox.isolate import drop, isolate
from phidelity.grading.sandbox.values import decode, encode, receive, send

MAX_EXPLANATION = 300


def main():
    """Isolate, fork the tests into the new namespaces, wait for them."""
    sys.set_int_max_str_digits(0)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        isolation, users, problem = *isolate(), ""
    except OSError as error:
        isolation, users, problem = "", None, str(error)
    tests = os.fork()
    if tests == 0:
        run_tests(null, isolation, users, problem)
        os._exit(0)
    os.waitpid(tests, 0)


def run_tests(null, isolation, users, problem):
    """Process 1: fork the candidate, give up rights, read tests and token, run the tests, say the verdict."""
    verdict = os.dup(1)
    first = json.loads(receive(0))
    calls, replies = os.pipe(), os.pipe()
    process = os.fork() if isolation else None
    if process == 0:
        with contextlib.suppress(BaseException):
            run_candidate(first, calls[0], replies[1], null, users)
        os._exit(1)
    os.close(replies[1])
    os.close(calls[0])
    try:
        drop(users and users[0], first["limits"])
    except (OSError, ValueError) as error:
        problem = problem or str(error)
    trusted = json.loads(receive(0))
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    candidate = Candidate(process, calls[1], replies[0])
    kind, explanation = ("refused", f"no isolation: {problem}") if problem else judge(trusted, candidate)
    reply = {
        "kind": kind,
        "explanation": explanation,
        "isolation": "" if problem else isolation,
        "token": trusted["token"],
    }
    os.write(verdict, json.dumps(reply).encode())


def judge(trusted, candidate):
    """Run the tests against the candidate; returns (kind, explanation)."""
    try:
        candidate.receive()
        names = namespace("tests")
        seed_random(trusted["tests"])
        exec(trusted["preamble"], names)  # noqa: S102
        names[trusted["entry_point"]] = candidate.call
        exec(trusted["tests"], names)  # noqa: S102
        if "check" in names:
            names["check"](candidate.call)
    except BaseException as error:
        return "failed", candidate.gone or explain(error)
    if candidate.gone:
        return "failed", candidate.gone
    return ("passed", "all tests passed") if candidate.n_calls else ("untested", "the tests never called the function")


class Gone(BaseException):
    """The candidate's process has ended or speaks nonsense."""


class Candidate:
    """The tests' side of the conversation with the candidate's process."""

    def __init__(self, process, calls, replies):
        self.process, self.calls, self.replies, self.gone = process, calls, replies, ""
        self.n_calls = 0

    def call(self, *args, **kwargs):
        """Call the candidate's function with copies of the arguments; its exceptions are raised here."""
        self.n_calls += 1
        message = json.dumps([encode(list(args)), encode(kwargs)]).encode()
        try:
            send(self.calls, message)
        except OSError:
            raise self.leave() from None
        return self.receive()

    def receive(self):
        """The value of the next reply."""
        try:
            reply = json.loads(receive(self.replies))
            raised, value = str(reply["raised"]), decode(reply["value"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise self.leave() from None
        if not raised:
            return value
        kind = getattr(builtins, raised, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
            raise kind(value)
        raise RuntimeError(f"{raised}: {value}")

    def leave(self):
        """Wait for the process to end, note why, and hand back what to raise: there is no going on."""
        if not self.gone:
            os.close(self.calls)
            status = os.waitpid(self.process, 0)[1]
            over = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            self.gone = "ran past its time" if over else "the program ended before the tests did"
        return Gone(self.gone)


def run_candidate(first, calls, replies, null, users):
    """Run the untrusted source, then answer calls of its function until the tests hang up."""
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, min(calls, replies))
    os.closerange(min(calls, replies) + 1, max(calls, replies))
    os.closerange(max(calls, replies) + 1, 256)
    if os.path.isdir("/scratch"):
        os.chdir("/scratch")
    drop(users and users[1], first["limits"])
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    names = namespace("candidate")
    seed_random(first["source"])
    reply(replies, lambda: exec(first["source"], names))  # noqa: S102
    name = first["entry_point"]
    while True:
        args, kwargs = map(decode, json.loads(receive(calls)))
        reply(replies, lambda args=args, kwargs=kwargs: names[name](*args, **kwargs))


def reply(fd, action):
    """Send the value of `action`, or what it raised; sys.exit is an exception like others."""
    try:
        message = {"raised": "", "value": encode(action())}
    except BaseException as error:
        text = str(error) if isinstance(error, Exception) else ""
        message = {"raised": type(error).__name__, "value": text[:MAX_EXPLANATION]}
    send(fd, json.dumps(message).encode())


def namespace(name) -> dict:
    """Where code is run."""
    return {"__name__": name}


def seed_random(source):
    """Make what uses `random` repeatable."""
    if "random" in source:
        import random

        random.seed(0)


def explain(error):
    """One line on an exception, without addresses that change from run to run."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)[:MAX_EXPLANATION]
