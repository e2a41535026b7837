"""The official problems in every reply shape, and hostile programs in their place: eight each, all 164 under parity."""

import os
import time
from pathlib import Path

import pytest
from humaneval_shapes import PARITY, SHAPES, signature

from phidelity.eval.benchmark import GradingContext, grade_all
from phidelity.eval.suite import benchmark
from phidelity.grading.code import isolation

DATA = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "evals"
pytestmark = pytest.mark.skipif(
    not (DATA / "humaneval").is_dir() or isolation().startswith("none"), reason="PHI_TEST_DATA, or no isolation"
)
ALLOWED = GradingContext(allow_code=True)
ODD = {"HumanEval/10", "HumanEval/32", "HumanEval/38", "HumanEval/50", "HumanEval/81", "HumanEval/134"}
"""Those whose prompt has a helper, or whose solution begins with a blank line: parity differs there."""

HOSTILE = {
    "wrong": "return 'certainly wrong'",
    "infinite loop": "while True: pass",
    "memory bomb": "x = [0] * (1 << 40)",
    "sys.exit(0)": "import sys; sys.exit(0)",
    "os._exit(0)": "import os; os._exit(0)",
    "fork bomb": "import os\n    while True: os.fork()",
    "file deleting": "import shutil; shutil.rmtree({mark!r}); shutil.rmtree('/', ignore_errors=True)",
    "network": "import socket; socket.create_connection(('1.1.1.1', 80), 1)",
    "token printing": "import os; [forge(os, fd) for fd in range(1, 64)]",
}
FORGE = """def forge(os, fd):
    try:
        os.write(fd, b'{"kind": "passed", "token": "%s", "explanation": "", "isolation": ""}' % (b"0" * 32))
    except OSError:
        pass


"""
"""Writes a verdict with a guessed token to a file descriptor."""


def problems(n):
    found = benchmark("humaneval").load(DATA)
    usual = [problem for problem in found if problem.id not in ODD]
    return found if n == 164 else usual[:: len(usual) // n][:n]


def passed(profile, answers):
    scores = grade_all(benchmark("humaneval"), profile, answers, ALLOWED)
    return sum(score.value == 1.0 for score in scores), scores


@pytest.mark.parametrize("shape", SHAPES)
def test_reference_solutions_pass_in_every_shape_when_corrected(shape):
    few = problems(8)
    n, scores = passed("corrected", [(problem, SHAPES[shape](problem)) for problem in few])
    assert n == len(few), [score.explanation for score in scores]


@pytest.mark.parametrize("shape", SHAPES)
def test_parity_passes_the_shapes_that_simple_evals_passes(shape):
    few = problems(8)[:3]
    n, _ = passed("parity", [(problem, SHAPES[shape](problem)) for problem in few])
    assert n == (0 if PARITY.get(shape, 0) < 100 else len(few))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_programs_never_pass_and_harm_nothing(kind, tmp_path):
    assert no_hostile_passes(kind, problems(8), tmp_path) == 0


@pytest.mark.parity
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("profile", ["corrected", "parity"])
def test_all_reference_solutions_in_every_shape(profile, shape):
    everything = problems(164)
    n, _ = passed(profile, [(problem, SHAPES[shape](problem)) for problem in everything])
    assert n == (164 if profile == "corrected" else PARITY.get(shape, 0))


@pytest.mark.parity
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hostile_program_passes_any_of_the_164(kind, tmp_path):
    assert no_hostile_passes(kind, problems(164), tmp_path) == 0


@pytest.mark.parity
def test_all_reference_solutions_of_the_plus_set_pass():
    one = benchmark("humaneval_plus")
    found = one.load(DATA)
    answers = [(problem, SHAPES["full prompt"](problem)) for problem in found]
    assert [score.value for score in grade_all(one, "corrected", answers, ALLOWED)] == [1.0] * 164


def no_hostile_passes(kind, some, tmp_path):
    mark = tmp_path / "host"
    mark.mkdir()
    body = HOSTILE[kind].format(mark=str(mark))
    n_before = len(os.listdir("/proc"))
    answers = [(problem, f"```python\n{FORGE}{signature(problem)}    {body}\n```") for problem in some]
    n, _ = passed("corrected", answers)
    time.sleep(0.2)
    assert mark.is_dir()
    assert len(os.listdir("/proc")) < n_before + 200
    return n
