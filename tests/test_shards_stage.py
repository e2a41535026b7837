import json

import numpy as np
import pytest

from phidelity.config import UserError
from phidelity.data.loader import Loader, validation_batches
from phidelity.data.shards import groups, open_shard
from phidelity.pipeline.shards import ShardsConfig, shards
from phidelity.records import Document, write_records
from phidelity.tokenizer.bpe import Tokenizer, train

TEXT = "The miller brought {} sacks of flour to the baker number {} in the town."
SHARES = {"web": 0.5, "synthetic": 0.5}


def documents(group, n, **meta):
    texts = [TEXT.format(i, i * 7) * (1 + i % 3) for i in range(n)]
    return [
        Document(id=f"{group}/{meta}/{i}", text=text, source="made", meta={"group": group, **meta})
        for i, text in enumerate(texts)
    ]


@pytest.fixture
def inputs(tmp_path):
    write_records(tmp_path / "corpus" / "documents.jsonl.zst", documents("web", 200))
    made = [*documents("synthetic", 300), *documents("synthetic", 20, long=True)]
    write_records(tmp_path / "synthetic" / "documents.jsonl.zst", made)
    train([TEXT] * 5, 400).save(tmp_path / "tokenizer")
    return {name: tmp_path / name for name in ("corpus", "synthetic", "tokenizer")}


def run(config, inputs, out):
    out.mkdir(exist_ok=True)
    return shards(config, **inputs, seed=0, out=out)


def test_shards_hold_every_document_once_and_end_each_with_the_end_of_text(inputs, tmp_path):
    run(ShardsConfig(shares=SHARES, validation_share=0.1), inputs, tmp_path / "out")
    words = Tokenizer.load(inputs["tokenizer"])
    assert groups(tmp_path / "out") == ["long", "synthetic", "web"]
    shard, held_out = (open_shard(folder, "web") for folder in (tmp_path / "out", tmp_path / "out" / "validation"))
    assert shard.n_documents + held_out.n_documents == 200
    assert 5 <= held_out.n_documents <= 40
    assert shard.tokenizer == words.digest
    ids = (tmp_path / "out" / "web.ids.txt").read_text().split("\n")
    first = shard.tokens[: shard.ends[0]].tolist()
    assert first[-1] == words.endoftext
    number = int(ids[0].rsplit("/", 1)[1])
    assert words.decode(first[:-1]) == TEXT.format(number, number * 7) * (1 + number % 3)


def test_long_documents_are_for_midtraining_alone(inputs, tmp_path):
    run(ShardsConfig(shares=SHARES, validation_share=0.0), inputs, tmp_path / "out")
    assert open_shard(tmp_path / "out", "long").n_documents == 20
    assert open_shard(tmp_path / "out", "synthetic").n_documents == 300


def test_long_organic_documents_are_in_both(inputs, tmp_path):
    limit = 60
    run(ShardsConfig(shares=SHARES, validation_share=0.0, long_tokens=limit), inputs, tmp_path / "out")
    web, long = (open_shard(tmp_path / "out", name) for name in ("web", "long"))
    starts = [0, *web.ends[:-1]]
    n_long = sum(int(end - start >= limit) for start, end in zip(starts, web.ends, strict=True))
    assert web.n_documents == 200
    assert n_long
    assert long.n_documents == 20 + n_long


def test_the_longest_organic_documents_are_weighed_up_by_a_share_of_their_own(inputs, tmp_path):
    config = ShardsConfig(shares=SHARES, validation_share=0.0, long_tokens=30, longer_tokens=60)
    run(config, inputs, tmp_path / "out")
    lengths = {}
    for name in ("web", "long", "longer"):
        ends = open_shard(tmp_path / "out", name).ends
        lengths[name] = np.diff(ends, prepend=0).tolist()
    assert sorted(lengths["longer"]) == sorted(n for n in lengths["web"] if n >= 60) != []
    n_made = 20  # long when made, in no other group
    assert len(lengths["long"]) == n_made + sum(n >= 30 for n in lengths["web"])


def test_the_plan_says_how_often_each_group_is_repeated(inputs, tmp_path):
    summary = run(ShardsConfig(shares=SHARES, tokens=40_000), inputs, tmp_path / "out")
    plan = json.loads((tmp_path / "out" / "mixture.json").read_text())
    assert plan["epochs"]["web"] == pytest.approx(20_000 / plan["unique_tokens"]["web"], abs=0.001)
    assert summary["tokens"] == 40_000
    free = run(ShardsConfig(shares=SHARES, max_epochs=4.0), inputs, tmp_path / "out")
    assert max(free["epochs"].values()) == pytest.approx(4.0, abs=0.001)


def test_a_mixture_that_repeats_too_much_or_lacks_a_group_is_refused(inputs, tmp_path):
    with pytest.raises(UserError, match="repeats beyond max_epochs = 2"):
        run(ShardsConfig(shares=SHARES, tokens=10**6, max_epochs=2.0), inputs, tmp_path / "out")
    with pytest.raises(UserError, match="wants acquired, which has no tokens"):
        run(ShardsConfig(shares={"web": 0.5, "acquired": 0.5}), inputs, tmp_path / "out")


def test_a_document_of_no_group_is_refused(inputs, tmp_path):
    write_records(inputs["synthetic"] / "documents.jsonl.zst", documents("lessons", 3))
    with pytest.raises(UserError, match="has the group 'lessons'; expected one of web"):
        run(ShardsConfig(shares=SHARES), inputs, tmp_path / "out")


def test_the_same_documents_give_the_same_bytes_and_feed_the_loader(inputs, tmp_path):
    for name in ("one", "two"):
        run(ShardsConfig(shares=SHARES, validation_share=0.1), inputs, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
    loader = Loader(tmp_path / "one", SHARES, context_len=64, batch_rows=4, seed=0)
    assert loader.batch(0).n_targets > 200
    assert {group for group, _ in validation_batches(tmp_path / "one", context_len=64, batch_rows=4)} >= set(SHARES)
