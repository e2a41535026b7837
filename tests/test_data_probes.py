"""The labelled probes of the larger test data, where PHI_TEST_DATA points to it."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from phidelity.data.decontaminate import build_index, contaminated
from phidelity.data.dedup import duplicates
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig

DATA = Path(os.environ.get("PHI_TEST_DATA", "nowhere"))
pytestmark = pytest.mark.skipif(not (DATA / "corpus" / "probes").is_dir(), reason="PHI_TEST_DATA is not set")


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_contamination_probes_are_told_apart():
    index = build_index([row["question"] for row in rows("evals/gsm8k/test.jsonl")])
    probes = [row for row in rows("corpus/probes/contamination.jsonl") if row["expected_flag"] is not None]
    wrong = [row["id"] for row in probes if (contaminated(index, row["text"]) is not None) != row["expected_flag"]]
    assert len(probes) == 168
    assert wrong == []


def test_near_duplicate_probes_are_told_apart():
    found, total = Counter(), Counter()
    for row in rows("corpus/probes/near_dups.jsonl"):
        total[row["kind"]] += 1
        found[row["kind"]] += duplicates([row["a"], row["b"]])[1] is not None
    for kind in ("exact", "case_space", "shuffle_paras"):
        assert found[kind] == total[kind]
    assert found["edit2"] >= 0.91 * total["edit2"]
    for kind in ("unrelated", "edit20", "edit40", "prefix50"):
        assert found[kind] == 0


REASONS = {
    "lorem": {"c4_lorem_ipsum"},
    "cookie": {"c4_policy_lines"},
    "repeat_ngram": {"gopher_top_2_gram", "gopher_top_3_gram", "gopher_top_4_gram", "gopher_duplicate_5_grams"},
    "shout": {"refinedweb_capital_lines"},
    "ellipsis": {"gopher_ellipsis_lines"},
    "code": {"c4_curly_lines"},
    "nav_only": {"ours_boilerplate"},
    "ngram_dup_para": {"gopher_duplicate_paragraphs", "gopher_duplicate_paragraph_characters"},
    "links": {"ours_links", "fineweb_short_lines"},
    "numbers": {"gopher_letters"},
    "short": {"gopher_words_min"},
    "invalid_utf8": {"gopher_words_min"},
    "repeat_line": {"gopher_duplicate_lines"},
    "hash": {"gopher_hashes"},
    "spam": {"ours_sales"},
    "bullets": {"gopher_bullets"},
    "exact_duplicate": {"exact_duplicate"},
    "redirect": {"http_status"},
    "error_page": {"http_status"},
    "image": {"not_html"},
    "json": {"not_html"},
    "robots": {"not_html"},
    "empty": {"empty"},
}
"""The reason with which each kind of page was made, by our names."""


def test_labelled_pages_of_a_crawl_are_kept_or_dropped_for_the_stated_reason(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/math_test.csv").write_text(
        'Question,Answer\n"What is the sum of seven and of eight and of nine?",24\n'
    )
    (tmp_path / "out").mkdir()
    config = CorpusConfig(
        sources=(), root=str(DATA / "corpus"), ignore=("[a-bd-z]*", "ca*", "labels.jsonl"), web_bytes=0, samples=500
    )
    corpus(config, benchmarks=tmp_path / "benchmarks", seed=0, out=tmp_path / "out")
    dropped = json.loads((tmp_path / "out/dropped.json").read_text())
    reasons = {_url(one["id"]): reason for reason, drawn in dropped["samples"].items() for one in drawn}
    labels = rows("corpus/crawl_sim_warc/labels.jsonl")
    right = [(label["url"] in reasons) == (label["expected"] == "drop") for label in labels]
    assert sum(right) >= 0.97 * len(labels)
    drops = [label for label in labels if label["expected"] == "drop"]
    stated = [reasons.get(label["url"]) in REASONS[label["kind"]] for label in drops]
    assert sum(stated) >= 0.90 * len(drops)
    assert reasons["http://www.site4.example/truncated.html"] == "truncated"


def _url(id_):
    return id_.rpartition(" ")[2]
