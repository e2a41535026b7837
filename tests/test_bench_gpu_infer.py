"""The GPU benchmark runs from end to end on a CPU, where pydantic and zstandard are missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("pydantic", "zstandard")))
from phidelity.bench import gpu_infer
gpu_infer.main(["--tiny", "--out", sys.argv[1]])
"""


def test_all_parts_run_at_a_tiny_shape_without_pydantic_and_zstandard(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    out = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, out], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result["stand_ins"]) == {"pydantic", "zstandard"}
    rows = {row["what"]: row for row in result["rows"]}
    assert [*rows] == ["batch1", "batch1 graph", "logits fp32", "logits float32", "requests6", "all"]
    assert not [row for row in result["rows"] if "failed" in row or "skipped" in row]
    assert rows["batch1"]["ours"] > 0 < rows["batch1 graph"]["theirs"]
    assert rows["logits fp32"]["error_in_std"] < 1e-4 > rows["logits fp32"]["engine_logprob_error"]
    assert rows["requests6"]["ratio"] > 0
    assert json.loads(done.stdout.splitlines()[-1]) == result


def test_without_a_gpu_it_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, "-m", "phidelity.bench.gpu_infer"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "no GPU here; --tiny runs on the CPU" in done.stderr
