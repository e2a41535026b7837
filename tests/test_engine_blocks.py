"""Bookkeeping of blocks: prefixes are found by all their ids, shared, evicted in order, and never lost."""

import numpy as np
import pytest

from phidelity.engine import blocks as module
from phidelity.engine.blocks import BLOCK, ROOT, Blocks


def store(blocks: Blocks, ids: tuple[int, ...]) -> list[int]:
    """Publish a prompt as a sequence does; the blocks it holds."""
    held, parent, chain = [], ROOT, b""
    for start in range(0, len(ids), BLOCK):
        block = blocks.take()
        entry = blocks.publish(block, parent, chain, ids[start : start + BLOCK])
        parent, chain = entry.serial, entry.chain
        held.append(block)
    return held


def prompt(n: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, 1000, n).tolist())


def test_the_longest_known_beginning_is_found_to_the_token() -> None:
    blocks = Blocks(20)
    ids = prompt(3 * BLOCK + 7)
    held = store(blocks, ids)
    match = blocks.match(ids)
    assert (match.blocks, match.partial, match.n_partial) == (held[:3], held[3], 7)
    match = blocks.match((*ids[: BLOCK + 5], 5000, 5001))
    assert (match.blocks, match.partial, match.n_partial) == (held[:1], held[1], 5)
    assert blocks.match((5000, *ids[1:])) == module.Match([], ROOT, b"", 0, 0)


def test_equal_ids_after_another_beginning_are_another_block() -> None:
    blocks = Blocks(20)
    one, other, tail = prompt(BLOCK, 1), prompt(BLOCK, 2), prompt(BLOCK, 3)
    held = store(blocks, one + tail)
    store(blocks, other)
    assert blocks.match(one + tail).blocks == held
    assert len(blocks.match(other + tail).blocks) == 1


def test_colliding_hashes_never_serve_another_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "chained", lambda chain, ids: b"same")
    blocks = Blocks(20)
    one, other, tail = prompt(BLOCK, 1), prompt(BLOCK, 2), prompt(BLOCK, 3)
    held = store(blocks, one + tail)
    assert blocks.match(one + tail).blocks == held
    assert blocks.match(other + tail).blocks == []


def test_the_block_used_longest_ago_goes_first_and_ends_go_before_beginnings() -> None:
    evicted: list[tuple[int, ...]] = []
    blocks = Blocks(7, lambda block, entry: evicted.append(entry.ids))
    old, new = prompt(3 * BLOCK, 1), prompt(3 * BLOCK, 2)
    blocks.release(store(blocks, old))
    blocks.release(store(blocks, new))
    for block in blocks.match(old[:BLOCK]).blocks:  # used again
        blocks.share(block)
        blocks.release([block])
    for _ in range(6):
        blocks.take()
    parts = [ids[start : start + BLOCK] for ids in (old, new) for start in (0, BLOCK, 2 * BLOCK)]
    assert evicted == [parts[2], parts[1], parts[5], parts[4], parts[3], parts[0]]
    assert blocks.n_available == 0


def test_held_blocks_are_never_evicted_and_counts_add_up() -> None:
    rng = np.random.default_rng(0)
    blocks = Blocks(40)
    held: list[list[int]] = []
    for round_ in range(600):
        if held and (rng.random() < 0.5 or blocks.n_available < 4):
            blocks.release(held.pop(int(rng.integers(len(held)))))
        else:
            ids = prompt(int(rng.integers(1, 4 * BLOCK)), seed=int(rng.integers(6)))
            match = blocks.match(ids)
            for block in match.blocks:
                blocks.share(block)
            held.append([*match.blocks])
            parent, chain = match.parent, match.chain
            for start in range(len(match.blocks) * BLOCK, len(ids), BLOCK):
                if not blocks.n_available:
                    break
                block = blocks.take()
                assert all(block not in other for other in held)
                entry = blocks.publish(block, parent, chain, ids[start : start + BLOCK])
                parent, chain = entry.serial, entry.chain
                held[-1].append(block)
        blocks.check(held)
    blocks.forget_all()
    for one in held:
        blocks.release(one)
    blocks.check([])
    assert blocks.n_available == 39


def test_a_block_released_too_often_is_noticed() -> None:
    blocks = Blocks(3)
    block = blocks.take()
    blocks.release([block])
    with pytest.raises(AssertionError, match="more often than held"):
        blocks.release([block])
