"""The study `breakfix` at a size that learns nothing: its arms share a model, resume, and give every number claimed."""

from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.pipeline.breakfix_study import ToyConfig, toy
from phidelity.pipeline.study_file import load_study
from phidelity.records import read_json

SMALL = {"taught": 24, "taught_sums": 24, "probes": 1, "fix_probes": 1, "failures": 4, "sums": 4, "rounds": 2,
         "width": 16, "share": 0.5}  # fmt: skip


def test_arms_share_a_model_and_give_all_that_the_study_measures(tmp_path: Path) -> None:
    told = {}
    for arm in ("start", "rounds"):
        told[arm] = toy(seed=0, out=tmp_path / arm / "seed-0", arm=arm, **SMALL)
    wanted = {number for one in load_study("breakfix").study.measures.values() for number in one.numbers}
    assert all(wanted <= set(one) for one in told.values())
    assert told["start"]["accepted"] == 0
    assert {name: len(told["start"][name]) for name in ("open", "sealed", "direct", "over_refusal")} == {
        "open": 5, "sealed": 2, "direct": 1, "over_refusal": 8,
    }  # fmt: skip
    rounds = tmp_path / "rounds" / "seed-0" / "rounds"
    first = read_json(rounds / "0" / "manifest.json")
    assert first["accepted"] is False
    assert read_json(rounds / "1" / "manifest.json")["from"] == first["from"]
    assert told["rounds"]["open"] == told["start"]["open"]
    assert toy(seed=0, out=tmp_path / "rounds" / "seed-0", arm="rounds", **SMALL) == told["rounds"]


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises((UserError, ValueError), match="arm"):
        ToyConfig.model_validate({"arm": "all"})
