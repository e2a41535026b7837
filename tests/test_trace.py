import json

import pytest
from test_corpus_stage import PROBLEM, PROSE

from phidelity.config import UserError
from phidelity.data.loader import open_packed
from phidelity.data.shards import open_shard
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig
from phidelity.pipeline.shards import ShardsConfig, shards
from phidelity.pipeline.tokenizer import TokenizerConfig, tokenizer
from phidelity.pipeline.trace import trace
from phidelity.records import Document, read_records, write_records
from phidelity.terminal import outline
from phidelity.tokenizer.bpe import Tokenizer

WORDS = ("wool", "salt", "honey", "ink", "amber", "silk", "tar", "glass")


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder of documents brought to packed tokens, beside some made ones."""
    root = tmp_path_factory.mktemp("road")
    run, texts = root / "run", root / "texts"
    texts.mkdir()
    for word in WORDS:
        (texts / f"{word}.txt").write_text(PROSE.format(word))
    (texts / "copy.txt").write_text(PROSE.format("wool").replace(" ", "  "))
    (texts / "mail.txt").write_text(PROSE.format("flax") + "Write to ana@example.org, or to bo@example.org, about it.")
    (texts / "leak.txt").write_text(PROSE.format("cakes") + PROBLEM)
    (texts / "one.py").write_text('"""Says what it does."""\n\nnumber = 1\n')
    (texts / "SOURCE.txt").write_text(
        "source: https://town.example/wool commit abcdef1 2024-01-02\n"
        "source: https://town.example/salt commit 1234567 2024-01-03\nlicence: CC0-1.0\n"
    )
    (run / "benchmarks").mkdir(parents=True)
    (run / "benchmarks" / "math_test.csv").write_text(f'Question,Answer\n"{PROBLEM}",40\n')
    for stage in ("corpus", "tokenizer", "shards"):
        (run / stage).mkdir()
    corpus(CorpusConfig(sources=(str(texts),)), benchmarks=run / "benchmarks", seed=0, out=run / "corpus")
    made = [
        Document(id=f"made/{n}", text=f"Made text {n}.", source="rules", meta={"group": "synthetic"}) for n in range(9)
    ]
    write_records(run / "synthetic" / "documents.jsonl.zst", made)
    folders = {name: run / name for name in ("corpus", "synthetic")}
    tokenizer(TokenizerConfig(vocab_size=400), **folders, seed=0, out=run / "tokenizer")
    config = ShardsConfig(shares={"web": 0.5, "synthetic": 0.5}, validation_share=0.2, context_len=512)
    shards(config, **folders, tokenizer=run / "tokenizer", seed=0, out=run / "shards")
    return run


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("group", ["web", "synthetic"])
def test_every_token_leads_back_to_the_document_that_holds_it(road, group, held_out):
    shard = open_shard(road / "shards" / ("validation" if held_out else ""), group)
    words = Tokenizer.load(road / "tokenizer")
    texts = {
        d.id: d.text
        for stage in ("corpus", "synthetic")
        for d in read_records(road / stage / "documents.jsonl.zst", Document)
    }
    start = 0
    for end in shard.ends.tolist():
        text = words.decode(shard.tokens[start : end - 1].tolist())
        for token in {start, (start + end) // 2, end - 1}:
            told = trace(road, f"{group}:{token}", held_out=held_out)
            assert texts[told["document"]["id"]] == text
            assert told["token"]["place_in_document"] == token - start
            assert told["token"]["id"] == shard.tokens[token]
        start = end


def test_a_place_in_a_packed_row_is_the_token_that_training_reads_there(road):
    packed = open_packed(road / "shards", "web", 512)
    for row in range(len(packed.rows)):
        read = [int(token) for ids, _ in packed.row(row) for token in ids[:-1]]
        for position in (0, len(read) // 2, len(read) - 1):
            assert trace(road, f"web:{row}/{position}")["token"]["id"] == read[position]
    with pytest.raises(UserError, match="is empty; it holds"):
        trace(road, f"web:{len(packed.rows) - 1}/511")


def test_a_document_says_where_it_is_from_and_what_was_decided_and_removed(road):
    told = trace(road, "texts/mail.txt")
    assert told["document"]["license"] == "CC0-1.0"
    assert told["document"]["date"] == "2024-01-03"
    removed = told["document"]["meta"]["removed"]
    assert [(one["what"], one["characters"]) for one in removed] == [("EMAIL", 15), ("EMAIL", 14)]
    document = next(
        d for d in read_records(road / "corpus" / "documents.jsonl.zst", Document) if d.id == "texts/mail.txt"
    )
    assert all(document.text[one["at"] :].startswith("[EMAIL]") for one in removed)
    assert told["rules"]["scores"]["gopher_words_min"] == {"score": pytest.approx(90, abs=15), "at least": 50}
    assert told["rules"]["failed"] == []
    assert json.loads(json.dumps(told))
    salt = trace(road, "texts/salt.txt")["document"]
    assert (salt["origin"], salt["commit"]) == ("https://town.example/salt", "1234567")


def test_a_document_that_went_says_why_and_of_what_it_is_a_copy(road):
    leak = trace(road, "texts/leak.txt")["dropped"]
    assert (leak["step"], leak["threshold"], leak["against"]) == ("contamination", "13-gram", PROBLEM)
    pair = {name: trace(road, f"texts/{name}.txt") for name in ("wool", "copy")}
    (gone,) = [name for name in pair if "dropped" in pair[name]]
    (kept,) = {*pair} - {gone}
    assert pair[gone]["dropped"]["against"] == f"texts/{kept}.txt"
    assert pair[kept]["cluster"] == pair[gone]["cluster"]


def test_what_is_not_there_is_told(road):
    with pytest.raises(UserError, match=r"neither a document .* with a group of: code, synthetic, web"):
        trace(road, "acquired:1")
    with pytest.raises(UserError, match="holds"):
        trace(road, "web:99999999")
    with pytest.raises(UserError, match="counted from 0"):
        trace(road, "web:9999/0")
    with pytest.raises(UserError, match=r"No run .*nix; expected a folder"):
        trace(road / "nix", "web:1")
    with pytest.raises(UserError, match="has no finished stage corpus"):
        trace(road / "tokenizer", "web:1")


def test_lists_are_told_as_words():
    told = {"rules": {"failed": ["a", "b"], "scores": {"x": 1}}, "dropped": {"also": ("c",), "none": []}}
    assert list(outline(told)) == ["rules", "  failed: a, b", "  scores: x 1", "dropped", "  also: c", "  none: none"]
