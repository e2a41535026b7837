import json
from itertools import pairwise

import pytest

from phidelity.config import UserError, parse
from phidelity.data.look import look
from phidelity.data.rules import decide
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig, corpus_sources
from phidelity.pipeline.reading import Scores
from phidelity.records import Document, read_records, write_json

PROSE = (
    "The history of the market town begins with a bridge that the miller built over the river {0}. "
    "In the first years the traders came on market days, and they brought {0} and iron tools with them. "
    "A wooden hall was put up to store the {0}; it burned twice and was built again in stone by the guild. "
    "Later the road was moved to the north, and with it went most of the {0} that had made the town rich.\n"
)
PROBLEM = "The baker of Oldtown packs seven boxes with six cakes each and then eats two of these cakes on his way."


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "math_test.csv").write_text(f'Question,Answer\n"{PROBLEM}",40\n')
    return folder


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, word in (("a", "wool"), ("b", "salt"), ("c", "honey")):
        (folder / f"{name}.txt").write_text(PROSE.format(word))
    (folder / "copy.txt").write_text((folder / "a.txt").read_text().replace(" ", "  "))
    (folder / "shout.txt").write_text((folder / "a.txt").read_text().upper())
    (folder / "leak.txt").write_text(PROSE.format("cakes") + PROBLEM)
    (folder / "short.txt").write_text("Too short.")
    (folder / "x.txt").write_bytes(b"\x00\x01" * 50)
    (folder / "good.py").write_text('"""Says what it does."""\n\nnumber = 1\n')
    return folder


def run(config, benchmarks, out):
    out.mkdir(exist_ok=True)
    summary = corpus(config, benchmarks=benchmarks, seed=0, out=out)
    return summary, list(read_records(out / "documents.jsonl.zst", Document))


def test_every_document_is_kept_or_dropped_for_a_counted_reason(source, benchmarks, tmp_path):
    config = CorpusConfig(sources=(str(source),))
    summary, documents = run(config, benchmarks, tmp_path / "out")
    kept = {document.id for document in documents}
    assert kept & {"texts/a.txt", "texts/copy.txt"} != {"texts/a.txt", "texts/copy.txt"}
    assert {"texts/b.txt", "texts/c.txt", "texts/good.py"} <= kept
    assert summary["dropped_by_reason"] == {
        "contaminated": 1,
        "exact_duplicate": 1,
        "gopher_words_min": 1,
        "not_text": 1,
        "refinedweb_capital_lines": 1,
    }
    assert summary["read"]["documents"] == summary["kept"]["documents"] + summary["dropped"]["documents"] == 9
    assert summary["read"]["bytes"] == summary["kept"]["bytes"] + summary["dropped"]["bytes"]
    assert summary["groups"]["code"]["documents"] == 1
    dropped = json.loads((tmp_path / "out" / "dropped.json").read_text())
    leak = dropped["samples"]["contaminated"][0]
    assert (leak["threshold"], leak["against"]) == ("13-gram", PROBLEM)
    assert dropped["samples"]["gopher_words_min"][0]["value"] == 2


