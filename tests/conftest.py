"""Fakes and small worlds that several test files share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Two test processes on two cores: one thread each, in the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from phidelity.progress import Task


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


@pytest.fixture
def phi() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command in a process of its own."""

    def call(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "phidelity.cli", *map(str, arguments)]
        environment = {**os.environ, "PYTHONWARNINGS": "error", **options.pop("env", {})}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)

    return call


def tree_hashes(run: Path) -> dict[str, dict[str, str]]:
    """Output hashes by stage of a finished run, from its manifests."""
    manifests = {path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob("*/manifest.json"))}
    return {
        stage: {name: output["sha256"] for name, output in manifest["outputs"].items()}
        for stage, manifest in manifests.items()
    }
