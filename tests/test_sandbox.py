import os
import re
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from phidelity.grading.code import MAX_SOURCE, Outcome, _outcome, isolation, run_program

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n"
RIGHT = "def double(x):\n    return x * 2\n"
isolated = pytest.mark.skipif(isolation().startswith("none"), reason=isolation())
in_namespaces = pytest.mark.skipif("namespaces (" not in isolation(), reason=isolation())


def run(source, timeout=1.0, tests=TEST):
    return run_program(source, tests, "double", timeout=timeout)


@isolated
def test_a_correct_program_passes():
    outcome = run(RIGHT)
    assert outcome.passed, outcome.explanation
    assert "user" in outcome.isolation


@isolated
@pytest.mark.parametrize(
    "value", ["None", "(1, [2.5, 'ü'], {3: {4}})", "b'x'", "1j", "float('inf')", "10**5000", "frozenset({1})", "True"]
)
def test_plain_values_come_through_unchanged(value):
    tests = f"def check(candidate):\n    found = candidate({value})\n    assert found == {value}\n"
    outcome = run(f"def double(x):\n    assert x == {value}\n    return x\n", tests=tests)
    assert outcome.passed, outcome.explanation


@isolated
def test_exceptions_reach_the_tests_by_their_name():
    tests = """
def check(candidate):
    try:
        candidate(1)
    except ValueError as error:
        assert str(error) == "no"
        return
    assert False
"""
    assert run("def double(x):\n    raise ValueError('no')\n", tests=tests).passed


@isolated
def test_tests_may_use_the_helpers_of_the_prompt():
    tests = "def check(candidate):\n    assert candidate(2) == helper(2)\n"
    outcome = run_program(RIGHT, tests, "double", preamble="def helper(x):\n    return 2 * x\n")
    assert outcome.passed, outcome.explanation


@isolated
def test_random_programs_are_repeatable():
    tests = "def check(candidate):\n    raise ValueError(candidate(1))\n"
    source = "import random\ndef double(x):\n    return [random.random(), hash('x')]\n"
    assert run(source, tests=tests) == run(source, tests=tests)


HOSTILE = {
    "wrong": "def double(x): return x * 3",
    "syntax error": "def double(x) return x",
    "no function": "x = 1",
    "infinite loop": "def double(x):\n    while True: pass",
    "infinite loop at import": "while True: pass",
    "deaf infinite loop": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "memory bomb": "def double(x): return [0] * (1 << 40)",
    "slow memory bomb": "kept = []\nwhile True: kept.append(bytearray(1 << 26))",
    "sys.exit at import": "import sys\nsys.exit(0)",
    "sys.exit in a call": "import sys\ndef double(x): sys.exit(0)",
    "os._exit at import": "import os\nos._exit(0)",
    "os._exit in a call": "import os\ndef double(x): os._exit(0)",
    "exit after the function": RIGHT + "raise SystemExit(0)",
    "crash": "import ctypes\nctypes.string_at(0)",
    "deep recursion": "def double(x): return double(x)",
    "fork bomb": """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """,
    "thread bomb": """
        import threading, time
        while True:
            threading.Thread(target=time.sleep, args=(9,)).start()
        """,
    "object that equals everything": """
        class Everything:
            def __eq__(self, other):
                return True
        def double(x):
            return Everything()
        """,
    "list that equals everything": """
        class Everything(list):
            def __eq__(self, other):
                return True
        def double(x):
            return Everything()
        """,
    "patches assertions": """
        import builtins
        builtins.AssertionError = type("Silent", (BaseException,), {})
        def double(x):
            return 0
        """,
    "endless output": "while True: print('x' * 10_000)",
    "endless file": """
        with open("big", "wb") as file:
            while True:
                file.write(bytes(1 << 20))
        """,
    "floods the tests": """
        import os
        while True:
            for fd in range(3, 64):
                try:
                    os.write(fd, b"x" * 4096)
                except OSError:
                    pass
        """,
}


@isolated
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_programs_do_not_pass(kind):
    began = time.monotonic()
    outcome = run(dedent(HOSTILE[kind]), timeout=0.5)
    assert outcome.passed is False, outcome
    assert time.monotonic() - began < 10


HUNTERS = {
    "prints a verdict": """
        import json, os
        verdict = json.dumps({"kind": "passed", "explanation": "", "isolation": "", "token": "0"}).encode()
        for fd in range(64):
            try:
                os.write(fd, verdict)
            except OSError:
                pass
        os._exit(0)
        """,
    "frames": """
        import sys
        found, frame = [], sys._getframe()
        while frame:
            found += [*frame.f_locals.values(), *frame.f_globals.values()]
            frame = frame.f_back
        raise ValueError(repr(found))
        """,
    "garbage collector": """
        import gc
        found = [one for one in gc.get_objects() if isinstance(one, (dict, list, tuple))]
        raise ValueError(repr(found))
        """,
    "memory": """
        raise ValueError(open("/proc/self/mem").read(), open("/proc/1/mem").read())
        """,
    "descriptors": """
        import os
        found = b""
        for fd in range(64):
            try:
                os.set_blocking(fd, False)
                found += os.read(fd, 9999)
            except OSError:
                pass
        raise ValueError(found)
        """,
    "traces the tests": """
        import ctypes
        assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0
        raise ValueError("0123456789abcdef" * 2)
        """,
}
"""Programs that raise what they have found."""

FIND = "(?<![0-9a-f])(?=[0-9]*[a-f])[0-9a-f]{32}(?![0-9a-f])|assert candidat[e]"
"""The token or the tests; it does not match itself."""

