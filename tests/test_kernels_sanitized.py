"""The kernels' tests once more, compiled with AddressSanitizer and UndefinedBehaviorSanitizer (make parity)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phidelity.kernels import build

pytestmark = pytest.mark.parity

FLAGS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-fno-omit-frame-pointer")
PROGRAM = """
import sys
from pathlib import Path
import pytest
from phidelity.kernels import build, library
loaded = library.Library(build.library(Path(sys.argv[1]), flags=tuple(sys.argv[3:])))
library.kernels = lambda: loaded
skipped = "not (torch_serves or unwritable or forked or without_avx2)"
sys.exit(pytest.main(["-n", "0", "-p", "no:cacheprovider", "-k", skipped, sys.argv[2]]))
"""


@pytest.mark.parametrize("name", ["test_kernels.py"])
def test_the_kernels_are_clean_under_sanitizers(tmp_path: Path, name: str):
    try:
        compiler = build.find_compiler()
    except build.BuildError:
        pytest.skip("no C compiler")
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("the compiler comes without AddressSanitizer")
    environment = {
        **os.environ,
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # of the interpreter, which keeps what it has
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(Path(__file__).with_name(name)), *FLAGS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
