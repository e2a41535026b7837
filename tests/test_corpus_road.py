"""Recipe `corpus` as a newcomer meets it: any folder gives a result, mistakes are told at once, and mended at once."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from corpus_world import write_recipe, write_sources

from phidelity.config import UserError
from phidelity.data.look import look
from phidelity.data.sources import Source, read_source
from phidelity.pipeline.recipe import load_recipe
from phidelity.pipeline.run import run
from phidelity.pipeline.trace import trace
from phidelity.records import Document

WANTED = "shards.shares={ web = 0.5, acquired = 0.5 }"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_sources(tmp_path_factory.mktemp("road") / "root", 2, 12)


def walk(root: Path, folder: Path, *assignments: str) -> Path:
    recipe = load_recipe(str(write_recipe(folder / "recipe.toml", root)), assignments)
    run(recipe.recipe, folder / "run", text=recipe.text)
    return folder / "run"


def test_a_share_that_nothing_can_fill_is_refused_or_spread_and_the_corrected_command_needs_no_force(root, tmp_path):
    with pytest.raises(UserError, match=r"wants acquired, which has no tokens.*shards\.absent"):
        walk(root, tmp_path, WANTED)
    out = walk(root, tmp_path, WANTED, "shards.absent=spread")
    plan = json.loads((out / "shards" / "mixture.json").read_text())
    assert (plan["shares"], plan["absent"]) == ({"web": 1.0}, {"acquired": 0.5})
    told = "acquired has no tokens: its share of 50.0% went to the others in proportion"
    assert told in "\n".join(look(out))
    assert told in (out / "report.html").read_text()
    assert told in (out / "MODEL_CARD.md").read_text()


def test_where_nothing_passes_the_message_leads_to_the_funnel_and_other_thresholds_need_no_force(root, tmp_path):
    with pytest.raises(UserError, match=r"No document of source-0, source-1 is left; read were 38, dropped ") as told:
        walk(root, tmp_path, "corpus.thresholds={ gopher_words_min = 9999 }")
    place = str(told.value).partition("phi data look ")[2].split()[0]
    for path in (Path(place), tmp_path / "run"):
        assert ("is not done: the same phi run goes on" in "\n".join(look(path))) == (path.name == "run")
        assert "x Problem" not in "\n".join(look(path))
        shown = "\n".join(look(path))
        assert "rules" in shown.split("\n\n")[0]
        assert "threshold 9999" in shown
    assert (walk(root, tmp_path) / "shards" / "mixture.json").is_file()


@pytest.mark.parametrize(
    ("left", "found"),
    [
        ((), "root holds nothing; expected"),
        ((".hidden", "SOURCE.txt"), "root holds nothing but empty folders, hidden files and links; expected"),
        (("probes",), r"root holds nothing but what corpus\.ignore \(probes\) leaves out; expected"),
    ],
)
def test_a_root_that_holds_nothing_is_told_before_anything_is_made(tmp_path, left, found):
    (tmp_path / "root").mkdir()
    for name in left:
        (tmp_path / "root" / name).write_text("text")
    with pytest.raises(UserError, match=found):
        walk(tmp_path / "root", tmp_path, "corpus.ignore=['probes']")
    assert not (tmp_path / "run").exists()


def test_a_run_that_would_read_itself_is_refused_unless_it_is_left_out(root, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text((root / "source-0" / "000.txt").read_text())
    with pytest.raises(UserError, match=r"would lie in corpus.root .* and read itself.*ignore=\[\"run\"\]"):
        walk(tmp_path, tmp_path)
    assert walk(tmp_path, tmp_path, "corpus.ignore=['run', '*.toml']").is_dir()


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("corpus.cutoff=2024", "corpus.cutoff: found 2024. Input should be a valid string."),
        ("corpus.cutoff=june", "corpus.cutoff: found 'june'. Expected the last day that counts, as 2024-06-30."),
        (
            "corpus.thresholds={ gopher_word_min = 3 }",
            "No rule named gopher_word_min. Did you mean gopher_words_min? The rules are:",
        ),
        ("corpus.without=['gopher']", "No rule named gopher. The rules are:"),
        ("corpus.without=c4_curly_lines", "found 'c4_curly_lines'. Expected a list, such as [\"name\"]."),
        ("corpus.thresholds={gopher_words_min: 20}", "Expected a table, such as { name = 1 }."),
        (
            "corpus.groups={ source-0 = 'books' }",
            "corpus.groups.source-0: found 'books'. Input should be 'web'",
        ),
        ("corpus.quality={ groups = ['books'] }", "corpus.quality.groups.0: found 'books'. Input should be 'web'"),
        ("shards.shares={ books = 1.0 }", "shards.shares: No group named books; the groups are: web,"),
        ("shards.shares={ web = 0.5 }", "shards.shares: Mixture shares sum to 0.5"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_told_before_anything_is_read(root, tmp_path, assignment, found):
    with pytest.raises(UserError) as told:
        walk(root, tmp_path, assignment)
    mistakes, line = str(told.value).split("\n")
    assert mistakes.endswith(f"--set {shlex.quote(assignment)} has 1 mistake:")
    assert found in line
    assert "CorpusConfig" not in line
    assert "root" not in line
    assert not (tmp_path / "run").exists()


def test_a_cutoff_may_be_a_day_as_toml_writes_it(root, tmp_path):
    recipe = load_recipe(str(write_recipe(tmp_path / "recipe.toml", root)), ["corpus.cutoff=2024-06-30"]).recipe
    assert recipe.corpus
    assert recipe.corpus.cutoff == "2024-06-30"


def test_the_packaged_recipe_takes_a_folder_without_books():
    recipe = load_recipe("corpus").recipe
    assert recipe.shards
    assert recipe.shards.absent == "spread"


def test_the_page_of_a_recipe_without_a_model_speaks_of_data_alone(root, tmp_path):
    out = walk(root, tmp_path)
    page, card = (out / "report.html").read_text(), (out / "MODEL_CARD.md").read_text()
    assert "Training data made by Phidelity, and no model" in page
    assert card.startswith("Training data made by Phidelity, and no model; not phi-4")
    assert "Not done in this run: <code>" not in page.partition('id="data"')[0]
    assert 'id="training"' not in page
    assert 'id="environment"' in page
    assert "Synthetic text" not in page
    assert "phi-4&#39;s table 5" not in page
    assert "Kept documents: the first of each of 2 sources" in page
    assert " documents dropped by reason, of 38 read; " in page
    assert "# Data card" in card
    assert "arithmetic" not in card
    assert "Synthetic" not in card
    assert "hand-written" not in card
    assert "Personal data replaced: EMAIL " in card


def test_rows_say_why_they_are_no_documents_and_a_column_may_be_named(tmp_path):
    root = write_sources(tmp_path / "root", 1, 8)
    lines = [{"document": "x"}, {"messages": []}, ["x"]]
    text = "\n".join(map(json.dumps, lines)) + "\n{torn\n"
    (root / "rows.jsonl").write_text(text)
    (root / "rows.txt.gz").write_bytes(b"\x1f\x8b\x08 and nothing")
    out = walk(root, tmp_path)
    gone = {number: trace(out, f"rows.jsonl#{number}")["dropped"]["value"] for number in (1, 2, 3, 4)}
    assert gone[1].startswith("no text in a column text, content, question,")
    assert gone[1].endswith("; found: document")
    assert gone[2] == "a chat (messages), which is no document"
    assert gone[3] == "no record of columns"
    assert gone[4].startswith("no JSON: Expecting property name")
    assert trace(out, "rows.txt.gz")["dropped"]["value"]
    assert "found: document" in "\n".join(look(out, n=5))
    assert "found: document" in (out / "report.html").read_text()
    named = Source("rows", str(root / "rows.jsonl"), columns=("document",))
    assert [one.text for one in read_source(named) if isinstance(one, Document)] == ["x"]


def test_documents_of_a_licence_that_is_not_wanted_go_for_it(tmp_path):
    root = write_sources(tmp_path / "root", 2, 8)
    (root / "source-1" / "SOURCE.txt").write_text("licence: CC BY-NC 4.0\n")
    out = walk(root, tmp_path, "corpus.without_licenses=['*by-nc*']")
    report = json.loads((out / "corpus" / "dropped.json").read_text())
    assert report["sources"]["source-1"]["kept"]["documents"] == 0
    assert report["sources"]["source-0"]["kept"]["documents"] > 0
    sample = report["samples"]["license"][0]
    assert (sample["value"], sample["threshold"], sample["step"]) == ("CC BY-NC 4.0", "not *by-nc*", "license")
    assert [row["step"] for row in report["steps"]][:4] == ["read", "date", "license", "rules"]
    shutil.rmtree(out)
    with pytest.raises(UserError, match=r"No document of source-0, source-1 is left; .* license, "):
        walk(root, tmp_path, "corpus.licenses=['mit', '*apache*']")
