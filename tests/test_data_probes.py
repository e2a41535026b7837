"""The labelled probes of the larger test data, where PHI_TEST_DATA points to it."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from phidelity.data.decontaminate import build_index, contaminated
from phidelity.data.dedup import duplicates

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
