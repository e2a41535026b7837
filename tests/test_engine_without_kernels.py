"""Where nothing is compiled torch serves and keeps the same laws: the tests of the engine, without kernels."""

import os
import subprocess
import sys
from pathlib import Path

LAWS = (
    "equal_a_plain_forward or companions or chunks or prefix_hit or preemption or restart or draft "
    "or not_finite or break or tiny_pool"
)


def test_the_laws_hold_on_torch_alone() -> None:
    here = Path(__file__).parent
    files = [str(here / f"test_{name}.py") for name in ("engine", "engine_scheduler")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *files, "-k", LAWS],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "PHI_KERNELS": "none"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.splitlines()[0].count(".") >= 20
