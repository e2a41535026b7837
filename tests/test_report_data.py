"""What report and card show of a corpus: the classifier with its figures, and both texts of every overlap."""

import json

import pytest
from test_corpus_quality import read, root, settings  # noqa: F401 (a fixture)
from test_report import finish

from phidelity.completion import ScriptedCompleter
from phidelity.config import parse
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig
from phidelity.pipeline.report import CARD, REPORT, _around, write_report

PROBLEM = "The <b>baker</b> of Oldtown packs seven boxes with six cakes each & then eats two of these cakes on his way."


@pytest.fixture
def made(tmp_path, root):  # noqa: F811
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "math_test.csv").write_text(f'Question,Answer\n"{PROBLEM}",40\n')
    page = (root / "s0" / "1.md").read_text()
    (root / "s0" / "leak.md").write_text(f"{page}\n\nIt was told that {PROBLEM.title()} So it is.\n")
    out = tmp_path / "run" / "corpus"
    out.mkdir(parents=True)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"name": "data"}))
    teacher = ScriptedCompleter(lambda prompt, _: read(prompt), name="wise")
    config = parse(CorpusConfig, settings(root) | {"min_jaccard": 1.0, "cutoff": "2030-01-31"}, "recipe")
    finish(
        tmp_path / "run", "corpus", corpus(config, benchmarks=tmp_path / "benchmarks", seed=0, out=out, teacher=teacher)
    )
    write_report(tmp_path / "run")
    return tmp_path / "run"


def test_both_texts_of_an_overlap_stand_side_by_side_with_what_they_share_marked(made):
    html = (made / REPORT).read_text()
    beside = html[html.index('<div class="beside">') :][:3000]
    assert "<h4>Document</h4>" in beside
    assert "<h4>Problem</h4>" in beside
    assert beside.count("<mark>") == 2
    assert "Seven Boxes With Six Cakes" in beside
    assert "seven boxes with six cakes" in beside
    assert "&lt;b&gt;baker" in beside
    assert "<b>baker" not in html


def test_the_classifier_stands_on_page_and_card_by_the_name_of_who_taught_it(made):
    html, card = (made / REPORT).read_text(), (made / CARD).read_text()
    assert "Marks from 0 to 5 by <strong>wise</strong>. 14" in html
    assert "Held out by source (6 sources, none on both sides)" in html
    assert "Calibration of the classifier on unseen sources" in html
    assert "taught by wise on 14" in card
    assert "On 6 sources held out in turn: mean error" in card
    assert "Cut-off date: 2030-01-31" in card
    assert "Undated share: 100.0 %" in card
    assert "1 documents; 0 with a partial overlap stayed" in card


def test_rejects_are_shown_with_the_value_and_the_threshold_that_decided(made):
    html = (made / REPORT).read_text()
    place = html.index("<h4>ours_quality: ")
    assert ", threshold 2.5" in html[place : place + 600]
    assert html[place : html.index("</details>", place)].count("value ") >= 4


def test_what_two_texts_share_is_found_through_case_and_punctuation():
    assert _around("So: 80,000 men--Don't ask! why", "80000 men dont ask") == ("So: ", "80,000 men--Don't ask", "! why")
    assert _around("other words", "not there") == ("other words", "", "")
    before, match, after = _around("a" * 900 + " one two " + "b" * 900, "one two")
    assert (before[:3], match, after[-2:]) == ("… a", "one two", " …")
