"""What a model takes is said before it is loaded, and what does not fit is refused with the numbers."""

from pathlib import Path

import pytest

from phidelity.checkpoint.packed import packed_bytes
from phidelity.config import UserError
from phidelity.engine import memory
from phidelity.engine.memory import CACHE, available_memory, cache_bytes, parse_size, plan
from phidelity.model.config import PHI_4, ModelConfig
from phidelity.progress import readable_size

SMALL = ModelConfig(
    n_layers=4, d_model=128, n_heads=8, n_kv_heads=2, d_ff=448, vocab_size=4096, context_len=512, rope_theta=1e4
)
GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [("11GB", 11 * GB), ("512MiB", 512 << 20), ("1.5 GB", 3 * GB // 2), ("2gib", 2 << 30), ("64KB", 64_000), ("7B", 7)],
)
def test_sizes_are_decimal_or_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "11", "GB", "11 G", "-1GB", "1e3GB", "11 GB of it", "1,5GB", "nanGB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no size; expected a number and a unit, such as 11GB"):
        parse_size(text)
    with pytest.raises(UserError, match="no memory at all"):
        parse_size("0GB")


def test_sizes_are_told_in_the_largest_unit() -> None:
    assert [readable_size(n) for n in (5, 64_000, 11 * GB, 2 * 10**12)] == ["5 B", "64.0 kB", "11.0 GB", "2.0 TB"]


def test_phi_4_is_counted_as_published() -> None:
    found = plan(PHI_4, weight_format="bf16", cache_format="bf16")
    assert found.weights == 2 * 14_659_507_200
    assert found.cache_per_token == 204_800
    assert found.context_len == 16_384
    assert found.cache == 16_384 * 204_800, "one request of full length, which is more than the usual cache"
    assert plan(PHI_4, packed=packed_bytes(PHI_4, "q4")).weights < 9 * GB


def test_a_small_model_gets_all_it_can_use_and_no_more() -> None:
    found = plan(SMALL)
    assert (found.context_len, found.n_running) == (512, 64)
    assert found.cache == 64 * 512 * found.cache_per_token < CACHE


def test_a_budget_takes_from_the_batch_first_and_then_from_the_context() -> None:
    most = plan(PHI_4, packed=8_250_000_000, cache_format="bf16", budget=30 * GB)
    assert most.context_len == 16_384
    sizes = [14, 12, 11, 10.5, 9.5, 9.2]
    plans = [plan(PHI_4, packed=8_250_000_000, cache_format="bf16", budget=int(size * GB)) for size in sizes]
    for size, found in zip(sizes, plans, strict=True):
        assert found.total <= size * GB
        assert found.context_len * found.cache_per_token <= found.cache, "one request of full length fits"
        assert found.n_running >= 1
    contexts = [found.context_len for found in plans]
    assert contexts == sorted(contexts, reverse=True)
    assert contexts[0] > contexts[-1] >= 256


def test_phi_4_in_q4_serves_its_whole_context_in_eleven_gigabytes_and_a_half() -> None:
    size = packed_bytes(PHI_4, "q4")
    assert plan(PHI_4, packed=size, cache_format="int8", budget=int(11.5 * GB)).context_len == 16_384
    assert cache_bytes(PHI_4, "int8") == 2 * 40 * 10 * (128 + 4)
    with pytest.raises(UserError, match=r"--memory gives 8.0 GB, but it needs 9.\d GB: 8.\d GB of weights"):
        plan(PHI_4, packed=size, cache_format="int8", budget=8 * GB)


def test_a_budget_that_is_too_small_is_refused_with_the_numbers() -> None:
    with pytest.raises(UserError, match=r"--memory gives 8.0 GB, but it needs 3\d\.\d GB: 29.3 GB of weights"):
        plan(PHI_4, weight_format="bf16", cache_format="bf16", budget=8 * GB)


def test_a_model_that_does_not_fit_the_machine_is_refused() -> None:
    with pytest.raises(UserError, match=r"24.0 GB are free on this machine, but it needs 6\d\.\d GB"):
        plan(PHI_4, available=24 * GB)
    with pytest.raises(UserError, match=r"--memory gives 90.0 GB and 24.0 GB are free on this machine"):
        plan(PHI_4, budget=90 * GB, available=24 * GB)
    assert plan(SMALL, available=24 * GB) == plan(SMALL)


def test_the_plan_reads_as_a_table() -> None:
    found = plan(PHI_4, weight_format="bf16", cache_format="bf16")
    told = "\n".join(found.lines())
    assert "weights      29.3 GB" in told
    assert "16,384 tokens of 204.8 kB" in told
    assert "context 16,384 tokens" in told
    assert found.total == found.weights + found.cache + found.activations + found.process


def test_free_memory_is_the_machines_or_what_a_container_leaves(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   50 kB\n")
    assert memory._meminfo(tmp_path / "meminfo") == 50 * 1024
    assert memory._meminfo(tmp_path / "none") is None
    for name, text in (("memory.max", "1000\n"), ("memory.current", "600\n"), ("memory.stat", "inactive_file 100\n")):
        (tmp_path / name).write_text(text)
    assert memory._cgroup(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup(tmp_path) is None
    found = available_memory()
    assert found is None or found > 0


def test_a_step_samples_and_scores_within_what_is_planned() -> None:
    """The draw's copies are of so many logits at a time as the plan counts."""
    wide = SMALL.model_copy(update={"vocab_size": 100_352})
    more = memory.activations(wide) - memory.activations(SMALL)
    decoded, scored = 128, (1 << 24) // 100_352
    assert more >= 4 * ((decoded + scored) * wide.vocab_size - (decoded + 512) * SMALL.vocab_size)
    assert memory.activations(wide, 256) - memory.activations(wide) == 4 * 2 * 128 * wide.vocab_size