SIEVE = """
import re
def double(x):
    try:
        exec(compile(PROGRAM, "hunter", "exec"), {})
    except ValueError as error:
        found = re.search(PATTERN, str(error))
        raise ValueError(found.group() if found else "nothing")
"""


@in_namespaces
@pytest.mark.parametrize("kind", HUNTERS)
def test_token_hunters_find_neither_token_nor_tests(kind):
    program = f"PROGRAM, PATTERN = {dedent(HUNTERS[kind])!r}, {FIND!r}\n" + SIEVE
    outcome = run(program)
    assert outcome.passed is False
    assert not re.search(FIND, outcome.explanation)


@isolated
def test_the_sieve_of_the_hunters_would_show_a_find():
    found = f"PROGRAM, PATTERN = 'raise ValueError(\"{'0a' * 16}\")', {FIND!r}\n" + SIEVE
    assert "0a" * 16 in run(found).explanation


def test_a_verdict_without_the_token_fails():
    reply = b'{"kind": "passed", "explanation": "", "isolation": "", "token": "guess"}'
    assert _outcome(reply, "secret") == Outcome(False, "a verdict without the completion token")
    assert _outcome(reply, "guess").passed
    assert not _outcome(b"[]", "secret").passed
    assert not _outcome(b"\xff", "secret").passed


@in_namespaces
def test_files_of_the_host_are_neither_seen_nor_deleted(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("kept")
    kept.chmod(0o666)
    tmp_path.chmod(0o777)
    source = (
        f"import json, os, shutil\nfor path in ({str(tmp_path)!r}, '/home', '/etc', os.path.dirname(json.__file__)):\n"
        f"    shutil.rmtree(path, ignore_errors=True)\nopen('/etc/passwd')\n"
    )
    assert run(source).passed is False
    assert kept.read_text() == "kept"
    assert Path(os.__file__).exists()
    assert run(RIGHT).passed


@in_namespaces
def test_the_scratch_folder_is_empty_and_writable():
    source = "import os\nassert os.listdir('.') == []\nopen('x', 'w').write('y')\n" + RIGHT
    assert run(source).passed, run(source).explanation


@in_namespaces
def test_the_network_is_out_of_reach():
    source = "import socket\nsocket.create_connection(('127.0.0.1', 1), 1)\n" + RIGHT
    outcome = run(source)
    assert "unreachable" in outcome.explanation


@in_namespaces
def test_other_processes_are_out_of_reach():
    bystander = subprocess.Popen(["sleep", "30"])
    try:
        source = f"import os, signal\nos.kill({bystander.pid}, signal.SIGKILL)\n" + RIGHT
        assert run(source).passed is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@isolated
def test_nothing_outlives_the_deadline():
    marker = "phidelity_marker_of_a_sleeper"
    source = f"import os, time\nos.setsid()\n{marker} = 1\ntime.sleep(60)\n"
    before = children()
    assert run(source, timeout=0.2).explanation == "ran past its time"
    assert children() <= before


def children():
    """Python processes below this one."""
    ours = [path for path in Path("/proc").glob("[0-9]*/status") if f"PPid:\t{os.getpid()}\n" in _text(path)]
    return {path for path in ours if "python" in _text(path).split("\n")[0]}


@isolated
def test_the_environment_is_empty():
    os.environ["PHI_SECRET_OF_A_TEST"] = "x"
    try:
        assert run("import os\nassert 'PHI_SECRET_OF_A_TEST' not in os.environ\n" + RIGHT).passed
    finally:
        del os.environ["PHI_SECRET_OF_A_TEST"]


def test_a_megabyte_of_program_is_refused():
    assert run("#" * (MAX_SOURCE + 1)).passed is False


@isolated
def test_without_isolation_nothing_runs():
    """Inside a user namespace of one user there is nobody to drop to."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from phidelity.grading.code import isolation, run_program\n"
        f"print(run_program({RIGHT!r}, {TEST!r}, 'double').passed, isolation())\n"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unshare program")
    if "unshare failed" in found.stderr:
        pytest.skip(found.stderr)
    assert found.stdout.startswith("None none: undetermined: no isolation"), found


@isolated
def test_a_program_takes_well_under_half_a_second():
    began = time.monotonic()
    for _ in range(4):
        assert run(RIGHT).passed
    assert time.monotonic() - began < 2


def _text(path):
    try:
        return path.read_text()
    except OSError:
        return ""


@isolated
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("(x for x in [1, 2])", "list(found) == [1, 2]"),
        ("map(abs, [-1])", "next(found) == 1"),
        ("range(2, 9, 3)", "found == range(2, 9, 3)"),
        ("__import__('fractions').Fraction(1, 3)", "found * 3 == 1"),
        ("__import__('decimal').Decimal('0.1')", "str(found) == '0.1'"),
        ("{1: 2}.keys()", "found == {1}"),
        ("{1: 2}.items()", "found == {(1, 2)}"),
        ("{1: 2}.values()", "list(found) == [2]"),
        ("__import__('collections').deque([1])", "list(found) == [1]"),
        ("(n for n in __import__('itertools').count())", "next(found) == 0"),
        ("7 ** 20000", "found == 7 ** 20000"),
    ],
)
def test_values_beyond_literals_come_through(value, expected):
    outcome = run(
        f"def double(x):\n    return {value}\n", tests=f"def check(c):\n    found = c(1)\n    assert {expected}\n"
    )
    assert outcome.passed, outcome.explanation


@isolated
@pytest.mark.parametrize("tests", ["", "x = 1\n", "def check(candidate):\n    pass\n"])
def test_tests_that_never_call_the_function_decide_nothing(tests):
    outcome = run(RIGHT, tests=tests)
    assert outcome.passed is None
    assert "never called" in outcome.explanation
