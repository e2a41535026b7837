"""Texts that nothing is trained on: kept apart by stage corpus, scored by stage evaluate, told by a study."""

import json

import pytest
import torch
from corpus_world import write_sources
from preference_world import TOKENIZER

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.config import UserError, override, parse
from phidelity.data.rules import RULES, select_rules
from phidelity.engine.llm import open_model
from phidelity.eval.likelihood import bits_per_byte
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.contrast import read_items
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig, corpus_sources
from phidelity.pipeline.evaluate import EvaluateConfig, evaluate
from phidelity.pipeline.held_out import EXCERPT, excerpt, held_out_texts
from phidelity.records import Document, read_records

FEW = {"mmlu": 3, "math": 3, "gpqa": 3, "drop": 3, "mgsm": 3, "humaneval": 3, "simpleqa": 3, "development": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A corpus of three sources of which one is kept apart, and the benchmarks."""
    folder = tmp_path_factory.mktemp("held-out")
    root = write_sources(folder / "root", 3, 8)
    for name in ("benchmarks", "corpus"):
        (folder / name).mkdir()
    benchmarks(parse(BenchmarksConfig, FEW, "few"), seed=0, out=folder / "benchmarks")
    config = CorpusConfig(sources=(), root=str(root), held_out=("source-1",))
    told = corpus(config, benchmarks=folder / "benchmarks", seed=0, out=folder / "corpus")
    return folder, config, told


def test_a_held_out_source_is_in_no_document_and_goes_through_no_rule(world):
    folder, config, told = world
    kept = {one.source for one in read_records(folder / "corpus" / "documents.jsonl.zst", Document)}
    assert kept == {"source-0", "source-2"}
    apart = list(read_records(folder / "corpus" / "held_out" / "source-1.jsonl.zst", Document))
    assert told["held_out"] == {"source-1": len(apart)}
    assert any("Too short." in one.text for one in apart), "a rule would have dropped it"
    assert all(len(one.text) <= EXCERPT for one in apart)
    assert "source-1" in corpus_sources(config), "a change of it changes the fingerprint"


def test_a_held_out_source_that_is_not_there_is_told(world):
    _, config, _ = world
    with pytest.raises(UserError, match=r"held_out names wikipedia; below .* are: source-0, source-1, source-2"):
        corpus_sources(config.model_copy(update={"held_out": ("wikipedia",)}))
    with pytest.raises(UserError, match="sources below root, which is not given"):
        parse(CorpusConfig, {"held_out": ("a",)}, "recipe")


def test_the_middle_of_a_long_text_is_taken_and_a_short_one_whole():
    assert excerpt("short") == "short"
    text = "title page " + "x" * 5000 + " licence"
    assert excerpt(text) == "x" * EXCERPT


def test_every_model_is_told_its_bits_per_byte_and_the_items_make_the_number(world, tmp_path):
    folder, _, _ = world
    shape = ModelConfig(
        n_layers=1, d_model=16, n_heads=2, n_kv_heads=1, d_ff=32, vocab_size=TOKENIZER.vocab_size, context_len=512,
        rope_theta=10000.0,
    )  # fmt: skip
    model = Transformer(shape).initialise(torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path / "model", model, TOKENIZER)
    told = evaluate(
        EvaluateConfig(benchmarks=("mgsm",), trials=1, max_tokens=4),
        benchmarks=folder / "benchmarks", corpus=folder / "corpus", models={"pretrain": tmp_path / "model"},
        open_model=open_model, seed=0, out=tmp_path / "evaluate",
    )  # fmt: skip
    texts = held_out_texts(folder / "corpus", 0)
    assert set(texts) == {"source-1", "problems"}
    short = [text for text in texts["source-1"].values() if len(TOKENIZER.encode(text)) <= 512]
    completer = open_model(tmp_path / "model")
    rows = (tmp_path / "evaluate/pretrain/texts/source-1/scored.jsonl").read_text().splitlines()
    assert len(rows) == len(texts["source-1"]) == len(short)
    expected = bits_per_byte(completer, TOKENIZER, short).bits_per_byte
    assert told["pretrain/texts/source-1"] == pytest.approx(expected, rel=1e-6)
    assert json.loads((tmp_path / "evaluate" / "texts.json").read_text())["pretrain"]["problems"]["documents"] == 120
    items = read_items(tmp_path / "evaluate/pretrain/texts/source-1", expected)
    assert len(items.ids) == len(rows)


def test_a_table_is_left_out_by_none_and_all_rules_by_a_star():
    data = {"corpus": {"quality": {"documents": 9}, "undated": "keep"}, "synthetic": {"course": 1}}
    assert override(data, ["synthetic=none", "corpus.quality=none"]) == {"corpus": {"undated": "keep"}}
    assert override(data, ["corpus.undated=none"])["corpus"]["undated"] == "none", "only of a table"
    assert select_rules(without=("*",)) == ()
    assert len(select_rules()) == len(RULES)
