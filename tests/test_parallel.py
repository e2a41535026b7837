"""Two ranks on this CPU: the losses of one, snapshots that any number reads, and ranks that die."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from phidelity.config import UserError
from phidelity.train.checkpointing import State
from phidelity.train.optim import OptimConfig
from phidelity.train.parallel import World, joined, mesh_shape, my_rows

WORLD = Path(__file__).with_name("ranks_world.py")


def launch(out: Path, ranks: int, *, steps: int = 30, stop: int = 0, kill: int = 0, restarts: int = 0, **env: str):
    """Run the ranks to their end."""
    out.mkdir(exist_ok=True)
    path = os.pathsep.join([str(WORLD.parent), str(WORLD.parent.parent)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | env
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    command = [sys.executable, *torchrun, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(WORLD)]
    arguments = [str(out), str(steps), str(stop), str(kill)]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def alone(out: Path, *, steps: int = 30, stop: int = 0) -> None:
    """The same training in one process, without torchrun."""
    path = os.pathsep.join([str(WORLD.parent), str(WORLD.parent.parent)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    out.mkdir(exist_ok=True)
    command = [sys.executable, str(WORLD), str(out), str(steps), str(stop), "0"]
    subprocess.run(command, env=environment, check=True, timeout=120)


def history(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run of one process."""
    out = tmp_path_factory.mktemp("one")
    alone(out)
    return out


def assert_equal_runs(out: Path, reference: Path, rel: float = 2e-5) -> None:
    """Same tokens in every step, and the same losses, norms and weights to rounding."""
    ours, theirs = history(out), history(reference)
    assert [row["count"] for row in ours] == [row["count"] for row in theirs]
    for row, expected in zip(ours, theirs, strict=True):
        assert row == pytest.approx(expected, rel=rel)
    weights = [torch.load(folder / "weights.pt") for folder in (out, reference)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=2e-5) for name in weights[1])


def test_a_run_goes_on_from_one_rank_to_two_and_back(tmp_path: Path, one: Path) -> None:
    out = tmp_path / "run"
    alone(out, stop=12)
    assert (out / "training/step-000010/state.safetensors").exists()
    assert launch(out, 2, stop=25).returncode == 0
    assert (out / "training/step-000020/.metadata").exists()
    alone(out)
    assert_equal_runs(out, one)


def test_a_killed_rank_is_started_again_and_the_run_recovers_unaided(tmp_path: Path, one: Path) -> None:
    result = launch(tmp_path, 2, kill=17, restarts=1)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "killed").exists()
    assert_equal_runs(tmp_path, one)


def test_without_restarts_the_others_end_soon_and_the_last_snapshot_is_whole(tmp_path: Path) -> None:
    began = time.monotonic()
    result = launch(tmp_path, 2, kill=17)
    assert result.returncode != 0
    assert time.monotonic() - began < 90
    assert sorted(path.name for path in (tmp_path / "training").glob("step-*")) == ["step-000010"]


def test_a_signal_to_one_rank_ends_all_at_one_step_and_the_run_goes_on(tmp_path: Path, one: Path) -> None:
    result = launch(tmp_path, 2, TERM_AT="17")
    assert result.returncode != 0
    assert result.stderr.count("asked to stop (SIGTERM) and saved step 18 of 30") == 2, result.stderr[-2000:]
    assert (tmp_path / "training/step-000018").exists()
    assert launch(tmp_path, 2).returncode == 0
    assert_equal_runs(tmp_path, one)


def test_two_copies_in_two_shares_each_train_as_one_and_go_on_as_four_shares(tmp_path: Path, one: Path) -> None:
    assert launch(tmp_path, 4, stop=12, SHARES="2", BACKGROUND="").returncode == 0
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["step-000010"]
    assert launch(tmp_path, 4, SHARES="4", BACKGROUND="").returncode == 0
    assert_equal_runs(tmp_path, one)


def test_copies_are_held_by_machines_unless_the_recipe_says_how_many_share_one() -> None:
    assert mesh_shape(16, 0, 8) == (2, 8)
    assert mesh_shape(8, 0, 8) == (1, 8)
    assert mesh_shape(16, 16, 8) == (1, 16), "a model too big for one machine"
    assert mesh_shape(4, 0, 1) == (1, 4), "machines of one GPU share one copy"
    with pytest.raises(UserError, match=r"10 ranks were found, and 8 .*scale\.shares"):
        mesh_shape(10, 0, 8)


def test_rows_that_do_not_divide_are_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match=r"7 rows were found for 2 ranks.*batch_tokens"):
        my_rows(list(range(7)), World(0, 2))
    rows = list(range(12))
    assert [my_rows(rows, World(rank, 3)) for rank in range(3)] == [rows[:4], rows[4:8], rows[8:]]


def test_low_memory_weights_are_of_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "current", classmethod(lambda cls: cls(0, 2)))
    with pytest.raises(UserError, match=r'"split" was found with 2 ranks'):
        State.begin(nn.Module(), OptimConfig(peak_lr=1.0, weights="split"))  # pyright: ignore[reportArgumentType]


def test_without_torchrun_one_process_is_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as world:
        assert world == World(0, 1)
        assert world.agree("x") == "x"


def test_a_stage_under_torchrun_ends_in_the_losses_of_one_process(tmp_path: Path) -> None:
    """`phi pretrain` on two ranks: the first writes, publishes and speaks."""
    phi = ["-m", "phidelity.cli.main"]
    path = str(WORLD.parent.parent)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}

    def do(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=240
        )

    for out in ("one", "two"):
        assert do(*phi, "run", "minute", "--out", str(tmp_path / out), "--until", "shards").returncode == 0
    assert do(*phi, "pretrain", "minute", "--out", str(tmp_path / "one")).returncode == 0
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    torchrun += ["--rdzv-endpoint", "localhost:0"]
    result = do(*torchrun, *phi, "pretrain", "minute", "--out", str(tmp_path / "two"))
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("midtrain       to do") == 1
    ours, theirs = (history(tmp_path / out / "pretrain") for out in ("two", "one"))
    for row, expected in zip(ours, theirs, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    refused = do(*torchrun, *phi, "evaluate", "minute", "--out", str(tmp_path / "two"))
    assert refused.returncode != 0
    assert (
        "evaluate was asked of 2 ranks; expected one stage that ranks share: pretrain, midtrain, sft" in refused.stderr
    )