def test_the_same_sources_give_the_same_bytes(source, benchmarks, tmp_path):
    config = CorpusConfig(sources=(str(source),))
    for name in ("one", "two"):
        run(config, benchmarks, tmp_path / name)
    for name in ("documents.jsonl.zst", "dropped.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_budget_takes_no_more_than_one_document_beyond_it(source, benchmarks, tmp_path):
    config = CorpusConfig(sources=(str(source),), web_bytes=1)
    summary, documents = run(config, benchmarks, tmp_path / "out")
    assert summary["groups"]["web"]["documents"] == 1
    assert summary["dropped_by_reason"]["over_budget"] >= 1
    assert any(document.meta["group"] == "code" for document in documents)


def test_thresholds_and_rules_are_the_configurations(source, benchmarks, tmp_path):
    config = parse(
        CorpusConfig,
        {
            "sources": [str(source)],
            "thresholds": {"gopher_words_min": 2},
            "without": ["c4_sentences", "gopher_stop_words", "fineweb_short_lines"],
        },
        "recipe",
    )
    _, documents = run(config, benchmarks, tmp_path / "out")
    assert "texts/short.txt" in {document.id for document in documents}
    with pytest.raises(UserError, match="No rule named gopher"):
        run(config.model_copy(update={"without": ("gopher",)}), benchmarks, tmp_path / "out")


def test_an_allow_list_lets_common_phrases_through(source, benchmarks, tmp_path):
    (tmp_path / "common.txt").write_text(PROBLEM)
    config = CorpusConfig(sources=(str(source),), allow_list=str(tmp_path / "common.txt"), hard_overlap=1.0)
    summary, _ = run(config.model_copy(update={"info_overlap": 1.0}), benchmarks, tmp_path / "out")
    assert summary["dropped_by_reason"]["contaminated"] == 1  # by 7-grams: the whole problem is there
    assert set(corpus_sources(config)) == {str(source), str(tmp_path / "common.txt")}
    with pytest.raises(UserError, match=r"Cannot read corpus\.allow_list"):
        run(config.model_copy(update={"allow_list": "nowhere.txt"}), benchmarks, tmp_path / "out")


def test_a_source_of_which_nothing_is_left_is_refused(benchmarks, tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "short.txt").write_text("Too short.")
    with pytest.raises(UserError, match=r"No document of .* is left; read were 1, dropped 1 gopher_words_min\."):
        run(CorpusConfig(sources=(str(tmp_path / "t"),)), benchmarks, tmp_path / "out")


def test_the_machines_own_python_gives_code_and_documentation(benchmarks, tmp_path):
    config = CorpusConfig(code_bytes=100_000, web_bytes=100_000)
    summary, documents = run(config, benchmarks, tmp_path / "out")
    for group in ("code", "web"):
        assert 80_000 < summary["groups"][group]["bytes"] < 220_000
    assert {document.meta["license"] for document in documents} == {"PSF-2.0"}


def test_near_duplicates_and_overlaps_are_shown_with_both_sides(source, benchmarks, tmp_path):
    (source / "edit.txt").write_text((source / "a.txt").read_text().strip() + " So it is told.")
    config = CorpusConfig(sources=(str(source),))
    run(config, benchmarks, tmp_path / "out")
    (cluster,) = [json.loads(line) for line in (tmp_path / "out" / "clusters.jsonl").read_text().splitlines()]
    kinds = {one["id"]: one["kind"] for one in cluster["dropped"]}
    assert {cluster["kept"], *kinds} == {"texts/a.txt", "texts/copy.txt", "texts/edit.txt"}
    assert "near" in kinds.values()
    report = json.loads((tmp_path / "out" / "contamination.json").read_text())
    (hit,) = report["hits"]
    assert (hit["id"], hit["benchmark"], hit["problem"]) == ("texts/leak.txt", "math", PROBLEM)
    assert PROBLEM[:40] in hit["document"]
    assert report["benchmarks"] == [{"benchmark": "math", "problems": 1, "contaminated": 1, "partial": 0}]


def test_personal_data_become_placeholders_and_bytes_are_still_accounted_for(source, benchmarks, tmp_path):
    (source / "d.txt").write_text(PROSE.format("ink") + "Write to ana@example.org or call +49 30 23125 851 for it.")
    summary, documents = run(CorpusConfig(sources=(str(source),)), benchmarks, tmp_path / "out")
    text = next(document.text for document in documents if document.id == "texts/d.txt")
    assert text.endswith("Write to [EMAIL] or call [PHONE] for it.")
    assert summary["personal"] == {"EMAIL": 1, "PHONE": 1}
    assert summary["read"]["bytes"] == summary["kept"]["bytes"] + summary["dropped"]["bytes"]
    as_read, placeholders = "ana@example.org+49 30 23125 851", "[EMAIL][PHONE]"
    assert summary["kept"]["bytes"] - summary["written_bytes"] == len(as_read) - len(placeholders)
    _, documents = run(CorpusConfig(sources=(str(source),), personal="keep"), benchmarks, tmp_path / "kept")
    assert any("ana@example.org" in document.text for document in documents)


def test_further_evaluation_files_are_held_against(source, benchmarks, tmp_path):
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "mgsm_en.tsv").write_text(f"{PROSE.format('salt').splitlines()[0]}\t3\n")
    config = CorpusConfig(sources=(str(source),), evaluations=(str(tmp_path / "official"),))
    summary, _ = run(config, benchmarks, tmp_path / "out")
    assert summary["dropped_by_reason"]["contaminated"] >= 2
    assert str(tmp_path / "official") in corpus_sources(config)


def test_a_cutoff_drops_later_documents_and_undated_ones_as_it_says(benchmarks, tmp_path):
    lines = [
        {"text": PROSE.format("wool"), "date": "2024-06-30"},
        {"text": PROSE.format("salt"), "date": "2024-07-01T10:00:00Z"},
        {"text": PROSE.format("honey")},
    ]
    path = tmp_path / "dated.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    config = CorpusConfig(sources=(str(path),), cutoff="2024-06-30")
    summary, documents = run(config, benchmarks, tmp_path / "out")
    assert [document.meta["date"] for document in documents] == ["2024-06-30", ""]
    assert documents[0].meta["date_from"] == "column date"
    assert summary["dropped_by_reason"] == {"after_cutoff": 1}
    assert 0.4 < summary["undated_share"] < 0.6
    dropping = config.model_copy(update={"undated": "drop"})
    summary, documents = run(dropping, benchmarks, tmp_path / "out")
    assert summary["dropped_by_reason"] == {"after_cutoff": 1, "undated": 1}
    with pytest.raises(UserError, match="Expected the last day that counts"):
        parse(CorpusConfig, {"cutoff": "June 2024"}, "recipe")


