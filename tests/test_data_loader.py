import random

import numpy as np
import pytest
import torch

from phidelity.config import UserError
from phidelity.data.loader import PERIOD, Loader, schedule, validation_batches
from phidelity.data.shards import write_shard

END = 99
SIZES = {"web": 300, "code": 120, "synthetic": 40}
SHARES = {"web": 0.5, "code": 0.3, "synthetic": 0.2}


def documents(group, n):
    rng = random.Random(f"loader/{group}")
    return [(f"{group}{d}", [rng.randrange(90) for _ in range(rng.randint(1, 40))] + [END]) for d in range(n)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for group, n in SIZES.items():
        write_shard(folder, group, documents(group, n), tokenizer="t")
        write_shard(folder / "validation", group, documents(f"held out {group}", 9), tokenizer="t")
    return folder


def loader(shards, *, seed=0, shares=SHARES, batch_rows=8):
    return Loader(shards, shares, context_len=16, batch_rows=batch_rows, seed=seed)


def same(a, b):
    names = ("tokens", "targets", "loss_mask", "positions", "doc_ids")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_a_step_is_the_same_whenever_it_is_asked_for(shards):
    forward = loader(shards)
    batches = [forward.batch(step) for step in range(6)]
    fresh = loader(shards)
    assert all(same(fresh.batch(step), batches[step]) for step in reversed(range(6)))


def test_accumulation_and_ranks_read_slices_of_one_order(shards):
    whole = loader(shards).batch(3)
    parts = [loader(shards).rows(24 + first, 2).tokens for first in (0, 2, 4, 6)]
    assert torch.equal(torch.cat(parts), whole.tokens)


def test_another_seed_gives_another_order(shards):
    assert not torch.equal(loader(shards).batch(0).tokens, loader(shards, seed=1).batch(0).tokens)
    assert loader(shards).fingerprint == loader(shards).fingerprint
    assert loader(shards).fingerprint != loader(shards, seed=1).fingerprint


def test_every_group_is_always_within_one_row_of_its_quota(shards):
    mixed = loader(shards)
    drawn = dict.fromkeys(mixed.groups, 0)
    for sample in range(PERIOD + 500):
        drawn[mixed.place(sample)[0]] += 1
        for group, n in drawn.items():
            assert abs(n - mixed.quotas[group] / PERIOD * (sample + 1)) < 1


def test_realised_shares_of_tokens_are_the_mixtures(shards):
    mixed = loader(shards)
    tokens = dict.fromkeys(mixed.groups, 0)
    for sample in range(4000):
        name, _, row = mixed.place(sample)
        tokens[name] += sum(len(ids) - 1 for ids, _ in mixed.groups[name].row(row))
    for group, share in SHARES.items():
        assert tokens[group] / sum(tokens.values()) == pytest.approx(share, abs=0.005)


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own(shards):
    mixed = loader(shards)
    epochs: dict[int, list[int]] = {}
    for sample in range(2000):
        name, epoch, row = mixed.place(sample)
        if name == "code":
            epochs.setdefault(epoch, []).append(row)
    n = len(mixed.groups["code"].rows)
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(n))
    assert epochs[0] != epochs[1]


def test_targets_follow_tokens_and_never_cross_documents(shards):
    batch = loader(shards).rows(0, 200)
    inside = (batch.doc_ids[:, 1:] == batch.doc_ids[:, :-1]) & (batch.doc_ids[:, 1:] >= 0)
    assert torch.equal(batch.targets[:, :-1][inside], batch.tokens[:, 1:][inside])
    assert torch.equal(batch.positions[:, 1:][inside], batch.positions[:, :-1][inside] + 1)
    assert not (batch.tokens == END).any()
    assert (batch.loss_mask == (batch.doc_ids >= 0)).all()


def test_a_group_that_is_missing_or_empty_is_refused(shards, tmp_path):
    with pytest.raises(UserError, match="No shard 'acquired'"):
        loader(shards, shares={"web": 0.5, "acquired": 0.5})
    write_shard(tmp_path, "web", [("a", [END])], tokenizer="t")
    with pytest.raises(UserError, match="holds no text"):
        loader(tmp_path, shares={"web": 1.0})


def test_validation_reads_each_held_out_group_once(shards):
    pairs = list(validation_batches(shards, context_len=16, batch_rows=4))
    n_targets = dict.fromkeys(SIZES, 0)
    for group, batch in pairs:
        n_targets[group] += batch.n_targets
    expected = {g: sum(len(ids) - 1 for _, ids in documents(f"held out {g}", 9)) for g in SIZES}
    assert n_targets == expected
    assert all(len(batch) == 2 for _, batch in validation_batches(shards, context_len=16, batch_rows=4, max_rows=2))


@pytest.mark.parametrize("quotas", [[1500, 1500, 4000, 2000, 1000], [9000, 250, 250, 250, 250], [10], [1, 999]])
def test_the_schedule_gives_each_group_its_quota_evenly(quotas):
    order = schedule(quotas)
    for group, quota in enumerate(quotas):
        given = np.cumsum(order == group)
        assert given[-1] == quota
        assert abs(given - np.arange(1, len(order) + 1) * quota / len(order)).max() < 1
