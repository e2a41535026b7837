"""The GPU training benchmark runs from end to end on a CPU, where pydantic and zstandard are missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("pydantic", "zstandard")))
from phidelity.bench import gpu_train
gpu_train.main(["--tiny", "--out", sys.argv[1]])
"""


def test_all_parts_run_at_a_tiny_shape_without_pydantic_and_zstandard(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, out], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert set(result["stand_ins"]) == {"pydantic", "zstandard"}
    rows = {row["what"]: row for row in result["rows"]}
    assert [*rows] == ["product", "train@16", "train@8", "parity", "float8@16", "all"]
    assert [what for what, row in rows.items() if "failed" in row] == ["float8@16"]
    assert rows["train@16"]["tokens_a_step"] == 64
    assert rows["train@16"]["ours"] > 0
    assert rows["train@16"]["mfu_of_product"]["full"] > rows["train@16"]["mfu_of_product"]["causal"] > 0
    assert abs(rows["parity"]["gap"]) < 0.05


def test_without_a_gpu_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from phidelity.bench import gpu_train

    with pytest.raises(SystemExit):
        gpu_train.main([])