def test_each_step_keeps_what_the_next_one_takes_in_documents_and_bytes(source, benchmarks, tmp_path):
    run(CorpusConfig(sources=(str(source),)), benchmarks, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "dropped.json").read_text())
    steps = report["steps"]
    assert steps[0]["read"] == report["read"]
    assert steps[-1]["kept"] == report["kept"]
    for before, after in pairwise(steps):
        assert before["kept"] == after["read"]
    for row in steps:
        for unit in ("documents", "bytes"):
            assert row["kept"][unit] + row["dropped"][unit] == row["read"][unit]
    languages = report["sources"][str(source)]["languages"]
    assert sum(counts["read"]["documents"] for counts in languages.values()) == 9
    assert {"", "en"} <= set(languages)


def test_scores_stand_beside_the_documents_and_give_the_same_decisions(source, benchmarks, tmp_path):
    run(CorpusConfig(sources=(str(source),)), benchmarks, tmp_path / "out")
    scored = list(read_records(tmp_path / "out" / "scores.jsonl.zst", Scores))
    assert {one.dropped for one in scored} == {"", "gopher_words_min", "refinedweb_capital_lines"}
    for one in scored:
        drop = decide(one.scores)
        assert (drop.reason if drop else "") == one.dropped
        assert (drop.also if drop else ()) == one.also


def test_a_root_gives_a_source_for_each_folder_with_its_licence_and_group(benchmarks, tmp_path):
    for name, word in (("first", "wool"), ("second", "salt"), ("probes", "honey")):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text(PROSE.format(word))
        (folder / "SOURCE.txt").write_text(f"licence: CC0-1.0\ncommit: abcdef1 2024-0{len(word)}-02\n")
    settings = {"sources": [], "root": str(tmp_path / "root"), "ignore": ["probes"], "groups": {"second": "acquired"}}
    config = parse(CorpusConfig, settings, "recipe")
    _, documents = run(config, benchmarks, tmp_path / "out")
    assert [(one.source, one.meta["group"], one.meta["license"]) for one in documents] == [
        ("first", "web", "CC0-1.0"),
        ("second", "acquired", "CC0-1.0"),
    ]
    assert documents[0].meta["date"] == "2024-04-02"
    assert set(corpus_sources(config)) == {"first", "second"}
    with pytest.raises(UserError, match="groups names third"):
        run(config.model_copy(update={"groups": {"third": "web"}}), benchmarks, tmp_path / "out")
    with pytest.raises(UserError, match="No folder"):
        run(config.model_copy(update={"root": "nowhere"}), benchmarks, tmp_path / "out")


def test_a_look_at_the_stage_shows_steps_sources_and_rejects(source, benchmarks, tmp_path):
    summary, _ = run(CorpusConfig(sources=(str(source),)), benchmarks, tmp_path / "out")
    write_json(tmp_path / "out" / "summary.json", {"summary": {**summary, "held_out": {"poems": 3}}})
    shown = "\n".join(look(tmp_path / "out", n=1))
    assert f"personal data replaced: {'EMAIL 1' if summary['personal'] else 'none'}" in shown
    assert "held out of poems, which nothing else counts: an excerpt from the middle of each of 3 documents" in shown
    assert "more reasons" not in shown
    assert "rules" in shown
    assert "gopher_words_min: 1 documents\ntexts/short.txt (" in shown
    assert ") value 2.0, threshold 50" in shown
    assert "against" in shown
    (tmp_path / "out" / "dropped.json").write_text("{}")
    with pytest.raises(UserError, match="damaged or of another version"):
        list(look(tmp_path / "out"))


def test_passages_that_stood_in_an_earlier_document_are_cut_and_told(benchmarks, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    shared = "The ferry leaves at noon, and whoever comes late waits for the evening boat with the sheep and the post. "
    words = {name: [f"{name}{n}" for n in range(120)] for name in "abc"}
    own = {name: ". ".join(" ".join(words[name][n : n + 9]) for n in range(0, 120, 9)) for name in words}
    for name, text in own.items():
        (folder / f"{name}.txt").write_text(f"The {name} of it and that. {text}. {shared} So {name} ends with this.")
    (folder / "d.txt").write_text(f"{shared} {own['a'][:400]} And nearly nothing else is in the last of them.")
    without = ("ours_odd_pairs", "gopher_duplicate_5_grams", "ours_packed_max", "gopher_letters")
    config = CorpusConfig(sources=(str(folder),), repeats=80, without=without, min_jaccard=0.95)
    summary, documents = run(config, benchmarks, tmp_path / "out")
    assert sum(shared.strip()[:90] in document.text for document in documents) <= 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "repeats.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["kept"]["id"] != one["id"] for line in lines for one in line["dropped"])
    for document in documents:
        for one in document.meta.get("removed", []):
            assert one["what"] == "REPEAT"
            assert one["characters"] >= 80
            assert 0 <= one["at"] <= len(document.text)
    assert summary["read"]["bytes"] == summary["kept"]["bytes"] + summary["dropped"]["bytes"]
    assert summary["written_bytes"] < summary["kept"]["bytes"]
    assert summary["dropped_by_reason"].get("repeated_passages", 0) + sum("removed" in d.meta for d in documents) >= 2
    _, same = run(config.model_copy(update={"repeats": 0}), benchmarks, tmp_path / "off")
    assert all(shared.strip()[:90] in document.text for document in same)
