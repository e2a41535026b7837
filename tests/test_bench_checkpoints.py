"""The benchmarks that make and stream checkpoints, on a shape of thousands instead of billions."""

import json
from pathlib import Path

import pytest

from phidelity.bench.make_checkpoint import RandomWeights, shape_of
from phidelity.checkpoint.open import open_weights
from phidelity.config import UserError
from phidelity.model.config import PHI_4

TINY = "n_layers=2,d_model=64,n_heads=4,n_kv_heads=1,d_ff=224,vocab_size=400"


def test_a_random_checkpoint_opens_and_streams_into_gguf(phi, tmp_path: Path) -> None:
    made = phi("bench", "make-checkpoint", tmp_path / "random", "--shape", TINY, "--json")
    assert made.returncode == 0, made.stderr
    assert [row["what"] for row in json.loads(made.stdout)["rows"]] == ["write bf16", "write bf16 peak"]
    weights = open_weights(tmp_path / "random")
    assert (weights.config.n_layers, weights.config.rope_theta) == (2, 250_000.0)
    done = phi("bench", "convert", tmp_path / "random", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row["ours"] for row in json.loads(done.stdout)["rows"]}
    assert rows["gguf q4_0 size"] < rows["gguf q8_0 size"]
    assert [path.name for path in tmp_path.iterdir()] == ["random"], "what was measured is deleted"


def test_rows_are_the_same_however_they_are_asked_for() -> None:
    weights = RandomWeights(shape_of(TINY))
    first, again = weights.rows("embed.weight", 0, 10), weights.rows("embed.weight", 0, 10)
    assert first.equal(again)
    assert not first.equal(weights.rows("head.weight", 0, 10))
    assert 0.015 < first.float().std() < 0.025


def test_shapes_are_phi_4_or_what_differs_from_it() -> None:
    assert shape_of("phi-4") == PHI_4
    assert shape_of("n_layers=4") == PHI_4.model_copy(update={"n_layers": 4})
    for text, message in (
        ("d_model=63", "does not divide"),
        ("colour=3", "Extra"),
        ("n_layers=many", "NAME=NUMBER"),
        ("vocab_size=300", "too small"),
    ):
        with pytest.raises(UserError, match=message):
            shape_of(text)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(phi, tmp_path: Path) -> None:
    done = phi("bench", "make-checkpoint", tmp_path / "random", "--shape", "n_layers=40000000")
    assert done.returncode == 1
    assert "bytes; " in done.stderr
    assert not (tmp_path / "random").exists()
