"""Blocks on disk: found again by the same model, and whatever is wrong with them is a miss, said once."""

import errno
import logging
import os
from pathlib import Path

import pytest
import torch

from phidelity.engine.spill import Spill

SHAPE = (2, 2, 1, 32, 8)
IDS = tuple(range(32))
SIZE = 16 + 8 * 33 + 4 * 2 * 2 * 32 * 8


def spill(folder: Path, key: str = "model", budget: int = 10 * SIZE) -> Spill:
    return Spill(folder, key, SHAPE, torch.float32, budget)


def data(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_a_block_is_found_again_bit_for_bit(tmp_path: Path) -> None:
    spill(tmp_path).write(b"a", IDS, data())
    again = spill(tmp_path)
    found = again.read(b"a", IDS)
    assert found is not None
    assert torch.equal(found, data())
    assert not again.wants(b"a")
    assert again.wants(b"b")
    assert again.read(b"b", IDS) is None


def test_a_tail_gives_its_common_beginning_and_the_newest_stands(tmp_path: Path) -> None:
    one = spill(tmp_path)
    one.write(b"t", (1, 2, 3), data(0))
    one.write(b"t", (1, 2, 4, 5), data(1))
    again = spill(tmp_path)
    found = again.read_tail(b"t", (1, 2, 4, 6, 7))
    assert found is not None
    assert found[0] == 3
    assert torch.equal(found[1], data(1))
    assert again.read_tail(b"t", (9, 2)) is None
    assert again.read_tail(b"u", (1, 2)) is None


def test_another_models_blocks_are_never_looked_at(tmp_path: Path) -> None:
    spill(tmp_path, "one").write(b"a", IDS, data())
    assert spill(tmp_path, "other").read(b"a", IDS) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "other ids", "gone"])
def test_a_damaged_file_is_a_miss_and_said_once(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = spill(tmp_path)
    for name in (b"a", b"b"):
        first.write(name, tuple(reversed(IDS)) if damage == "other ids" else IDS, data())
    again = spill(tmp_path)
    for path in tmp_path.glob("*/*.kv"):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        if damage == "gone":
            path.unlink()
        elif damage != "other ids":
            path.write_bytes({"cut": content[:-9], "flipped": content, "empty": b"", "foreign": b"x" * 999}[damage])
    with caplog.at_level(logging.WARNING):
        assert again.read(b"a", IDS) is None
        assert again.read(b"b", IDS) is None
    assert len(caplog.records) == 1
    assert again.wants(b"a")
    assert again.n_bytes == 0


def test_files_used_longest_ago_make_room_over_all_models(tmp_path: Path) -> None:
    old = spill(tmp_path, "old", budget=3 * SIZE)
    for name in (b"a", b"b"):
        old.write(name, IDS, data())
    new = spill(tmp_path, "new", budget=3 * SIZE)
    for name in (b"c", b"d", b"e"):
        new.write(name, IDS, data())
        assert new.n_bytes <= 3 * SIZE
    assert new.read(b"c", IDS) is not None
    new.write(b"f", IDS, data())
    assert [path.stem for path in sorted(tmp_path.glob("*/*.kv"))] == [name.hex() for name in (b"c", b"e", b"f")]
    spill(tmp_path, "tiny", budget=SIZE - 1).write(b"g", IDS, data())


def test_a_full_disk_is_said_once_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = spill(tmp_path)
    one.write(b"a", IDS, data())

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING):
        for name in (b"b", b"c"):
            one.write(name, IDS, data())
    assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
    assert not one.wants(b"d")
    assert one.read(b"a", IDS) is not None
    assert not list(tmp_path.glob("*/*.tmp"))


def test_a_folder_that_cannot_be_made_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        one = spill(tmp_path / "file")
        one.write(b"a", IDS, data())
    assert len(caplog.records) == 1
    assert one.read(b"a", IDS) is None


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    spill(tmp_path).write(b"a", IDS, data())
    folder = tmp_path / "model"
    (folder / "61.12345.tmp").write_bytes(b"old")
    os.utime(folder / "61.12345.tmp", (0, 0))
    (folder / "62.12345-0.tmp").write_bytes(b"being written now")
    spill(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["61.kv", "62.12345-0.tmp"]


def test_a_budget_below_a_block_stores_nothing_and_removes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spill(tmp_path, "one").write(b"a", IDS, data())
    tiny = spill(tmp_path, "tiny", budget=SIZE - 1)
    with caplog.at_level(logging.WARNING):
        tiny.write(b"b", IDS, data())
    assert f"a block takes {SIZE} bytes, and the budget is {SIZE - 1}" in caplog.text
    assert not tiny.wants(b"c")
    assert spill(tmp_path, "one").read(b"a", IDS) is not None


def test_engines_of_one_process_write_files_of_their_own(tmp_path: Path) -> None:
    one, other = spill(tmp_path), spill(tmp_path)
    assert one._unfinished != other._unfinished
