"""Fakes and small worlds that several test files share."""

import email
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from mock_endpoint import Endpoint

# Two test processes on two cores: one thread each, in the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PHI_PREFIX_CACHE", "none")

from phidelity.cli.main import main
from phidelity.config import UserError
from phidelity.kernels.library import ISAS, Library, kernels
from phidelity.progress import Task
from phidelity.tokenizer.bpe import Tokenizer

# A shell has its background jobs ignore Ctrl-C, and the processes that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


class RecordedTask:
    def __init__(self, told: list[tuple[str, float]], name: str) -> None:
        self._told, self._name = told, name

    def advance(self, n: float = 1, note: str = "") -> None:
        self._told.append((self._name, n))


class ListedProgress:
    """A Progress that keeps all it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        yield RecordedTask(self.told, name)


@pytest.fixture
def listed_progress() -> ListedProgress:
    return ListedProgress()


@pytest.fixture(scope="session")
def library() -> Library:
    """The compiled kernels."""
    found = kernels()
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, library: Library) -> Iterator[str]:
    """Each instruction set of the kernels that this processor has, in turn."""
    before, n_threads = library.isa, library.n_threads
    try:
        library.choose(request.param)
    except UserError:
        pytest.skip(f"this processor lacks {request.param}")
    yield request.param
    library.choose(before)
    library.set_threads(n_threads)


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def phi() -> Callable[..., Done]:
    """Run the command inside this process, which saves loading torch each time."""

    def call(*arguments: str | Path, stdin: str = "") -> Done:
        result = CliRunner().invoke(main, list(map(str, arguments)), input=stdin)
        crash = "".join(traceback.format_exception(*result.exc_info)) if result.exc_info else ""
        is_exit = result.exception is None or isinstance(result.exception, SystemExit)
        return Done(result.exit_code, result.stdout, result.stderr + ("" if is_exit else crash))

    return call


def phi_process(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    environment = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "phidelity.cli.main", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a command."""
    stdout, stderr = process.communicate(timeout=300)
    return Done(process.returncode, stdout, stderr)


SMALL = (
    "pretrain.tokens=8192",
    "midtrain.tokens=8192",
    "sft.epochs=0.2",
    "pretrain.validation_rows=1",
    "midtrain.validation_rows=1",
    "model.n_layers=1",
    "pivotal_pairs.questions=3",
    "pivotal_pairs.screen_rollouts=4",
    "pivotal_pairs.max_tokens=16",
    "pivotal_pairs.known.questions=3",
    "pivotal_pairs.known.samples=4",
    "judged_pairs.questions=3",
    "judged_pairs.max_tokens=16",
    "judged_pairs.known.questions=3",
    "breakfix.capability=8",
    "breakfix.capability_tokens=16",
    "breakfix.max_tokens=16",
    "breakfix.open_families=['persona']",
    "breakfix.sealed_families=['cipher']",
    "evaluate.models=['midtrain', 'breakfix']",
    "evaluate.max_tokens=16",
    "evaluate.trials=1",
    "corpus.sources=" + json.dumps(["python:docs", str(Path(email.__file__).parent)]),
)
"""What makes the recipe `minute` a matter of seconds."""


def small(*more: str) -> list[str]:
    """`--set` arguments for the smallest real run."""
    return [argument for assignment in (*SMALL, *more) for argument in ("--set", assignment)]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """A finished run of the smallest real recipe, all stages of it; copy it before changing anything."""
    out = tmp_path_factory.mktemp("small") / "run"
    done = finish(phi_process("run", "minute", "--out", out, *small()))
    assert done.returncode == 0, done.stderr
    return out


def tree_hashes(run: Path) -> dict[str, dict[str, str]]:
    """Output hashes by stage of a finished run, from its manifests."""
    manifests = {path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob("*/manifest.json"))}
    return {
        stage: {name: output["sha256"] for name, output in manifest["outputs"].items()}
        for stage, manifest in manifests.items()
    }


@pytest.fixture(scope="session")
def phi_4() -> Tokenizer:
    """phi-4's own tokenizer, from the rank file that the release was made from."""
    path = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "cl100k_base.tiktoken"
    if not path.exists():
        pytest.skip("cl100k_base.tiktoken is not at hand (PHI_TEST_DATA)")
    return Tokenizer.load(path)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
