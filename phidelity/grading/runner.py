"""The inside of the sandbox: a script of the standard library alone, started by `code.run_program`.

Three processes. The *launcher* enters new namespaces, builds a root of its own in memory with the libraries bound
into it read-only, and waits. Its child is process 1 of the new pid namespace: the *tests*. Its child again is the
*candidate*, forked before tests and token are read from the pipe, so it holds neither in memory. It cannot
trace its parent (another user, not dumpable, no /proc) and never has the pipe that carries the verdict. The
tests reach the candidate's function by JSON messages of plain values, so arguments are copies, and an object
whose `__eq__` always agrees arrives as an opaque value that equals nothing.
"""

import builtins
import contextlib
import ctypes
import json
import math
import os
import re
import resource
import signal
import sys

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38
MAX_MESSAGE = 1 << 25
MAX_EXPLANATION = 300
libc = ctypes.CDLL(None, use_errno=True)
sys.set_int_max_str_digits(0)


def main():
    """Isolate, fork the tests into the new namespaces, wait for them."""
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


def isolate():
    """Enter namespaces where the kernel grants them; returns what isolates and the users to drop to, if root."""
    root, uid, gid = os.getuid() == 0, os.getuid(), os.getgid()
    first = 61184 + os.getpid() % 2048  # systemd's range of dynamic users: nobody's own
    users = (first, first + 2048) if root else None
    spaces = NEWNS | NEWIPC | NEWPID | NEWNET | NEWUTS | (0 if root else NEWUSER)
    if libc.unshare(spaces) == 0:
        maps = {} if root else {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        build_root(users[1] if users else uid)
        return f"namespaces (mount, pid, network, ipc), {'unprivileged user' if root else 'user namespace'}", users
    if not root:
        raise OSError(f"no namespaces ({os.strerror(ctypes.get_errno())}) and no root rights to drop the user")
    os.chown(".", users[1], users[1])
    return "unprivileged user (no namespaces: network not cut off)", users


def build_root(owner):
    """A root in memory that holds the shared libraries and the standard library, read-only, and a scratch folder."""
    mount(None, "/", None, REC | PRIVATE)
    root = "/proc"  # any folder that surely exists and is never a source below
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=16m,mode=755")
    done = []
    for prefix in ("", "/usr", sys.base_prefix, os.path.realpath(sys.base_prefix)):
        for path in (f"{prefix}/lib", f"{prefix}/lib64"):
            if os.path.isdir(path) and not any(f"{path}/".startswith(f"{other}/") for other in done):
                bind_readonly(path, root + path)
                done.append(path)
    os.mkdir(f"{root}/scratch", 0o700)
    os.chown(f"{root}/scratch", owner, -1)
    os.chroot(root)
    os.chdir("/scratch")


def bind_readonly(path, target):
    """Show `path` at `target`; a link stays a link (its target is bound by itself)."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    os.makedirs(target, exist_ok=True)
    mount(path, target, None, BIND | REC)
    mount(None, target, None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def mount(source, target, kind, flags, options=None):
    """mount(2), with an OSError where it fails."""
    texts = [text.encode() if text is not None else None for text in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], flags, texts[3]) != 0:
        raise OSError(f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")


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
    reply = {"kind": kind, "explanation": explanation, "isolation": isolation, "token": trusted["token"]}
    os.write(verdict, json.dumps(reply).encode())


def judge(trusted, candidate):
    """Run the tests against the candidate; returns (kind, explanation)."""
    try:
        candidate.receive()
        names = {"__name__": "tests"}
        seed_random(trusted["tests"])
        exec(trusted["preamble"], names)  # noqa: S102
        names[trusted["entry_point"]] = candidate.call
        exec(trusted["tests"], names)  # noqa: S102
        if "check" in names:
            names["check"](candidate.call)
    except BaseException as error:
        return "failed", candidate.gone or explain(error)
    return ("failed", candidate.gone) if candidate.gone else ("passed", "all tests passed")


class Gone(BaseException):
    """The candidate's process has ended or speaks nonsense."""


class Candidate:
    """The tests' side of the conversation with the candidate's process."""

    def __init__(self, process, calls, replies):
        self.process, self.calls, self.replies, self.gone = process, calls, replies, ""

    def call(self, *args, **kwargs):
        """Call the candidate's function with copies of the arguments; its exceptions are raised here."""
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
        plain = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError)
        raise kind(value) if plain else RuntimeError(f"{raised}: {value}")

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
    names = {"__name__": "candidate"}
    seed_random(first["source"])
    reply(replies, lambda: exec(first["source"], names))  # noqa: S102
    function = names.get(first["entry_point"])
    while True:
        args, kwargs = map(decode, json.loads(receive(calls)))
        reply(replies, lambda args=args, kwargs=kwargs: function(*args, **kwargs))


def reply(fd, action):
    """Send the value of `action`, or what it raised; sys.exit is an exception like others."""
    try:
        message = {"raised": "", "value": encode(action())}
    except BaseException as error:
        text = str(error) if isinstance(error, Exception) else ""
        message = {"raised": type(error).__name__, "value": text[:MAX_EXPLANATION]}
    send(fd, json.dumps(message).encode())


def drop(user, limits):
    """Give up the user, every capability and what limits allow to take away; die with the parent."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc.capset(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), ctypes.byref((ctypes.c_uint32 * 6)()))
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not os.access(os.__file__, os.R_OK):
        raise OSError("the unprivileged user cannot read the standard library")
    seconds = math.ceil(limits["cpu"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def seed_random(source):
    """Make what uses `random` repeatable."""
    if "random" in source:
        import random

        random.seed(0)


def explain(error):
    """One line on an exception, without addresses that change from run to run."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", text)[:MAX_EXPLANATION]


def encode(value):
    """A plain value as JSON with tags; whatever else becomes an opaque object."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in value]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    return {"opaque": type(value).__name__}


def decode(value):
    """The inverse of `encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    return DECODERS[tag](inner)


class Opaque:
    """A value that is not plain: equal to nothing, not even to itself."""

    __hash__ = None

    def __init__(self, kind):
        self.kind = str(kind)

    def __eq__(self, other):
        return False

    def __repr__(self):
        return f"<{self.kind}>"


DECODERS = {
    "dict": lambda items: {decode(key): decode(item) for key, item in items},
    "tuple": lambda items: tuple(map(decode, items)),
    "set": lambda items: set(map(decode, items)),
    "frozenset": lambda items: frozenset(map(decode, items)),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "opaque": Opaque,
}


def send(fd, message):
    """Write a message after its length."""
    data = len(message).to_bytes(4, "big") + message
    while data:
        data = data[os.write(fd, data) :]


def receive(fd):
    """Read one message, byte for byte and no further; an early end is an OSError."""
    length = int.from_bytes(exactly(fd, 4), "big")
    if length > MAX_MESSAGE:
        raise OSError("message too long")
    return exactly(fd, length)


def exactly(fd, n):
    """Read exactly `n` bytes."""
    data = bytearray()
    while len(data) < n:
        piece = os.read(fd, n - len(data))
        if not piece:
            raise OSError("the other side has hung up")
        data += piece
    return bytes(data)


if __name__ == "__main__":
    main()
